"""What segments say of single names: what a dialect needs that writes its own configuration of a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from refreeze.schedule import Segment, operations

Span = tuple[int, int]
"""A range of ticks, [start, stop)."""
K = TypeVar("K")


def spans(segments: Sequence[Segment], names: Iterable[str]) -> dict[str, tuple[Span, ...]]:
    """Return the ranges in which each of ``names`` is frozen, in order; none for a name that never is.

    >>> spans([Segment(0, 3, frozenset("ab")), Segment(3, 9, frozenset("b"))], "abc")
    {'a': ((0, 3),), 'b': ((0, 9),), 'c': ()}
    """
    found: dict[str, list[Span]] = {name: [] for name in names}
    for operation in operations(segments):
        for name in operation.freeze:
            found[name].append((operation.tick, segments[-1].stop))
        for name in operation.unfreeze:
            found[name][-1] = (found[name][-1][0], operation.tick)
    return {name: tuple(ranges) for name, ranges in found.items()}


def first_stops(segments: Sequence[Segment], names: Iterable[str]) -> dict[str, int]:
    """Return the tick at which each name thaws that is frozen from tick 0 on, and 0 for every other name.

    >>> first_stops([Segment(0, 3, frozenset("ab")), Segment(3, 9, frozenset("bc"))], "abc")
    {'a': 3, 'b': 9, 'c': 0}
    """
    return {
        name: ranges[0][1] if ranges and ranges[0][0] == 0 else 0 for name, ranges in spans(segments, names).items()
    }


def grouped(said: Mapping[str, K]) -> dict[K, list[str]]:
    """Return the names of each value, both in their order.

    >>> grouped({"a": 3, "b": 9, "c": 3})
    {3: ['a', 'c'], 9: ['b']}
    """
    found: dict[K, list[str]] = {}
    for name, value in said.items():
        found.setdefault(value, []).append(name)
    return found


def one_set_until(segments: Sequence[Segment], names: Sequence[str]) -> tuple[list[str], int]:
    """Return what is frozen at first, in the order of ``names``, and the tick at which that first changes.

    If nothing is, that is the first name, until tick 0: such a dialect must name something.

    >>> one_set_until([Segment(0, 3, frozenset("ca")), Segment(3, 9, frozenset("b"))], "abc")
    (['a', 'c'], 3)
    """
    first = segments[0].frozen
    if not first:
        return [names[0]], 0
    stop = next((segment.start for segment in segments if segment.frozen != first), segments[-1].stop)
    return [name for name in names if name in first], stop
