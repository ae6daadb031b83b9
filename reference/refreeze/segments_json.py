"""Segments as plain JSON: the form of the wire protocol, of reports and of checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec
from refreeze.schedule import Segment, canonical

_Names = Annotated[tuple[str, ...], Meta(description="names, each once, in any order")]


class _Segment(Struct, forbid_unknown_fields=True, frozen=True):
    start: Annotated[int, Meta(ge=0)]
    stop: Annotated[int, Meta(ge=1)]
    frozen: _Names
    learning_rate: Annotated[float, Meta(gt=0)] | None = None
    bn_frozen: _Names = ()


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
    except msgspec.ValidationError as error:
        raise InvalidSpec("segments", data, f"a list of segments ({error})") from None
    for index, item in enumerate(found):
        if item.learning_rate == float("inf"):
            raise InvalidSpec(f"segments[{index}].learning_rate", item.learning_rate, "finite")
        for names in (item.frozen, item.bn_frozen):
            if len(set(names)) != len(names):
                raise InvalidSpec(f"segments[{index}]", names, "distinct names")
    return canonical(
        Segment(s.start, s.stop, frozenset(s.frozen), s.learning_rate, frozenset(s.bn_frozen)) for s in found
    )
