"""Pictures of one run: bars for switches, curves for boundaries and for frozen sets. They need the extra ``plot``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from refreeze.bench import pays
from refreeze.bench.stored import Benchmark, StoredRun
from refreeze.errors import Unsupported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_COLOURS = ("#2f6fa7", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#8c564b", "#b0b000")
Curves = dict[str, list[tuple[float, float]]]


def pictures(run: StoredRun) -> dict[str, tuple[str, Figure]]:
    """Return a dictionary from the name of a picture to what it shows and the figure, without pictures of no data.

    Raises ``Unsupported`` without matplotlib.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise Unsupported("pictures need matplotlib: pip install 'refreeze[plot]'") from None
    boundaries = {
        _plain(f"{question}: {subject}"): _curves(
            (bench, x, bench.stats.median) for bench in found if (x := bench.extra_info.x) is not None
        )
        for question in ("boundaries", "schedule")
        for subject, found in run.groups(question).items()
    }
    memory = {
        _plain(model): _curves(
            (bench, switch, mib - bench.extra_info.resident_mib[0])
            for bench in found
            for switch, mib in enumerate(bench.extra_info.resident_mib)
        )
        for model, found in run.groups("memory").items()
    }
    with style.context("default"):
        drawn = {
            "pays": ("When freezing pays: time against plain training", _pays(pays.parts(run))),
            "switch": ("Cost of a switch, by model", _bars(run.groups("switch"))),
            "boundaries": ("Time against number of boundaries", _lines(boundaries, "boundaries", "seconds", log=True)),
            "memory": (
                "Memory against distinct sets",
                _lines(memory, "further distinct frozen sets", "more MiB resident"),
            ),
        }
    return {name: (alt, figure) for name, (alt, figure) in drawn.items() if figure is not None}


def _curves(points: Iterable[tuple[Benchmark, float, float]]) -> Curves:
    found: Curves = {}
    for bench, x, y in points:
        found.setdefault(_plain(bench.extra_info.series or bench.case), []).append((x, y))
    return found


def _plain(name: str) -> str:
    """Return a name as matplotlib shows it: a pair of dollar signs would make a formula of it."""
    return name.replace("$", r"\$")


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
    benches = sorted((b for found in groups.values() for b in found), key=lambda b: b.stats.median)
    cases = list(dict.fromkeys(bench.case for bench in benches))
    figure, (axes,) = _figure(1, 10)
    width = 0.8 / len(cases)
    for place, case in enumerate(cases):
        bars = [(at, b.stats) for at, found in enumerate(groups.values()) for b in found if b.case == case]
        spread = [[s.median - s.q1 for _, s in bars], [s.q3 - s.median for _, s in bars]]
        at = [x + (place - (len(cases) - 1) / 2) * width for x, _ in bars]
        colour = _COLOURS[place % len(_COLOURS)]
        axes.bar(
            at, [s.median for _, s in bars], width, yerr=spread, label=_plain(case), color=colour, ecolor="#222222"
        )
    axes.set_yscale("log")
    axes.set_ylabel("seconds")
    axes.set_xticks(range(len(groups)), list(map(_plain, groups)))
    axes.set_title("a switch: a revisit alone, all else with the first step after it", loc="left", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _lines(panels: dict[str, Curves], xlabel: str, ylabel: str, log: bool = False) -> Figure | None:
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return None
    figure, axes = _figure(len(panels), 5 * len(panels))
    labels = dict.fromkeys(label for curves in panels.values() for label in curves)
    colours = dict(zip(labels, itertools.cycle(_COLOURS)))
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        for label, points in curves.items():
            panel.plot(*zip(*sorted(points), strict=True), ".-", label=label, color=colours[label])
        if log:
            panel.set_xscale("symlog", linthresh=1)
            panel.set_yscale("log")
        else:
            panel.locator_params(axis="x", integer=True)
        panel.set_title(title, loc="left")
        panel.set_xlabel(xlabel)
        panel.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel(ylabel)
    return figure


def _pays(models: dict[str, list[pays.Parts]]) -> Figure | None:
    shares = {(model, one.share): None for model, found in models.items() for one in found}
    if not shares:
        return None
    figure, axes = _figure(len(shares), 4 * len(shares))
    colours = dict(
        zip(dict.fromkeys(one.switch for found in models.values() for one in found), itertools.cycle(_COLOURS))
    )
    steps = [round(10 ** (power / 10)) for power in range(41)]
    for panel, (model, share) in zip(axes, shares, strict=True):
        for one in models[model]:
            for sets, line in ((5, "--"), (50, "-")) if one.share == share else ():
                totals = [one.total(sets, number) for number in steps]
                panel.plot(steps, totals, line, label=f"{_plain(one.switch)}, {sets} sets", color=colours[one.switch])
        panel.axhline(1, color="#222222", linewidth=1)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(f"{_plain(model)}, {share:.0%} of the layers frozen", loc="left", fontsize=10)
        panel.set_xlabel("steps per set")
        panel.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("time / plain training of everything")
    return figure
