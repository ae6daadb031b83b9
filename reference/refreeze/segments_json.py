"""Segments as plain JSON: the form of the wire protocol, of reports and of checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec
from refreeze.schedule import Segment, canonical

_Names = Annotated[tuple[str, ...], Meta(description="names, each once, in any order")]


class ListedSegment(Struct, frozen=True):
    """A segment as somebody lists it: it may be empty, or have a rate that cannot be; other keys are ignored."""

    start: int
    stop: int
    frozen: _Names
    learning_rate: float | None = None
    bn_frozen: _Names = ()


class _Segment(ListedSegment, forbid_unknown_fields=True, frozen=True):
    start: Annotated[int, Meta(ge=0)]
    stop: Annotated[int, Meta(ge=1)]
    learning_rate: Annotated[float, Meta(gt=0)] | None = None


def to_json(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return the segments as a list of objects with start, stop, frozen, learning_rate and bn_frozen, names sorted."""
    return [
        {
            "start": segment.start,
            "stop": segment.stop,
            "frozen": sorted(segment.frozen),
            "learning_rate": segment.learning_rate,
            "bn_frozen": sorted(segment.bn_frozen),
        }
        for segment in segments
    ]


def from_json(data: object) -> tuple[Segment, ...]:
    """Return the canonical segments that ``data`` says, in whatever encoding; inverse of ``to_json``.

    ``learning_rate`` and ``bn_frozen`` may be absent. Raises ``InvalidSpec`` for what is not a schedule: a wrong type,
    an unknown key, a name given twice, an infinite learning rate, a gap (SCH-1).
    """
    try:
        found = msgspec.convert(data, list[_Segment])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # a key may be no Unicode
        raise InvalidSpec("segments", data, f"a list of segments ({error})") from None
    return canonical(as_listed(found))


def as_listed(found: Iterable[ListedSegment]) -> tuple[Segment, ...]:
    """Return the segments as they are listed, which need not be a schedule.

    Raises ``InvalidSpec`` for a name that is given twice in a segment, and for an infinite learning rate or NaN.
    """
    segments = []
    for index, item in enumerate(found):
        if item.learning_rate is not None and not math.isfinite(item.learning_rate):
            raise InvalidSpec(f"segments[{index}].learning_rate", item.learning_rate, "finite")
        for names in (item.frozen, item.bn_frozen):
            if len(set(names)) != len(names):
                raise InvalidSpec(f"segments[{index}]", names, "distinct names")
        sets = frozenset(item.frozen), frozenset(item.bn_frozen)
        segments.append(Segment(item.start, item.stop, sets[0], item.learning_rate, sets[1]))
    return tuple(segments)
