"""VL3D: freeze-training specifications, on layers and in epochs.

Source: VL3D, class ``DLFreezeTrainingExecutor`` of ``src.model.deeplearn.handle.dl_freeze_training_executor``.
Several specifications freeze the union of what each freezes. Clauses RR-1..3, RND-1..3, NAM-1..3, SCH-6.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import Wanted, chosen, units_of
from refreeze.dialects.fields import Count, Entries, Seed, Tick
from refreeze.dialects.spans import Span, spans
from refreeze.errors import EmptySelection, InvalidSpec
from refreeze.policy import Policy, always, check_int, during, rate, shift, union
from refreeze.schedule import Operation, Segment, operations, segments
from refreeze.selectors import check_apart
from refreeze.windows import random_windows, round_robin

Operations = tuple[list[int], list[dict[str, list[str]]]]
Rated = tuple[list[int], list[dict[str, list[str]]], list[float | None]]


class RoundRobin(Struct, tag="round_robin", tag_field="type", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The window moves on by its own size, and from the end to the beginning (RR-1)."""

    window_size: Count
    """The units of layers frozen at a time, in 1..number of units."""
    iterative_span: Count
    """The epochs for which a window stays, >= 1."""


class Random(Struct, tag="random", tag_field="type", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The window is drawn anew for every span (RND-1..3)."""

    window_size: Count
    """The units of layers frozen at a time, in 1..number of units."""
    iterative_span: Count
    """The epochs for which a window stays, >= 1."""
    seed: Seed = 0
    """In [0, 2^64)."""


class Spec(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One specification: which layers, in which epochs, how."""

    layers: Entries | Literal["all", "all_reverse"]
    """A list, or all layers that own weights, each a unit, in the order of declaration or its reverse."""
    training_interval: tuple[Tick, Tick]
    """[start, stop) in epochs, 0 <= start < stop; outside it the specification freezes nothing (RR-2)."""
    strategy: RoundRobin | Random | None = None
    """None: all the layers are frozen in the whole interval."""
    initial_learning_rate: Annotated[float, Meta(gt=0)] | None = None
    """Set at every epoch at which a window of this specification begins; finite, > 0."""


def resolve_layers(layers: Iterable[Any] | str, spec_index: int, names: Sequence[str] | None = None) -> list[str]:
    """Return the layers that the ``layers`` entry of specification ``spec_index`` (from 0) means, of whatever unit.

    "all" is every one of ``names`` in declaration order, "all_reverse" the reverse (NAM-1). A list or tuple is as in
    ``Spec.layers``; without ``names`` its entries stand for themselves, and patterns raise ``NeedsModel`` (NAM-2..5).

    Raises ``NeedsModel``, ``UnknownName``, ``EmptySelection`` (no names at all), and ``InvalidSpec`` for anything else
    and for a layer given twice.

    >>> resolve_layers("all_reverse", 0, ["a", "b"])
    ['b', 'a']
    >>> resolve_layers([{"each": "body/*"}], 0, ["stem", "body/a", "body/b"])
    ['body/a', 'body/b']
    """
    where = f"freeze_training[{spec_index}].layers"
    if isinstance(layers, list | tuple) and not layers:
        raise EmptySelection(where, [])
    try:
        wanted: Wanted = convert(layers, Entries | Literal["all", "all_reverse"])
    except ValidationError:
        raise InvalidSpec(where, layers, "a list of layers, 'all' or 'all_reverse'") from None
    return [*chosen(wanted, names, where)]


def _spec_policy(spec: Spec, index: int, names: Sequence[str] | None) -> Policy:
    where = f"freeze_training[{index}]"
    start, stop = spec.training_interval
    if start >= stop:
        raise InvalidSpec(f"{where}.training_interval", [start, stop], "[start, stop) with start < stop")
    if spec.initial_learning_rate == float("inf"):
        raise InvalidSpec(f"{where}.initial_learning_rate", spec.initial_learning_rate, "finite")
    how, span = spec.strategy, None
    if how is None:
        frozen = always(chosen(spec.layers, names, f"{where}.layers"))
    else:
        units, span = units_of(spec.layers, names, f"{where}.layers"), how.iterative_span
        if how.window_size > len(units):
            raise InvalidSpec(f"{where}.strategy.window_size", how.window_size, f"in 1..{len(units)}")
        if isinstance(how, RoundRobin):
            frozen = round_robin(units, how.window_size, span)
        else:
            if how.seed >= 2**64:
                raise InvalidSpec(f"{where}.strategy.seed", how.seed, "an integer in [0, 2**64)")
            frozen = random_windows(units, how.window_size, span, how.seed, stream=index)
    if spec.initial_learning_rate is not None:
        frozen = union(frozen, rate(spec.initial_learning_rate, every=span))
    return during(shift(frozen, start), start, stop)


def policy(config: Iterable[Spec], names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy that the specifications mean: the union of what each freezes, in epochs.

    ``names`` are the layers that own weights, in declaration order, nested ones as paths. None means that they are not
    known: then lists of layers are taken as they are, and "all" raises ``NeedsModel``, as do a layer and its container.
    """
    config = tuple(config)
    check_apart(names, "freeze_training", *(spec.layers for spec in config if not isinstance(spec.layers, str)))
    return union(*(_spec_policy(spec, index, names) for index, spec in enumerate(config)))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a specification for each set of layers that are frozen together, anew where a rate is set.

    Where a rate is set and nothing is frozen, there is no specification that could set it.
    """
    found = []
    starts = [number for number, segment in enumerate(run) if number == 0 or segment.learning_rate is not None]
    for first, end in itertools.pairwise([*starts, len(run)]):
        part, together = run[first:end], dict[Span, list[str]]()
        for name, ranges in spans(part, names).items():
            for span in ranges:
                together.setdefault(span, []).append(name)
        rate = part[0].learning_rate
        for span, layers in sorted(together.items()):
            spec: dict[str, Any] = {"layers": layers, "training_interval": [*span]}
            found.append(spec | ({} if rate is None or span[0] != part[0].start else {"initial_learning_rate": rate}))
    return found


DIALECT = Dialect(
    name="vl3d",
    source="VL3D, DLFreezeTrainingExecutor",
    config=tuple[Spec, ...],
    root="freeze_training",
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
)


def _declared(found: Sequence[Operation], order: Sequence[str]) -> Rated:
    """Return operations in VL3D's shape, with the layers of each in declaration order."""
    place = {name: index for index, name in enumerate(order)}
    shown = [
        {"freeze": sorted(op.freeze, key=place.__getitem__), "unfreeze": sorted(op.unfreeze, key=place.__getitem__)}
        for op in found
    ]
    return [op.tick for op in found], shown, [op.learning_rate for op in found]


def compute_schedule(freeze_training: object, training_epochs: int, names: Sequence[str] | None = None) -> Rated:
    """Return ``(op_epoch, op, lrs)``: at epoch ``op_epoch[i]`` do ``op[i]`` and, if not None, set the rate ``lrs[i]``.

    ``op_epoch`` increases strictly in [0, training_epochs). An ``op`` is ``{"freeze": [...], "unfreeze": [...]}``, the
    layers in declaration order (without ``names``: in the order in which the specifications name them). At first every
    layer is trainable (SCH-5). ``freeze_training`` is the plain list of dictionaries, None for no freezing, or
    ``Spec`` objects. Raises the ``ScheduleError`` that says what is wrong.

    >>> spec = {"layers": ["a", "b"], "training_interval": [5, 15], "strategy":
    ...         {"type": "round_robin", "window_size": 1, "iterative_span": 5}, "initial_learning_rate": 0.1}
    >>> for what in compute_schedule([spec], training_epochs=20): print(what)
    [5, 10, 15]
    [{'freeze': ['a'], 'unfreeze': []}, {'freeze': ['b'], 'unfreeze': ['a']}, {'freeze': [], 'unfreeze': ['b']}]
    [0.1, 0.1, None]
    """
    config = DIALECT.parse([] if freeze_training is None else freeze_training)
    mentioned = names if names is not None else list(dict.fromkeys(name for spec in config for name in spec.layers))
    return _declared(operations(segments(policy(config, names), training_epochs)), mentioned)


def _handle(kind: str, layers: Sequence[str], interval: Sequence[int], strategy: Any, spec_index: int) -> Operations:
    if not isinstance(strategy, dict) or strategy.get("type", kind) != kind:
        raise InvalidSpec("strategy", strategy, f"an object of the type {kind!r}")
    check_int("spec_index", spec_index)
    raw = {"layers": layers, "training_interval": interval, "strategy": {**strategy, "type": kind}}
    (spec,) = DIALECT.parse([raw])
    found = segments(_spec_policy(spec, spec_index, None), spec.training_interval[1] + 1)
    return _declared(operations(found), spec.layers)[:2]


def handle_round_robin_freezing(layers: Sequence[str], interval: Sequence[int], strategy: Any) -> Operations:
    """Return ``(epochs, ops)`` of a round robin over ``layers`` in the interval [start, stop); the last op ends it.

    RR-1, RR-2. ``strategy`` has ``window_size`` and ``iterative_span``, and may have its ``type``.

    >>> handle_round_robin_freezing(["a", "b"], [0, 4], {"window_size": 1, "iterative_span": 2})[0]
    [0, 2, 4]
    """
    return _handle("round_robin", layers, interval, strategy, 0)


def handle_random_freezing(
    layers: Sequence[str], interval: Sequence[int], strategy: Any, spec_index: int = 0
) -> Operations:
    """Return ``(epochs, ops)`` of random windows over ``layers`` in the interval [start, stop); the last op ends them.

    ``strategy`` has ``window_size``, ``iterative_span`` and perhaps ``seed``; ``spec_index`` is the number of the
    specification, from 0, on which the draws depend as well (RND-1).
    """
    return _handle("random", layers, interval, strategy, spec_index)
