"""The runner: tries to break each law with Hypothesis, and keeps what was found so that it can be replayed.

A check is one law in one dialect. Everything is determined by the seed and the profile: a run that is repeated draws
the same cases. A law under which the implementation crashes has that as its verdict, and the run goes on; any other
fault of the adapter ends it, as nothing that it answers can be judged.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import refreeze
from refreeze.conformance import vectors
from refreeze.conformance.adapters import Adapter
from refreeze.conformance.catalogue import Check, every_check
from refreeze.conformance.causes import cause, same_mistake
from refreeze.conformance.clauses import Requirement, requirement
from refreeze.conformance.kept import Kept
from refreeze.conformance.known_failures import KnownFailure
from refreeze.conformance.laws import Broken, Case, NotSupported, check_case
from refreeze.conformance.protocol import Answer, Fault, Request
from refreeze.errors import InvalidSpec
from refreeze.segments_json import to_json

Verdict = Literal["holds", "broken", "crashed", "known", "unsupported"]
CRASH_SHRINKS = 20
"""Cases tried to make one simpler that crashes the implementation: a program is started anew each time."""
MOST_OF_A_CHECK = 20
"""Mistakes that are looked for under one check where known failures are written."""
CRASHES_AT_FIRST = 3
"""After so many checks without any answer the run ends: it crashes whatever it is asked."""


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
    """The command that checks the case again, by its id."""
    cause: str
    """Why, in a few words: laws with equal ones are told together, and a known failure stands for these alone."""
    id: str
    """Ten hexadecimal digits, of the law and the case alone."""
    timelines: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
    """What was got and what it should be, as segments, where both are schedules."""
    crashed: bool = False
    """Whether the implementation raised or ended in place of an answer; ``got`` says how, and where."""
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
    requirement: Requirement
    """Whether what the law demands is a must; of a failure, whether what its case demands is."""
    failure: Failure | None = None
    reason: str | None = None
    """Why it is known to fail."""
    stale: tuple[KnownFailure, ...] = ()
    """Known failures of it that do not fail any more."""


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
    strict: bool = False
    """Whether a broken should fails too."""

    @property
    def exit_code(self) -> int:
        """0: every must holds or fails as is known; 1: one is broken or crashed, or an entry stale; 2: nothing checked.

        Where the report is ``strict``, a should counts as a must. Nothing is checked after a fault that ends the run,
        and if every law is unsupported or crashed.
        """
        if self.fault is not None or {r.verdict for r in self.results} <= {"unsupported", "crashed"}:
            return 2
        return int(bool(self.stale) or any(map(self.fails, self.results)))

    def fails(self, result: Result) -> bool:
        """Return whether the run fails for this."""
        return result.verdict in ("broken", "crashed") and (self.strict or result.requirement == "must")

    def failed(self) -> list[tuple[str, Kept]]:
        """Return the cases that failed, by their ids."""
        return [(r.failure.id, Kept(r.law, r.failure.case)) for r in self.results if r.failure is not None]

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        fault = self.fault and {"kind": self.fault.kind, "detail": self.fault.detail, "request": self.fault.request}
        return {
            "refreeze": refreeze.__version__,
            "adapter": self.adapter,
            "level": self.level,
            "profile": self.profile,
            "seed": self.seed,
            "strict": self.strict,
            "exit_code": self.exit_code,
            "results": msgspec.to_builtins(self.results),
            "fault": fault,
            "stale": [{"why": why, **msgspec.to_builtins(entry)} for entry, why in self.stale],
        }


def try_case(adapter: Adapter, check: Check, case: Case) -> Failure | None:
    """Return how ``case`` breaks the law or crashes the implementation, None if it does not.

    Raises ``NotSupported``, and ``Fault`` for any other fault than a crash.
    """
    level = "" if adapter.level == "schedule" else f" --level {adapter.level}"
    found = case_id(check.law.id, case)
    replay = f"refreeze verify {adapter.name}{level} --replay {shlex.quote(adapter.stored + found)}"
    asked: list[tuple[Request, Answer]] = []

    def ask(request: Request) -> Answer:
        asked.append((request, adapter.ask(request)))
        return asked[-1][1]

    try:
        check.family.check(ask, case)
    except Broken as broken:
        lines = broken.schedules and (to_json(broken.schedules[0]), to_json(broken.schedules[1]))
        said = broken.what, broken.got, broken.should_be, replay, cause(asked, broken)
        return Failure(case, *said, found, lines)
    except Fault as fault:
        if fault.kind != "crashed":
            raise
        what = f"the answer to a request of the {check.dialect} configuration"
        return Failure(case, what, str(fault), "an answer", replay, str(fault), found, crashed=True)
    return None


def case_id(law: str, case: Case) -> str:
    """Return the id of a case of a law: ten hexadecimal digits, the same wherever and whenever it is found."""
    text = json.dumps([law, case], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


class _Known(NamedTuple):
    """A known failure that still fails, and how."""

    entry: KnownFailure
    failure: Failure


class _Search:
    """One check while Hypothesis draws cases for it: what is counted and kept between two cases."""

    def __init__(self, adapter: Adapter, check: Check, shrink_calls: int, known: list[_Known]) -> None:
        self.adapter, self.check, self.calls_left, self.known = adapter, check, shrink_calls, known
        self.cases = self.unsupported = 0
        self.explained: _Known | None = None
        """What stands for the last failure that is known already."""
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
            if (known := self._known_as(failure)) is not None:
                self.explained = known
                return
            self.calls_left = min(self.calls_left, CRASH_SHRINKS) if failure.crashed else self.calls_left
            self.failures.pop(key, None)
            self.failures[key] = failure  # the last one is the simplest
            raise Broken(failure.what, failure.got, failure.should_be)

    def _known_as(self, failure: Failure) -> _Known | None:
        for known in self.known:
            about = known.failure.case, known.failure.cause, failure.case, failure.cause
            if same_mistake(*about, self.adapter.ask):
                return known
        return None


def run_check(
    adapter: Adapter, check: Check, profile: Profile, seed: int = 0, known: Iterable[KnownFailure] = ()
) -> Result:
    """Try to break one law and return what came of it; raises ``Fault``.

    The ``known`` failures of the check are replayed first, and one that still fails hides what has the same cause; with
    vectors those of all laws of the clause do.
    """
    family, trains, began = check.family, check.law.level == "execution", time.perf_counter()
    examples, shrink_calls = profile.examples * family.weight, profile.shrink_calls
    if trains:
        examples, shrink_calls = profile.runs, min(profile.shrink_calls, profile.runs)
    of_law = check.law.clause if check.family.check is vectors.as_expected else check.law.id
    about = {c.id: c for c in every_check() if c.dialect == check.dialect and of_law in (c.law.id, c.law.clause)}
    replayed = [(e, _replayed(adapter, about[e.check_id], e)) for e in known if e.check_id in about]
    still = [_Known(entry, failure) for entry, failure in replayed if failure is not None]
    stale = tuple(entry for entry, failure in replayed if failure is None and entry.check_id == check.id)
    search, flaky = _Search(adapter, check, shrink_calls, still), False

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
    verdict: Verdict = "unsupported" if search.cases == search.unsupported else "holds"
    failure, reason = None, None
    if search.failures:
        failure = replace(list(search.failures.values())[-1], flaky=flaky)
        verdict = "crashed" if failure.crashed else "broken"
    elif own := next((k for k in still if k.entry.check_id == check.id), search.explained):
        verdict, failure, reason = "known", own.failure, own.entry.reason
    return _result(check, verdict, began, search.cases, search.unsupported, failure, reason, stale)


def _replayed(adapter: Adapter, check: Check, entry: KnownFailure) -> Failure | None:
    try:
        return try_given_case(adapter, check, entry.case)
    except NotSupported:
        return None


def _result(
    check: Check, verdict: Verdict, began: float, cases: int = 1, unsupported: int = 0, failure: Failure | None = None,
    reason: str | None = None, stale: tuple[KnownFailure, ...] = (),
) -> Result:  # fmt: skip
    seconds = round(time.perf_counter() - began, 4)
    about = check.law.id, check.law.clause, check.dialect
    demanded = check.requirement if failure is None else requirement(check.law.clause, failure.case)
    return Result(*about, verdict, cases, unsupported, seconds, demanded, failure, reason, stale)


def try_given_case(adapter: Adapter, check: Check, case: Case) -> Failure | None:
    """Return what ``try_case`` does, of a case from outside; raises ``InvalidSpec`` also if it is none of the law."""
    check_case(case)
    try:
        return try_case(adapter, check, case)
    except (Fault, NotSupported):
        raise
    except Exception as error:  # what is well-formed may still lack what this law needs
        raise InvalidSpec("case", case, f"a case of {check.law.id} ({type(error).__name__}: {error})") from error


def replay(adapter: Adapter, chosen: Iterable[Check], case: Case, strict: bool = False) -> Report:
    """Return the report of one case of the one law that ``chosen`` has; raises ``InvalidSpec`` if it is none of it."""
    report = Report(adapter.name, adapter.level, "replay", 0, strict=strict)
    wanted = check_case(case)["request"]["dialect"]
    check = next((check for check in chosen if check.dialect == wanted), None)
    if check is None:
        raise InvalidSpec("case", case, "of a dialect that the law has")
    began = time.perf_counter()
    try:
        failure = try_given_case(adapter, check, case)
        verdict: Verdict = "holds" if failure is None else "crashed" if failure.crashed else "broken"
        report.results.append(_result(check, verdict, began, failure=failure))
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
    strict: bool = False,
) -> Report:
    """Run the checks and return what came of each; for the ``known`` failures see ``run_check``.

    A fault of the adapter ends the run. A crash does not, unless nothing is answered in the first checks.
    """
    report = Report(adapter.name, adapter.level, profile, seed, strict=strict)
    report.stale += [(entry, "there is no such law") for entry in known if entry not in of_some_law(known)]
    try:
        for check in chosen:
            on_check(check)
            result = run_check(adapter, check, PROFILES[profile], seed, known)
            report.results.append(result)
            report.stale += [(entry, "it does not fail any more") for entry in result.stale]
            silent = len(report.results) == CRASHES_AT_FIRST and not adapter.supported | adapter.unsupported
            if silent and (failure := result.failure) is not None:
                raise Fault("crashed", failure.got.removeprefix("crashed: "), failure.case["request"])
    except Fault as fault:
        report.fault = fault
    return report


def to_be_known(adapter: Adapter, report: Report, known: Iterable[KnownFailure] = ()) -> list[KnownFailure]:
    """Return the known failures with which the run of ``report`` would not fail: those that still fail, and new ones.

    A check that failed is run again with what is known by then, until it fails no more, at most ``MOST_OF_A_CHECK``
    times. Raises ``Fault``.
    """
    stale = [entry for entry, _ in report.stale]
    found = [entry for entry in known if entry not in stale]
    checks = {check.id: check for check in every_check()}
    for failed in filter(report.fails, report.results):
        check = checks[f"{failed.law}[{failed.dialect}]"]
        for _ in range(MOST_OF_A_CHECK):
            result = run_check(adapter, check, PROFILES[report.profile], report.seed, found)
            if not report.fails(result) or result.failure is None:
                break
            reason = f"not explained yet: {result.failure.cause}"
            case = result.failure.case
            found.append(KnownFailure(law=failed.law, dialect=failed.dialect, reason=reason, case=case))
    return found


def of_some_law(known: Iterable[KnownFailure]) -> list[KnownFailure]:
    """Return those known failures that are about a law, in a dialect that has it."""
    every = {check.id for check in every_check()}
    return [entry for entry in known if entry.check_id in every]
