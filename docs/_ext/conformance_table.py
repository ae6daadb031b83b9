"""The public table: its data for the script that draws it, as a file for machines, and as badges."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from refreeze.conformance.clauses import clauses

COLOURS = {"must": "red", "known": "yellow", "should": "yellowgreen", "holds": "brightgreen"}
WORDS = {"holds": "hold", "should": "lenient", "known": "known", "must": "broken"}


@functools.cache
def table(source: str) -> dict[str, Any]:
    """Return the table that ``python -m peers.table`` combined."""
    found: dict[str, Any] = json.loads(Path(source, "table", "table.json").read_text(encoding="utf-8"))
    return found


def badges(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield by name, for the newest version and each of its dialects, what an endpoint of shields.io says."""
    for row in found["implementations"]:
        newest = row["versions"][-1]
        cells = newest["cells"].values()
        for dialect in sorted({dialect for cell in cells for dialect in cell["dialects"]}):
            counts = Counter(cell["dialects"].get(dialect, "unsupported") for cell in cells)
            said = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state]]
            colour = next((colour for state, colour in COLOURS.items() if counts[state]), "lightgrey")
            label, message = f"{dialect} clauses, {newest['version']}", ", ".join(said) or "not asked"
            badge = {"schemaVersion": 1, "label": label, "message": message, "color": colour}
            yield f"{row['name']}-{dialect}", badge


def add_data(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Put what the script needs into the pages that it draws on."""
    if pagename not in ("table/index", "table/report"):
        return
    where = app.env.get_domain("std").objects.items()
    pages = {name: context["pathto"](doc) + f"#{anchor}" for (kind, name), (doc, anchor) in where if kind == "clause"}
    if pagename == "table/index":
        data = table(app.srcdir) | {"pages": pages}
    else:
        keys = ("id", "title", "requirement", "text")
        data = {"clauses": [{key: getattr(c, key) for key in keys} for c in clauses().values()], "pages": pages}
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    context["body"] += f'<script type="application/json" id="conformance-data">{text}</script>'
    app.add_js_file("conformance.js", loading_method="defer")


def write(app: Any) -> list[tuple[str, dict[str, Any], str]]:
    """Write the table and the badges beside the page."""
    folder = Path(app.outdir, "table")
    (folder / "badges").mkdir(exist_ok=True, parents=True)
    (folder / "table.json").write_bytes(Path(app.srcdir, "table", "table.json").read_bytes())
    for name, badge in badges(table(str(app.srcdir))):
        (folder / "badges" / f"{name}.json").write_text(json.dumps(badge) + "\n", encoding="utf-8")
    return []


def setup(app: Any) -> None:
    """Register what is done for the pages of the table."""
    app.connect("html-page-context", add_data)
    app.connect("html-collect-pages", write)
