"""Batch normalization under a schedule on PyTorch: which statistics a frozen one uses, and which move (BN-1).

=============  ===================  =================  =================================
mode           normalizes by        statistics         how
=============  ===================  =================  =================================
train          the batch            move               as PyTorch does
fixed          the batch            stay               ``track_running_stats`` is False
inference      the moving ones      stay               ``training`` is False
=============  ===================  =================  =================================

One that trains is in ``train``, unless the segment has it in ``bn_frozen``: then it is in ``inference``, and its
weights train on. One whose layer is frozen is in ``inference`` under the policies ``keras`` and ``inference``, in
``train`` under ``batch`` (what PyTorch does), in ``fixed`` under ``batch_fixed``. That holds too if only its parameters
are frozen, one by one, but for ``keras``: then it stays in ``train``, as a Keras layer does. Evaluation always uses the
moving statistics. Only batch normalizations that the schedule names are written; all others are the user's.

``model.train()`` would end inference mode. So the ``train`` of this one module is replaced while it is held. That costs
a forward pass nothing, and torch.compile sees no hook, only the flag ``training``, which it guards anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from refreeze.choices import BatchNorm
from refreeze.errors import InvalidSpec
from refreeze.torch.modules import Named

Mode = Literal["train", "fixed", "inference"]
_FROZEN: dict[BatchNorm, Mode] = {
    "keras": "inference", "batch": "train", "batch_fixed": "fixed", "inference": "inference",
}  # fmt: skip


class Held:
    """Stands in for ``train`` of a module that is held in inference mode, and remembers what was asked of it.

    A copy of the module, as for an average of weights, or one from a file, is not held.
    """

    def __init__(self, module: Any) -> None:
        self.module, self.asked, self.holds, self.before = module, module.training, True, vars(module).get("train")
        module.eval()
        vars(module)["train"] = self

    def __call__(self, mode: bool = True) -> Any:
        if not self.holds:
            return type(self.module).train(self.module, mode)
        self.asked = mode
        return self.module

    def release(self) -> None:
        """Let the module be in the mode that was asked of it last."""
        del vars(self.module)["train"]
        if self.before is not None:  # the user had replaced it
            vars(self.module)["train"] = self.before
        self.module.train(self.asked)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "holds": False}


class BatchNormModes:
    """The batch normalizations that a schedule governs, and the modes that a policy and ``bn_frozen`` give them.

    ``names`` are all that the schedule speaks of, ``bn_names`` all that are ever in ``bn_frozen``. Raises
    ``InvalidSpec`` for one of these that is no batch normalization and holds none; changes nothing.
    """

    def __init__(self, named: Named, policy: BatchNorm, names: Iterable[str], bn_names: Iterable[str]) -> None:
        every = set().union(*named.batch_norms.values())
        if other := sorted(set(bn_names) - every):
            raise InvalidSpec("bn_frozen", other[0], "a batch normalization")
        spoken = {*names, *bn_names}
        self._policy = policy
        self._governed = [
            (part, found & spoken, list(part.parameters()))
            for part, found in named.batch_norms.items()
            if found & spoken or any(named.parameters[p] & spoken for p in part.parameters())
        ]
        self._tracks = {part: part.track_running_stats for part, *_ in self._governed}

    def write(self, frozen: frozenset[str], bn_frozen: frozenset[str]) -> None:
        """Put every batch normalization into its mode; the flags of its parameters are written already."""
        for part, names, own in self._governed:
            layer = not names.isdisjoint(frozen)
            if not names.isdisjoint(bn_frozen):
                self._set(part, "inference")
            elif layer or (own and not any(parameter.requires_grad for parameter in own)):
                self._set(part, "train" if self._policy == "keras" and not layer else _FROZEN[self._policy])
            else:
                self._set(part, "train")

    def restore(self) -> None:
        """Let every one do again as PyTorch does."""
        for part, *_ in self._governed:
            self._set(part, "train")

    def _set(self, part: Any, mode: Mode) -> None:
        held = vars(part).get("train")
        held = held if isinstance(held, Held) and held.holds else None
        if mode == "inference" and held is None:
            Held(part)
        elif mode != "inference" and held is not None:
            held.release()
        if self._tracks[part]:
            part.track_running_stats = mode != "fixed"
