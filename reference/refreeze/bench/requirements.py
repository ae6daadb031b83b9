"""What a run of the benchmarks must show: a file of requirements, which are compared with what the run has measured.

The file is TOML. It has a table ``[[requirement]]`` for each requirement, with the keys of the class ``Requirement``.
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
    """A ratio of two times, and what it must be; or a growth of memory."""

    what: Line
    """What the report calls it."""
    of: Name
    by: Name | None = None
    """If it is absent, ``of`` is compared with what it measured in turn with its rounds."""
    less: Literal["fit_seconds"] | None = None
    """The times of ``of`` whose median is taken off its own time."""
    plus: Literal["fit_after_seconds"] | None = None
    """The times of ``by`` whose median is added to its own time."""
    least: float | None = None
    most: float | None = None
    most_mib: float | None = None
    """If it is there, nothing is a ratio: so many MiB at most may the resident memory of ``of`` grow by."""

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
        if self.most_mib is not None:
            of, allowed = run.find(*self.of), f"≤ {number(self.most_mib)} MiB"
            if of is None or not of.extra_info.resident_mib:
                return self.what, allowed, "not measured", ""
            grown = of.extra_info.resident_mib[-1] - of.extra_info.resident_mib[0]
            return self.what, allowed, f"{number(grown)} MiB", "yes" if grown <= self.most_mib else "no"
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
