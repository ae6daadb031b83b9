"""How large plain data may be: the numbers, and the function that refuses what is larger before it is used.

The numbers are far beyond any real configuration. They are there because an input of a few bytes can otherwise take all
memory or never end. ``docs/specification/limits.md`` has a table of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from refreeze.errors import InvalidSpec
from refreeze.reading import NESTING_LIMIT
from refreeze.selectors import Names, distinct, indexed

MOST_VALUES = 200_000
"""Values in a configuration, keys and the entries of lists counted; what YAML's aliases repeat counts each time."""
MOST_TEXT = 1_000
"""Characters of a text, such as a name or a key."""
MOST_DIGITS = 1_000
"""Decimal digits of an integer."""

MOST_NAMES = 100_000
"""Names in a list of all that can be frozen."""
MOST_CHARACTERS = 10_000_000
"""Characters of all these names together."""
MOST_PARTS = 32
"""Parts of a path such as ``backbone/block1/conv``."""

_MOST = 10**MOST_DIGITS
_SURROGATE = re.compile("[\ud800-\udfff]")

_Place = tuple[Any, object]
"""A place in plain data: that of the container, and the key or index in it; None is the whole."""


def check_plain(data: object, where: str = "") -> None:
    """Raise ``InvalidSpec``, with the place, for plain data beyond the limits, and for what only resembles plain data.

    A set has no order, and a Decimal no bits: msgspec would take them for a list and a number. A text with half of a
    surrogate pair cannot be written to any file. Costs what the data have values; nothing here recurses.

    >>> check_plain([{"layers": {"stem"}}], "freeze_training")
    Traceback (most recent call last):
    refreeze.errors.InvalidSpec: freeze_training[0].layers = {'stem'} must be plain data, as in JSON
    """
    todo: list[tuple[object, _Place | None, int]] = [(data, None, 0)]
    left = MOST_VALUES
    while todo:
        value, place, depth = todo.pop()
        if wrong := _wrong(value):
            raise InvalidSpec(_shown(where, place), value, wrong)
        if isinstance(value, Mapping | list | tuple):
            left -= len(value)
            if left < 0:
                raise InvalidSpec(where or "config", value, f"part of data of at most {MOST_VALUES:,} values")
            if depth == NESTING_LIMIT:
                raise InvalidSpec(where or "config", value, f"nested at most {NESTING_LIMIT} levels deep")
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += [(item, (place, key), depth + 1) for key, item in reversed(list(items))]


def wrong_text(text: str) -> str | None:
    """Return what a text must be that is too long, or that no encoding can write; None for any other."""
    if len(text) > MOST_TEXT:
        return f"at most {MOST_TEXT:,} characters long"
    return None if text.isascii() or not _SURROGATE.search(text) else "text without half of a surrogate pair"


def _wrong(value: object) -> str | None:
    """Return what ``value`` must be, whatever is in it."""
    if isinstance(value, str):
        return wrong_text(value)
    if isinstance(value, int) and not -_MOST < value < _MOST:
        return f"an integer of at most {MOST_DIGITS:,} digits"
    if isinstance(value, Mapping):
        wrong = next(filter(None, (wrong_text(key) for key in value if isinstance(key, str))), None)
        return wrong and f"an object with keys that are {wrong}"
    odd = isinstance(value, Decimal) or (isinstance(value, Iterable) and not isinstance(value, list | tuple))
    return "plain data, as in JSON" if odd else None


def _shown(where: str, place: _Place | None) -> str:
    """Return ``place`` as configurations are written in errors, such as ``freeze_training[0].layers``."""
    parts = []
    while place is not None:
        place, key = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return (where + "".join(reversed(parts))).lstrip(".") or "config"


def checked_names(where: str, names: Sequence[str]) -> Names:
    """Return ``names``; raises ``InvalidSpec`` for what is no list of distinct texts within the limits.

    >>> checked_names("--names", "stem")
    Traceback (most recent call last):
    refreeze.errors.InvalidSpec: --names = 'stem' must be a list of names
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InvalidSpec(where, names, "a list of names")
    if len(names) > MOST_NAMES:
        raise InvalidSpec(where, names, f"a list of at most {MOST_NAMES:,} names")
    if sum(map(len, names)) > MOST_CHARACTERS:
        raise InvalidSpec(where, names, f"a list of names of together at most {MOST_CHARACTERS:,} characters")
    for name in names:
        if wrong := wrong_text(name):
            raise InvalidSpec(where, name, wrong)
        if name.count("/") >= MOST_PARTS:
            raise InvalidSpec(where, name, f"a path of at most {MOST_PARTS} parts")
    return indexed(distinct(names, where))
