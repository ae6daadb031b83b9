"""Reporting one run, in Markdown and HTML, with pictures, and with what is required of it."""

from __future__ import annotations

import html
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from refreeze.bench import pays
from refreeze.bench.pictures import pictures
from refreeze.bench.requirements import required
from refreeze.bench.stored import Benchmark, number, paired, ratio, read, seconds


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: without HTML, links and borders of cells."""
    return html.escape(re.sub(r"([\\\[|])", r"\\\1", text), quote=False)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [map(_plain, headings), ["---"] * len(headings), *(map(_plain, row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}img{max-width:100%}"
)


def report(reference: str, out: Path, require: Path | None = None) -> list[Path]:
    """Write ``report.md``, ``report.html`` and their pictures into the folder ``out``; return what was written.

    ``require`` is a file of requirements, which the report then compares with the run. Raises ``InvalidSpec`` for what
    is no run or no such file, ``Unsupported`` without matplotlib, and ``OSError``.
    """
    from refreeze import plot  # here, because numpy takes most of the time of `import refreeze.bench`

    run = read("JSON", reference)
    dirty = " and uncommitted changes" if run.commit_info.dirty else ""
    facts = {"date": run.datetime[:16], "commit": f"{(run.commit_info.id or 'unknown')[:12]}{dirty}"}
    facts |= run.machine_info.facts()
    facts["load average before"] = ", ".join(map(number, run.machine_info.load or [])) or "unknown"
    must = required(run, require) if require else []
    page = [
        "# Benchmarks\n",
        _table(["", ""], facts.items()),
        "Times are medians, with the quartiles in brackets. The brackets after a ratio are the smallest and the largest"
        " that the quartiles give. Compare ratios within one run, not times of different machines.\n",
    ]
    if must:
        page += ["## What is required\n", _table(["", "required", "measured", "holds"], must)]
    if run.not_run:
        missing = ((item.name, item.outcome, item.line()) for item in run.not_run)
        page += ["## What did not run\n", _table(["", "outcome", "why"], missing)]
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (alt, figure) in pictures(run).items():
        written.append(out / f"{name}.png")
        plot.save(figure, written[-1])
        page.append(f"![{alt}]({written[-1].name})\n")
    for question in dict.fromkeys(bench.question for bench in run.benchmarks):
        groups = run.groups(question)
        asked = " ".join({b.extra_info.question: None for found in groups.values() for b in found})
        page += [f"## {_plain(question or 'others')}\n", f"{_plain(asked)}\n"]
        for subject, found in groups.items():
            page += [f"### {_plain(subject or 'all')}\n", _measured(found)]
            if question == pays.QUESTION:
                headings, *lines = pays.rows(pays.parts(run)[subject])
                page += [
                    "Computed from these parts: a first visit and a step, in steps that train everything, and "
                    "the time of whole runs by that of plain training.\n",
                    _table(headings, lines),
                ]
    title = "<meta charset='utf-8'><title>refreeze: benchmarks</title>"
    text = "\n".join(page)
    body = MarkdownIt("js-default").render(text)  # as CommonMark, with tables and without HTML of its own
    texts = {"report.md": text, "report.html": f"<!doctype html>{title}<style>{_STYLE}</style>\n{body}"}
    for name, content in texts.items():
        (out / name).write_text(content, encoding="utf-8")
    return [*(out / name for name in texts), *written]


def _measured(found: Sequence[Benchmark]) -> str:
    base = next((bench for bench in found if bench.extra_info.baseline), None)
    rows = []
    for bench in found:
        stats = bench.stats
        time = f"{seconds(stats.median)} ({seconds(stats.q1)} to {seconds(stats.q3)})"
        if bench.extra_info.resident_mib:  # of a process of its own, of which the time says nothing
            time = "not timed"
        against = [] if base is None else ["1" if bench is base else str(ratio(stats, base.stats))]
        rows.append([bench.case, time, f"{stats.rounds}", *against, "; ".join(_beside(bench))])
    return _table(["", "time", "rounds", *([f"× {base.case}"] if base else []), "beside"], rows)


def _beside(bench: Benchmark) -> Iterator[str]:
    """Yield what a benchmark counted, and what it measured besides its time."""
    extra, time = bench.extra_info, bench.stats.median
    fit = statistics.median(extra.fit_seconds or [0.0])
    if traced := extra.trace_seconds:
        trace = statistics.fmean(traced) * (extra.traces_per_switch or 1)
        yield f"trace {seconds(trace)}, first run {seconds(max(time - trace - fit, 0))}"
    if after := extra.fit_after_seconds:
        yield f"the fit after it {seconds(statistics.median(after))}"
    if extra.fit_seconds:
        yield f"a fit without a switch {seconds(fit)}"
    if ratios := paired(bench.stats.data, extra.beside_seconds):
        yield f"ratio of pairs {ratios}"
    if resident := extra.resident_mib:
        yield f"MiB resident {', '.join(map(number, resident))}"
    if extra.mib_per_switch is not None:
        yield f"{extra.mib_per_switch:.1f} MiB a switch after the first"
    for name in ("segments", "distinct_sets", "traces", "traces_per_switch"):
        if (count := getattr(extra, name)) is not None:
            yield f"{name.replace('_', ' ')} {count:,}"
    if extra.optimizer_bytes is not None:
        yield f"optimizer {number(extra.optimizer_bytes / 2**20)} MiB"
    if extra.cases is not None:
        yield f"{number(extra.cases / time)} cases per second"
