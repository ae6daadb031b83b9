"""What a run says in the terminal: a line for each clause, then for each cause of failures the simplest of them."""

from __future__ import annotations

import json
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

import refreeze
from refreeze.conformance.clauses import clauses
from refreeze.conformance.protocol import PROTOCOL
from refreeze.conformance.runner import Report, Result

_COLOURS = {"unsupported": "dim", "holds": "green", "known": "yellow", "crashed": "red", "broken": "red"}
"""From the least to the most important."""


def show(console: Console, report: Report, seconds: float) -> None:
    """Print the report of a run."""
    console.print(
        f"[bold]refreeze {refreeze.__version__}[/], protocol {PROTOCOL}: {escape(report.adapter)}, "
        f"profile {report.profile}, seed {report.seed}",
        soft_wrap=True,
    )
    if report.results:
        console.print(_table(report.results))
    for group in groups(report.results):
        _failure(console, group)
    for entry, why in report.stale:
        text = f"{entry.check_id}: {why}; remove it (reason given: {entry.reason})"
        console.print(f"[red]stale known failure[/] {escape(text)}", soft_wrap=True)
    found = Counter(r.verdict for r in report.results)
    counts = ", ".join(f"{found[v]} {v}" for v in ("holds", "broken", "crashed", "known", "unsupported"))
    console.print(f"{counts}; {sum(r.cases for r in report.results)} cases in {seconds:.1f} s")
    if (fault := report.fault) is not None:
        console.print(f"[red]the adapter is at fault[/]: {escape(str(fault))}", soft_wrap=True)
        if fault.request is not None:
            console.print(f"asked: {escape(json.dumps(fault.request))}", soft_wrap=True, highlight=False)
    elif report.exit_code == 2:
        console.print("[red]nothing was checked[/]: the adapter supports none of it, or crashes")


def groups(results: list[Result]) -> list[list[Result]]:
    """Return the failures, those that one mistake explains together, the simplest case first.

    That is so where answers are wrong in the same way, or where laws look at the same run.
    """
    found: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if (failure := result.failure) is not None:
            run = failure.case["request"]["op"] == "run" and not failure.crashed
            why = json.dumps(failure.case["request"]) if run else failure.cause
            found.setdefault((result.verdict, result.dialect, why), []).append(result)
    return [sorted(group, key=lambda r: len(json.dumps(r.failure and r.failure.case))) for group in found.values()]


def _table(results: list[Result]) -> Table:
    """Return a line for each clause: the worst verdict of its laws, and how many of their cases had an answer."""
    table = Table("clause", "", "dialects", box=None, pad_edge=False, header_style="bold")
    order = list(_COLOURS)
    rows: dict[str, dict[str, list[Result]]] = {}
    for r in results:
        rows.setdefault(r.clause, {}).setdefault(r.dialect, []).append(r)
    for clause, row in sorted(rows.items(), key=lambda item: list(clauses()).index(item[0])):
        told: dict[str, list[str]] = {}
        for dialect, laws in row.items():
            verdict = max((r.verdict for r in laws), key=order.index)
            cases, unsupported = sum(r.cases for r in laws), sum(r.unsupported for r in laws)
            asked = f" ({cases - unsupported} of {cases})" if 0 < unsupported < cases else ""
            told.setdefault(verdict, []).append(dialect + asked)
        cells = [f"[{_COLOURS[v]}]{v}[/] {' '.join(told[v])}" for v in reversed(order) if v in told]
        table.add_row(clause, clauses()[clause].title, "; ".join(cells))
    return table


def _failure(console: Console, group: list[Result]) -> None:
    result, *others = group
    failure = result.failure
    assert failure is not None
    lines = [
        f"[bold]{result.clause}[/] {escape(clauses()[result.clause].text)}",
        f"[bold]case[/] {escape(json.dumps(failure.case))}",
        escape(failure.what),
        f"[bold]got[/]       {escape(failure.got)}",
        f"[bold]should be[/] {escape(failure.should_be)}",
    ]
    lines += ["[red]asked again, the adapter answered otherwise[/]"] if failure.flaky else []
    lines += [f"[bold]known[/] {escape(result.reason)}"] if result.reason else []
    title = escape(f"{result.law}[{result.dialect}]")
    console.print(Panel("\n".join(lines), title=title, title_align="left", border_style=_COLOURS[result.verdict]))
    # Not in the panel, so that it can be copied whole.
    console.print(escape(failure.replay), soft_wrap=True, highlight=False)
    if others:
        told = f"{result.verdict} too, perhaps for the same reason: {', '.join(r.law for r in others)}"
        console.print(escape(told), soft_wrap=True, highlight=False)
    console.print()
