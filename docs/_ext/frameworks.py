"""What the frameworks do: the table of answers, made of the results of the experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
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
ORDER = (
    "flip", "still_moves", "batch_norm", "optimizer_state", "until_epoch", "resume", "compose", "misspelt",
)  # fmt: skip


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results by question, in the order of the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    return {name: found[name] for name in sorted(found, key=ORDER.index)}


def said(cell: dict[str, Any]) -> str:
    """Return the answer of a system in Markdown."""
    return cell["answer"] or f"*{cell['why']}*"


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """Return the page's text: one table, then for each question how it was asked and what was seen."""
    lines = ["| question | " + " | ".join(NAMES.values()) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for name, result in found.items():
        cells = {cell["system"]: said(cell) for cell in result["cells"]}
        lines.append(
            f"| [{result['question']}](#{name.replace('_', '-')}) | " + " | ".join(cells[s] for s in NAMES) + " |"
        )
    for name, result in found.items():
        lines += ["", f"({name.replace('_', '-')})=", f"## {result['question']}", "", result["how"], ""]
        lines += ["```console", f"$ python docs/experiments/{name}.py", "```", "", f"Asked on {result['date']}.", ""]
        for cell in result["cells"]:
            versions = ", ".join(f"{package} {version}" for package, version in cell.get("versions", {}).items())
            lines += [f"**{NAMES[cell['system']]}**{versions and f' ({versions})'}: {said(cell)}", ""]
            if cell.get("observed"):
                seen = "; ".join(f"{what}: `{json.dumps(value)}`" for what, value in cell["observed"].items())
                lines += [f": {seen}", ""]
    return "\n".join(lines)


class Frameworks(SphinxDirective):
    """``{frameworks} experiments/results``: the table and the sections."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / self.arguments[0]
        for path in folder.glob("*.json"):
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(markdown(results(folder)), allow_section_headings=True)


def setup(app: Any) -> None:
    """Register the directive."""
    app.add_directive("frameworks", Frameworks)
