"""The runner: tries to break each law with Hypothesis, and keeps what was found so that it can be replayed.

A check is one law in one dialect. Everything is determined by the seed and the profile: a run that is repeated draws
the same cases. A fault of the adapter ends the run, as nothing that it answers can be judged.
"""

from __future__ import annotations

import json
import shlex
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis
from hypothesis import HealthCheck, Phase, settings

from refreeze.conformance.adapters import Adapter, Fault
from refreeze.conformance.clauses import clauses
from refreeze.conformance.known import KnownFailure
from refreeze.conformance.laws import Broken, Case, Law, NotSupported, laws
from refreeze.errors import InvalidSpec

Verdict = Literal["holds", "broken", "unsupported", "known"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How hard a run tries."""

    examples: int
    """Cases drawn for a check, times the weight of its family."""
    shrink_calls: int
    """Cases tried to make a failing one simpler; 0: it is reported as it was found."""


PROFILES = {"quick": Profile(20, 400), "ci": Profile(150, 2000), "thorough": Profile(1500, 5000)}


@dataclass(frozen=True, slots=True)
class Check:
    """One law in one dialect."""

    law: Law
    dialect: str

    @property
    def id(self) -> str:
        """The name of the check in reports: ``RR-3-every_layer_gets_its_share[vl3d]``."""
        return f"{self.law.id}[{self.dialect}]"


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that breaks a law."""

    case: Case
    what: str
    got: str
    should_be: str
    flaky: bool = False
    """Whether the adapter answered otherwise when it was asked again."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check."""

    check: Check
    verdict: Verdict
    cases: int
    """The cases checked."""
    unsupported: int
    """How many of them the adapter does not support."""
    seconds: float
    failure: Failure | None = None
    reason: str | None = None
    """Why it is known to fail."""

    def replay(self, adapter: Adapter) -> str | None:
        """Return the command that checks the failing case again."""
        return None if self.failure is None else replay_command(adapter, self.check.law.id, self.failure.case)


@dataclass(slots=True)
class Report:
    """What came of a run."""

    adapter: Adapter
    profile: str
    seed: int
    results: list[Result] = field(default_factory=list)
    fault: Fault | None = None
    stale: list[tuple[KnownFailure, str]] = field(default_factory=list)
    """Known failures that do not fail any more, or match nothing, and which of these."""

    @property
    def exit_code(self) -> int:
        """0: every law holds, or fails as is known; 1: a law is broken, or an entry stale; 2: the adapter is at fault."""
        if self.fault is not None or not any(r.verdict != "unsupported" for r in self.results):
            return 2
        return int(bool(self.stale) or any(r.verdict == "broken" for r in self.results))


def replay_command(adapter: Adapter, law: str, case: Case) -> str:
    """Return the command line that checks one case of one law."""
    return f"refreeze verify {adapter.name} --law {law} --replay {shlex.quote(json.dumps(case))}"


def checks(
    level: str = "schedule", dialects: Collection[str] = (), only: Collection[str] = ()
) -> list[Check]:
    """Return the checks of a level, of all dialects or some, of all laws or of those with such an id or clause.

    Raises ``InvalidSpec`` for a level, a dialect, a law or a clause that has none.
    """
    every = [Check(law, dialect) for law in laws().values() for dialect in law.families]
    for where, wanted, known in (
        ("--level", [level], {check.law.level for check in every}),
        ("--dialect", dialects, {check.dialect for check in every}),
        ("--law", only, {name for check in every for name in (check.law.id, check.law.clause)}),
    ):
        for name in wanted:
            if name not in known:
                raise InvalidSpec(where, name, f"one of {', '.join(sorted(known))}")
    return [
        check
        for check in every
        if check.law.level == level
        and (not dialects or check.dialect in dialects)
        and (not only or {check.law.id, check.law.clause} & {*only})
    ]


def try_case(adapter: Adapter, check: Check, case: Case) -> Failure | None:
    """Return how ``case`` breaks the law, None if it does not; raises ``NotSupported`` and ``Fault``."""
    try:
        check.law.check(check.dialect, adapter.ask, case)
    except Broken as broken:
        return Failure(case, broken.what, broken.got, broken.should_be)
    return None


class _Search:
    """One check while Hypothesis draws cases for it: what is counted and kept between two cases."""

    def __init__(self, adapter: Adapter, check: Check, shrink_calls: int) -> None:
        self.adapter, self.check, self.calls_left = adapter, check, shrink_calls
        self.cases = self.unsupported = 0
        self.failures: dict[str, Failure] = {}
        self.fault: Fault | None = None

    def __call__(self, case: Case) -> None:
        key = json.dumps(case)
        if self.fault or (self.failures and self.calls_left <= 0 and key not in self.failures):
            return  # enough: whatever is tried now counts as no failure, so that shrinking comes to its end
        self.calls_left -= bool(self.failures)
        self.cases += 1
        try:
            failure = try_case(self.adapter, self.check, case)
        except NotSupported:
            self.unsupported += 1
            return
        except Fault as fault:
            self.fault = fault
            return
        if failure is not None:
            self.failures.pop(key, None)
            self.failures[key] = failure
            raise Broken(failure.what, failure.got, failure.should_be)

    def failure(self) -> Failure:
        """Return the last failure, which is the simplest."""
        return list(self.failures.values())[-1]


def run_check(adapter: Adapter, check: Check, profile: Profile, seed: int = 0) -> Result:
    """Try to break one law and return what came of it; raises ``Fault``."""
    began, search, failure = time.perf_counter(), _Search(adapter, check, profile.shrink_calls), None
    family = check.law.families[check.dialect]
    phases = (Phase.generate, Phase.shrink) if profile.shrink_calls else (Phase.generate,)

    @hypothesis.seed(zlib.crc32(f"{seed} {check.id}".encode()))
    @settings(
        max_examples=profile.examples * family.weight,
        phases=phases,
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        backend="hypothesis",
    )
    @hypothesis.given(case=family.cases)
    def search_for_a_failure(case: Case) -> None:
        search(case)

    try:
        for case in family.always:
            search(case)
        if not search.fault:
            search_for_a_failure()
    except Broken:
        failure = search.failure()
    except hypothesis.errors.Flaky:
        found = search.failure()
        failure = Failure(found.case, found.what, found.got, found.should_be, flaky=True)
    if search.fault:
        raise search.fault
    verdict: Verdict = "broken" if failure else "unsupported" if search.cases == search.unsupported else "holds"
    return Result(check, verdict, search.cases, search.unsupported, time.perf_counter() - began, failure)


def replay_known(adapter: Adapter, check: Check, known: KnownFailure) -> Failure | None:
    """Return how the case of a known failure still fails, None if it does not; raises ``Fault``."""
    try:
        return try_case(adapter, check, known.case)
    except (NotSupported, KeyError, TypeError):  # the case is of another law or version
        return None


def run(
    adapter: Adapter,
    chosen: Iterable[Check],
    profile: str = "quick",
    seed: int = 0,
    known: Iterable[KnownFailure] = (),
    on_check: Callable[[Check], None] = lambda check: None,
) -> Report:
    """Run the checks and return what came of each; the first fault of the adapter ends the run.

    Each of the ``known`` failures is replayed: a check with one that still fails is not tried any further.
    """
    report = Report(adapter, profile, seed)
    try:
        report.results.extend(_results(report, list(chosen), list(known), on_check))
    except Fault as fault:
        report.fault = fault
    return report


def _results(
    report: Report, chosen: list[Check], known: list[KnownFailure], on_check: Callable[[Check], None]
) -> Iterator[Result]:
    every = {check.id for check in checks()}
    for entry in known:
        if entry.check_id not in every:
            report.stale.append((entry, "there is no such law in that dialect"))
    for check in chosen:
        on_check(check)
        began, still = time.perf_counter(), []
        for entry in (entry for entry in known if entry.check_id == check.id):
            failure = replay_known(report.adapter, check, entry)
            if failure is None:
                report.stale.append((entry, "it holds now"))
            else:
                still.append((failure, entry.reason))
        if still:
            failure, reason = still[0]
            yield Result(check, "known", len(still), 0, time.perf_counter() - began, failure, reason)
        else:
            yield run_check(report.adapter, check, PROFILES[report.profile], report.seed)


def as_json(report: Report, version: str) -> dict[str, Any]:
    """Return the report as plain data."""

    def result(r: Result) -> dict[str, Any]:
        failure = r.failure and {
            "case": r.failure.case,
            "what": r.failure.what,
            "got": r.failure.got,
            "should_be": r.failure.should_be,
            "flaky": r.failure.flaky,
            "replay": r.replay(report.adapter),
        }
        return {
            "law": r.check.law.id,
            "clause": r.check.law.clause,
            "dialect": r.check.dialect,
            "verdict": r.verdict,
            "cases": r.cases,
            "unsupported": r.unsupported,
            "seconds": round(r.seconds, 4),
            "reason": r.reason,
            "failure": failure,
        }

    fault = report.fault
    return {
        "refreeze": version,
        "adapter": report.adapter.name,
        "level": report.adapter.level,
        "profile": report.profile,
        "seed": report.seed,
        "exit_code": report.exit_code,
        "results": [result(r) for r in report.results],
        "fault": fault and {"kind": fault.kind, "detail": fault.detail, "request": fault.request},
        "stale_known_failures": [
            {"law": entry.law, "dialect": entry.dialect, "reason": entry.reason, "why": why}
            for entry, why in report.stale
        ],
        "clauses": {id: clause.text for id, clause in clauses().items()},
    }
