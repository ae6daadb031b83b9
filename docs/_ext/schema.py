"""The keys of a dialect's configuration: from its JSON Schema, with what the fields' docstrings say."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from refreeze.audit import record
from refreeze.conformance import vectors
from refreeze.dialects import BUILT_IN, dialect
from sphinx.util.docutils import SphinxDirective

Table = tuple[str, str, list[tuple[str, str, str, str]]]


def said(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of the fields of each class of a module: class -> field -> text."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {}
            for base in node.bases:
                found[node.name] |= found.get(base.id, {}) if isinstance(base, ast.Name) else {}
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    found[node.name][field.target.id] = " ".join(text.value.value.split())  # type: ignore[union-attr,attr-defined]
    return found


def plural(words: str) -> str:
    """Return several of what ``words`` says one is."""
    return re.sub(r"^an? (\S*?-empty )?(string|integer|number|list)", r"\1\2s", words)


def kind(schema: dict[str, Any]) -> str:
    """Return in words what values a schema allows."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f"``{value!r}``".replace("'", '"') for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(option) for option in schema["anyOf"]))
    match schema.get("type"):
        case "null":
            return "null"
        case "array" if "prefixItems" in schema:
            return "a list: " + ", ".join(kind(item) for item in schema["prefixItems"])
        case "array":
            return f"a {'non-empty ' * bool(schema.get('minItems'))}list of {plural(kind(schema['items']))}"
        case "object" if not isinstance(schema.get("additionalProperties"), dict):
            return "an object"
        case "object":
            return "an object, whose values are " + plural(kind(schema["additionalProperties"]))
        case "integer" | "number" as what:
            signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
            bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema and schema[key] < 1e300]
            return f"{'an' if what == 'integer' else 'a'} {what} {', '.join(bounds)}".strip()
        case "boolean":
            return "true or false"
        case what:
            return f"a {what}" + (f" like ``{schema['pattern']}``" if "pattern" in schema else "")


def tables(name: str) -> Iterator[Table]:
    """Yield for each kind of object its name, what it is, and a row for each key."""
    schema = dialect(name).json_schema()
    texts = said(f"refreeze.dialects.{name}")
    for title, definition in schema["$defs"].items():
        rows = []
        for key, value in definition["properties"].items():
            default = "see below"
            if "default" in value:
                default = f"``{json.dumps(value['default'])}``"
            elif key in definition.get("required", ()):
                default = "*required*"
            rows.append((key, kind(value), default, texts.get(title, {}).get(key, "Which of these it is.")))
        yield title, definition.get("description", ""), rows


class Schema(SphinxDirective):
    """``{schema} vl3d``: a table for each kind of object in a configuration of that dialect."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        text = [f"The configuration is {kind(dialect(name).json_schema())}.\n"]
        for title, description, rows in tables(name):
            text.append(f"\n**{title}**: {description}\n\n.. list-table::\n   :header-rows: 1\n   :class: schema\n")
            for row in [("key", "value", "default", "meaning"), *[(f"``{key}``", *rest) for key, *rest in rows]]:
                text.append("   * - " + "\n     - ".join(row))
            text.append("")
        rst = "\n".join(text)
        fenced = f"````{{eval-rst}}\n{rst}\n````"
        return self.parse_text_to_nodes(fenced)


def write(app: Any) -> list[tuple[str, dict[str, Any], str]]:
    """Write JSON Schemas to ``schemas/`` of the site: of each dialect's files, of vectors, of a line of a record."""
    folder = Path(app.outdir) / "schemas"
    folder.mkdir(exist_ok=True, parents=True)
    found = {name: dialect(name).file_schema() for name in BUILT_IN}
    found |= {"vectors": vectors.schema(), "record": record.schema()}
    for name, schema in found.items():
        (folder / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    return []


def setup(app: Any) -> None:
    """Register the directive, and the files beside the pages."""
    app.add_directive("schema", Schema)
    app.connect("html-collect-pages", write)
