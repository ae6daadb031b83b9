"""One run reported: Markdown and HTML, with pictures, and whether it shows what is required."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from refreeze.bench.pictures import pictures
from refreeze.bench.stored import Benchmark, Ratio, Run, number, paired, ratio, read, seconds


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
    fit = statistics.median(recompile.extra_info.fit_seconds or [0.0]) if recompile else 0.0
    rows: list[tuple[str, float, float, Ratio | None]] = [
        ("switch: compile per segment / revisit", 1000, math.inf, times(recompile, revisit, fit)),
        ("switch: first visit / compile per segment", 0, 0.55, times(first, recompile)),
        ("round robin, end to end: compile per segment / cached", 6, math.inf, times(users, ours)),
    ]
    for flags in ("all trainable", "prefix 50% frozen"):
        step = run.find(f"step against plain Keras: {model}", flags)
        measured = paired(step.stats.data, step.extra_info.beside_seconds) if step else None
        rows.append((f"step, {flags}: refreeze / plain Keras", 0, 1.02, measured))
    return [
        Requirement(
            what,
            f"≤ {number(most)}" if most < math.inf else f"≥ {number(least)}",
            measured,
            measured is not None and least <= measured.value <= most,
        )
        for what, least, most, measured in rows
    ]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}img{max-width:100%}"
)


def report(reference: str, out: Path) -> list[Path]:
    """Write ``report.md``, ``report.html`` and their pictures into the folder ``out``; return what was written.

    Raises ``InvalidSpec`` for what is no run, ``Unsupported`` without matplotlib, and ``OSError``.
    """
    from refreeze import plot  # here, because numpy takes most of the time of `import refreeze.bench`

    run = read("JSON", reference)
    dirty = " and uncommitted changes" if run.commit_info.dirty else ""
    facts = {"date": run.datetime[:16], "commit": f"{(run.commit_info.id or 'unknown')[:12]}{dirty}"}
    facts |= run.machine_info.facts()
    facts["load average before"] = ", ".join(map(number, run.machine_info.load or [])) or "unknown"
    must = [
        (what, allowed, str(measured or "not measured"), "yes" if holds else "no" if measured else "")
        for what, allowed, measured, holds in required(run)
    ]
    page = [
        "# Benchmarks\n",
        _table(["", ""], facts.items()),
        "Times are medians, with the quartiles in brackets. The spread of a ratio is that of the quartiles, the widest "
        "way round. Times of different machines are no comparison; ratios within one run are.\n",
        "## What is required on MobileNetV2\n",
        _table(["", "required", "measured", "holds"], must),
    ]
    if run.not_run:
        missing = ((item.name, item.outcome, " ".join(item.reason.split())) for item in run.not_run)
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
        page += [f"## {question or 'others'}\n", f"{asked}\n"]
        for subject, found in groups.items():
            page += [f"### {subject or 'all'}\n", _measured(found)]
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
    """Yield what was counted, and measured beside the time itself."""
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
        yield f"MiB resident {', '.join(map(number, resident))}; {extra.mib_per_switch:.1f} a switch after the first"
    for name in ("segments", "distinct_sets", "traces", "traces_per_switch"):
        if (count := getattr(extra, name)) is not None:
            yield f"{name.replace('_', ' ')} {count:,}"
    if extra.optimizer_bytes is not None:
        yield f"optimizer {number(extra.optimizer_bytes / 2**20)} MiB"
    if extra.cases is not None:
        yield f"{number(extra.cases / time)} cases per second"
