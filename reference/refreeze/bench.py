"""Benchmarks: two runs of pytest-benchmark compared, and one reported, with pictures.

Times are medians. A ratio of two has as its spread the ratios of their quartiles, the widest way round: from first to
third quartile to third to first. What a run must show on MobileNetV2 is ``required``, of figures of that run alone.
"""

from __future__ import annotations

import argparse
import html
import importlib
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer
from msgspec import Meta, Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refreeze import plot
from refreeze.errors import InvalidSpec, Unsupported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Stats(Struct, frozen=True, kw_only=True):
    """Times in seconds, as pytest-benchmark computes them."""

    min: float
    max: float
    mean: float
    stddev: float
    median: float
    iqr: float
    q1: float
    q3: float
    rounds: int
    data: list[float] = []
    """The time of each round."""


class Benchmark(Struct, frozen=True, kw_only=True):
    """One benchmark: its ``group`` is ``question: subject``, ``extra_info`` has its ``case`` and what was counted."""

    fullname: str
    stats: Stats
    group: str | None = None
    extra_info: dict[str, Any] = {}

    @property
    def question(self) -> str:
        """What it is about: the first half of its group."""
        return (self.group or "").partition(": ")[0]

    @property
    def case(self) -> str:
        """What was measured, within the group."""
        return str(self.extra_info.get("case", self.fullname.rpartition("::")[2]))


class NotRun(Struct, frozen=True, kw_only=True):
    """A benchmark that was skipped, or failed."""

    name: str
    outcome: str
    reason: str


class Run(Struct, frozen=True, kw_only=True):
    """What one run of the benchmarks has stored."""

    benchmarks: Annotated[list[Benchmark], Meta(min_length=1)]
    machine_info: dict[str, Any] = {}
    commit_info: dict[str, Any] = {}
    datetime: str = ""
    not_run: list[NotRun] = []

    def groups(self, question: str) -> dict[str, list[Benchmark]]:
        """Return the benchmarks of one question by subject, in the order in which they ran."""
        found: dict[str, list[Benchmark]] = {}
        for bench in self.benchmarks:
            if bench.question == question:
                found.setdefault((bench.group or "").partition(": ")[2], []).append(bench)
        return found

    def find(self, group: str, case: str) -> Benchmark | None:
        """Return the benchmark of that group and case, None if it was not measured."""
        return next((bench for bench in self.benchmarks if (bench.group, bench.case) == (group, case)), None)


