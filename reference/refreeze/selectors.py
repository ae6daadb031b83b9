"""Selectors: which of the declared names are meant. Each fails loudly if it means none of them (NAM-2, NAM-3).

A selector is a function from the declared names, in declaration order, to the chosen ones, in that order unless it
says otherwise. Names may be paths: ``backbone/conv1`` lies in the container ``backbone``.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from refreeze.errors import EmptySelection, InvalidSpec, UnknownName

Selector = Callable[[Sequence[str]], tuple[str, ...]]


class Names(tuple[str, ...]):
    """Declared names in order, of which some can be called otherwise too: a shared layer by each of its paths."""

    aliases: Mapping[str, str]
    """The name by each other path."""

    def __new__(cls, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> Names:
        """Return the names, with their aliases, which are no names themselves."""
        made = super().__new__(cls, names)
        made.aliases = aliases or {}
        return made


def _paths(names: Sequence[str]) -> dict[str, str]:
    """Return the name by each path that it has: itself, and its aliases."""
    return {name: name for name in names} | dict(getattr(names, "aliases", {}))


def _matching(where: str, shown: object, test: Callable[[str], object]) -> Selector:
    def select(names: Sequence[str]) -> tuple[str, ...]:
        matching = {name for path, name in _paths(names).items() if test(path)}
        if not matching:
            raise EmptySelection(where, shown)
        return tuple(name for name in names if name in matching)

    return select


def everything(where: str = "names") -> Selector:
    """Return the selector of all names, in declaration order (NAM-1)."""
    return _matching(where, "all", lambda name: True)


def in_reverse(selector: Selector) -> Selector:
    """Return the selector of the same names in the reverse order (NAM-1)."""
    return lambda names: selector(names)[::-1]


def distinct(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return ``names`` as a tuple; raises ``InvalidSpec`` with those that occur more than once."""
    names = names if isinstance(names, tuple) else tuple(names)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidSpec(where, list(names), f"distinct names (repeated: {', '.join(map(repr, repeated))})")
    return names


def exactly(*wanted: str, where: str = "names") -> Selector:
    """Return the selector of the names ``wanted``, in the order in which they are wanted.

    Raises ``UnknownName`` with every missing one (NAM-2), ``InvalidSpec`` for one wanted twice.

    >>> exactly("c", "a")(["a", "b", "c"])
    ('c', 'a')
    """

    def select(names: Sequence[str]) -> tuple[str, ...]:
        paths = _paths(names)
        if missing := [name for name in wanted if name not in paths]:
            raise UnknownName(where, missing, names)
        return distinct((paths[name] for name in wanted), where)

    return select


def under(*wanted: str, where: str = "names", separator: str = "/") -> Selector:
    """Return the selector of the names ``wanted``, in that order; a container stands for every name in it (NAM-3).

    Containers that share a layer each stand for it. Raises ``UnknownName`` with all that are neither (NAM-2),
    ``InvalidSpec`` for a path meant twice.

    >>> under("head", "backbone")(["backbone/conv1", "backbone/conv2", "head"])
    ('head', 'backbone/conv1', 'backbone/conv2')
    """

    def select(names: Sequence[str]) -> tuple[str, ...]:
        paths = _paths(names)
        meant: dict[str, list[str]] = {path: [path] for path in paths}
        for path in paths:
            for end in (place for place, char in enumerate(path) if char == separator):
                meant.setdefault(path[:end], []).append(path)
        if missing := [name for name in wanted if name not in meant]:
            raise UnknownName(where, missing, meant)
        return tuple({paths[leaf]: None for leaf in distinct((leaf for name in wanted for leaf in meant[name]), where)})

    return select


def prefix(start: str, where: str = "prefix") -> Selector:
    """Return the selector of the names that start with ``start``, as plain text: ``conv1`` matches ``conv10`` too."""
    return _matching(where, start, lambda name: name.startswith(start))


def glob(*patterns: str, where: str = "glob") -> Selector:
    """Return the selector of the names that any fnmatch pattern matches, case-sensitively on every platform.

    >>> glob("block?/*")(["block1/conv", "block10/conv", "Block2/conv"])
    ('block1/conv',)
    """
    return _matching(where, " or ".join(patterns), lambda name: any(fnmatch.fnmatchcase(name, p) for p in patterns))


def regex(pattern: str, where: str = "regex") -> Selector:
    """Return the selector of the names that ``pattern`` matches as a whole; ``InvalidSpec`` if it is malformed."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidSpec(where, pattern, f"a regular expression ({error})") from None
    return _matching(where, pattern, compiled.fullmatch)


def alias(name: str, table: Mapping[str, Sequence[str]], where: str = "alias") -> Selector:
    """Return the selector of what any glob of ``table[name]`` matches; a name not in the table is a glob itself."""
    return glob(*table.get(name, [name]), where=where)


def group(index: int, groups: Sequence[Sequence[str]], where: str = "group") -> Selector:
    """Return the selector of the names of ``groups[index]``; raises ``InvalidSpec`` for an index beyond the ends."""
    if type(index) is not int or not -len(groups) <= index < len(groups):
        raise InvalidSpec(where, index, f"an integer in {-len(groups)}..{len(groups) - 1}")
    return exactly(*groups[index], where=where)


def any_of(*selectors: Selector) -> Selector:
    """Return the selector of the names that any of ``selectors`` chooses, in declaration order."""
    return lambda names: tuple(filter({name for select in selectors for name in select(names)}.__contains__, names))


def except_for(selector: Selector, *exceptions: Selector, where: str = "except") -> Selector:
    """Return the selector of what ``selector`` chooses and no exception does (NAM-3)."""

    def select(names: Sequence[str]) -> tuple[str, ...]:
        dropped = {name for exception in exceptions for name in exception(names)}
        chosen = tuple(name for name in selector(names) if name not in dropped)
        if not chosen:
            raise EmptySelection(where, sorted(dropped))
        return chosen

    return select
