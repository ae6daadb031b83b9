"""Pictures of schedules, as figures and as text: a row for each name, from the input on, with the ticks along it.

A figure and a text show the same: when each name is frozen, the boundaries, and the learning rates that are set. If
there are many names, neighbours with equal schedules share a row. Figures need matplotlib, the extra ``plot``; they
leave its global settings as they are.
"""

from __future__ import annotations

import bisect
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from refreeze.errors import InvalidSpec, UnknownName, Unsupported
from refreeze.policy import NOTHING
from refreeze.rates import Rates
from refreeze.schedule import Segment
from refreeze.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

_APART = 40
"""Up to so many names each has a row of its own."""

_MOST_TICKS = 2**53
"""Up to here floating-point numbers are exact ticks."""


@dataclass(frozen=True, slots=True)
class Row:
    """Neighbouring names with one schedule."""

    names: tuple[str, ...]
    """In declaration order, one or more."""
    frozen: tuple[int, ...]
    """The ticks start, stop, start, stop, … of the ranges in which they are frozen; they increase strictly."""
    inference: tuple[int, ...]
    """The same of the ranges in which they run in inference mode."""

    def label(self, most: int) -> str:
        """Return the name, or the first and the last one and how many there are, in about ``most`` characters."""
        count = f" ({len(self.names)})"
        if len(self.names) == 1:
            return _shortened(self.names[0], most)
        each = max(4, (most - len(count) - 3) // 2)
        return f"{_shortened(self.names[0], each)} … {_shortened(self.names[-1], each)}{count}"


def _shortened(name: str, most: int) -> str:
    name = "".join(char if char.isprintable() else "?" for char in name)
    kept = max(3, most - 1)
    return name if len(name) <= kept + 1 else f"{name[: kept // 2]}…{name[kept // 2 - kept :]}"


def rows(segments: Sequence[Segment], names: Sequence[str]) -> list[Row]:
    """Return what there is to draw, in the order of ``names``: the errors are those of ``draw``.

    >>> rows([Segment(0, 2, frozenset("a")), Segment(2, 5, frozenset())], ["a", "b"])[0]
    Row(names=('a',), frozen=(0, 2), inference=())
    """
    if not segments or not names:
        raise InvalidSpec("names" if segments else "segments", [], "one or more")
    if segments[-1].stop > _MOST_TICKS:
        raise InvalidSpec("total", segments[-1].stop, "at most 2**53 in a picture")
    changes: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in names}
    scheduled = NOTHING.union(*{s.frozen for s in segments}, *{s.bn_frozen for s in segments})
    if missing := sorted(scheduled - changes.keys()):
        raise UnknownName("segments", missing, names)
    frozen, inference = NOTHING, NOTHING
    for segment in segments:
        for name in segment.frozen ^ frozen:
            changes[name][0].append(segment.start)
        for name in segment.bn_frozen ^ inference:
            changes[name][1].append(segment.start)
        frozen, inference = segment.frozen, segment.bn_frozen
    for ticks in itertools.chain(*changes.values()):
        ticks += [segments[-1].stop] * (len(ticks) % 2)
    groups: Iterable[Iterable[str]] = zip(names)
    if len(names) > _APART:
        groups = (group for _, group in itertools.groupby(names, changes.__getitem__))
    found = map(tuple, groups)
    return [Row(group, *map(tuple, changes[group[0]])) for group in found]


def _share(ranges: Sequence[int], edges: NDArray[Any]) -> NDArray[Any]:
    """Return, for every bin between two ``edges``, the share of its ticks that lie in the ``ranges``."""
    if not ranges:
        return np.zeros(len(edges) - 1)
    lengths = np.diff(ranges, prepend=ranges[0])
    lengths[::2] = 0  # from a stop to the next start
    share: NDArray[Any] = np.diff(np.interp(edges, ranges, np.cumsum(lengths))) / np.diff(edges)
    return share


def _settings(segments: Iterable[Segment]) -> list[tuple[int, float]]:
    return [(s.start, s.learning_rate) for s in segments if s.learning_rate is not None]


