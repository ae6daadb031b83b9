"""What an audit finds: kinds of faults, single findings, and the verdict of them all, for people and as plain data."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from refreeze.audit.record import Header
from refreeze.errors import one_line
from refreeze.plan import Plan

Kind = Literal[
    "moved-while-frozen", "frozen-late", "released-early", "never-moved", "released-late", "frozen-early", "not-moved",
    "missing-in-optimizer", "statistics-drifted", "slots-moved", "slots-lost", "changed-at-resume",
]  # fmt: skip
KINDS: dict[Kind, str] = {
    "moved-while-frozen": "it moved while it was frozen (EXE-3)",
    "frozen-late": "it went on moving after it should have been frozen (EXE-2)",
    "released-early": "it moved before it should have been released (EXE-2)",
    "never-moved": "it never moved while it was trainable (EXE-3)",
    "released-late": "it began to move later than it should have been released (EXE-2)",
    "frozen-early": "it stopped moving before it should have been frozen (EXE-2)",
    "not-moved": "it did not move in some steps in which it was trainable (EXE-3)",
    "missing-in-optimizer": "it was trainable and no optimizer held it (EXE-3)",
    "statistics-drifted": "the statistics of a frozen batch normalization moved (BN-1)",
    "slots-moved": "its state in the optimizer moved while it was frozen (EXE-4)",
    "slots-lost": "its state in the optimizer was lost (EXE-4)",
    "changed-at-resume": "it was another one after the resume (RES-2)",
}
"""What each kind of fault is, with the clause that it breaks."""
_MOST_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one parameter or statistic did otherwise than the schedule says, in one range of ticks."""

    kind: Kind
    name: str
    """The parameter, or the statistic."""
    tick: int
    """The first tick in which it shows."""
    epoch: int
    step: int
    """Where that was in the run."""
    records: int
    """In how many records of the range it shows."""
    of: int
    """How many records of the range there are."""
    why: str = ""
    """What is known of the cause."""
    record: int = field(repr=False)
    """The number of the record, from 0, in which it shows first."""


@dataclass(slots=True)
class Verdict:
    """What the audit of a run has found."""

    plan: Plan
    header: Header
    records: int = 0
    parts: int = 0
    first: tuple[int, int] = (0, 0)
    """The epoch and step of the first record."""
    last: tuple[int, int] = (0, 0)
    """Those of the last one."""
    faults: list[Finding] = field(default_factory=list)
    """The first ones, in the order of the run."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many faults of each kind there are."""
    unclear: list[Finding] = field(default_factory=list)
    """What did not move over a whole range, where the record does not say enough to blame it."""
    notes: list[str] = field(default_factory=list)
    """What could not be checked, in sentences."""
    should_move: list[str] = field(default_factory=list)
    """What should have moved at the first fault."""
    did_move: list[str] = field(default_factory=list)
    """What did move there."""

    @property
    def held(self) -> bool:
        """Whether the run did what the schedule says."""
        return not self.counts

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        plain = ("records", "parts", "first", "last", "counts", "notes", "should_move", "did_move")
        listed = {name: [asdict(fault) for fault in getattr(self, name)] for name in ("faults", "unclear")}
        head = {"held": self.held, "unit": self.plan.unit, "total": self.plan.total}
        return head | {name: getattr(self, name) for name in plain} | listed

    def lines(self) -> list[str]:
        """Return it in sentences, a line each."""
        place = "epoch {}, step {}".format
        counted = sum(self.counts.values())
        said = f"{self.records:,} records, from {place(*self.first)} to {place(*self.last)}"
        did = "The run did what the schedule says." if self.held else "The run did not do what the schedule says."
        found = [f"{said}. {did}", *(f"Note: {note}." for note in self.notes)]
        if self.should_move or self.did_move:
            first = self.faults[0]
            found.append(f"First, at tick {first.tick} ({place(first.epoch, first.step)}):")
            found += [
                f"  should have moved, of what the schedule names: {_few(self.should_move)}",
                f"  did move: {_few(self.did_move)}",
            ]
        groups = itertools.groupby(self.faults, lambda f: (f.kind, f.record, f.records, f.of, f.why))
        rows = [(kind, list(faults), why) for (kind, _, _, _, why), faults in groups]
        for kind, faults, why in rows[:_MOST_LINES]:
            one = faults[0]
            times = f"{one.records:,} of {one.of:,} records"
            found.append(f"{kind} from {place(one.epoch, one.step)} on ({times}): {_few(f.name for f in faults)}")
            found.append(f"  {KINDS[kind]}{why and f'; {why}'}")
        if (more := counted - sum(len(faults) for _, faults, _ in rows[:_MOST_LINES])) > 0:
            found.append(f"and {more:,} more")
        for fault in self.unclear[:_MOST_LINES]:
            found.append(
                f"Unclear: {one_line(fault.name, 200)} did not move while it was trainable, from "
                f"{place(fault.epoch, fault.step)} on; {fault.why}"
            )
        return found


def _few(names: Iterable[str]) -> str:
    shown = list(names)
    first = ", ".join(one_line(name, 200) for name in shown[:6])
    return f"{first} and {len(shown) - 6:,} more" if len(shown) > 6 else first or "nothing"