class Ratio(NamedTuple):
    """A ratio with its spread."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_number(self.value)} ({_number(self.low)} to {_number(self.high)})"


def ratio(new: Stats, old: Stats, less: float = 0.0) -> Ratio:
    """Return ``new`` by ``old``, of each the median, after taking ``less`` seconds from ``new``."""
    pairs = (new.median, old.median), (new.q1, old.q3), (new.q3, old.q1)
    return Ratio(*((mine - less) / other if other else math.inf for mine, other in pairs))


def read(where: str, reference: str, storage: str = ".benchmarks") -> Run:
    """Return the run in a JSON file of pytest-benchmark, or the one of that number or name in the folder ``storage``.

    Raises ``InvalidSpec`` unless there is exactly one, and ``Unsupported`` without pytest-benchmark.
    """
    files = _benchmark_module("storage.file")
    folder = Path(reference).parent if Path(reference).is_file() else Path(storage)
    allowed = f"one JSON file of pytest-benchmark, or the number of one in {storage}"
    if not folder.is_dir():  # FileStorage would make it
        raise InvalidSpec(where, reference, allowed)
    problems = _Problems()
    try:
        found = [data for _, data in files.FileStorage(folder, problems).load(reference)]
        if len(found) != 1:
            raise ValueError("; ".join(problems) or f"{len(found)} match")
        return msgspec.convert(found[0], Run)
    except ValueError as error:  # msgspec's is one too
        raise InvalidSpec(where, reference, f"{allowed} ({error})") from None


class _Problems(list[str]):
    """A logger for pytest-benchmark that keeps what it warns of."""

    warning = list.append


def _benchmark_module(name: str) -> Any:
    try:
        return importlib.import_module(f"pytest_benchmark.{name}")
    except ImportError as error:
        raise Unsupported(f"bench needs pytest-benchmark: pip install 'refreeze[bench]' ({error})") from None


def compare(old: str, new: str, fail: Sequence[str] = (), storage: str = ".benchmarks") -> int:
    """Print, slowest first, how many times as long each benchmark takes in the run ``new`` as in ``old``.

    ``fail`` are thresholds in pytest-benchmark's form, such as ``median:10%`` or ``min:0.001`` (seconds). Returns 1 if
    one is passed, or, when there are any, if a benchmark of ``old`` has failed in ``new``; else 0. Raises
    ``InvalidSpec`` for what is no run or no threshold, and for two runs without a common benchmark.
    """
    runs = read("OLD", old, storage), read("NEW", new, storage)
    parse = _benchmark_module("utils").parse_compare_fail
    try:
        checks = {expression: parse(expression) for expression in fail}
    except argparse.ArgumentTypeError as error:
        raise InvalidSpec("--fail", list(fail), f"such as median:10% or min:0.001 ({error})") from None
    before, after = ({bench.fullname: bench for bench in run.benchmarks} for run in runs)
    common = [name for name in after if name in before]
    if not common:
        raise InvalidSpec("NEW", new, f"a run that has a benchmark in common with {old}")

    console = Console()
    for fact, (was, now) in _facts(runs[0], runs[1]).items():
        if was != now:
            console.print(Text(f"{fact}: {was} in OLD, {now} in NEW", "yellow"))
    table = Table(*("benchmark", "OLD", "NEW", "NEW / OLD", "spread", "threshold"), box=box.SIMPLE_HEAD)
    passed = 0
    ratios = {name: ratio(after[name].stats, before[name].stats) for name in common}
    for name in sorted(common, key=lambda name: -ratios[name].value):
        stats = [msgspec.to_builtins(bench[name].stats) for bench in (after, before)]
        broken = [expression for expression, check in checks.items() if check.fails(*stats)]
        passed += bool(broken)
        found = ratios[name]
        times = (_seconds(bench[name].stats.median) for bench in (before, after))
        spread = f"{_number(found.low)} to {_number(found.high)}"
        cells = [name.rpartition("/")[2], *times, _number(found.value), spread, ", ".join(broken)]
        table.add_row(*(Text(cell, "red" if broken else "") for cell in cells))
    console.print(table)
    gone = {item.name: item for item in runs[1].not_run if item.outcome == "failed"}
    failed = [name for name in before if name not in after and name.rpartition("::")[2] in gone]
    for title, names in (("only in OLD", before.keys() - after.keys()), ("only in NEW", after.keys() - before.keys())):
        for name in sorted(names):
            console.print(Text(f"{title}: {name}" + (", failed in NEW" if name in failed else "")))
    if checks:
        console.print(f"{passed} of {len(common)} past a threshold, {len(failed)} failed")
    return 1 if checks and (passed or failed) else 0


def _facts(*runs: Run) -> dict[str, list[str]]:
    """Return what must be equal for two runs to be comparable, of each of ``runs``."""
    facts: dict[str, list[str]] = {"CPU": [], "GPU": [], "Python": [], "versions": []}
    for run in runs:
        info = run.machine_info
        cpu = info.get("cpu", {})
        facts["CPU"].append(f"{cpu.get('brand_raw', 'unknown')}, {cpu.get('count', '?')} cores")
        facts["GPU"].append(info.get("device") or "no GPU")
        facts["Python"].append(f"{info.get('python_version', '?')} on {info.get('system', '?')}")
        versions = info.get("versions", {}).items()
        facts["versions"].append(", ".join(f"{name} {version}" for name, version in versions))
    return facts


class Requirement(NamedTuple):
    """What a run must show."""

    what: str
    allowed: str
    measured: Ratio | None
    """None if a benchmark that it needs was not run."""
    holds: bool


def required(run: Run) -> list[Requirement]:
    """Return what is required on MobileNetV2, with what the run has measured."""
    model = "mobilenetv2"
    recompile = run.find(f"switch: {model}", "Keras compile, fresh optimizer")
    first, revisit = (run.find(f"switch: {model}", f"refreeze, {visit}") for visit in ("first visit", "revisit"))
    users, ours = (
        run.find(f"run, round robin: {model}", how) for how in ("keras compile per segment", "refreeze cached")
    )

    def times(new: Benchmark | None, old: Benchmark | None, less: float = 0.0) -> Ratio | None:
        return ratio(new.stats, old.stats, less) if new and old else None

    # A revisit is timed without a fit; so the one in the time of compile does not count.
    fit = statistics.median(recompile.extra_info.get("fit_seconds", [0.0])) if recompile else 0.0
    rows: list[tuple[str, float, float, Ratio | None]] = [
        ("compile per segment takes so many times a revisit", 1000, math.inf, times(recompile, revisit, fit)),
        ("a first visit takes so much of compile per segment", 0, 0.55, times(first, recompile)),
        ("a round robin with compile per segment takes so many times the cached one", 6, math.inf, times(users, ours)),
    ]
    for flags in ("all trainable", "prefix 50% frozen"):
        step = run.find(f"step against plain Keras: {model}", flags)
        measured = _paired(step.stats.data, step.extra_info.get("beside_seconds", [])) if step else None
        rows.append((f"a step takes so many times one of plain Keras, {flags}", 0, 1.02, measured))
    return [
        Requirement(
            what,
            f"≤ {_number(most)}" if most < math.inf else f"≥ {_number(least)}",
            measured,
            measured is not None and least <= measured.value <= most,
        )
        for what, least, most, measured in rows
    ]


def _paired(mine: Sequence[float], beside: Sequence[float]) -> Ratio | None:
    """Return the median and the quartiles of the ratios of times that were measured in turn."""
    ratios = [own / other for own, other in zip(mine, beside, strict=False)]
    if len(ratios) < 2:
        return Ratio(*ratios * 3) if ratios else None
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high)


class _Page:
    """A text with tables and pictures, as Markdown and as HTML."""

    def __init__(self) -> None:
        self.markdown: list[str] = []
        self.html: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        self.markdown.append(f"{'#' * level} {text}\n")
        self.html.append(f"<h{level}>{html.escape(text)}</h{level}>")

    def text(self, text: str) -> None:
        self.markdown.append(f"{text}\n")
        self.html.append(f"<p>{html.escape(text)}</p>")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        rows = list(rows)
        lines = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
        self.markdown.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
        parts = [("th", headings), *(("td", row) for row in rows)]
        body = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in parts)
        self.html.append("<table>" + "".join(f"<tr>{row}</tr>" for row in body) + "</table>")

    def picture(self, file: str, alt: str) -> None:
        self.markdown.append(f"![{alt}]({file})\n")
        self.html.append(f'<img src="{file}" alt="{html.escape(alt)}">')


_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}img{max-width:100%}"
)


def report(reference: str, out: Path) -> list[Path]:
    """Write ``report.md``, ``report.html`` and their pictures into the folder ``out``; return what was written.

    Raises ``InvalidSpec`` for what is no run, ``Unsupported`` without matplotlib, and ``OSError``.
    """
    run = read("JSON", reference)
    page = _Page()
    commit = run.commit_info
    dirty = " and uncommitted changes" if commit.get("dirty") else ""
    page.heading("Benchmarks", 1)
    facts = {"date": run.datetime[:16], "commit": f"{commit.get('id', 'unknown')[:12]}{dirty}"}
    facts |= {fact: value for fact, (value,) in _facts(run).items()}
    if load := run.machine_info.get("load"):
        facts["load average before"] = ", ".join(f"{value:.2f}" for value in load)
    page.table(["", ""], facts.items())
    page.text(
        "Times are medians, with the quartiles in brackets. The spread of a ratio is that of the quartiles, the widest "
        "way round. Times of different machines are no comparison; ratios within one run are."
    )
    page.heading("What is required on MobileNetV2")
    page.table(
        ["", "required", "measured", "holds"],
        (
            (row.what, row.allowed, str(row.measured or "not measured"), "yes" if row.holds else "no")
            for row in required(run)
        ),
    )
    if run.not_run:
        page.heading("What did not run")
        page.table(["", "outcome", "why"], ((item.name, item.outcome, _one_line(item.reason)) for item in run.not_run))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (alt, figure) in pictures(run).items():
        written.append(out / f"{name}.png")
        plot.save(figure, written[-1])
        page.picture(written[-1].name, alt)
    for question in dict.fromkeys(bench.question for bench in run.benchmarks):
        page.heading(question or "others")
        groups = run.groups(question)
        page.text(" ".join({b.extra_info.get("question", ""): None for found in groups.values() for b in found}))
        for subject, found in groups.items():
            page.heading(subject or "all", 3)
            _table(page, found)
    title = "<meta charset='utf-8'><title>refreeze: benchmarks</title>"
    texts = {
        "report.md": "\n".join(page.markdown),
        "report.html": f"<!doctype html>{title}<style>{_STYLE}</style>\n" + "\n".join(page.html) + "\n",
    }
    for name, content in texts.items():
        (out / name).write_text(content, encoding="utf-8")
    return [*(out / name for name in texts), *written]


def _table(page: _Page, found: Sequence[Benchmark]) -> None:
    base = next((bench for bench in found if bench.extra_info.get("baseline")), None)
    headings = ["", "time", "rounds", *([f"× {base.case}"] if base else []), "beside"]
    rows = []
    for bench in found:
        stats = bench.stats
        time = f"{_seconds(stats.median)} ({_seconds(stats.q1)} to {_seconds(stats.q3)})"
        if "resident_mib" in bench.extra_info:  # in a process of its own, of which the time says nothing
            time = "not timed"
        against = [] if base is None else ["1" if bench is base else str(ratio(stats, base.stats))]
        rows.append([bench.case, time, f"{stats.rounds}", *against, _beside(bench)])
    page.table(headings, rows)


def _beside(bench: Benchmark) -> str:
    """Return what was counted, and measured beside the time itself."""
    extra, parts = bench.extra_info, []
    medians = {key: statistics.median(value) for key, value in extra.items() if key.endswith("_seconds") and value}
    if traced := extra.get("trace_seconds"):
        trace = sum(traced) / len(traced) * extra["traces_per_switch"]
        rest = bench.stats.median - trace - medians["fit_seconds"]
        parts += [f"trace {_seconds(trace)}", f"first run {_seconds(max(rest, 0))}"]
        parts += [f"a fit without a switch {_seconds(medians['fit_seconds'])}"]
    elif "fit_after_seconds" in medians:
        after, without = (_seconds(medians[key]) for key in ("fit_after_seconds", "fit_seconds"))
        parts += [f"the fit after it {after}, without a switch {without}"]
    elif beside := extra.get("beside_seconds"):
        parts += [f"ratio of pairs {_paired(bench.stats.data, beside)}"]
    elif resident := extra.get("resident_mib"):
        parts += [f"MiB resident {', '.join(f'{mib:,.0f}' for mib in resident)}: {extra['mib_per_switch']:.1f} each"]
    for key in ("segments", "distinct_sets", "traces", "traces_per_switch"):
        parts += [f"{key.replace('_', ' ')} {extra[key]:,}"] if key in extra else []
    parts += [f"optimizer {extra['optimizer_bytes'] / 2**20:.3g} MiB"] if "optimizer_bytes" in extra else []
    parts += [f"{extra['cases'] / bench.stats.median:,.0f} cases per second"] if "cases" in extra else []
    return "; ".join(parts)


# Pictures


_COLOURS = ("#2f6fa7", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#8c564b")
Curves = dict[str, list[tuple[float, float]]]


def pictures(run: Run) -> dict[str, tuple[str, Figure]]:
    """Return name -> what it shows and the figure, of those that the run has the figures for."""
    try:
        from matplotlib import style
    except ImportError:
        raise Unsupported("pictures need matplotlib: pip install 'refreeze[plot]'") from None
    boundaries = {
        subject: _curves(
            (bench, bench.extra_info["x"], bench.stats.median) for bench in found if "x" in bench.extra_info
        )
        for question in ("boundaries", "schedule")
        for subject, found in run.groups(question).items()
    }
    memory = {
        model: _curves(
            (bench, switch, mib - bench.extra_info["resident_mib"][0])
            for bench in found
            for switch, mib in enumerate(bench.extra_info["resident_mib"])
        )
        for model, found in run.groups("memory").items()
    }
    with style.context("default"):
        drawn = {
            "switch": ("Cost of a switch, by model", _bars(run.groups("switch"))),
            "boundaries": ("Time against number of boundaries", _lines(boundaries, "boundaries", "seconds", log=True)),
            "memory": ("Memory against distinct sets", _lines(memory, "further distinct frozen sets", "MiB resident")),
        }
    return {name: (alt, figure) for name, (alt, figure) in drawn.items() if figure is not None}


def _curves(points: Iterable[tuple[Benchmark, float, float]]) -> Curves:
    found: Curves = {}
    for bench, x, y in points:
        found.setdefault(bench.extra_info["series"], []).append((x, y))
    return found


def _figure(panels: int, width: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.5), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for panel in axes:
        panel.grid(axis="y", color="#dddddd")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(groups: dict[str, list[Benchmark]]) -> Figure | None:
    if not groups:
        return None
    last = list(groups.values())[-1]  # the legend is in the order of its bars
    benches = sorted((b for found in groups.values() for b in found), key=lambda b: (b not in last, b.stats.median))
    cases = list(dict.fromkeys(bench.case for bench in benches))
    figure, (axes,) = _figure(1, 10)
    width = 0.8 / len(cases)
    for place, case in enumerate(cases):
        bars = [(at, b.stats) for at, found in enumerate(groups.values()) for b in found if b.case == case]
        spread = [[s.median - s.q1 for _, s in bars], [s.q3 - s.median for _, s in bars]]
        at = [x + (place - (len(cases) - 1) / 2) * width for x, _ in bars]
        colour = _COLOURS[place % len(_COLOURS)]
        axes.bar(at, [s.median for _, s in bars], width, yerr=spread, label=case, color=colour, ecolor="#222222")
    axes.set_yscale("log")
    axes.set_ylabel("seconds")
    axes.set_xticks(range(len(groups)), list(groups))
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _lines(panels: dict[str, Curves], xlabel: str, ylabel: str, log: bool = False) -> Figure | None:
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return None
    figure, axes = _figure(len(panels), 5 * len(panels))
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        for (label, points), colour in zip(curves.items(), itertools.cycle(_COLOURS)):
            panel.plot(*zip(*sorted(points), strict=True), ".-", label=label, color=colour)
        if log:
            panel.set_xscale("symlog", linthresh=1)
            panel.set_yscale("log")
        panel.set_title(title, loc="left")
        panel.set_xlabel(xlabel)
        panel.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel(ylabel)
    return figure


# Words and numbers


def _number(value: float) -> str:
    """Return three digits that count, more for a large number.

    >>> [_number(value) for value in (0.000123, 0.5512, 1.0049, 8412.3)]
    ['0.000123', '0.551', '1', '8,412']
    """
    return f"{value:,.0f}" if 100 <= value < math.inf else f"{value:.3g}"


def _seconds(value: float) -> str:
    """Return a time in the unit that suits it.

    >>> [_seconds(value) for value in (0.0000021, 0.0151, 8.5, 176.2)]
    ['2.1 µs', '15.1 ms', '8.5 s', '176 s']
    """
    unit, factor = next((u, f) for u, f in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if value * f >= 1 or u == "µs")
    return f"{_number(value * factor)} {unit}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}…"


# Commands


group = typer.Typer(help="Compare two runs of the benchmarks, or report one.", no_args_is_help=True)


@group.command("compare")
def _compare(
    old: Annotated[str, typer.Argument(help="A JSON file of pytest-benchmark, or the number of a stored run.")],
    new: Annotated[str, typer.Argument(help="The same, of the run to judge.")],
    fail: Annotated[
        list[str] | None, typer.Option(metavar="FIELD:MORE", help="Exit 1 past it: median:10%, min:0.001, …")
    ] = None,
    storage: Annotated[str, typer.Option(metavar="FOLDER", help="Where stored runs are.")] = ".benchmarks",
) -> None:
    """Print NEW / OLD for every benchmark: exit 0, or 1 past a threshold, or 2 if the input is at fault."""
    raise typer.Exit(compare(old, new, fail or (), storage))


@group.command("report")
def _report(
    reference: Annotated[str, typer.Argument(metavar="JSON", help="A JSON file of pytest-benchmark.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")],
) -> None:
    """Write a run as Markdown and HTML, with pictures."""
    for path in report(reference, out):
        typer.echo(path)


def register(app: typer.Typer) -> None:
    """Add the group ``bench`` to ``app``."""
    app.add_typer(group, name="bench")
