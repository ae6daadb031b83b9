"""Schedules: a policy over ``total`` ticks as segments, their difference as operations, and epochs <-> steps.

``segments`` is the run-length encoding of a policy (SCH-1..4), ``operations`` its difference and ``replay`` its sum
(SCH-5). All of it costs what the boundaries cost, whatever ``total`` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise, zip_longest

from refreeze.errors import InvalidSpec, ScheduleMismatch
from refreeze.policy import NOTHING, SILENT, Policy, State, check_int, check_policies, on_another_clock

MOST_BOUNDARIES = 10**6
"""A schedule with more of them is refused before it is computed: nobody reads it, and few machines hold it."""
MOST_FROZEN = 5 * 10**6
"""The names that the different frozen sets of a schedule may have together; each set counts once."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A half-open range of ticks in which every tick means the same (SCH-3)."""

    start: int
    """The first tick, from 0."""
    stop: int
    """The tick after the last, > start."""
    frozen: frozenset[str]
    """The names that are frozen during the segment."""
    learning_rate: float | None = None
    """The learning rate set once, at ``start``; None leaves it as it is."""
    bn_frozen: frozenset[str] = NOTHING
    """The batch normalizations that run in inference mode during the segment, trainable or not (BN-1)."""

    @property
    def length(self) -> int:
        """The number of ticks, ``stop - start``."""
        return self.stop - self.start


