"""The catalogue: which laws there are, in which dialects, and the checks that a run chooses from them.

To add a dialect, add the module of its cases here.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, get_args

from refreeze.conformance import vectors
from refreeze.conformance.cases import fastai, in_use, kempner, lighter, literature, of_every_dialect, vl3d
from refreeze.conformance.clauses import Requirement, clauses, requirement
from refreeze.conformance.execution.cases import FAMILIES as EXECUTION
from refreeze.conformance.laws import Family, rejected
from refreeze.conformance.protocol import Framework, Level
from refreeze.errors import InvalidSpec

CASES = vl3d.CASES | lighter.CASES | kempner.CASES | fastai.CASES | literature.CASES | in_use.CASES


@dataclass(frozen=True, slots=True)
class Law:
    """One property of one clause."""

    id: str
    """The clause, a hyphen, and what is claimed: ``SCH-4-truncated_is_a_prefix``."""
    clause: str
    level: Level
    """That of its families."""
    families: dict[str, Family]
    """By dialect."""


class Check(NamedTuple):
    """One law in one dialect."""

    law: Law
    dialect: str

    @property
    def id(self) -> str:
        """The name of the check: ``RR-3-every_layer_gets_its_share[vl3d]``."""
        return f"{self.law.id}[{self.dialect}]"

    @property
    def family(self) -> Family:
        """How the law is checked in the dialect, and with which cases."""
        return self.law.families[self.dialect]

    @property
    def requirement(self) -> Requirement:
        """Whether what it demands is a must; of a case that fails, ``clauses.requirement`` says it."""
        return "should" if self.family.check is rejected else requirement(self.law.clause)


@functools.cache
def laws() -> dict[str, Law]:
    """Return every law by id, in the order of the clauses."""
    found: dict[str, Law] = {}
    for dialect, cases in CASES.items():
        for name, family in (of_every_dialect(cases) | cases.families | EXECUTION.get(dialect, {})).items():
            clause = clauses()["-".join(name.split("-")[:2])]
            found.setdefault(name, Law(name, clause.id, family.level, {})).families[dialect] = family
    order = list(clauses())
    return {law.id: law for law in sorted(found.values(), key=lambda law: order.index(law.clause))}


@functools.cache
def vector_laws() -> dict[str, Law]:
    """Return by id, for each clause that has vectors, the law that an implementation passes these: ``RR-1-vectors``."""
    found = {clause: vectors.families(clause) for clause in clauses()}
    return {f"{name}-vectors": Law(f"{name}-vectors", name, "schedule", found[name]) for name in found if found[name]}


@functools.cache
def every_check() -> list[Check]:
    """Return all checks: laws in the order of the clauses, but rejections after all others, and vectors at the end."""
    every = [Check(law, name) for law in (*laws().values(), *vector_laws().values()) for name in law.families]
    last = (rejected, vectors.as_expected)
    return sorted(every, key=lambda check: last.index(check.family.check) + 1 if check.family.check in last else 0)


def checks(level: str = "schedule", dialects: Collection[str] = (), only: Collection[str] = ()) -> list[Check]:
    """Return the checks of a level, of all dialects or some, of all laws or of those with such an id or clause.

    The order is that of ``every_check``. Raises ``InvalidSpec`` for a level, a dialect, a law or a clause
    that has none, and for laws that no dialect chosen has.
    """
    if level not in (known_levels := get_args(Level)):
        raise InvalidSpec("--level", level, f"one of {', '.join(known_levels)}")
    every = [check for check in every_check() if check.law.level == level]
    for where, wanted, known in (
        ("--dialect", dialects, {check.dialect for check in every}),
        ("--law", only, {name for check in every for name in (check.law.id, check.law.clause)}),
    ):
        for name in wanted:
            if name not in known:
                raise InvalidSpec(where, name, f"one of {', '.join(sorted(known))}")
    chosen = [
        check
        for check in every
        if (not dialects or check.dialect in dialects) and (not only or {check.law.id, check.law.clause} & {*only})
    ]
    if not chosen:
        raise InvalidSpec("--law", list(only), f"laws or clauses of {' or '.join(dialects)}")
    return chosen


def of_framework(chosen: Iterable[Check], framework: Framework | None) -> list[Check]:
    """Return the checks that there are in a framework; raises ``InvalidSpec`` if there are none."""
    found = [check for check in chosen if check.family.framework in (None, framework)]
    if not found:
        raise InvalidSpec("--law", sorted({check.law.id for check in chosen}), f"laws that there are on {framework}")
    return found
