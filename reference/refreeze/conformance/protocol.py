"""The wire protocol: what may be asked of an implementation, and what it may answer.

A request and its answer are one line of JSON each. A callable gets and returns the same as dictionaries.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from refreeze import Segment
from refreeze.conformance.execution.observed import Ran
from refreeze.dialects import dialect
from refreeze.errors import InvalidSpec

PROTOCOL = 1
Level = Literal["schedule", "execution"]
ErrorId = Literal[
    "invalid-spec", "unknown-name", "needs-model", "empty-selection", "conflict", "schedule-mismatch"
]  # fmt: skip
Request = dict[str, Any]


def segments_request(
    dialect: str, names: list[str] | None, config: Any, total: int, *, start: int = 0, steps_per_epoch: int = 1
) -> Request:
    """Return the request for the segments of [start, total), without the keys ``refreeze`` and ``id``."""
    return {
        "op": "segments",
        "dialect": dialect,
        "names": names,
        "config": config,
        "total": total,
        "steps_per_epoch": steps_per_epoch,
        "start": start,
    }


@dataclass(frozen=True, slots=True)
class Schedule:
    """Segments as they were answered, in whatever encoding; nothing is checked but the types."""

    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return "; ".join(map(_shown, self.segments)) or "no segments"


def _shown(s: Segment) -> str:
    parts = [f"[{s.start}, {s.stop}) {' '.join(sorted(s.frozen)) or '-'}"]
    parts += [f"bn: {' '.join(sorted(s.bn_frozen))}"] if s.bn_frozen else []
    parts += [f"rate: {s.learning_rate}"] if s.learning_rate is not None else []
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Applied:
    """The frozen names after applying once, and how many elements were flipped."""

    frozen: frozenset[str]
    flipped: Annotated[int, Meta(ge=0)]

    def __str__(self) -> str:
        return f"frozen {' '.join(sorted(self.frozen)) or '-'}, {self.flipped} flipped"


@dataclass(frozen=True, slots=True)
class Canonical:
    """The canonical form of a configuration: any JSON."""

    canonical: Any

    def __str__(self) -> str:
        return msgspec.json.encode(self.canonical).decode()


@dataclass(frozen=True, slots=True)
class Rejected:
    """The configuration is wrong; the message is for people."""

    error: ErrorId
    message: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"error {self.error}" + (f" ({self.message})" if self.message else "")


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The request is not a capability of the implementation."""

    unsupported: Literal[True] = True

    def __str__(self) -> str:
        return "unsupported"


Answer = Schedule | Applied | Canonical | Ran | Rejected | Unsupported
_FORMS: dict[str, type[Answer]] = {"segments": Schedule, "apply": Applied, "canonical": Canonical}


def read_answer(op: str, data: Any) -> Answer:
    """Return what ``data``, plain data, answers to a request with the operation ``op``.

    Keys that the protocol does not know are ignored. Raises ``InvalidSpec`` for what is no answer to that.
    """
    form: Any = Rejected if "error" in data else Unsupported if "unsupported" in data else _FORMS[op]
    try:
        answer: Answer = msgspec.convert(data, form)
    except msgspec.ValidationError as error:
        raise InvalidSpec("answer", data, f"an answer to {op!r} ({error})") from None
    return answer


@functools.cache
def _vocabulary(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the keys that configurations of a dialect may have, and the words that may be their values."""
    keys: set[str] = set()
    words: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            keys.update(node.get("properties", ()))
            words.update(word for word in [*node.get("enum", ()), node.get("const")] if isinstance(word, str))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)

    walk(dialect(name).json_schema())
    return frozenset(keys), frozenset(words)


def features(request: Request) -> frozenset[str]:
    """Return what a request needs an implementation to know: the operation, the dialect, keys, words, …

    Whether an implementation supports a request may depend on these, and on nothing else, such as its numbers.
    """
    keys, words = _vocabulary(request["dialect"])
    config, names = request.get("config"), request.get("names")

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (key for key, value in node.items() if key in keys and value is not None)
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)
        elif isinstance(node, str):
            yield from [f"{node!r}"] if node in words else []
            yield from ["nested names"] if "/" in node and node in (names or ()) else []
            yield from ["containers"] if any(name.startswith(f"{node}/") for name in names or ()) else []

    found = {request["op"], request["dialect"], *walk(config)}
    found |= {"several entries"} if isinstance(config, list) and len(config) > 1 else set()
    found |= {"names unknown"} if names is None else set()
    found |= {"resume"} if request.get("start") else set()
    found |= {f"optimizer {request['optimizer']}"} if "optimizer" in request else set()
    found |= {"checkpoints"} if request.get("resumed") is not None else set()
    found |= {"steps_per_epoch"} if request.get("steps_per_epoch", 1) != 1 else set()
    return frozenset(found)
