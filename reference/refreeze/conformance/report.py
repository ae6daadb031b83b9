"""What a run says in the terminal, on one screen: a line for each clause that is broken, musts first, then examples.

An example is the simplest case of one cause, shortened to what differs: two timelines of the names that are frozen
otherwise, or what was answered and what should be. The whole of it is what ``--replay`` shows.
"""

from __future__ import annotations

import json
import os
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from rich.console import Console
from rich.text import Text

import refreeze
from refreeze import Segment
from refreeze.conformance.clauses import clauses
from refreeze.conformance.laws import reference_answer
from refreeze.conformance.protocol import PROTOCOL, Rejected, Request
from refreeze.conformance.runner import Failure, Report, Result
from refreeze.dialects import dialect
from refreeze.segments_json import from_json

LINES = 40
"""Of a screen: as many examples are shown as fit, but one at least."""
_COLOURS = {"unsupported": "dim", "holds": "green", "known": "yellow", "crashed": "red", "broken": "red"}
"""From the least to the most important."""
_GLUE = "\N{NO-BREAK SPACE}"
_MOST_ROWS, _MOST_NAMES, _MOST_TICKS = 10, 5, 30
"""Clauses that are broken and have a line each; names and ticks of a timeline."""
Group = list[Result]
Segments = tuple[Segment, ...]


def show(console: Console, report: Report, seconds: float, kept: bool = True) -> None:
    """Print the report of a run; unless its cases are ``kept``, they stand in the commands that replay them."""
    width = console.width
    lines = [
        Text(
            f"refreeze {refreeze.__version__}, protocol {PROTOCOL}: {report.adapter}, profile {report.profile}, "
            f"seed {report.seed}",
            "bold",
        )
    ]
    lines += _rows(report.results, width)
    end = list(_end(report, seconds))
    found = sorted(groups(report.results), key=lambda group: (group[0].verdict == "known", _should(group[0])))
    left = LINES - len(lines) - len(end) - 1
    untold: list[Group] = []
    for group in found:
        block = list(_example(group, width, kept, whole=report.profile == "replay"))
        block[:0] = [Text()] * (len(block) > 1)
        if untold or (len(block) > left and group is not found[0]):
            untold.append(group)
        else:
            lines += block
            left -= len(block)
    if untold:
        ids = ", ".join(dict.fromkeys(group[0].clause for group in untold))
        lines.append(Text(f"… and {len(untold)} more, of {ids}: --report FILE has all, --law ID shows one", "dim"))
    for line in [*lines, *end]:
        if line.overflow == "ignore":
            console.print(line, soft_wrap=True, highlight=False)
        else:
            console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)


def _uncut(text: str, style: str = "") -> Text:
    """Return a line that is printed whole, so that it can be copied."""
    return Text(text, style, overflow="ignore")


def groups(results: list[Result]) -> list[Group]:
    """Return the failures, those that one mistake explains together, the simplest case first.

    That is so where answers are wrong in the same way, or where laws look at the same run. The clauses of all schedules
    come last in a group, as the others say more.
    """
    found: dict[tuple[str, ...], Group] = {}
    for result in results:
        if (failure := result.failure) is not None:
            run = failure.case["request"]["op"] == "run" and not failure.crashed
            why = json.dumps(failure.case["request"]) if run else failure.cause
            found.setdefault((result.verdict, result.requirement, result.dialect, why), []).append(result)

    def order(result: Result) -> tuple[bool, int]:
        return result.clause.startswith(("SCH-", "RES-")), len(json.dumps(result.failure and result.failure.case))

    return [sorted(group, key=order) for group in found.values()]


def _should(result: Result) -> bool:
    return result.requirement == "should"


# Clauses -----------------------------------------------------------------------------------------------------------
def _rows(results: list[Result], width: int) -> Iterator[Text]:
    """Return a line for each clause that something breaks, musts first; the others share lines, by verdict."""
    order, verdicts = list(clauses()), list(_COLOURS)
    failing: list[tuple[bool, str, Result, str]] = []
    packed: dict[str, list[str]] = {"broken too": [], "holds": [], "unsupported": []}

    def badness(result: Result) -> tuple[bool, int]:
        place = verdicts.index(result.verdict)
        return place > verdicts.index("holds") and not _should(result), place

    for clause in sorted({r.clause for r in results}, key=order.index):
        laws = [r for r in results if r.clause == clause]
        worst = max(laws, key=badness)
        if worst.verdict in packed:
            packed[worst.verdict].append(clause + _answered(laws))
        else:
            dialects = " ".join(dict.fromkeys(r.dialect for r in laws if badness(r) == badness(worst)))
            failing.append((_should(worst), clause, worst, dialects))
    failing.sort(key=lambda row: row[0])
    rows = len(failing) if len(failing) <= _MOST_ROWS + 2 else _MOST_ROWS
    packed["broken too"] = [clause for _, clause, *_ in failing[rows:]]
    for should, clause, worst, dialects in failing[:rows]:
        start = f"{'should' if should else 'must':<7}{clause:<7}{clauses()[clause].title:<36.36} "
        yield Text.assemble(start, (f"{worst.verdict:<8}", _COLOURS[worst.verdict]), f" {dialects}")
    for label, ids in packed.items():
        for number, line in enumerate(textwrap.wrap(" ".join(ids), width - 14)):
            yield Text.assemble(
                (f"{'' if number else label:<14}", _COLOURS.get(label, "red")), line.replace(_GLUE, " ")
            )


