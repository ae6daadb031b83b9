"""fastai: freeze_to, freeze, unfreeze and bn_freeze, on ordered groups of layers and in epochs.

Source: fastai 0.7, ``fastai.learner.Learner`` (``freeze_to``, ``unfreeze``, ``bn_freeze``) and ``fastai.model``
(``set_train_mode``), and ``freeze`` as of fastai 1 and 2. Those are calls that a program makes between two ``fit``;
here each has the epoch at which it is made. fastai 1 and 2 train batch normalizations of frozen groups unless told
otherwise (``train_bn``), and have ``BnFreeze`` in place of ``bn_freeze``: not here. Clauses NAM-2, NAM-3, BN-1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from refreeze.dialects import Dialect, Run, targets
from refreeze.dialects.common import chosen, groups_of
from refreeze.dialects.fields import EachOf, Groups, Tick
from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, always, inference_mode, never, stages, union
from refreeze.schedule import Segment
from refreeze.selectors import Exactly, listed


class _Call(Struct, tag_field="call", forbid_unknown_fields=True, frozen=True, kw_only=True):
    at: Tick
    """The epoch at whose start the call is made."""


class FreezeTo(_Call, tag="freeze_to", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``groups[n:]`` train, all before are frozen."""

    n: int
    """As in a Python slice: -1 is the last group alone, beyond the ends is none or all."""


