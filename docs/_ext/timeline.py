"""Small timelines, drawn where a picture says more than the example above them: in HTML, so they follow the theme."""

from __future__ import annotations

import html
from typing import Any

import refreeze
from docutils import nodes
from refreeze.plot import rows
from refreeze.schedule import Segment
from sphinx.util.docutils import SphinxDirective


def drawn(segments: tuple[Segment, ...], names: list[str]) -> str:
    """Return a row for each name, with a bar for each range in which it is frozen, above an axis of the boundaries."""
    total = segments[-1].stop

    def at(tick: int) -> str:
        return f"{100 * tick / total:.4g}%"

    lines, said = [], []
    for row in rows(segments, names):
        ranges = list(zip(row.frozen[::2], row.frozen[1::2], strict=True))
        bars = "".join(f'<i style="left:{at(start)};width:{at(stop - start)}"></i>' for start, stop in ranges)
        lines.append(f"<span>{html.escape(row.names[0])}</span><span>{bars}</span>")
        said.append(f"{row.names[0]} {', '.join(f'[{start}, {stop})' for start, stop in ranges) or 'never'}")
    ticks = sorted({0, total, *(segment.start for segment in segments)})
    axis = "".join(f'<b style="left:{at(tick)}">{tick}</b>' for tick in ticks)
    lines.append(f"<span></span><span>{axis}</span><small><i></i>frozen</small>")
    label = html.escape(f"Frozen: {'; '.join(said)}")
    return f'<div class="timeline" role="img" aria-label="{label}">{"".join(lines)}</div>'


class Timeline(SphinxDirective):
    """``{timeline} TOTAL NAME ...``: a picture of the policy that the expression in it makes of refreeze's names."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        total, *names = self.arguments[0].split()
        policy = eval(" ".join(self.content), {**vars(refreeze)})  # noqa: S307 (of our own pages)
        return [nodes.raw("", drawn(refreeze.segments(policy, int(total)), names), format="html")]


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("timeline", Timeline)
