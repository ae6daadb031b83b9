"""What a run says in the terminal: one line a clause, then every failure in full."""

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

_COLOURS = {"unsupported": "dim", "holds": "green", "known": "yellow", "broken": "red"}
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
    for result in report.results:
        _failure(console, result)
    for entry, why in report.stale:
        text = f"{entry.check_id}: {why}; remove it (reason given: {entry.reason})"
        console.print(f"[red]stale known failure[/] {escape(text)}", soft_wrap=True)
    found = Counter(r.verdict for r in report.results)
    counts = ", ".join(f"{found[v]} {v}" for v in ("holds", "broken", "known", "unsupported"))
    console.print(f"{counts}; {sum(r.cases for r in report.results)} cases in {seconds:.1f} s")
    if (fault := report.fault) is not None:
        console.print(f"[red]the adapter is at fault[/]: {escape(str(fault))}", soft_wrap=True)
        if fault.request is not None:
            console.print(f"asked: {escape(json.dumps(fault.request))}", soft_wrap=True, highlight=False)
    elif report.exit_code == 2:
        console.print("[red]nothing was checked[/]: the adapter supports none of it")


def _table(results: list[Result]) -> Table:
    table = Table("clause", "", "dialects", box=None, pad_edge=False, header_style="bold")
    worst: dict[str, dict[str, str]] = {}
    order = list(_COLOURS)
    for r in results:
        row = worst.setdefault(r.clause, {})
        row[r.dialect] = max(row.get(r.dialect, order[0]), r.verdict, key=order.index)
    for clause, row in sorted(worst.items(), key=lambda item: list(clauses()).index(item[0])):
        verdicts = [(v, [d for d, found in row.items() if found == v]) for v in reversed(order)]
        cells = [f"[{_COLOURS[verdict]}]{verdict}[/] {' '.join(names)}" for verdict, names in verdicts if names]
        table.add_row(clause, clauses()[clause].title, "; ".join(cells))
    return table


def _failure(console: Console, result: Result) -> None:
    if (failure := result.failure) is None:
        return
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
    console.print(f"{escape(failure.replay)}\n", soft_wrap=True, highlight=False)
