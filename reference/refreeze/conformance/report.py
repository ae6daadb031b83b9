"""What a run says in the terminal: one line a clause, then every failure in full."""

from __future__ import annotations

import json
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from refreeze.conformance.clauses import clauses
from refreeze.conformance.protocol import PROTOCOL
from refreeze.conformance.runner import Report, Result

_MARKS = {"holds": "[green]holds[/]", "broken": "[red]broken[/]", "known": "[yellow]known[/]", "unsupported": "[dim]-[/]"}


def show(console: Console, report: Report, version: str, seconds: float) -> None:
    """Print the report of a run."""
    console.print(
        f"[bold]refreeze {version}[/], protocol {PROTOCOL}: {escape(report.adapter.name)}, "
        f"profile {report.profile}, seed {report.seed}",
        soft_wrap=True,
    )
    if report.results:
        console.print(_table(report.results))
    for result in report.results:
        if result.failure is not None:
            _failure(console, report, result)
    for entry, why in report.stale:
        console.print(
            f"[red]stale known failure[/] {escape(entry.check_id)}: {why}; remove it (reason: {escape(entry.reason)})",
            soft_wrap=True,
        )
    _verdict(console, report, seconds)


def _table(results: list[Result]) -> Table:
    table = Table("clause", "", "dialects", box=None, pad_edge=False, header_style="bold")
    worst: dict[str, dict[str, str]] = {}
    order = ("unsupported", "holds", "known", "broken")
    for r in results:
        row = worst.setdefault(r.check.law.clause, {})
        row[r.check.dialect] = max(row.get(r.check.dialect, "unsupported"), r.verdict, key=order.index)
    for clause, row in worst.items():
        verdicts = [(v, [d for d, found in row.items() if found == v]) for v in reversed(order)]
        cells = [f"{_MARKS[verdict]} {' '.join(names)}" for verdict, names in verdicts if names]
        table.add_row(clause, clauses()[clause].title, "; ".join(cells))
    return table


def _failure(console: Console, report: Report, result: Result) -> None:
    failure, law = result.failure, result.check.law
    assert failure is not None
    lines = [
        f"[bold]{law.clause}[/] {escape(clauses()[law.clause].text)}",
        f"[bold]case[/] {escape(json.dumps(failure.case))}",
        f"{escape(failure.what)}",
        f"[bold]got[/]       {escape(failure.got)}",
        f"[bold]should be[/] {escape(failure.should_be)}",
    ]
    lines += ["[red]asked again, the adapter answered otherwise[/]"] if failure.flaky else []
    lines += [f"[bold]reason[/] {escape(result.reason)}"] if result.reason else []
    style = "yellow" if result.verdict == "known" else "red"
    console.print(Panel("\n".join(lines), title=escape(result.check.id), title_align="left", border_style=style))
    # Not in the panel, so that it can be copied whole.
    console.print(f"{escape(result.replay(report.adapter) or '')}\n", soft_wrap=True, highlight=False)


def _verdict(console: Console, report: Report, seconds: float) -> None:
    found = Counter(r.verdict for r in report.results)
    counts = ", ".join(f"{found[verdict]} {verdict}" for verdict in ("holds", "broken", "known", "unsupported"))
    cases = sum(r.cases for r in report.results)
    console.print(f"{counts.replace('holds', 'hold')}; {cases} cases in {seconds:.1f} s")
    if (fault := report.fault) is not None:
        console.print(f"[red]the adapter is at fault[/]: {escape(str(fault))}", soft_wrap=True)
        if fault.request is not None:
            console.print(f"asked: {escape(json.dumps(fault.request))}", soft_wrap=True, highlight=False)
    elif report.exit_code == 2:
        console.print("[red]nothing was checked[/]: the adapter supports none of it")
