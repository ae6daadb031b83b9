"""The reference of the code: every public module of a room, every name that a package exports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from docutils import nodes
from sphinx.ext.autodoc.mock import mock
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

_log = logging.getLogger(__name__)


def modules(name: str) -> list[str]:
    """Return the public modules at and below ``name``, in the order in which one reads them."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        _log.warning("module %s cannot be imported: %s", name, error)
        return []
    found = [name]
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if not inner.name.startswith("_"):
            found += modules(f"{name}.{inner.name}")
    return found


def section(name: str) -> str:
    """Return the text of a module: what it defines, or a table of what it passes on from others."""
    module = importlib.import_module(name)
    if hasattr(module, "__all__"):
        own = [each for each in module.__all__ if getattr(getattr(module, each), "__module__", None) == name]
        described = "".join(f".. autofunction:: {name}.{each}\n\n" for each in own)
        return f".. automodule:: {name}\n   :no-members:\n\n{exports(module)}\n\n{described}"
    return f".. automodule:: {name}\n\n"


def exports(module: Any) -> str:
    """Return a table of the names in ``__all__``, each linked to where it is described."""
    rows = [".. list-table::\n   :widths: auto\n"]
    for name in module.__all__:
        thing, shown, sentence = getattr(module, name), f"``{name}``", ""
        if callable(thing):
            shown = f":py:obj:`{name} <{thing.__module__}.{thing.__qualname__}>`"
            sentence = (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")
        rows.append(f"   * - {shown}\n     - {sentence or 'A value.'}")
    return "\n".join(rows)


class Room(SphinxDirective):
    """``.. room:: package module ...``: a section for each public module at or below these."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        with mock(self.config.autodoc_mock_imports):
            found = [name for argument in self.arguments[0].split() for name in modules(argument)]
            text = "".join(f"{name}\n{'-' * len(name)}\n\n{section(name)}" for name in found)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Exports(SphinxDirective):
    """``.. exports:: package``: the package without what is below it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(section(self.arguments[0]))


def setup(app: Any) -> None:
    """Register the directives."""
    app.add_directive("room", Room)
    app.add_directive("exports", Exports)
