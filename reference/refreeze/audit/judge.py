"""Did a run do what its schedule says? The rules, record by record; ``docs/howto/audit-a-run.md`` explains them.

Effects count, not flags: what is frozen must be the same bits, what is trainable must move. What did not move is
blamed only with evidence: its flag, its optimizer, or its gradients over a whole range of ticks in which it was
trainable. So a parameter whose gradient is truly zero is never blamed.

Memory depends on the model, not on the length of the run: per parameter the range of ticks that goes on is kept, and
of the faults the first ones.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from array import array
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from operator import attrgetter, ne
from typing import Protocol

from refreeze.audit.record import Entry, Header, Reader, Start, Step
from refreeze.audit.verdict import Finding, Kind, Verdict
from refreeze.choices import BatchNorm, OptimizerState
from refreeze.errors import UnknownName
from refreeze.plan import Plan
from refreeze.schedule import Segment

MOST_FAULTS = 1_000
"""Faults that are listed; the others are counted."""

_MOST_BETWEEN = 30
"""Segments between two records; if there are more, the later record is not judged."""
_KEPT = "it was frozen when the record began, and the schedule does not name it"
_HALF = "it was frozen when the record began, by you or the schedule, which names more than it alone"
_WHY: dict[str, str] = {
    "frozen": "its flag said frozen",
    "rate": "its learning rate was 0",
    "none": "it had no gradient",
    "gradient": "it had a gradient",
    "unknown": "the record does not say why",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """How the schedule was meant, beyond what its file says."""

    batch_norm: BatchNorm = "keras"
    """What statistics of frozen batch normalizations do (BN-1)."""
    optimizer_state: OptimizerState = "keep"
    """What a switch does to slots (EXE-4)."""
    unused: Collection[str] = ()
    """Names of what the loss does not use: nothing is expected of it."""
    ignore: Collection[str] = ()
    """Kinds of faults that do not count."""


@dataclass(slots=True)
class _Range:
    """How a parameter went on in a range of ticks in which it was frozen, or trainable: what was not as it should."""

    first: int
    """The record of the first one."""
    at: tuple[int, int, int]
    """Its tick, epoch and step."""
    last: int = 0
    """The record of the last one, and its tick."""
    until: int = 0
    edge: int = 0
    """The last record before a boundary of the schedule up to which everything was wrong."""
    causes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Should:
    """The indices of parameters, and of statistics, that must not move, and those that must."""

    frozen: frozenset[int]
    trainable: frozenset[int]
    statistics: frozenset[int]


class Watcher(Protocol):
    """What is told what a ``Judge`` sees, parameters by their indices."""

    def seen(self, tick: int, moved: Iterable[int], wrong: Iterable[int]) -> None:
        """Take what moved in a record, and what of that is blamed for it so far."""

    def blamed(self, index: int, first: int, last: int) -> None:
        """Take a parameter that did not move, and the first and the last tick of that."""


class Judge:
    """Applies the rules to one run: ``start`` and ``step`` take its records in order, ``finish`` gives the verdict."""

    def __init__(
        self,
        plan: Plan,
        header: Header,
        reader: Reader,
        options: AuditOptions,
        watcher: Watcher | None = None,
    ) -> None:
        self.verdict = Verdict(plan, header)
        self._plan, self._header, self._reader, self._options = plan, header, reader, options
        self._watcher = watcher
        self._names = [frozenset(entry.names) for entry in header.parameters]
        self._starts = [segment.start for segment in plan.segments]
        self._should = functools.lru_cache(maxsize=32)(self._computed)
        self._places = array("q")
        self._parts: list[int] = []
        self._ranges: dict[int, _Range] = {}
        self._began = [0] * len(self._names)
        self._released: set[int] = set()  # frozen by the schedule earlier in the run
        self._alive: set[int] = set()  # had a gradient, or moved, at some time
        self._unclear: list[tuple[int, Finding, int]] = []
        self._drifts: dict[tuple[Kind, int], list[int]] = {}
        known = {name for names in (*self._names, *(frozenset(s.names) for s in header.statistics)) for name in names}
        spoken = plan.policy.names
        if missing := sorted(spoken - known):
            raise UnknownName("--spec", missing, header.declared("layers"))
        if missing := sorted(set(options.unused) - known):
            raise UnknownName("--unused", missing, header.declared("layers"))
        self._unused = {i for i, names in enumerate(self._names) if names & set(options.unused)}

    # What should be ---------------------------------------------------------------------------------------------
    def _baseline(self, start: Start) -> None:
        """Find what the user has frozen, and the schedule does not release (EXE-2)."""
        spoken, flags = self._plan.policy.names, set(start.frozen or ())
        trained = frozenset[str]().union(*(names for i, names in enumerate(self._names) if i not in flags))
        free = spoken - trained  # all in it is frozen
        now = self._segment(self._tick(start)).frozen
        self._governed = {i for i, names in enumerate(self._names) if names & (free if i in flags else spoken)}
        # The schedule may have begun before the recorder, and have written these flags: who has, shows when they move.
        self._half = {i for i in flags - self._governed if self._names[i] & now}
        self._kept = flags - self._governed - self._half

    def _computed(self, frozen: frozenset[str], bn_frozen: frozenset[str]) -> _Should:
        held = {i for i in self._governed | self._half if not self._names[i].isdisjoint(frozen)}
        entries = self._header.statistics
        own: dict[str, list[int]] = {}
        if self._options.batch_norm in ("batch_fixed", "inference"):
            for i, parameter in enumerate(self._header.parameters):
                for name in parameter.names:
                    own.setdefault(name, []).append(i)

        def stays(entry: Entry) -> bool:
            if not bn_frozen.isdisjoint(entry.names):
                return True
            if self._options.batch_norm == "batch":
                return False
            inside = own.get(entry.names[0], []) if entry.names else []
            return not frozen.isdisjoint(entry.names) or (bool(inside) and held.issuperset(inside))

        return _Should(
            frozenset(held | self._kept),
            frozenset((self._governed | self._half) - held - self._unused),
            frozenset(i for i, entry in enumerate(entries) if stays(entry)),
        )

    def _tick(self, record: Start | Step) -> int:
        plan = self._plan
        tick = record.epoch if plan.unit == "epochs" else record.epoch * plan.steps_per_epoch + record.step
        if plan.unit == "steps" and record.step >= plan.steps_per_epoch + isinstance(record, Start):
            raise self._reader.wrong(record.step, f"a step below {plan.steps_per_epoch:,}, the steps in an epoch")
        if tick >= plan.total + isinstance(record, Start):
            raise self._reader.wrong(tick, f"a tick of the run, which has {plan.total:,} {plan.unit}")
        return min(tick, plan.total - 1)

    def _segment(self, tick: int) -> Segment:
        return self._plan.segments[bisect.bisect_right(self._starts, tick) - 1]

    # Record by record -------------------------------------------------------------------------------------------
    def start(self, place: int, record: Start) -> None:
        """Begin a part."""
        verdict = self.verdict
        if verdict.parts:
            self._close(list(self._ranges), ended=False)
        else:
            self._baseline(record)
            verdict.first = (record.epoch, record.step)
        verdict.parts += 1
        verdict.last = (record.epoch, record.step)
        tick = self._tick(record)
        segment = self._segment(tick)
        now = self._should(segment.frozen, segment.bn_frozen)
        if verdict.parts > 1:
            self._resume(record, tick)
        self._parts.append(len(self._places))
        self._places.append(place)
        self._before: Start | Step = record
        self._where, self._now = (tick, segment), now
        self._began = [len(self._places)] * len(self._names)

    def step(self, place: int, record: Step) -> None:
        """Look at a step."""
        tick, (was_tick, was) = self._tick(record), self._where
        segment = was if was.start <= tick < was.stop else self._segment(tick)
        verdict, number, before = self.verdict, len(self._places), self._before
        verdict.records += 1
        verdict.last = (record.epoch, record.step)
        now, earlier = self._should(segment.frozen, segment.bn_frozen), self._now
        moved = set(itertools.compress(itertools.count(), map(ne, before.parameters, record.parameters)))
        frozen, trainable = now.frozen, now.trainable
        if now is not earlier:
            changed = (earlier.frozen ^ now.frozen) | (earlier.trainable ^ now.trainable)
            self._close(changed)
            unsure = self._header.every > 1
            if unsure:  # nobody knows on which side of a boundary it moved
                between = self._plan.segments[
                    bisect.bisect_right(self._starts, was_tick) - 1 : bisect.bisect_right(self._starts, tick)
                ]
                if len(between) > _MOST_BETWEEN:
                    frozen = trainable = frozenset()
                    between = ()
                for part in between:
                    should = self._should(part.frozen, part.bn_frozen)
                    frozen, trainable = frozen & should.frozen, trainable & should.trainable
            for index in changed:
                self._began[index] = number + unsure
            self._released |= earlier.frozen & now.trainable
            for index, found in self._ranges.items():
                if found.last == number - 1 and found.causes.total() == number - self._began[index]:
                    found.edge = found.last
        at = (tick, record.epoch, record.step)
        wrong = moved & frozen
        for index in wrong:
            self._note(index, number, at, "moved")
        if still := trainable - moved:
            self._look_at_still(record, still, bool(moved), number, at)
        self._alive |= moved
        self._half -= moved & now.trainable
        # Passes without an update move statistics before a boundary too, so a step at a boundary is no evidence.
        kept = now.statistics & earlier.statistics
        if kept and before.statistics and record.statistics and before.statistics != record.statistics:
            for index in kept:
                if before.statistics[index] != record.statistics[index]:
                    self._drift("statistics-drifted", index, number, at)
        self._look_at_slots(before, record, frozen - moved, segment is not was, number, at)
        if self._watcher is not None:
            self._watcher.seen(tick, moved, wrong)
        self._places.append(place)
        self._before = record
        self._where, self._now = (tick, segment), now

    def _note(self, index: int, number: int, at: tuple[int, int, int], cause: str) -> None:
        found = self._ranges.setdefault(index, _Range(number, at))
        found.last, found.until = number, at[0]
        found.causes[cause] += 1

    def _look_at_still(
        self, record: Step, still: frozenset[int], moving: bool, number: int, at: tuple[int, int, int]
    ) -> None:
        causes: dict[int, str] = {i: cause for cause, indices in record.still.items() for i in indices}
        causes |= dict.fromkeys(record.missing or (), "missing") | dict.fromkeys(record.frozen or (), "frozen")
        before = self._before
        for index in still:
            cause = causes.get(index, "unknown")
            if cause == "gradient" and any(
                row[index] != before.slots.get(name, row)[index] for name, row in record.slots.items()
            ):
                cause = "small"  # the optimizer has worked on it, and the update was lost in rounding
            if cause in ("zero", "small", "gradient"):
                self._alive.add(index)
            if not moving and cause not in ("frozen", "missing", "none"):
                cause = "idle"  # no update was made, of anything
            self._note(index, number, at, cause)

    def _look_at_slots(
        self, before: Start | Step, record: Step, frozen: frozenset[int], boundary: bool, number: int,
        at: tuple[int, int, int],
    ) -> None:  # fmt: skip
        if boundary and self._options.optimizer_state == "reset":
            return
        for name, row in before.slots.items():
            now = record.slots.get(name)
            if now == row:
                continue
            for index in frozen:
                if row[index] is not None and (now is None or now[index] != row[index]):
                    lost = now is None or now[index] is None
                    self._drift("slots-lost" if lost else "slots-moved", index, number, at)

    def _drift(self, kind: Kind, index: int, number: int, at: tuple[int, int, int]) -> None:
        """Remember a fault that counts wherever it shows, once for each name."""
        found = self._drifts.setdefault((kind, index), [number, *at, 0])
        found[-1] += 1

    def _resume(self, now: Start, tick: int) -> None:
        """Compare the state at the start of a part with that after the step before it, where that is recorded."""
        before = self._predecessor((now.epoch, now.step))
        if before is None:
            self.verdict.notes.append(
                f"the state before epoch {now.epoch}, step {now.step} is not recorded: the resume there is not compared"
            )
            return
        number, at = len(self._places), (tick, now.epoch, now.step)
        names = [entry.name for entry in self._header.parameters]
        statistics = [entry.name for entry in self._header.statistics]
        for shown, was, is_now in (
            (names, before.parameters, now.parameters),
            (statistics, before.statistics, now.statistics),
        ):
            for name, before_it, after_it in zip(shown, was, is_now, strict=False):  # statistics may be left out
                if before_it != after_it:
                    self._add(Finding(
                        kind="changed-at-resume", name=name, tick=at[0], epoch=at[1], step=at[2], records=1, of=1,
                        record=number,
                    ))  # fmt: skip
        segment, was_segment = self._segment(tick), self._segment(self._tick(before))
        state = self._options.optimizer_state
        if state == "reset" and segment.frozen != was_segment.frozen:
            return
        thawed = (
            self._should(was_segment.frozen, was_segment.bn_frozen).frozen - self._now_frozen(segment)
            if state == "reset_unfrozen"
            else frozenset[int]()
        )
        lost: dict[int, list[str]] = {}
        for slot, row in before.slots.items():
            after = now.slots.get(slot, [None] * len(row))
            for index, (one, two) in enumerate(zip(row, after, strict=True)):
                if one is not None and one != two and index not in thawed:
                    lost.setdefault(index, []).append(slot)
        for index, slots in lost.items():
            self._add(Finding(
                kind="slots-lost", name=names[index], tick=at[0], epoch=at[1], step=at[2], records=1, of=1,
                record=number, why=f"at the resume: {', '.join(sorted(slots)[:5])}",
            ))  # fmt: skip

    def _now_frozen(self, segment: Segment) -> frozenset[int]:
        return self._should(segment.frozen, segment.bn_frozen).frozen

    def _predecessor(self, now: tuple[int, int]) -> Step | None:
        """Return the record of the step just before ``now``, the latest one if it was done several times."""

        def position(place: int) -> tuple[int, int]:
            found = self._reader.at(place)
            return found.epoch, found.step

        stop = len(self._places)
        for start in reversed(self._parts):
            index = bisect.bisect_left(self._places, now, start + 1, stop, key=position) - 1
            stop = start
            if index > start:
                found = self._reader.at(self._places[index])
                per, exact = self._header.steps_per_epoch, (now[0], now[1] - 1)
                if now[1] == 0:
                    whole = per is None and self._header.every == 1
                    exact = (now[0] - 1, found.step if whole else (per or 0) - 1)
                if (found.epoch, found.step) == exact and isinstance(found, Step):
                    return found
        return None

    # What has been -----------------------------------------------------------------------------------------------
    def _close(self, indices: Iterable[int], ended: bool = True) -> None:
        """Judge the ranges of some parameters, which have ``ended`` as scheduled, or with the records."""
        number = len(self._places)
        for index in indices:
            if (found := self._ranges.pop(index, None)) is not None:
                self._judge(index, found, number - self._began[index], ended)

    def _judge(self, index: int, found: _Range, records: int, ended: bool) -> None:
        causes, wrong = found.causes, found.causes.total()
        at_front = wrong < records and found.last - self._began[index] == wrong - 1
        at_back = wrong < records and ended and found.first - self._began[index] == records - wrong
        name, (tick, epoch, step) = self._header.parameters[index].name, found.at

        def fault(kind: Kind, why: str) -> Finding:
            return Finding(
                kind=kind, name=name, tick=tick, epoch=epoch, step=step, records=wrong, of=records, why=why,
                record=found.first,
            )  # fmt: skip

        if causes["moved"]:
            kind: Kind = "frozen-late" if at_front else "released-early" if at_back else "moved-while-frozen"
            self._add(fault(kind, _KEPT if index in self._kept else ""))
            return
        if causes["missing"]:
            blame = fault("missing-in-optimizer", "")
        elif causes["frozen"] and index in self._half:
            self._unsure(index, fault("never-moved", _HALF), found.until)
            return
        elif causes["frozen"]:
            late: Kind = "released-late" if at_front else "frozen-early" if at_back else "not-moved"
            blame = fault("never-moved" if wrong == records else late, _WHY["frozen"])
        else:
            worst = max(("none", "gradient", "rate", "unknown"), key=causes.__getitem__)
            if not causes[worst] or causes["zero"] or causes["small"]:
                return
            if wrong < records:
                if worst == "none" and at_front and found.edge == found.last and min(wrong, records - wrong) > 1:
                    self._blame(index, fault("released-late", _WHY[worst]), found.until)
                return
            blame = fault("never-moved", _WHY[worst])
            if worst == "unknown" or (worst == "none" and index not in self._released):
                self._unsure(index, blame, found.until)
                return
        self._blame(index, blame, found.until)

    def _unsure(self, index: int, finding: Finding, until: int) -> None:
        if len(self._unclear) < MOST_FAULTS:
            self._unclear.append((index, finding, until))

    def _blame(self, index: int, fault: Finding, until: int) -> None:
        self._add(fault)
        if self._watcher is not None:
            self._watcher.blamed(index, fault.tick, until)

    def _add(self, fault: Finding) -> None:
        if fault.kind in self._options.ignore:
            return
        verdict = self.verdict
        verdict.counts[fault.kind] += 1
        verdict.faults.append(fault)
        if len(verdict.faults) > 2 * MOST_FAULTS:
            verdict.faults.sort(key=attrgetter("record"))
            del verdict.faults[MOST_FAULTS:]

    def finish(self) -> Verdict:
        """Judge what is left, and return the verdict."""
        verdict = self.verdict
        epochs = self._plan.total // (self._plan.steps_per_epoch if self._plan.unit == "steps" else 1)
        if verdict.last[0] < epochs - 1:
            verdict.notes.append(f"the records end in epoch {verdict.last[0]}, and the run has {epochs:,} epochs")
        if verdict.parts:
            self._close(list(self._ranges), ended=False)
        entries: tuple[Entry, ...]
        for (kind, index), (number, tick, epoch, step, records) in self._drifts.items():
            entries = self._header.statistics if kind == "statistics-drifted" else self._header.parameters
            self._add(Finding(
                kind=kind, name=entries[index].name, tick=tick, epoch=epoch, step=step, records=records,
                of=verdict.records, record=number,
            ))  # fmt: skip
        for index, fault, until in self._unclear:
            if fault.why == _WHY["none"] and index in self._alive:  # the loss does use it
                self._blame(index, fault, until)
            else:
                verdict.unclear.append(fault)
        verdict.faults.sort(key=attrgetter("record"))
        del verdict.faults[MOST_FAULTS:]
        if verdict.faults:
            self._tell(verdict.faults[0].record)
        return verdict

    def _tell(self, number: int) -> None:
        """Say what should have moved in a step, and what did."""
        before, record = (self._reader.at(self._places[place]) for place in (number - 1, number))
        if isinstance(record, Start):
            return
        segment = self._segment(self._tick(record))
        should = self._should(segment.frozen, segment.bn_frozen).trainable
        names = [entry.name for entry in self._header.parameters]
        self.verdict.should_move = [name for index, name in enumerate(names) if index in should]
        pairs = zip(names, before.parameters, record.parameters, strict=True)
        self.verdict.did_move = [name for name, one, other in pairs if one != other]