def _answered(laws: list[Result]) -> str:
    """Return how many cases had an answer, if not all or none had."""
    cases, unsupported = sum(r.cases for r in laws), sum(r.unsupported for r in laws)
    return f" ({cases - unsupported} of {cases})".replace(" ", _GLUE) if 0 < unsupported < cases else ""


def _end(report: Report, seconds: float) -> Iterator[Text]:
    for entry, why in report.stale:
        yield _uncut(f"stale known failure {entry.check_id}: {why}; remove it (reason given: {entry.reason})", "red")
    told = []
    for demanded in ("must", "should"):
        counts = Counter[str](r.verdict for r in report.results if r.requirement == demanded)
        by_verdict = [f"{counts[verdict]} {verdict}" for verdict in reversed(_COLOURS) if counts[verdict]]
        told += [f"{demanded}: {', '.join(by_verdict)}"] if by_verdict else []
    yield Text("; ".join([*told, f"{sum(r.cases for r in report.results)} cases in {seconds:.1f} s"]))
    if (fault := report.fault) is not None:
        yield _uncut(f"the adapter is at fault: {fault}", "red")
        if fault.request is not None:
            yield _uncut(f"asked: {json.dumps(fault.request)}")
    elif report.exit_code == 2:
        yield Text("nothing was checked: the adapter supports none of it, or crashes", "red")
    elif failing := len({r.clause for r in report.results if report.fails(r)}):
        yield Text(f"exit 1: {failing} clause{'s' * (failing > 1)} broken" + " (--strict)" * report.strict, "bold red")
    elif any(_should(r) and r.verdict in ("broken", "crashed") for r in report.results):
        yield Text("exit 0: no must is broken; with --strict the shoulds count too", "bold")


# Examples ----------------------------------------------------------------------------------------------------------
def _example(group: Group, width: int, kept: bool, whole: bool) -> Iterator[Text]:
    """Return the simplest case of a group; that of a should, or of what is known, in two lines."""
    result, *others = group
    failure, colour = result.failure, _COLOURS[result.verdict]
    assert failure is not None
    title = f"{result.law}[{result.dialect}] "
    flaky = " (asked again, the adapter answered otherwise)" * failure.flaky
    if whole:
        yield Text.assemble((title, f"bold {colour}"), f"{result.verdict}{flaky}")
        yield from _wrapped("", f"{result.clause}: {clauses()[result.clause].text}", width, 1000)
        yield _uncut(f"  asked     {json.dumps(failure.case)}")
    elif result.verdict == "known":
        yield Text.assemble((title, colour), f"known: {result.reason}")
        return
    elif _should(result):
        yield Text.assemble((title, colour), f"{_rejected(failure)}{flaky}")
        yield from _wrapped("got", _short(failure.got), width)
    else:
        yield Text.assemble((title, f"bold {colour}"), f"{result.verdict}{flaky}")
        yield from _wrapped("", f"{result.clause}: {clauses()[result.clause].text}", width)
        yield from _asked(failure.case, width)
    if whole or not _should(result):
        yield from _differs(failure, width, whole)
    if not whole:
        yield _uncut(f"  {failure.replay if kept else _whole_command(result, failure)}")
        if others:
            yield Text(
                f"  {result.verdict} too, perhaps for the same reason: {', '.join(r.law for r in others)}", "dim"
            )


def _whole_command(result: Result, failure: Failure) -> str:
    start = failure.replay.rpartition(" --replay ")[0]
    return f"{start} --law {result.law} --replay {shlex.quote(json.dumps(failure.case))}"


def _wrapped(label: str, text: str, width: int, most: int = 2) -> Iterator[Text]:
    """Return ``text`` in lines behind ``label``, at most so many."""
    space = 12 if label else 2
    for number, line in enumerate(textwrap.wrap(text, width - space, max_lines=most, placeholder=" …")):
        yield Text.assemble((f"  {'' if number else label}".ljust(space), "bold"), line)


