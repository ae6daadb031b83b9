"""The runner: tries to break each law with Hypothesis, and keeps what was found so that it can be replayed.

A check is one law in one dialect. Everything is determined by the seed and the profile: a run that is repeated draws
the same cases. A fault of the adapter ends the run, as nothing that it answers can be judged.
"""

from __future__ import annotations

import json
import shlex
import time
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import refreeze
from refreeze.conformance.adapters import Adapter
from refreeze.conformance.catalogue import Check, laws
from refreeze.conformance.known_failures import KnownFailure
from refreeze.conformance.laws import Broken, Case, NotSupported, check_case
from refreeze.conformance.protocol import Fault
from refreeze.errors import InvalidSpec

Verdict = Literal["holds", "broken", "known", "unsupported"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How hard a run tries."""

    examples: int
    """Cases drawn for a check, times the weight of its family."""
    shrink_calls: int
    """Cases tried to make a failing one simpler; 0: it is reported as it was found."""
    runs: int = 0
    """Of laws that need training: the cases drawn, and those tried to make a failing one simpler."""


PROFILES = {"quick": Profile(25, 400, 2), "ci": Profile(150, 2000, 12), "thorough": Profile(1500, 5000, 60)}


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that breaks a law."""

    case: Case
    what: str
    got: str
    should_be: str
    replay: str
    """The command that checks the case again."""
    flaky: bool = False
    """Whether the adapter answered otherwise when it was asked again."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check."""

    law: str
    clause: str
    dialect: str
    verdict: Verdict
    cases: int
    """The cases checked."""
    unsupported: int
    """How many of them the adapter does not support."""
    seconds: float
    failure: Failure | None = None
    reason: str | None = None
    """Why it is known to fail."""


@dataclass(slots=True)
class Report:
    """What came of a run."""

    adapter: str
    level: str
    profile: str
    seed: int
    results: list[Result] = field(default_factory=list)
    fault: Fault | None = None
    stale: list[tuple[KnownFailure, str]] = field(default_factory=list)
    """Known failures that do not fail any more, or match nothing, and which of these."""

    @property
    def exit_code(self) -> int:
        """0: every law holds, or fails as is known; 1: one is broken, or an entry stale; 2: the adapter is at fault."""
        if self.fault is not None or all(r.verdict == "unsupported" for r in self.results):
            return 2
        return int(bool(self.stale) or any(r.verdict == "broken" for r in self.results))

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        fault = self.fault and {"kind": self.fault.kind, "detail": self.fault.detail, "request": self.fault.request}
        return {
            "refreeze": refreeze.__version__,
            "adapter": self.adapter,
            "level": self.level,
            "profile": self.profile,
            "seed": self.seed,
            "exit_code": self.exit_code,
            "results": msgspec.to_builtins(self.results),
            "fault": fault,
            "stale": [{"why": why, **msgspec.to_builtins(entry)} for entry, why in self.stale],
        }


def try_case(adapter: Adapter, check: Check, case: Case) -> Failure | None:
    """Return how ``case`` breaks the law, None if it does not; raises ``NotSupported`` and ``Fault``."""
    try:
        check.family.check(adapter.ask, case)
    except Broken as broken:
        level = "" if adapter.level == "schedule" else f" --level {adapter.level}"
        replay = f"refreeze verify {adapter.name}{level} --law {check.law.id} --replay {shlex.quote(json.dumps(case))}"
        return Failure(case, broken.what, broken.got, broken.should_be, replay)
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
            self.failures[key] = failure  # the last one is the simplest
            raise Broken(failure.what, failure.got, failure.should_be)


def run_check(adapter: Adapter, check: Check, profile: Profile, seed: int = 0) -> Result:
    """Try to break one law and return what came of it; raises ``Fault``."""
    family, trains = check.family, check.law.level == "execution"
    examples, shrink_calls = profile.examples * family.weight, profile.shrink_calls
    if trains:
        examples, shrink_calls = profile.runs, min(profile.shrink_calls, profile.runs)
    began, search, flaky = time.perf_counter(), _Search(adapter, check, shrink_calls), False

    # Laws that need training draw the same cases if they draw alike, so that one run serves all of them.
    @hypothesis.seed(zlib.crc32(f"{seed} {'execution' if trains else check.id}".encode()))
    @settings(
        max_examples=max(1, examples),
        phases=(Phase.generate, Phase.shrink) if shrink_calls else (Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(case=st.nothing() if family.cases is None else family.cases)
    def search_for_a_failure(case: Case) -> None:
        search(case)

    try:
        for case in family.always:
            search(case)
        if examples and family.cases is not None:
            search_for_a_failure()
    except Broken:
        pass
    except hypothesis.errors.Flaky:
        flaky = True
    if search.fault:
        raise search.fault
    failure = list(search.failures.values())[-1] if search.failures else None
    if failure is not None and flaky:
        failure = Failure(failure.case, failure.what, failure.got, failure.should_be, failure.replay, flaky=True)
    verdict: Verdict = "broken" if failure else "unsupported" if search.cases == search.unsupported else "holds"
    return _result(check, verdict, began, search.cases, search.unsupported, failure)


def _result(
    check: Check, verdict: Verdict, began: float, cases: int = 1, unsupported: int = 0, failure: Failure | None = None,
    reason: str | None = None,
) -> Result:  # fmt: skip
    seconds = round(time.perf_counter() - began, 4)
    return Result(check.law.id, check.law.clause, check.dialect, verdict, cases, unsupported, seconds, failure, reason)


def try_given_case(adapter: Adapter, check: Check, case: Case) -> Failure | None:
    """Return what ``try_case`` does, of a case from outside; raises ``InvalidSpec`` also if it is none of the law."""
    check_case(case)
    try:
        return try_case(adapter, check, case)
    except (Fault, NotSupported):
        raise
    except Exception as error:  # what is well-formed may still lack what this law needs
        raise InvalidSpec("case", case, f"a case of {check.law.id} ({type(error).__name__}: {error})") from error


def replay(adapter: Adapter, chosen: Iterable[Check], case: Case) -> Report:
    """Return the report of one case of the one law that ``chosen`` has; raises ``InvalidSpec`` if it is none of it."""
    report = Report(adapter.name, adapter.level, "replay", 0)
    wanted = check_case(case)["request"]["dialect"]
    check = next((check for check in chosen if check.dialect == wanted), None)
    if check is None:
        raise InvalidSpec("case", case, "of a dialect that the law has")
    began = time.perf_counter()
    try:
        failure = try_given_case(adapter, check, case)
        report.results.append(_result(check, "broken" if failure else "holds", began, failure=failure))
    except NotSupported:
        report.results.append(_result(check, "unsupported", began, unsupported=1))
    except Fault as fault:
        report.fault = fault
    return report


def run(
    adapter: Adapter,
    chosen: Iterable[Check],
    profile: str = "quick",
    seed: int = 0,
    known: Collection[KnownFailure] = (),
    on_check: Callable[[Check], None] = lambda check: None,
) -> Report:
    """Run the checks and return what came of each; the first fault of the adapter ends the run.

    Each of the ``known`` failures is replayed: a check with one that still fails is not tried any further.
    """
    report = Report(adapter.name, adapter.level, profile, seed)
    every = {Check(law, dialect).id for law in laws().values() for dialect in law.families}
    report.stale += [(entry, "there is no such law") for entry in known if entry.check_id not in every]
    try:
        for check in chosen:
            on_check(check)
            result = _known(report, adapter, check, [entry for entry in known if entry.check_id == check.id])
            report.results.append(result or run_check(adapter, check, PROFILES[profile], seed))
    except Fault as fault:
        report.fault = fault
    return report


def _known(report: Report, adapter: Adapter, check: Check, entries: list[KnownFailure]) -> Result | None:
    """Replay the known failures of a check and return the result if one still fails."""
    began, still = time.perf_counter(), None
    for entry in entries:
        try:
            failure = try_given_case(adapter, check, entry.case)
        except NotSupported:
            failure = None
        if failure is None:
            report.stale.append((entry, "it does not fail any more"))
        else:
            still = _result(check, "known", began, len(entries), failure=failure, reason=entry.reason)
    return still