def canonical(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Return the one canonical form of any encoding of a schedule (SCH-2).

    Adjacent segments become one unless ``frozen`` or ``bn_frozen`` differs, or the later one sets a learning rate.
    Raises ``InvalidSpec`` if a segment is empty or does not start where the one before stops (SCH-1).

    >>> a = frozenset("a")
    >>> [(s.start, s.stop) for s in canonical([Segment(0, 2, a), Segment(2, 5, a), Segment(5, 6, a, 0.1)])]
    [(0, 5), (5, 6)]
    """
    merged: list[Segment] = []
    for index, now in enumerate(segments):
        if type(now.start) is not int or now.start < 0 or type(now.stop) is not int or now.stop <= now.start:
            check_int(f"segments[{index}].stop", now.stop, check_int(f"segments[{index}].start", now.start) + 1)
        before = merged[-1] if merged else None
        if before and now.start != before.stop:
            raise InvalidSpec(f"segments[{index}].start", now.start, f"{before.stop}, where the one before stops")
        if before and now.learning_rate is None and (now.frozen, now.bn_frozen) == (before.frozen, before.bn_frozen):
            merged[-1] = replace(before, stop=now.stop)
        else:
            merged.append(now)
    return tuple(merged)


def segments(policy: Policy, total: int) -> tuple[Segment, ...]:
    """Return the canonical segments of ``policy`` over the ticks [0, total), in order.

    They are contiguous, none is empty, their lengths sum to ``total`` (SCH-1; ``total = 0`` gives none), and
    ``frozen == policy.frozen_at(tick)`` at each of their ticks (SCH-3). The policy is asked once per boundary. Raises
    ``Conflict`` (SCH-6), and ``InvalidSpec`` unless ``total`` is an integer >= 0, there are at most 10^6 boundaries,
    and the different sets of frozen names have together at most 5 * 10^6 names.

    >>> from refreeze import always, during
    >>> [(s.start, s.stop, sorted(s.frozen)) for s in segments(during(always(["stem"]), 2, 4), total=6)]
    [(0, 2, []), (2, 4, ['stem']), (4, 6, [])]
    """
    check_policies(policy)
    if check_int("total", total) == 0:
        return ()
    if sum(1 for _ in islice(policy.boundaries(0, total), MOST_BOUNDARIES + 1)) > MOST_BOUNDARIES:
        raise InvalidSpec("total", total, f"a run in which the schedule has at most {MOST_BOUNDARIES:,} boundaries")
    sets: dict[frozenset[str], frozenset[str]] = {}  # a schedule has few sets, however many segments
    left = MOST_FROZEN

    def kept(names: frozenset[str]) -> frozenset[str]:
        nonlocal left
        if names not in sets:
            left -= len(names)
            if left < 0:
                allowed = f"a run whose different frozen sets have together at most {MOST_FROZEN:,} names"
                raise InvalidSpec("total", total, allowed)
        return sets.setdefault(names, names)

    found = pairwise(chain(policy.changes(0, total), [(total, SILENT)]))
    return canonical(
        Segment(start, stop, kept(s.frozen), s.learning_rate, kept(s.bn_frozen)) for (start, s), (stop, _) in found
    )


def cut(segments: Sequence[Segment], start: int = 0, stop: int | None = None) -> tuple[Segment, ...]:
    """Return the segments of [start, stop): truncation (SCH-4), or what a resumed run has still to do (RES-1).

    A segment cut at its front sets no learning rate: that happened at its start. An empty range has no segments; raises
    ``InvalidSpec`` unless 0 <= start <= stop.

    >>> whole = [Segment(0, 4, frozenset(), 0.1), Segment(4, 9, frozenset("a"))]
    >>> [(s.start, s.stop, s.learning_rate) for s in cut(whole, 2, 6)]
    [(2, 4, None), (4, 6, None)]
    """
    check_int("start", start)
    end = segments[-1].stop if segments else 0
    end = end if stop is None else min(end, check_int("stop", stop, start))
    return tuple(
        replace(s, start=start, stop=min(s.stop, end), learning_rate=None)
        if s.start < start
        else replace(s, stop=min(s.stop, end))
        for s in segments
        if max(s.start, start) < min(s.stop, end)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What changes at the start of one tick. No name is both frozen and unfrozen."""

    tick: int
    """When, 0 <= tick < total."""
    freeze: frozenset[str] = NOTHING
    """The names that become frozen."""
    unfreeze: frozenset[str] = NOTHING
    """The names that become trainable."""
    learning_rate: float | None = None
    """The learning rate that is set, if one is."""
    bn_freeze: frozenset[str] = NOTHING
    """The batch normalizations that enter inference mode."""
    bn_unfreeze: frozenset[str] = NOTHING
    """The batch normalizations that leave it."""

    def __call__(self, state: State) -> State:
        """Return the state after the operation; doing it twice equals doing it once (SCH-5)."""
        frozen = (state.frozen | self.freeze) - self.unfreeze
        return State(frozen, frozen, self.learning_rate, (state.bn_frozen | self.bn_freeze) - self.bn_unfreeze)


def operations(segments: Iterable[Segment], initial: State = SILENT) -> tuple[Operation, ...]:
    """Return what to do, and at which ticks, to go through ``segments`` from the ``initial`` state (SCH-5).

    Ticks increase strictly. Where nothing changes and no learning rate is set, there is no operation.

    >>> run = [Segment(0, 4, frozenset("ab")), Segment(4, 9, frozenset("b"))]
    >>> [(op.tick, sorted(op.freeze), sorted(op.unfreeze)) for op in operations(run)]
    [(0, ['a', 'b'], []), (4, [], ['a'])]
    """
    found, frozen, bn_frozen = [], initial.frozen, initial.bn_frozen
    for now in segments:
        operation = Operation(
            tick=now.start,
            freeze=now.frozen - frozen,
            unfreeze=frozen - now.frozen,
            learning_rate=now.learning_rate,
            bn_freeze=now.bn_frozen - bn_frozen,
            bn_unfreeze=bn_frozen - now.bn_frozen,
        )
        found += [operation] if operation != Operation(tick=now.start) else []
        frozen, bn_frozen = now.frozen, now.bn_frozen
    return tuple(found)


def replay(operations: Sequence[Operation], total: int, initial: State = SILENT) -> tuple[Segment, ...]:
    """Return the canonical segments over [0, total) that ``operations`` make of the ``initial`` state (SCH-5).

    ``replay(operations(s), total) == s`` for canonical ``s``. Raises ``InvalidSpec`` unless the ticks increase strictly
    in [0, total).
    """
    check_int("total", total)
    ticks = [check_int(f"operations[{index}].tick", operation.tick) for index, operation in enumerate(operations)]
    if ticks != sorted(set(ticks)) or (ticks and ticks[-1] >= total):
        raise InvalidSpec("ticks", ticks, f"strictly increasing in [0, {total})")
    found = [Segment(0, ticks[0] if ticks else total, initial.frozen, None, initial.bn_frozen)]
    state = initial
    for operation, stop in zip(operations, [*ticks[1:], total], strict=bool(ticks)):
        state = operation(state)
        found.append(Segment(operation.tick, stop, state.frozen, state.learning_rate, state.bn_frozen))
    return canonical(segment for segment in found if segment.length)


def check_same_past(recorded: Sequence[Segment], given: Sequence[Segment], stop: int) -> None:
    """Raise ``ScheduleMismatch``, with the first differing tick, unless both schedules agree in [0, stop) (RES-3).

    The error says what each does at that tick, None where it has ended before.
    """
    pasts = [canonical(cut(run, 0, stop)) for run in (recorded, given)]
    # Up to the first pair of unequal segments all is equal, and between their starts and stops both are constant.
    odd = next((index for index, (was, now) in enumerate(zip_longest(*pasts)) if was != now), None)
    if odd is not None:
        pasts = [past[odd : odd + 2] for past in pasts]
        ticks = sorted({tick for past in pasts for s in past for tick in (s.start, s.stop)})
        tick = next(tick for tick in ticks if _said(pasts[0], tick) != _said(pasts[1], tick))
        raise ScheduleMismatch(tick, *(_said(past, tick) for past in pasts))


def _said(segments: Sequence[Segment], tick: int) -> dict[str, object] | None:
    for s in cut(segments, tick, tick + 1):
        return {"frozen": sorted(s.frozen), "learning_rate": s.learning_rate, "bn_frozen": sorted(s.bn_frozen)}
    return None


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Return the steps in an epoch, ``ceil(examples / batch_size)``: the last, partial batch is a step too.

    >>> steps_per_epoch(100, 32)
    4
    """
    return -(-check_int("examples", examples, 1) // check_int("batch_size", batch_size, 1))


@dataclass(frozen=True, repr=False)
class _InSteps(Policy):
    policy: Policy
    steps_per_epoch: int
    made_by = "in_steps"

    @property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return self.policy.names

    def at(self, tick: int) -> State:
        epoch, step = divmod(tick, self.steps_per_epoch)
        state = on_another_clock(self.policy, epoch, tick - step)
        return replace(state, learning_rate=None) if step else state

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        per = self.steps_per_epoch
        return (epoch * per for epoch in self.policy.boundaries(start // per, -(-stop // per)))


def in_steps(policy: Policy, steps_per_epoch: int) -> Policy:
    """Return, in steps, the ``policy`` given in epochs: step t is in epoch ``t // steps_per_epoch``.

    >>> from refreeze import always, during
    >>> [len(in_steps(during(always(["a"]), 1, 2), 3).frozen_at(step)) for step in (2, 3, 5, 6)]
    [0, 1, 1, 0]
    """
    check_policies(policy)
    return _InSteps(policy, check_int("steps_per_epoch", steps_per_epoch, 1))


def in_epochs(segments: Iterable[Segment], steps_per_epoch: int) -> tuple[Segment, ...]:
    """Return, in epochs, the segments given in steps.

    Raises ``InvalidSpec`` if a boundary lies inside an epoch: such a schedule has no equal in epochs.
    """
    per = check_int("steps_per_epoch", steps_per_epoch, 1)
    segments = tuple(segments)
    if odd := [tick for s in segments for tick in (s.start, s.stop) if tick % per]:
        raise InvalidSpec("boundary", odd[0], f"a multiple of steps_per_epoch = {per}")
    return tuple(replace(s, start=s.start // per, stop=s.stop // per) for s in segments)
