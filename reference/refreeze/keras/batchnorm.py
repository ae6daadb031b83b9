"""Batch normalization under a schedule: which statistics a frozen layer uses, and which of them move (BN-1).

In a train step a ``BatchNormalization`` layer is in one of three modes:

============  ==================  ===================
mode          normalizes by       moving statistics
============  ==================  ===================
train         the batch           move
fixed         the batch           stay
inference     moving statistics   stay
============  ==================  ===================

A layer that trains is in ``train``, unless the segment has it in ``bn_frozen``: then it is in ``inference``, and gamma
and beta train on (fastai's bn_freeze). A layer that is frozen, or all of whose variables are, and that is not in
``bn_frozen``, is by policy in

- ``keras``: ``inference`` if the layer is frozen; if only its variables are, one by one, Keras leaves it in ``train``;
- ``inference``: ``inference``, either way;
- ``batch``: ``train``;
- ``batch_fixed``: ``fixed``.

Gamma and beta of a frozen layer stay as they are under each of them. Evaluation is always in ``inference``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import keras

from refreeze.choices import BatchNorm
from refreeze.errors import InvalidSpec, UnknownName
from refreeze.keras import private
from refreeze.keras.model import ModelTree
from refreeze.schedule import Segment

Mode = Literal["as keras does", "train", "fixed", "inference"]
MODES: tuple[Mode, ...] = get_args(Mode)
_FROZEN: dict[BatchNorm, Mode] = {
    "keras": "as keras does", "batch": "train", "batch_fixed": "fixed", "inference": "inference",
}  # fmt: skip


class BatchNorms:
    """The batch normalizations of a model, and the modes that a policy and ``bn_frozen`` give them.

    ``names`` are all that are ever in ``bn_frozen``. Raises ``InvalidSpec`` for a name that is no batch
    normalization (nor a layer that holds one), ``UnknownName`` (NAM-2); changes nothing.
    """

    def __init__(self, tree: ModelTree, policy: BatchNorm, names: Iterable[str]) -> None:
        names = sorted(names)
        if missing := [name for name in names if name not in tree.named]:
            raise UnknownName(f"model {tree.model.name!r}", missing, tree.named)
        self._named = {name: tree.named[name].batch_norms for name in names}
        if other := [name for name, found in self._named.items() if not found]:
            raise InvalidSpec("bn_frozen", other[0], "a BatchNormalization")
        self._policy = policy
        self.layers = tree.batch_norms

    def modes(self, bn_frozen: Iterable[str], flag: Mapping[int, bool]) -> tuple[Mode, ...]:
        """Return the mode of each layer; ``flag`` are the flags of layers and variables, by id."""
        inferring = {id(layer) for name in bn_frozen for layer in self._named[name]}
        return tuple(self._mode(layer, inferring, flag) for layer in self.layers)

    def _mode(self, layer: Any, bn_frozen: set[int], flag: Mapping[int, bool]) -> Mode:
        if id(layer) in bn_frozen:
            return "inference"
        own = private.made_to_train(layer)
        frozen = not (any(flag[id(variable)] for variable in own) if own else flag[id(layer)])
        return _FROZEN[self._policy] if frozen else "as keras does"

    def write(self, modes: Iterable[Mode]) -> None:
        """Put every batch normalization into its mode; it holds for traces to come."""
        for layer, mode in zip(self.layers, modes, strict=True):
            _set_mode(layer, mode)

    def restore(self) -> None:
        """Let every layer do again as Keras does."""
        for layer in self.layers:
            _set_mode(layer, "as keras does")


def frozen_but_moving(tree: ModelTree, schedule: Iterable[Segment]) -> list[str]:
    """Return the layers with a batch normalization whose parameters a segment freezes one by one, by their own names.

    Under the policy ``keras`` their statistics go on to move: Keras looks at the flag of the layer.
    """
    sets = {segment.frozen for segment in schedule}
    found = []
    for node in tree.nodes:
        own = [{node.name_of(variable) for variable in private.made_to_train(part)} for part in node.batch_norms]
        if any(names and names <= frozen and node.path not in frozen for names in own for frozen in sets):
            found.append(node.path)
    return found


def moving_statistics(tree: ModelTree) -> set[int]:
    """Return the ids of the moving statistics that train steps traced from now on move."""
    return {
        id(weight)
        for layer in tree.batch_norms
        if getattr(vars(layer).get("call"), "mode", "train" if layer.trainable else "inference") == "train"
        for weight in layer.weights
    }.difference(map(id, tree.trainable))


def _set_mode(layer: Any, mode: Mode) -> None:
    """Replace the ``call`` of this one layer, which Keras looks up whenever it traces a step, or put it back."""
    now = vars(layer).get("call")
    if getattr(now, "mode", "as keras does") == mode:
        return
    if hasattr(now, "mode"):
        del layer.call
    if mode != "as keras does":
        layer.call = _in_mode(layer, lambda run: run(mode))
        layer.call.mode = mode


@contextlib.contextmanager
def chosen(layer: Any, choose: Callable[[Callable[[Mode], Any]], Any]) -> Iterator[None]:
    """For a while, have ``choose`` called whenever a train step calls the layer, with what runs it in a mode."""
    now = vars(layer).get("call")
    if hasattr(now, "mode"):
        del layer.call
    with private.replaced(layer, "call", _in_mode(layer, choose)):
        yield
    if hasattr(now, "mode"):
        layer.call = now


def _in_mode(layer: Any, choose: Callable[[Callable[[Mode], Any]], Any]) -> Any:
    plain = layer.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        def run(mode: Mode) -> Any:
            if mode == "inference":
                return plain(inputs, training=False, mask=mask)
            with private.shown_as_trainable(layer):  # Keras reads it as "normalize by the batch"
                if mode == "train":
                    return plain(inputs, training=True, mask=mask)
                # Assignments end in the scope, and with it; values are those outside, which may be a trace's.
                with keras.StatelessScope([(weight, weight.value) for weight in layer.weights]):
                    return plain(inputs, training=True, mask=mask)

        return choose(run) if training else run("inference")

    return call
