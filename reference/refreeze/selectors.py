"""Selectors: which of the declared names are meant. Each fails loudly if it means none of them (NAM-1..5).

A selector is a value. It is called with the declared names, in declaration order, and with the place that its errors
name. Names may be paths: ``backbone/conv1`` lies in the container ``backbone``.
"""

from __future__ import annotations

import abc
import bisect
import fnmatch
import functools
import itertools
import re
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from refreeze.errors import EmptySelection, InvalidSpec, NeedsModel, UnknownName

T = TypeVar("T", bound=Hashable)
Unit = tuple[str, ...]
"""Layers that move together (NAM-4)."""


def paths_to(path: str) -> Iterator[str]:
    """Yield the path of every container that ``path`` lies in, the outermost first, and ``path`` itself.

    >>> list(paths_to("backbone/block1/conv"))
    ['backbone', 'backbone/block1', 'backbone/block1/conv']
    """
    return itertools.accumulate(path.split("/"), "{}/{}".format)


class Names(tuple[str, ...]):
    """Declared names in order, of which some can be called otherwise too: a shared layer by each of its paths."""

    aliases: Mapping[str, str]
    """The name by each other path."""

    def __new__(cls, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> Names:
        """Return the names, with their aliases, which are no names themselves."""
        made = super().__new__(cls, names)
        made.aliases = aliases or {}
        return made

    @functools.cached_property
    def by_path(self) -> dict[str, str]:
        """The name by each path that it has: itself, and its aliases."""
        return {name: name for name in self} | dict(self.aliases)

    @functools.cached_property
    def inside(self) -> dict[str, list[str]]:
        """The paths in each path and container, a container before what is in it."""
        inside: dict[str, list[str]] = {}
        for path in self.by_path:
            for start in paths_to(path):
                inside.setdefault(start, []).append(path)
        return inside

    @functools.cached_property
    def in_order(self) -> list[str]:
        """All paths, sorted."""
        return sorted(self.by_path)

    def beginning(self, start: str) -> list[str]:
        """Return the paths that begin with ``start``."""
        first = bisect.bisect_left(self.in_order, start)
        last = bisect.bisect_right(self.in_order, start, lo=first, key=lambda path: path[: len(start)])
        return self.in_order[first:last]

    def in_declaration_order(self, chosen: Iterable[str]) -> tuple[str, ...]:
        """Return ``chosen``, each once, in the order of declaration."""
        return tuple(sorted({*chosen}, key=self.place.__getitem__))

    @functools.cached_property
    def place(self) -> dict[str, int]:
        """The number of each name."""
        return {name: number for number, name in enumerate(self)}


def indexed(names: Sequence[str]) -> Names:
    """Return ``names`` with what selectors look up in them, which is made once for all selectors that are asked."""
    return names if isinstance(names, Names) else Names(listed(names, "names"))


def listed(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return ``names`` as a tuple; raises ``InvalidSpec`` for a string, whose letters are no names, and for no strings.

    >>> listed(["a", "b"], "names")
    ('a', 'b')
    """
    found = names if isinstance(names, tuple) else tuple(names)  # a tuple may know more, as a model's paths do
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise InvalidSpec(where, names, "a list of names")
    return found


def distinct(values: Iterable[T], where: str) -> tuple[T, ...]:
    """Return ``values`` as a tuple; raises ``InvalidSpec`` for a string, and with those that occur more than once."""
    if isinstance(values, str):
        raise InvalidSpec(where, values, "a list of names")
    values = values if isinstance(values, tuple) else tuple(values)
    if repeated := [value for value, count in Counter(values).items() if count > 1]:
        raise InvalidSpec(where, list(values), f"distinct names (repeated: {', '.join(map(repr, repeated))})")
    return values


@dataclass(frozen=True)
class Exactly:
    """The names ``wanted``, in the order in which they are wanted.

    Raises ``UnknownName`` with every missing one (NAM-2), ``InvalidSpec`` for one wanted twice.

    >>> Exactly(("c", "a"))(["a", "b", "c"])
    ('c', 'a')
    """

    wanted: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", listed(self.wanted, "wanted"))

    def __call__(self, names: Sequence[str], where: str = "names") -> tuple[str, ...]:
        """Return the names that are meant."""
        by_path = indexed(names).by_path
        if missing := [name for name in self.wanted if name not in by_path]:
            raise UnknownName(where, missing, names)
        return distinct((by_path[name] for name in self.wanted), where)


class _Matching(abc.ABC):
    @abc.abstractmethod
    def matches(self, name: str) -> bool:
        """Return whether ``name`` is meant."""

    @abc.abstractmethod
    def candidates(self, names: Names) -> Iterable[str]:
        """Return the paths of ``names`` that may match."""

    def __call__(self, names: Sequence[str], where: str = "names") -> tuple[str, ...]:
        """Return the names that match, in declaration order; raises ``EmptySelection`` if none does (NAM-3)."""
        index = indexed(names)
        chosen = {index.by_path[path] for path in self.candidates(index) if self.matches(path)}
        if not chosen:
            raise EmptySelection(where, str(self))
        return index.in_declaration_order(chosen)


@dataclass(frozen=True)
class Prefix(_Matching):
    """The names that begin with ``start``, as plain text: ``conv1`` matches ``conv10`` too.

    >>> Prefix("conv1")(["conv1", "conv2", "conv10"])
    ('conv1', 'conv10')
    """

    start: str

    def matches(self, name: str) -> bool:
        """Return whether ``name`` begins so."""
        return name.startswith(self.start)

    def candidates(self, names: Names) -> Iterable[str]:
        return names.beginning(self.start)

    def __str__(self) -> str:
        return self.start


@dataclass(frozen=True)
class Glob(_Matching):
    """The names that any fnmatch pattern matches as a whole, case-sensitively on every platform.

    >>> Glob(("block?/*",))(["block1/conv", "block10/conv", "Block2/conv"])
    ('block1/conv',)
    """

    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "patterns", listed(self.patterns, "patterns"))

    def matches(self, name: str) -> bool:
        """Return whether any pattern matches ``name``."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    def candidates(self, names: Names) -> Iterable[str]:
        starts = [re.split(r"[*?\[]", pattern, maxsplit=1)[0] for pattern in self.patterns]
        return itertools.chain(*map(names.beginning, starts))

    def __str__(self) -> str:
        return " or ".join(self.patterns)


@dataclass(frozen=True)
class Each:
    """In a list of layers: each match of ``pattern`` is a unit of its own (NAM-5)."""

    pattern: str


@dataclass(frozen=True)
class Layers:
    """What a configuration calls layers: "all", "all_reverse", one ``Each``, or a list of entries (NAM-1..5).

    An entry is a name, a container, a pattern (a string with ``*``, ``?`` or ``[`` that is itself no name) or an
    ``Each``. A pattern is matched with the paths of layers and of containers; inside of a container that it matches it
    is not matched again. Each entry is one unit, but an ``Each`` is as many as it matches.

    >>> names = ["stem", "block1/conv", "block1/norm", "block2/conv", "head"]
    >>> Layers(("head", "block1")).units(names)
    (('head',), ('block1/conv', 'block1/norm'))
    >>> Layers((Each("block*"), "*e*")).units(names)
    (('block1/conv', 'block1/norm'), ('block2/conv',), ('stem', 'head'))
    """

    entries: tuple[str | Each, ...] | Each | str

    def __post_init__(self) -> None:
        if isinstance(self.entries, list):
            object.__setattr__(self, "entries", tuple(self.entries))

    def units(self, names: Sequence[str] | None, where: str = "layers") -> tuple[Unit, ...]:
        """Return the units that are meant, in the order of the entries; of "all" every layer is one.

        If the names are not known, None, an entry stands for itself. Raises ``NeedsModel`` for what says something only
        with names, ``UnknownName`` with all missing ones, ``EmptySelection`` for a pattern that matches nothing, and
        ``InvalidSpec`` for a layer in two units, and for what is no such list.
        """
        units = self._units(names, where)
        distinct(itertools.chain(*units), where)
        return units

    def __call__(self, names: Sequence[str] | None, where: str = "layers") -> Unit:
        """Return the layers of all units; raises as ``units`` does, but two containers may share a layer."""
        return tuple(dict.fromkeys(itertools.chain(*self._units(names, where))))

    def _units(self, names: Sequence[str] | None, where: str) -> tuple[Unit, ...]:
        if self.entries in ("all", "all_reverse"):
            if names is None:
                raise NeedsModel(where, self.entries)
            if not (every := [(name,) for name in listed(names, "names")]):
                raise EmptySelection(where, self.entries)
            return tuple(every[::-1] if self.entries == "all_reverse" else every)
        if isinstance(self.entries, Each):
            places: list[tuple[str, str | Each]] = [(where, self.entries)]
        elif isinstance(self.entries, tuple) and all(isinstance(entry, str | Each) for entry in self.entries):
            places = [(f"{where}[{number}]", entry) for number, entry in enumerate(distinct(self.entries, where))]
        else:
            raise InvalidSpec(where, self.entries, "a list of layers, 'all' or 'all_reverse'")
        by_path, inside = ({}, {}) if names is None else (indexed(names).by_path, indexed(names).inside)
        patterns = {place: text for place, entry in places if (text := _pattern(entry, inside)) is not None}
        plain = [entry for place, entry in places if isinstance(entry, str) and place not in patterns]
        if names is None:
            for place, pattern in patterns.items():
                raise NeedsModel(place, pattern)
            check_apart(None, where, plain)
            return tuple((entry,) for entry in plain)
        if missing := [entry for entry in plain if entry not in inside]:
            raise UnknownName(where, missing, dict.fromkeys((*by_path, *inside)))
        units: list[list[str]] = []
        for place, entry in places:
            found = _outermost(patterns[place], inside, place) if place in patterns else [inside[str(entry)]]
            units += found if isinstance(entry, Each) else [list(itertools.chain(*found))]
        distinct(itertools.chain(*units), where)
        return tuple(tuple(dict.fromkeys(by_path[path] for path in unit)) for unit in units)


def _pattern(entry: str | Each, inside: Container[str]) -> str | None:
    """Return the pattern that ``entry`` is, None if it is a name."""
    if isinstance(entry, Each):
        return entry.pattern
    return entry if entry not in inside and re.search(r"[*?\[]", entry) else None


def _outermost(pattern: str, inside: Mapping[str, list[str]], where: str) -> list[list[str]]:
    """Return what is in each path that ``pattern`` matches and that lies in no other such path."""
    matches, found, taken = re.compile(fnmatch.translate(pattern)).match, [], set[str]()
    for path, paths in inside.items():
        if paths[0] not in taken and matches(path):
            found.append(paths)
            taken.update(paths)
    if not found:
        raise EmptySelection(where, pattern)
    return found


def check_apart(names: Sequence[str] | None, where: str, *lists: Iterable[object]) -> None:
    """Raise ``NeedsModel`` if ``names`` is None and one of those in ``lists`` lies in another (NAM-3).

    What else is in that one is not known then.

    >>> check_apart(None, "layers", ["backbone", "head"], ["backbone2/norm"])
    """
    every = {name for part in lists for name in part if isinstance(name, str)} if names is None else set()
    for name in sorted(every):
        for container in paths_to(name):
            if container != name and container in every:
                raise NeedsModel(where, [container, name])
