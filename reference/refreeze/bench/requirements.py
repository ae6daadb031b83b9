"""What a run of the benchmarks must show: a file of requirements, each compared with what the run has measured.

The file is TOML with one table ``[[requirement]]`` for each, whose keys are those of ``Requirement``.
"""

from __future__ import annotations

import statistics
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from refreeze.bench.stored import Line, Ratio, StoredRun, number, paired, ratio
from refreeze.errors import InvalidSpec
from refreeze.reading import read_text

Name = tuple[Line, Line]  # the group and the case of a benchmark


class Requirement(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ratio of two times, and what it must be."""

    what: Line
    """What the report calls it."""
    of: Name
    by: Name | None = None
    """If absent: what was measured in turn with the rounds of ``of``."""
    less: Literal["fit_seconds"] | None = None
    """What is taken off ``of``: the median of what it measured beside."""
    plus: Literal["fit_after_seconds"] | None = None
    """What is added to ``by``: the median of what it measured beside."""
    least: float | None = None
    most: float | None = None

    def measured(self, run: StoredRun) -> Ratio | None:
        """Return the ratio, None if a benchmark that it needs was not run."""
        of, by = run.find(*self.of), run.find(*(self.by or self.of))
        if of is None or by is None:
            return None
        if self.by is None:
            return paired(of.stats.data, of.extra_info.beside_seconds)
        less, plus = (
            statistics.median(getattr(bench.extra_info, key or "", []) or [0.0])
            for bench, key in ((of, self.less), (by, self.plus))
        )
        return ratio(of.stats, by.stats, less, plus)

    def row(self, run: StoredRun) -> tuple[str, str, str, str]:
        """Return what it is, what is allowed, what was measured and whether it holds, for a table."""
        found = self.measured(run)
        bounds = [f"{sign} {number(b)}" for sign, b in (("≥", self.least), ("≤", self.most)) if b is not None]
        if found is None:
            return self.what, ", ".join(bounds), "not measured", ""
        holds = (self.least is None or self.least <= found.value) and (self.most is None or found.value <= self.most)
        return self.what, ", ".join(bounds), str(found), ("yes" if holds else "no") if bounds else ""


def required(run: StoredRun, path: Path) -> list[tuple[str, str, str, str]]:
    """Return a row for each requirement of a file; raises ``InvalidSpec`` for what is no file of requirements."""
    text = read_text("--require", path)
    try:
        found = msgspec.convert(tomllib.loads(text), dict[Literal["requirement"], list[Requirement]])
    except (ValueError, RecursionError) as error:
        raise InvalidSpec("--require", str(path), f"a TOML file of requirements ({error})") from None
    return [requirement.row(run) for requirement in found.get("requirement", [])]