class Freeze(_Call, tag="freeze", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``freeze_to(-1)``: the last group trains."""

    n: ClassVar[int] = -1


class Unfreeze(_Call, tag="unfreeze", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``freeze_to(0)``: all train."""

    n: ClassVar[int] = 0


class BnFreeze(_Call, tag="bn_freeze", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All batch normalizations run in inference mode, trainable or not, until told otherwise."""

    do_freeze: bool
    """True: they do from now on. False: those that are not frozen no longer do."""


class FastaiConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The layers of a learner and the calls made on it."""

    groups: Groups
    """The layer groups, input first; no layer is in two groups. One ``each`` alone: each match is a group."""
    calls: tuple[FreezeTo | Freeze | Unfreeze | BnFreeze, ...] = ()
    """Each has its epoch; those of one epoch are made in the order of the list."""
    batch_norm: tuple[str | EachOf, ...] = ()
    """Which layers are batch normalizations."""


def policy(config: FastaiConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy of the calls, in epochs.

    Before the first call all groups train. In [epoch of a call, epoch of the next) holds what was called last: with
    ``freeze_to(n)`` the layers of ``groups[n:]`` train and the other groups are frozen. A layer of ``batch_norm`` runs
    in inference mode if ``bn_freeze`` was last called with True, or if it is frozen. Layers in no group keep the state
    that they had.

    ``names`` are the layers, or None for groups to be taken as they are. Raises ``UnknownName``, ``InvalidSpec`` for a
    layer in two groups, and without names ``NeedsModel`` for one in a container that is given too.

    >>> learner = FastaiConfig(groups=(("stem",), ("body",), ("head",)), calls=(Freeze(at=0), FreezeTo(at=3, n=-2)))
    >>> [sorted(policy(learner).frozen_at(epoch)) for epoch in (0, 3)]
    [['body', 'stem'], ['stem']]
    """
    groups = groups_of(config.groups, names, config.batch_norm)
    every = {name for group in groups for name in group}
    batch_norm = chosen(config.batch_norm, names, "batch_norm")

    def state(n: int, bn_freeze: bool) -> Policy:
        trained = {name for group in groups[n:] for name in group}
        frozen = every - trained
        inferring = inference_mode(batch_norm if bn_freeze else frozen.intersection(batch_norm))
        return union(always(frozen), never(trained), inferring)

    n, bn_freeze = 0, False
    parts = {0: state(n, bn_freeze)}
    for call in sorted(config.calls, key=lambda call: call.at):  # calls of one epoch stay in their order
        if isinstance(call, BnFreeze):
            bn_freeze = call.do_freeze
        else:
            n = call.n
        parts[call.at] = state(n, bn_freeze)
    return stages(*parts.items())


def layer_groups(layers: Any, starts: Iterable[str]) -> list[list[str]]:
    """Return the layers in order, as groups of which each but the first begins at one of ``starts``.

    ``layers`` are names, or a model (``refreeze.dialects.targets``). Raises ``UnknownName``, and ``InvalidSpec`` if a
    group would be empty.

    >>> layer_groups(["stem", "conv1", "conv2", "head"], ["conv1", "head"])
    [['stem'], ['conv1', 'conv2'], ['head']]
    """
    names = [*listed(layers if isinstance(layers, list | tuple) else targets.layers(layers), "layers")]
    cuts = sorted(names.index(start) for start in Exactly(listed(starts, "starts"))(names, "starts"))
    if cuts[:1] == [0]:
        raise InvalidSpec("starts", names[0], "a layer after the first one, where the first group begins anyway")
    return [names[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(names)], strict=True)]


def freeze_to(model: Any, n: int, groups: Sequence[Iterable[str]]) -> None:
    """Freeze all layers of ``groups``, then make those of ``groups[n:]`` trainable, by Python's rules for slices.

    ``model`` is a mapping of names or a Keras model (``refreeze.dialects.targets``), of which other layers keep the
    state that they had. Raises ``UnknownName`` before anything is changed, ``InvalidSpec`` unless ``n`` is an integer.

    >>> from refreeze.dialects.targets import Target
    >>> model = {"stem": Target(), "body": Target(), "head": Target()}
    >>> freeze_to(model, -1, [["stem"], ["body"], ["head"]]); [layer.trainable for layer in model.values()]
    [False, False, True]
    """
    if type(n) is not int:
        raise InvalidSpec("n", n, "an integer")
    layers = targets.layers(model)
    names = [Exactly(listed(group, f"groups[{i}]"))([*layers], f"groups[{i}]") for i, group in enumerate(groups)]
    found = [[layers[name] for name in group] for group in names]
    for trainable, part in ((False, found), (True, found[n:])):
        for layer in (layer for group in part for layer in group):
            targets.set_trainable(layer, trainable)


def freeze(model: Any, groups: Sequence[Iterable[str]]) -> None:
    """Freeze all groups but the last: ``freeze_to(model, -1, groups)``."""
    freeze_to(model, -1, groups)


def unfreeze(model: Any, groups: Sequence[Iterable[str]]) -> None:
    """Make all groups trainable: ``freeze_to(model, 0, groups)``."""
    freeze_to(model, 0, groups)


def _batch_norms(model: Any, batch_norm: Iterable[str] | None) -> dict[str, Any]:
    layers = targets.layers(model)
    if batch_norm is None:
        return {n: x for n, x in layers.items() if hasattr(x, "moving_mean") or hasattr(x, "running_mean")}
    return {name: layers[name] for name in Exactly(listed(batch_norm, "batch_norm"))([*layers], "batch_norm")}


def bn_freeze(model: Any, do_freeze: bool, batch_norm: Iterable[str] | None = None) -> None:
    """Set the mark ``bn_freeze`` of the batch normalizations; ``in_inference_mode`` says what follows from it.

    ``batch_norm`` names them; if None, they are the layers with a ``moving_mean`` (Keras) or ``running_mean``. Whether
    they are trainable does not change. Keras does not read the mark. Raises ``UnknownName``, and ``InvalidSpec`` unless
    ``do_freeze`` is a bool.
    """
    if type(do_freeze) is not bool:
        raise InvalidSpec("do_freeze", do_freeze, "True or False")
    for layer in _batch_norms(model, batch_norm).values():
        layer.bn_freeze = do_freeze


def in_inference_mode(model: Any, batch_norm: Iterable[str] | None = None) -> frozenset[str]:
    """Return the batch normalizations that run in inference mode: those marked by ``bn_freeze`` or not trainable."""
    found = _batch_norms(model, batch_norm).items()
    return frozenset(n for n, layer in found if getattr(layer, "bn_freeze", False) or not targets.is_trainable(layer))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return groups and calls for as long as each frozen set lies in every larger one: the sets are prefixes then."""
    nested = [frozenset[str]()]
    for segment in run:
        if any(not (segment.frozen <= other or segment.frozen >= other) for other in nested):
            break
        nested.append(segment.frozen)
    prefixes = sorted({*nested}, key=len)
    groups = [[name for name in names if name in more - less] for less, more in itertools.pairwise(prefixes)]
    if rest := [name for name in names if name not in prefixes[-1]]:
        groups.append(rest)
    calls = [
        {"at": segment.start, "call": "freeze_to", "n": prefixes.index(frozen)}
        for segment, frozen in zip(run, nested[1:], strict=False)
    ]
    return {"groups": groups, "calls": calls}


DIALECT = Dialect(
    name="fastai",
    source="fastai 0.7, Learner.freeze_to, unfreeze, bn_freeze",
    config=FastaiConfig,
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
)
