"""Which dialects there are: the built-in ones, and those of installed entry points."""

from __future__ import annotations

import importlib
import importlib.metadata

from refreeze.dialects.base import Dialect
from refreeze.errors import InvalidSpec

BUILT_IN = (
    "vl3d", "lighter", "kempner", "fastai", "composer", "freezeout", "gradual", "chain_thaw", "lisa", "lightning",
    "nemo", "fts", "badam", "updates", "luxonis", "stop_after", "two_phase", "dino", "recorded",
)  # fmt: skip
_GROUP = "refreeze.dialects"
"""The entry points of third parties, and the package of the built-in ones."""


def _built_in(name: str) -> Dialect:
    found: Dialect = importlib.import_module(f"{_GROUP}.{name}").DIALECT
    return found


def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=_GROUP):
        if entry.name in (*BUILT_IN, *found):
            raise InvalidSpec(f"entry point {entry.value}", entry.name, "a name that no other dialect has")
        found[entry.name] = entry
    return found


def _load(entry: importlib.metadata.EntryPoint) -> Dialect:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidSpec(f"entry point {entry.name}", entry.value, f"a Dialect to import ({error})") from error
    if not isinstance(found, Dialect) or found.name != entry.name:
        raise InvalidSpec(f"entry point {entry.name}", found, f"a Dialect with the name {entry.name!r}")
    return found


def dialects() -> dict[str, Dialect]:
    """Return every dialect by name: the built-in ones in a fixed order, then those of installed entry points.

    Raises ``InvalidSpec`` for an entry point that has a name already taken, cannot be imported, or is no ``Dialect``.
    """
    return {name: _built_in(name) for name in BUILT_IN} | {n: _load(entry) for n, entry in _installed().items()}


def dialect(name: str) -> Dialect:
    """Return the dialect called ``name``; raises ``InvalidSpec`` with the known ones if there is none.

    Only that dialect is imported: a broken entry point does not hinder the others.

    >>> dialect("lighter").unit
    'steps'
    """
    if isinstance(name, str) and name in BUILT_IN:
        return _built_in(name)
    installed = _installed()
    if not isinstance(name, str) or name not in installed:
        raise InvalidSpec("dialect", name, f"one of {', '.join(map(repr, (*BUILT_IN, *installed)))}")
    return _load(installed[name])
