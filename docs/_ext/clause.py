"""Clauses: a box with the normative sentence and its stable anchor, a box for reasons, links from every mention."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from refreeze.conformance.catalogue import laws
from refreeze.conformance.clauses import clauses
from refreeze.conformance.vectors import vectors
from sphinx.addnodes import index, pending_xref
from sphinx.domains import ObjType
from sphinx.domains.std import StandardDomain
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

MENTION = re.compile(r"\b([A-Z][A-Z0-9]+-\d+)(?:\.\.\d+)?\b")
_log = logging.getLogger(__name__)


class Clause(SphinxDirective):
    """``:::{clause} SCH-1``: the sentence, from the kit. The anchor is the id in small letters."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        identifier = self.arguments[0]
        known = clauses().get(identifier)
        if known is None:
            _log.warning("%s: no such clause", identifier, location=self.get_location())
            return []
        anchor = identifier.lower()
        box = nodes.container(classes=["clause"], ids=[anchor])
        box += nodes.paragraph(
            "", "", nodes.strong(text=identifier), nodes.inline(text=f" {known.requirement}"), classes=["clause-id"]
        )
        box += self.parse_text_to_nodes(known.text)
        self._link_terms(box)
        box += checks(identifier)
        self.env.get_domain("std").note_object("clause", identifier, anchor, location=box)  # type: ignore[attr-defined]
        return [index(entries=[("single", identifier, anchor, "main", None)]), box]

    def _link_terms(self, box: nodes.Element) -> None:
        """Make a link of the first mention of each term of the glossary."""
        linked: set[str] = set()
        for text in [text for text in box.findall(nodes.Text) if isinstance(text.parent, nodes.paragraph)]:
            parts, place = [], 0
            for found in glossary(Path(self.env.srcdir) / "specification" / "terms.md").finditer(text):
                term = found.lastgroup.replace("_", " ")  # type: ignore[union-attr]
                if term not in linked:
                    linked.add(term)
                    inside = nodes.inline(text=found[0], classes=["xref", "std", "std-term"])
                    to = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": self.env.docname}
                    parts += [nodes.Text(text[place : found.start()]), pending_xref("", inside, **to, refwarn=True)]
                    place = found.end()
            text.parent.replace(text, [*parts, nodes.Text(text[place:])])


@functools.cache
def glossary(path: Path) -> re.Pattern[str]:
    """Return what matches the terms of a page, in one number or the other, each by its group; longer ones first."""
    text = path.read_text(encoding="utf-8").partition("{glossary}")[2]
    terms = sorted(re.findall(r"^(\w[\w ]*)$", text, flags=re.MULTILINE), key=len, reverse=True)
    # To run is no term, and "policies" has another meaning in the clauses: choices.
    forms = {"run": "run", "policy": "policy", "boundary": "boundar(?:y|ies)"}
    choices = [f"(?P<{term.replace(' ', '_')}>{forms.get(term, f'{term}s?')})" for term in terms]
    return re.compile(rf"\b(?:{'|'.join(choices)})\b", flags=re.IGNORECASE)


def checks(clause: str) -> nodes.Node:
    """Return how the kit checks a clause: its laws and its vectors, to unfold, or why there are none."""
    names = [law.id for law in laws().values() if law.clause == clause]
    found = {name: vector.description for name, vector in vectors(clause).items()}
    if not names and not found:
        known = clauses().get(clause)
        return nodes.paragraph("", (known and known.untestable) or "Nothing checks it.", classes=["checks"])
    items = [nodes.list_item("", nodes.paragraph("", "", nodes.literal(text=name))) for name in names]
    items += [
        nodes.list_item("", nodes.paragraph("", "", nodes.literal(text=name), nodes.Text(f" {description}")))
        for name, description in found.items()
    ]
    box = nodes.container(classes=["checks"])
    counts = [
        f"{number} {what}{'s' * (number != 1)}"
        for number, what in ((len(names), "law"), (len(found), "vector"))
        if number
    ]
    box += nodes.raw("", f"<details><summary>Checked by {' and '.join(counts)}</summary>", format="html")
    box += nodes.bullet_list("", *items)
    box += nodes.raw("", "</details>", format="html")
    return box


class Why(SphinxDirective):
    """``:::{why}``: reasons, to unfold; nothing in them is normative."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        opening = '<details class="why"><summary>Why (not normative)</summary>'
        inside = self.parse_content_to_nodes()
        return [nodes.raw("", opening, format="html"), *inside, nodes.raw("", "</details>", format="html")]


class Mentions(SphinxTransform):
    """Marks each mention of a clause in running text; where it is described is known when all pages are read."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        barred = (
            nodes.reference,
            nodes.literal,
            nodes.title,
            nodes.strong,
            nodes.FixedTextElement,
        )
        for text in list(self.document.findall(nodes.Text)):
            parts, place, parent = [], 0, text.parent
            while parent is not None and not isinstance(parent, barred):
                parent = parent.parent
            if parent is not None:
                continue
            for found in MENTION.finditer(text):
                if found[1] not in clauses():
                    continue
                parts += [nodes.Text(text[place : found.start()])] if found.start() > place else []
                parts.append(mention(found[0], nodes.Text(found[0]), identifier=found[1]))
                place = found.end()
            if parts:
                parts += [nodes.Text(text[place:])] if text[place:] else []
                text.parent.replace(text, parts)


class mention(nodes.inline):  # noqa: N801 (as docutils names its nodes)
    """A clause that the text speaks of."""


def link(app: Any, doctree: Any, docname: str) -> None:
    """Make a link of each mention; one of a clause that has no page stays text."""
    where = {name: to for (kind, name), to in app.env.get_domain("std").objects.items() if kind == "clause"}
    for node in list(doctree.findall(mention)):
        target = where.get(node["identifier"])
        text = node.children[0]
        if target is None:
            node.replace_self(text)
        else:
            node.replace_self(make_refnode(app.builder, docname, *target, text, f"Clause {node['identifier']}"))


def setup(app: Any) -> None:
    """Register the directives and the links; clauses are objects of the site's search and inventory."""
    StandardDomain.object_types["clause"] = ObjType("clause", searchprio=-1)  # the search finds its entry of the index
    app.add_node(mention)
    app.add_directive("clause", Clause)
    app.add_directive("why", Why)
    app.add_transform(Mentions)
    app.connect("doctree-resolved", link)
