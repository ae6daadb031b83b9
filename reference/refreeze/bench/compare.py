"""Comparing two runs: how many times as long each benchmark takes, and whether that passes a threshold."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refreeze.bench.stored import benchmark_module, number, ratio, read, seconds
from refreeze.errors import InvalidSpec


def compare(old: str, new: str, fail: Sequence[str] = (), storage: str = ".benchmarks") -> int:
    """Print NEW / OLD for every benchmark, the slowest first, and return the exit code.

    ``fail`` are thresholds in pytest-benchmark's form, such as ``median:10%`` or ``min:0.001`` (seconds). 1 if one is
    passed, or, when there are any, if a benchmark that ``old`` has did not pass in ``new``; else 0. Raises
    ``InvalidSpec`` for what is no run or no threshold, and for two runs without a common benchmark.
    """
    was, now = read("OLD", old, storage), read("NEW", new, storage)
    parse = benchmark_module("utils").parse_compare_fail
    try:
        checks = {expression: parse(expression) for expression in fail}
    except argparse.ArgumentTypeError as error:
        raise InvalidSpec("--fail", list(fail), f"such as median:10% or min:0.001 ({error})") from None
    before, after = ({bench.fullname: bench for bench in run.benchmarks} for run in (was, now))
    ratios = {name: ratio(after[name].stats, before[name].stats) for name in after if name in before}
    if not ratios:
        raise InvalidSpec("NEW", new, f"a run that has a benchmark in common with {old}")

    console = Console()
    for (fact, then), later in zip(was.machine_info.facts().items(), now.machine_info.facts().values(), strict=True):
        if then != later:
            console.print(Text(f"{fact}: {then} in OLD, {later} in NEW", "yellow"))
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("benchmark", "OLD", "NEW", "NEW / OLD", "spread", "past"):
        table.add_column(heading, overflow="fold")
    past = 0
    for name in sorted(ratios, key=lambda name: -ratios[name].value):
        stats = [msgspec.to_builtins(bench[name].stats) for bench in (after, before)]
        broken = [expression for expression, check in checks.items() if check.fails(*stats)]
        past += bool(broken)
        value, low, high = map(number, ratios[name])
        times = (seconds(bench[name].stats.median) for bench in (before, after))
        cells = (after[name].title, *times, value, f"{low} to {high}", ", ".join(broken))
        table.add_row(*(Text(cell, "red" if broken else "") for cell in cells))
    console.print(table)
    why = {item.name: f"{item.outcome} in NEW: {item.line()}" for item in now.not_run}
    lost = {name: why.get(name.rpartition("::")[2], "not in NEW") for name in before if name not in after}
    for name, reason in {**lost, **{name: "not in OLD" for name in after if name not in before}}.items():
        console.print(Text(f"{name}: {reason}"), soft_wrap=True)
    failed = sum(reason.startswith("failed") for reason in lost.values())
    if checks:
        console.print(f"{past} of {len(ratios)} past a threshold, {failed} failed")
        console.print(_alarm_rates(), soft_wrap=True)
    return int(bool(checks) and past + failed > 0)


def _alarm_rates() -> str:
    """Return how often such thresholds were wrong where that was measured; benchmarks/alarm_rates.py writes it."""
    rates = json.loads(Path(__file__).with_name("alarm_rates.json").read_text(encoding="utf-8"))
    every = rates["comparisons"]
    said = (f"{one['past']} was passed {one['false']} times" for one in rates["separate"])
    return (
        f"Of {every} comparisons of two runs of one version, on a busy machine, {', '.join(said)}. "
        f"refreeze bench ab: {rates['ab']['false']}, and it found {rates['ab']['found']} of {every} slowdowns of 5 %."
    )