def _short(text: str) -> str:
    """Return a message with paths as they are seen from here."""
    return text.replace(f"{os.getcwd()}{os.sep}", "")


def _rejected(failure: Failure) -> str:
    """Return in a line with which error a case should be rejected, and why, in the words of the reference."""
    answer = reference_answer(failure.case["request"])
    should_be = f"{answer.error} ({answer.message})" if isinstance(answer, Rejected) else failure.should_be
    return f"should be {should_be}"


def _asked(case: dict[str, Any], width: int) -> Iterator[Text]:
    """Return the request, and of a second one what differs from it."""
    request, other = case["request"], case.get("other")
    yield from _wrapped("config", json.dumps(request["config"]), width, 3)
    names, per = request.get("names"), request.get("steps_per_epoch", 1)
    said = ["not known" if names is None else " ".join(names)]
    said += [
        f"{key} {request[key]}" for key in ("total", "start", "tick", "frozen", "optimizer", "off") if request.get(key)
    ]
    said += [f"{per} steps an epoch"] * (per > 1)
    yield from _wrapped("names", "; ".join(said), width)
    if other is not None and (changes := ", ".join(_changes("", request, other))):
        yield from _wrapped("the other", changes, width)


def _changes(where: str, one: Any, other: Any) -> Iterator[str]:
    """Return the places at which plain data differ, and what the other ones have there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            yield from _changes(f"{where}.{key}".lstrip("."), one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _changes(f"{where}[{index}]", first, second)
    elif one != other:
        yield f"{where} = {json.dumps(other)}"


def _differs(failure: Failure, width: int, whole: bool) -> Iterator[Text]:
    drawn: list[Text] = []
    if failure.timelines is not None:
        got, right = map(from_json, failure.timelines)
        drawn = [*_rates(got, right, width), *_side_by_side(failure.case["request"], got, right, width)]
    yield from drawn
    if whole or not drawn:
        yield from _wrapped("", failure.what, width)
        yield from _wrapped("got", _short(failure.got), width, 1000 if whole else 2)
        yield from _wrapped("should be", failure.should_be, width, 1000 if whole else 2)


def _rates(got: Segments, right: Segments, width: int) -> Iterator[Text]:
    """Return the learning rates that are set, if they differ."""
    one, other = ([f"{s.learning_rate} at {s.start}" for s in found if s.learning_rate] for found in (got, right))
    if one != other:
        told = (", ".join(found) or "none" for found in (one, other))
        yield from _wrapped("rates", "got {}; should be {}".format(*told), width)


def _side_by_side(request: Request, got: Segments, right: Segments, width: int) -> Iterator[Text]:
    """Return two timelines of the names that are frozen otherwise, from just before the first tick where they are."""
    begin, end = min(s.start for s in (*got, *right)), max(s.stop for s in (*got, *right))
    most = min(_MOST_TICKS, (width - 30) // 2)
    changes = sorted({s.start for s in (*got, *right)})
    first = next((tick for tick in changes if _at(got, tick) != _at(right, tick)), None)
    if first is None:
        return
    start = max(begin, min(first - 2, end - most))
    ticks = range(start, min(end, start + most))
    sides = [[_at(found, tick) for tick in ticks] for found in (got, right)]
    wrong = {name for one, other in zip(*sides, strict=True) for name in one ^ other}
    declared = request.get("names") or sorted({*chain(*sides[0], *sides[1])})
    names = [row for name in declared for row in (name, f"{name} (bn)") if row in wrong]
    unit, space = dialect(request["dialect"]).unit, max(len(ticks), 3) + 3
    ruler = "".join(str(tick % 10) for tick in ticks)
    yield Text.assemble((f"  {'':<20} {'got':<{space}}should be", "bold"), "   (# frozen, . not)")
    yield Text(f"  {f'{unit} from {start}' if start else unit:<20} {ruler:<{space}}{ruler}", "dim")
    for name in names[:_MOST_NAMES]:
        one, other = ("".join(".#"[name in frozen] for frozen in side) for side in sides)
        yield Text(f"  {name:<20.20} {one:<{space}}{other}")
    if len(names) > _MOST_NAMES:
        yield Text(f"  and {len(names) - _MOST_NAMES} names more", "dim")


def _at(found: Segments, tick: int) -> frozenset[str]:
    """Return what is frozen at ``tick``, and what is in inference mode, as ``name (bn)``."""
    for s in found:
        if s.start <= tick < s.stop:
            return s.frozen | {f"{name} (bn)" for name in s.bn_frozen}
    return frozenset()
