"""What several dialects share: the choice of layers, and policies that freeze from a tick on or until one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refreeze import selectors
from refreeze.dialects.fields import EachOf
from refreeze.dialects.spans import grouped
from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, always, during, never, union
from refreeze.selectors import Unit, check_apart, distinct

Wanted = Iterable[str | EachOf] | str | EachOf
"""What a configuration may have under a key for layers."""


def _selector(wanted: Wanted) -> selectors.Layers:
    def read(entry: str | EachOf) -> str | selectors.Each:
        return selectors.Each(entry.each) if isinstance(entry, EachOf) else entry

    return selectors.Layers(read(wanted) if isinstance(wanted, str | EachOf) else tuple(map(read, wanted)))


def units_of(wanted: Wanted, names: Sequence[str] | None, where: str) -> tuple[Unit, ...]:
    """Return the units that an entry of a configuration means (``selectors.Layers.units``, NAM-1..5).

    >>> units_of(("head", EachOf("block*")), ["block1/conv", "block1/norm", "block2/conv", "head"], "layers")
    (('head',), ('block1/conv', 'block1/norm'), ('block2/conv',))
    """
    return _selector(wanted).units(names, where)


def chosen(wanted: Wanted, names: Sequence[str] | None, where: str) -> Unit:
    """Return the layers that an entry of a configuration means, of whatever unit (``selectors.Layers``, NAM-1..5)."""
    return _selector(wanted)(names, where)


def groups_of(
    groups: Iterable[Iterable[str | EachOf] | EachOf], names: Sequence[str] | None, *others: Iterable[str | EachOf]
) -> list[Unit]:
    """Return the groups that the key ``groups`` means: a list is one group, an ``EachOf`` alone one for each match.

    Raises ``InvalidSpec`` for a layer in two groups, and as ``units_of`` does; without names nothing in a group may
    lie in anything else, in ``others`` neither.

    >>> groups_of([EachOf("b*"), ["head"]], ["b1/conv", "b1/norm", "b2", "head"])
    [('b1/conv', 'b1/norm'), ('b2',), ('head',)]
    """
    groups = tuple(groups)
    check_apart(names, "groups", *(group for group in groups if not isinstance(group, EachOf)), *others)
    found: list[Unit] = []
    for number, group in enumerate(groups):
        where = f"groups[{number}]"
        found += units_of(group, names, where) if isinstance(group, EachOf) else [chosen(group, names, where)]
    distinct((name for group in found for name in group), "groups")
    return found


def section(config: object, place: str, keys: Iterable[str], own: Iterable[str] = ()) -> object:
    """Return the ``keys`` of a part of a whole file, ``own`` keys beside that part, and nothing else of the file.

    What is no mapping, or has no such part with one of ``keys``, stays as it is.

    >>> section({"seed": 1, "optim": {"lr": 0.1, "freeze": 2}, "part": "a"}, "optim", ["freeze"], own=["part"])
    {'freeze': 2, 'part': 'a'}
    """
    part = config.get(place) if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(part, Mapping) or not (found := keys_of(part, keys)):
        return config
    return found | keys_of(config, own)


def in_a_section(*places: str) -> dict[str, Any]:
    """Return the JSON Schema of a whole file with one of these parts."""
    return {
        "description": "A whole file of the system; what else it has is left alone.",
        "type": "object",
        "anyOf": [{"properties": {place: {"type": "object"}}, "required": [place]} for place in places],
    }


def keys_of(config: Mapping[str, object], keys: Iterable[str]) -> dict[str, object]:
    """Return those of ``keys`` that a mapping has, with their values."""
    return {key: config[key] for key in keys if key in config}


def exactly_one(config: object, *keys: str) -> tuple[str, Any]:
    """Return the one of ``keys`` that is given, not None, and its value; raises ``InvalidSpec`` for none or several."""
    given = {key: value for key in keys if (value := getattr(config, key)) is not None}
    if len(given) != 1:
        raise InvalidSpec("config", given, f"an object with exactly one of {', '.join(keys)}")
    return next(iter(given.items()))


def frozen_from(starts: Mapping[str, int], total: int) -> Policy:
    """Return the policy that freezes each name from its tick on, to the end; starts >= ``total`` never come.

    >>> [len(frozen_from({"a": 2, "b": 5, "c": 9}, total=9).frozen_at(tick)) for tick in (1, 2, 5, 9)]
    [0, 1, 2, 2]
    """
    return union(*(during(always(group), start) for start, group in grouped(starts).items() if start < total))


def frozen_until(stops: Mapping[str, float]) -> Policy:
    """Return the policy that freezes each name in [0, stop), an integer or infinity, and mentions all at all times.

    >>> [len(frozen_until({"a": 0, "b": 3, "c": math.inf}).frozen_at(tick)) for tick in (0, 2, 3)]
    [2, 2, 1]
    """
    groups = {None if stop == math.inf else int(stop): group for stop, group in grouped(stops).items() if stop > 0}
    return union(never(stops), *(during(always(group), 0, stop) for stop, group in groups.items()))
