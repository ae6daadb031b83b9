"""When freezing pays: whole runs against training everything, computed from the parts that a run has measured.

A run of frozen sets, each visited once for so many steps, takes ``once + (sets - 1) * first + sets * (steps - 1) *
step``; plain training takes a first step of its own, and then as many steps. All is counted in those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from refreeze.bench.stored import Benchmark, StoredRun, number, paired

QUESTION = "parts of a run"
RUNS = ((5, 10), (5, 100), (50, 10), (50, 100), (50, 1000))
"""Sets and steps per set, of the columns of the table."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run of one switch and one share of frozen layers is made of, in steps that train everything."""

    switch: str
    share: float
    once: float
    """The very first visit, its step included."""
    first: float
    """The first visit of another set, its step included."""
    step: float
    """Each later step."""
    plain_once: float
    """The very first step of plain training."""

    def total(self, sets: int, steps: int) -> float:
        """Return the time of a run by that of plain training.

        >>> Parts("cached", 0.5, once=12, first=9, step=0.5, plain_once=11).total(sets=2, steps=10)
        1.0
        """
        ours = self.once + (sets - 1) * self.first + sets * (steps - 1) * self.step
        return round(ours / (self.plain_once + sets * steps - 1), 6)

    @property
    def break_even(self) -> float:
        """After how many steps another set has repaid its first visit, a whole number; infinite if it never does.

        >>> Parts("cached", 0.5, once=11, first=9.5, step=0.5, plain_once=11).break_even
        18
        """
        return max(0, math.ceil((self.first - self.step) / (1 - self.step))) if self.step < 1 else math.inf


def parts(run: StoredRun) -> dict[str, list[Parts]]:
    """Return by model what a run has measured."""
    return {model: [*_parts(found)] for model, found in run.groups(QUESTION).items()}


def _parts(found: list[Benchmark]) -> Iterator[Parts]:
    for bench in found:
        extra, step = bench.extra_info, paired(bench.stats.data, bench.extra_info.beside_seconds)
        if step and extra.first_seconds and extra.share is not None and extra.once_seconds:
            whole = min(extra.beside_seconds)  # what else the machine does makes times longer, never shorter
            yield Parts(
                switch=extra.series or bench.case,
                share=extra.share,
                once=extra.once_seconds / whole,
                first=min(extra.first_seconds) / whole,
                step=step.value,
                plain_once=(extra.beside_once_seconds or whole) / whole,
            )


def rows(found: list[Parts]) -> Iterator[list[str]]:
    """Yield the headings of a table, then its rows."""
    yield [
        "",
        "frozen",
        "first visit",
        "step",
        "break-even, steps",
        *(f"{sets} sets × {n:,} steps" for sets, n in RUNS),
    ]
    for one in found:
        even = "never" if math.isinf(one.break_even) else f"{one.break_even:,}"
        totals = [f"{one.total(sets, steps):.2f}" for sets, steps in RUNS]
        yield [one.switch, f"{one.share:.0%}", number(one.first), number(one.step, 2), even, *totals]
