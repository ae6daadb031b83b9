"""What the frameworks do: tables of answers and versions, and what was seen, made of the results of the experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from run_all import QUESTIONS
from sphinx.util.docutils import SphinxDirective

NAMES = {
    "keras-tensorflow": "Keras on TensorFlow",
    "keras-jax": "Keras on JAX",
    "keras-torch": "Keras on PyTorch",
    "pytorch": "PyTorch",
    "lightning": "Lightning",
    "lighter": "Lighter",
    "refreeze": "refreeze",
}


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results by question, in the order of the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    return {name: found[name] for name in sorted(found, key=QUESTIONS.index)}


def said(cell: dict[str, Any]) -> str:
    """Return the answer of a system in Markdown."""
    return cell["answer"] or f"*{cell['why']}*"


def shown(value: Any) -> str:
    """Return in Markdown what was seen."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return f"`` {value} ``"
        case dict():
            return "; ".join(f"{key}: {shown(inner)}" for key, inner in value.items())
        case [list(), *_]:
            return "; then ".join(map(shown, value))
        case list():
            return ", ".join(map(str, value)) or "nothing"
    return str(value)


def overview(found: dict[str, dict[str, Any]]) -> str:
    """Return the table of all questions, each with the answers and who gives them, and the table of versions."""
    lines = ["```{list-table}", ":class: frameworks", ":header-rows: 1", ":widths: 30 70", "", "* - question"]
    lines += ["  - answers"]
    versions: dict[str, set[str]] = {system: set() for system in NAMES}
    for name, result in found.items():
        answers: dict[str, list[str]] = {}
        for cell in result["cells"]:
            answers.setdefault(said(cell), []).append(NAMES[cell["system"]])
            if with_ := cell.get("versions"):
                versions[cell["system"]].add(", ".join(f"{package} {with_[package]}" for package in sorted(with_)))
        lines += [f"* - [{result['question']}](#{name.replace('_', '-')})"]
        shown = [f"**{', '.join(systems)}**: {answer}" for answer, systems in answers.items()]
        lines += [f"{'    ' if place else '  - '}- {line}" for place, line in enumerate(shown)]
    lines += ["```", "", "| system | asked with |", "|---|---|"]
    lines += [f"| {NAMES[system]} | {'; '.join(sorted(with_))} |" for system, with_ in versions.items()]
    return "\n".join(lines)


def details(found: dict[str, dict[str, Any]]) -> str:
    """Return a section for each question: how it was asked and when, and what was seen."""
    lines = []
    for name, result in found.items():
        lines += ["", f"({name.replace('_', '-')})=", f"## {result['question']}", "", result["how"], ""]
        lines += ["```console", f"$ python docs/experiments/{name}.py", "```", "", f"Asked on {result['date']}.", ""]
        for cell in result["cells"]:
            lines.append(f"**{NAMES[cell['system']]}**: {said(cell)}")
            lines += [f": {what}: {shown(value)}" for what, value in cell.get("observed", {}).items()] + [""]
    return "\n".join(lines)


class Frameworks(SphinxDirective):
    """``{frameworks} tables``, then ``{frameworks} sections``: headings would come before what is in one directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / "experiments" / "results"
        for path in folder.glob("*.json"):
            self.env.note_dependency(str(path))
        if self.arguments[0] == "sections":
            return self.parse_text_to_nodes(details(results(folder)), allow_section_headings=True)
        return self.parse_text_to_nodes(overview(results(folder)))


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("frameworks", Frameworks)
