"""The laws as tests: ``pytest --refreeze module:object``, and ``@parametrize_with_laws`` for a test of one's own.

Every run of pytest loads this module, so it imports the kit only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from refreeze.conformance.adapters import Adapter
    from refreeze.conformance.catalogue import Check
    from refreeze.conformance.known_failures import KnownFailure
    from refreeze.conformance.runner import Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("refreeze", "laws of layer-freeze schedules")
    group.addoption("--refreeze", metavar="MODULE:OBJECT", help="check this implementation by the laws")
    group.addoption("--refreeze-command", metavar="COMMAND", help="the same for a program")
    group.addoption("--refreeze-dialect", action="append", default=[], help="only this dialect, or these")
    group.addoption("--refreeze-level", default="schedule", help="schedule, or execution, on Keras models")
    group.addoption("--refreeze-timeout", type=float, metavar="SECONDS", help="what an answer may take")
    group.addoption("--refreeze-profile", choices=("quick", "ci", "thorough"), default="quick", help="how hard to try")
    group.addoption("--refreeze-known-failures", metavar="FILE", help="laws that are known to break: JSON or TOML")
    group.addoption("--refreeze-strict", action="store_true", help="a broken should fails too, it is no xfail")
    group.addoption("--refreeze-seed", type=int, default=0, help="the same seed draws the same cases")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each law and dialect."""
    reference, command = config.getoption("--refreeze"), config.getoption("--refreeze-command")
    if reference is None and command is None:
        return
    from refreeze import ScheduleError
    from refreeze.conformance.adapters import load
    from refreeze.conformance.catalogue import checks, of_framework
    from refreeze.conformance.protocol import Fault

    try:
        level = config.getoption("--refreeze-level")
        chosen = checks(level, config.getoption("--refreeze-dialect"))
        known = _known(config.getoption("--refreeze-known-failures"))
        adapter = load(reference, command, level=level, timeout=config.getoption("--refreeze-timeout"))
        chosen = of_framework(chosen, adapter.framework)
    except (ScheduleError, Fault) as error:
        raise pytest.UsageError(str(error)) from None
    config.add_cleanup(adapter.close)
    how = tuple(config.getoption(f"--refreeze-{name}") for name in ("profile", "seed", "strict"))
    for check in chosen:
        items.append(LawItem.from_parent(session, name=check.id, law=BoundCheck(adapter, check, known, *how)))


def _known(path: str | Path | None) -> list[KnownFailure]:
    """Return the known failures of a file; raises ``InvalidSpec`` also for one that is about no law."""
    from refreeze.conformance.known_failures import read
    from refreeze.conformance.runner import of_some_law
    from refreeze.errors import InvalidSpec

    entries = [] if path is None else read(Path(path))
    if wrong := [entry.check_id for entry in entries if entry not in of_some_law(entries)]:
        raise InvalidSpec("known failures", wrong, "laws that there are, in dialects that have them")
    return entries


class BoundCheck:
    """A law in one dialect for one implementation: calling it checks it."""

    def __init__(
        self, adapter: Adapter, check: Check, known: list[KnownFailure], profile: str, seed: int, strict: bool
    ) -> None:
        self._adapter, self._check, self._known = adapter, check, known
        self._profile, self._seed, self._strict = profile, seed, strict

    def __call__(self) -> Result:
        """Return what came of it; fails as pytest does, skips if it is not supported, is an xfail if that is known.

        A broken should is an xfail too, unless the check is strict. A known failure that does not fail any more fails.
        Raises ``Fault``.
        """
        from refreeze.conformance.clauses import clauses
        from refreeze.conformance.kept import Kept, keep
        from refreeze.conformance.runner import PROFILES, run_check

        result = run_check(self._adapter, self._check, PROFILES[self._profile], self._seed, self._known)
        if result.verdict == "known":
            pytest.xfail(str(result.reason))
        if result.verdict == "unsupported":
            pytest.skip(f"{self._adapter.name} does not support it")
        if (failure := result.failure) is not None:
            lines = (
                f"{result.clause}: {clauses()[result.clause].text}",
                f"{failure.what} is {failure.got}, but should be {failure.should_be}",
                *(["asked again, the adapter answered otherwise"] if failure.flaky else []),
                failure.replay,
            )
            keep([(failure.id, Kept(result.law, failure.case))])
            if result.requirement == "should" and not self._strict:
                pytest.xfail("a should: " + "\n".join(lines))
            pytest.fail("\n".join(lines), pytrace=False)
        if result.stale:
            pytest.fail(f"a known failure does not fail any more: remove it ({result.stale[0].reason})", pytrace=False)
        return result


class LawItem(pytest.Item):
    """The test of one law in one dialect."""

    def __init__(self, *, law: BoundCheck, **rest: Any) -> None:
        super().__init__(**rest)
        self._law = law

    def runtest(self) -> None:
        """Check the law."""
        from refreeze.conformance.protocol import Fault

        try:
            self._law()
        except Fault as fault:
            pytest.fail(f"the adapter is at fault: {fault}\nasked: {fault.request}", pytrace=False)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return where the test is from, for reports."""
        return "refreeze", None, self.name


def parametrize_with_laws(
    adapter: str | Callable[[dict[str, Any]], Any] | Any,
    *,
    level: str = "schedule",
    dialects: Iterable[str] = (),
    profile: str = "quick",
    seed: int = 0,
    timeout: float | None = None,
    known_failures: str | Path | None = None,
    strict: bool = False,
) -> pytest.MarkDecorator:
    """Return the decorator of a test that is run for each law, with an argument ``law`` for it to call.

    ``adapter`` is a callable from request to answer, at the level "execution" an executor, or ``module:object``; an
    answer may take ``timeout`` seconds, as in ``adapters.load``. ``known_failures`` is a file of laws that it is known
    to break: those are expected failures, and so are broken shoulds, unless ``strict``.
    """
    from refreeze.conformance.adapters import load
    from refreeze.conformance.catalogue import checks, of_framework

    known = _known(known_failures)
    loaded = load(adapter, level=level, timeout=timeout)
    chosen = of_framework(checks(level, tuple(dialects)), loaded.framework)
    cases = [pytest.param(BoundCheck(loaded, check, known, profile, seed, strict), id=check.id) for check in chosen]
    return pytest.mark.parametrize("law", cases)
