"""A picture of a run beside its schedule: as ``refreeze.plot`` draws a schedule, and on it when each name moved."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from refreeze import plot
from refreeze.audit.record import Header
from refreeze.errors import Unsupported
from refreeze.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BINS = 400
_MOVED, _WRONG = "#222222", "#d55e00"


class Seen:
    """Remembers when each parameter moved, and when wrongly, in at most 400 pieces of the run; draws it."""

    def __init__(self, plan: Plan, header: Header) -> None:
        self._plan, self._header = plan, header
        bins = min(plan.total, _MOST_BINS)
        self._edges = [number * plan.total // bins for number in range(bins + 1)]
        self._moved = np.zeros((len(header.parameters), bins), bool)
        self._wrong = np.zeros_like(self._moved)

    def _bin(self, tick: int) -> int:
        return int(np.searchsorted(self._edges, tick, "right")) - 1

    def seen(self, tick: int, moved: Iterable[int], wrong: Iterable[int]) -> None:
        """Remember what moved in a step."""
        at = self._bin(tick)
        self._moved[list(moved), at] = True
        self._wrong[list(wrong), at] = True

    def blamed(self, index: int, first: int, last: int) -> None:
        """Remember that a parameter did not move, and should have, from the tick ``first`` to ``last``."""
        self._wrong[index, self._bin(first) : self._bin(last) + 1] = True

    def figure(self, title: str) -> Figure:
        """Return the figure: bars are the schedule, a thin line shows when a name moved, orange what is wrong.

        Raises ``Unsupported`` without matplotlib, and for a schedule that names nothing.
        """
        plan = self._plan
        known = set(plan.names)
        by_name: dict[str, list[int]] = {name: [] for name in plan.names}
        for index, parameter in enumerate(self._header.parameters):
            for name in known.intersection(parameter.names):
                by_name[name].append(index)
        if not known:
            raise Unsupported("there is no picture of a schedule that names nothing")
        figure = plot.draw(plan.segments, plan.names, unit=plan.unit, title=title)
        axes = figure.axes[-1]
        for place, row in enumerate(plot.rows(plan.segments, plan.names)):
            own = sorted({index for name in row.names for index in by_name[name]})
            for kind, height, colour, what in (
                (self._wrong, 0.5, _WRONG, "wrong"), (self._moved, 0.14, _MOVED, "moved"),
            ):  # fmt: skip
                bars = self._bars(kind[own].any(axis=0))
                gid = f"{what} {row.label(80)}"
                axes.broken_barh(bars, (place - height / 2, height), color=colour, linewidth=0, gid=gid)
        from matplotlib.patches import Patch

        shown = [Patch(facecolor=_MOVED, label="moved"), Patch(facecolor=_WRONG, label="otherwise than scheduled")]
        figure.legend(handles=shown, loc="lower right", ncols=2, frameon=False, fontsize=9)
        return figure

    def _bars(self, row: Any) -> list[tuple[float, float]]:
        turns = np.flatnonzero(np.diff(np.asarray(row, np.int8), prepend=0, append=0))
        return [
            (self._edges[start], self._edges[stop] - self._edges[start]) for start, stop in list(pairwise(turns))[::2]
        ]