def _thinned(settings: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return, of many settings, the lowest and the highest in each of a thousand pieces, and the first."""
    if len(settings) <= _MOST_BARS:
        return list(settings)
    pieces = [settings[at : at + len(settings) // 1000] for at in range(0, len(settings), len(settings) // 1000)]
    kept = {pick(piece, key=lambda setting: (setting[1], setting[0])) for piece in pieces for pick in (min, max)}
    return sorted({settings[0], *kept})


# Text


_GLYPHS = {
    "frozen": ("█", "#", "blue"),
    "frozen in half the column or more": ("▓", "%", "blue"),
    "frozen in less than half": ("░", "+", "blue"),
    "trainable, batch norm in inference mode": ("▒", "=", "cyan"),
    "trainable": ("·", ".", "bright_black"),
}
_FROZEN, _MOSTLY, _PARTLY, _INFERENCE, _TRAINABLE = _GLYPHS


def _state(frozen: float, inference: float) -> str:
    if frozen == 0:
        return _INFERENCE if inference >= 0.5 else _TRAINABLE
    return _FROZEN if frozen == 1 else _MOSTLY if frozen >= 0.5 else _PARTLY


@dataclass(frozen=True, slots=True)
class Timeline:
    """A schedule that a rich console can print, with or without colour; made by ``text``."""

    rows: Sequence[Row]
    segments: Sequence[Segment]
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the boundaries, the rows, the legend of what they show, and the learning rates that are set."""
        total = self.segments[-1].stop
        labels = [Text(row.label(9 * self.width // 20)) for row in self.rows]
        indent = max(label.cell_len for label in labels) + 2
        columns = max(10, self.width - indent)
        cell, bins = max(1, columns // total), min(columns, total)
        edges = np.array([number * total // bins for number in range(bins + 1)])

        def line(*parts: Text | str | tuple[str, str]) -> Text:
            return Text.assemble(*parts, no_wrap=True, overflow="crop")

        starts = np.array([segment.start for segment in self.segments])
        columns_of_starts, first = np.unique((np.searchsorted(edges, starts, "right") - 1) * cell, return_index=True)
        marks = {int(column): f"{starts[at]:,}" for column, at in zip(columns_of_starts, first, strict=True)}
        end, above = f"{total:,}".rjust(cell * bins), ""
        for column, tick in marks.items():
            if column > len(above) - (column == 0) and column + len(tick) < len(end) - len(f"{total:,}"):
                above = above.ljust(column) + tick
        ruler = "".join(("┬+" if column in marks else "─-")[options.ascii_only] for column in range(cell * bins))
        yield line(" " * indent, above, end[len(above) :])
        yield line(" " * indent, (ruler, "bright_black"))
        seen = set()
        for row, label in zip(self.rows, labels, strict=True):
            states = list(map(_state, _share(row.frozen, edges), _share(row.inference, edges)))
            seen |= set(states)
            runs = [(_GLYPHS[state], len(list(run))) for state, run in itertools.groupby(states)]
            bars = [(glyph[options.ascii_only] * cell * length, glyph[2]) for glyph, length in runs]
            yield line(label, " " * (indent - label.cell_len), *bars)
        legend = [
            f"[{glyph[2]}]{glyph[options.ascii_only]}[/] {state}" for state, glyph in _GLYPHS.items() if state in seen
        ]
        yield Padding(Text.from_markup("   ".join(legend)), (0, 0, 0, indent))
        if rates := [
            (rate, list(run)) for rate, run in itertools.groupby(_settings(self.segments), lambda setting: setting[1])
        ]:
            shown = [f"{rate:g} from {run[0][0]:,}" + f" ({len(run):,} times)" * (len(run) > 1) for rate, run in rates]
            more = f" and {len(rates) - 6:,} more" if len(rates) > 6 else ""
            yield Text(f"learning rate: {', '.join(shown[:6])}{more}")


def text(segments: Sequence[Segment], names: Sequence[str], width: int) -> Timeline:
    """Return the schedule as something that a rich console prints, ``width`` columns wide, with or without colour.

    A column of a row is █ if the name is frozen in all its ticks, ▓ if in half or more, ░ if in some, ▒ if it trains
    but runs in inference mode, · if it trains; a console without Unicode shows # % + = and a dot. ``names``, the
    segments and the errors are those of ``draw``.
    """
    return Timeline(rows(segments, names), tuple(segments), width)


# Figures


_BLUE, _GREY, _HATCH, _ORANGE, _LINE = "#2f6fa7", "#e6e6e6", "#8c8c8c", "#d55e00", "#555555"
_MOST_BARS = 10_000
"""From so many bars on, finer than pixels, a figure shows shares of frozen ticks as an image."""
_MOST_LINES = 80
"""Up to so many boundaries are drawn, and settings of the learning rate marked."""


def _style() -> AbstractContextManager[None]:
    """Return the context in which all is drawn and written: matplotlib's own defaults, whatever the user's are."""
    try:
        from matplotlib import style
    except ImportError:
        raise Unsupported("pictures need matplotlib: pip install 'refreeze[plot]'") from None
    return style.context(["default", {"svg.hashsalt": "refreeze", "svg.fonttype": "none", "font.size": 9}])


def draw(
    segments: Sequence[Segment],
    names: Sequence[str],
    *,
    unit: str = "epochs",
    title: str | None = None,
    rates: Rates | None = None,
) -> Figure:
    """Return the schedule as a matplotlib figure: names from top to bottom in their order, ticks from left to right.

    ``segments`` are one or more, ``names`` distinct, with all that are ever frozen. The learning rates that segments
    set are drawn above, as are ``rates``, those of single names. Raises ``InvalidSpec`` for no segments or no names,
    ``UnknownName`` for a frozen name that is not in ``names``, ``Unsupported`` without matplotlib.
    """
    shown = rows(segments, names)
    height = min(30.0, len(shown) * (0.28 if len(shown) <= _APART else 0.125))
    at, curves = _curves(segments, names, rates) if rates else ([], {})
    heights = [0.7, height] if _settings(segments) or curves else [height]
    with _style():
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        figure = Figure(figsize=(10, sum(heights) + 1.2), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        _bars(axes[-1], shown, segments[-1].stop, height / len(shown))
        axes[-1].set_xlabel(unit)
        if len(segments) <= _MOST_LINES:
            starts = [segment.start for segment in segments[1:]]
            axes[-1].vlines(starts, -0.5, len(shown) - 0.5, _LINE, linewidth=0.5, gid="boundaries")
        if len(heights) > 1:
            _strip(axes[0], segments, at, curves)
        axes[0].set_title(title or "", loc="left", fontsize=11, parse_math=False)
        frozen = "frozen (paler: in part of the time)" if _dense(shown) else "frozen"
        legend = [Patch(facecolor=_BLUE, label=frozen), Patch(facecolor=_GREY, label="trainable")]
        if any(row.inference for row in shown):
            meaning = "batch norm in inference mode"
            legend.append(Patch(facecolor="none", edgecolor=_HATCH, linewidth=0, hatch="////", label=meaning))
        figure.legend(handles=legend, loc="outside lower left", ncols=3, frameon=False)
        if layout := figure.get_layout_engine():  # once, here: each rendering would move things a little further
            layout.execute(figure)
            figure.set_layout_engine("none")
        return figure


def _boxes(places: Iterable[int], ranges: Sequence[int], half: float) -> Outline:
    """Return one outline of a box for each of the ``ranges`` in each of the rows ``places``."""
    from matplotlib.path import Path

    pairs = list(zip(ranges[::2], ranges[1::2], strict=True))
    corners = [
        [(start, at - half), (stop, at - half), (stop, at + half), (start, at + half), (start, at - half)]
        for at in places
        for start, stop in pairs
    ]
    return Path.make_compound_path_from_polys(np.array(corners)[:, :4])


def _dense(rows: Iterable[Row]) -> bool:
    return sum(len(row.frozen) for row in rows) > 2 * _MOST_BARS


def _bars(axes: Axes, rows: Sequence[Row], total: int, row_height: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import PathPatch
    from matplotlib.ticker import MaxNLocator

    roomy = row_height > 0.2
    half = 0.4 if roomy else 0.45
    if _dense(rows):
        edges = np.linspace(0, total, min(total, 1000) + 1)
        shares = np.stack([_share(row.frozen, edges) for row in rows])
        colours = LinearSegmentedColormap.from_list("frozen", [_GREY, _BLUE], N=16)
        extent = (0, total, len(rows) - 0.5, -0.5)
        axes.imshow(shares, colours, vmin=0, vmax=1, extent=extent, aspect="auto", interpolation="none", gid="frozen")
        axes.hlines(np.arange(1, len(rows)) - 0.5, 0, total, "white", linewidth=1)
    else:
        axes.add_patch(PathPatch(_boxes(range(len(rows)), (0, total), half), color=_GREY, linewidth=0, gid="trainable"))
        for place, row in enumerate(rows):
            if row.frozen:
                gid = f"frozen {row.label(80)}"
                axes.add_patch(PathPatch(_boxes([place], row.frozen, half), color=_BLUE, linewidth=0, gid=gid))
    for place, row in enumerate(rows):
        if row.inference:
            ranges = row.inference
            if len(ranges) > _MOST_BARS:  # finer than pixels: where it is so in half of a thousandth or more
                edges = np.linspace(0, total, min(total, 1000) + 1)
                turns = np.flatnonzero(np.diff(_share(ranges, edges) >= 0.5, prepend=False, append=False))
                ranges = tuple(map(int, edges[turns]))
            look = {"facecolor": "none", "edgecolor": _HATCH, "hatch": "////", "linewidth": 0}
            axes.add_patch(PathPatch(_boxes([place], ranges, half), gid=f"inference {row.label(80)}", **look))
    axes.set_xlim(0, total)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    regular = MaxNLocator(15 if total < 1000 else 10, steps=[1, 2, 5, 10], integer=True).tick_values(0, total)
    ticks = [*(int(tick) for tick in regular if tick <= 0.95 * total), total]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_yticks([])  # hundreds of tick labels are slow: matplotlib measures each a dozen times
    for place in range(0, len(rows), math.ceil(0.11 / row_height)):
        style: dict[str, Any] = {"ha": "right", "va": "center", "parse_math": False, "fontsize": 9 if roomy else 7}
        axes.text(-0.006, place, rows[place].label(44), transform=axes.get_yaxis_transform(), **style)
    axes.spines[:].set_visible(False)


def _curves(
    segments: Sequence[Segment], names: Sequence[str], rates: Rates
) -> tuple[list[int], dict[str, list[float]]]:
    """Return up to 401 ticks, the end as well, and name -> rates there, NaN while it has none or is frozen."""
    total, starts = segments[-1].stop, [segment.start for segment in segments]
    at = sorted({tick * total // 400 for tick in range(400)})
    now = [(rates.learning_rates_at(tick), segments[bisect.bisect(starts, tick) - 1].frozen) for tick in at]
    now.append(now[-1])
    found = {
        name: [math.nan if name in frozen else rate.get(name, math.nan) for rate, frozen in now]
        for name in names
        if name in rates.names
    }
    return [*at, total], {name: curve for name, curve in found.items() if not all(map(math.isnan, curve))}


def _strip(axes: Axes, segments: Sequence[Segment], at: Sequence[int], curves: Mapping[str, Sequence[float]]) -> None:
    """Draw the learning rates that segments set, and those of single names, the first of them darkest."""
    from matplotlib import colormaps

    if settings := _thinned(_settings(segments)):
        ticks, rates = zip(*settings, strict=True)
        axes.step([*ticks, segments[-1].stop], [*rates, rates[-1]], where="post", color=_ORANGE, linewidth=1.2)
        if len(ticks) <= _MOST_LINES:
            axes.plot(ticks, rates, ".", color=_ORANGE, clip_on=False)
    for place, curve in enumerate(curves.values()):
        axes.step(at, curve, where="post", color=colormaps["cividis"](0.9 * place / len(curves)), linewidth=1)
    shown = {rate for curve in curves.values() for rate in curve if not math.isnan(rate)}
    shown |= {rate for _, rate in settings}
    ends = sorted({min(shown), max(shown)})
    axes.set_yscale("log" if ends[-1] >= 10 * ends[0] > 0 else "linear")
    axes.set_yticks(ends, [f"{rate:.3g}" for rate in ends])
    axes.minorticks_off()
    axes.margins(y=0.2)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("learning\nrate", rotation=0, ha="right", va="center")


def render(figure: Figure, format: Literal["png", "svg"]) -> bytes:  # noqa: A002 (matplotlib's word)
    """Return ``figure`` as the bytes of a PNG or SVG file; equal figures give equal bytes."""
    file = io.BytesIO()
    options: dict[str, Any] = {"metadata": {"Date": None}}
    if format == "png":
        options = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 4}}
    with _style():
        figure.savefig(file, format=format, dpi=120, **options)
    return file.getvalue()


def format_of(path: str | Path, where: str = "path") -> Literal["png", "svg"]:
    """Return the format of a picture, as the ending of its file says; raises ``InvalidSpec`` for another one."""
    ending = Path(path).suffix.lower()
    if ending != ".png" and ending != ".svg":
        raise InvalidSpec(where, str(path), "named .png or .svg")
    return "png" if ending == ".png" else "svg"


def save(figure: Figure, path: str | Path, where: str = "path") -> None:
    """Write ``figure`` to ``path``, as its ending says: .png or .svg. Raises ``InvalidSpec`` if that cannot be done."""
    write_whole(where, path, [render(figure, format_of(path, where))])
