"""The wire protocol, version 1: requests, answers and faults, each as a type.

A request is one line of JSON, and so is its answer; a callable gets and returns the same as dictionaries. What goes
over the wire is told here and nowhere else: another module may build a request or look at an answer, but the keys of a
message, the ids of errors and the kinds of faults have no second definition. What is seen of a run of an executor is
no message of this protocol: that is in ``execution.observations``.
"""

from __future__ import annotations

import functools
import json
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from refreeze import Segment
from refreeze.conformance.execution.observations import Ran
from refreeze.dialects import dialect
from refreeze.errors import InvalidSpec, one_line
from refreeze.limits import check_plain
from refreeze.segments_json import ListedSegment, as_listed

PROTOCOL = 1
Level = Literal["schedule", "execution"]
Framework = Literal["keras", "torch"]
"""Of an implementation at execution level: in which one it trains."""
ErrorId = Literal[
    "invalid-spec", "unknown-name", "needs-model", "empty-selection", "conflict", "schedule-mismatch"
]  # fmt: skip
FaultKind = Literal[
    "not-started", "crashed", "timeout", "too-long", "rubbish", "wrong-id", "out-of-order", "malformed",
    "lied-unsupported",
]  # fmt: skip
Operation = Literal["segments", "apply", "canonical", "run"]
Optimizer = Literal["sgd", "adam", "adamw", "scheduled", "ema"]
Request = dict[str, Any]
"""A request as it is sent; ``check_request`` reads it into one of the types below."""
_Tick = Annotated[int, Meta(ge=0)]


# Requests ----------------------------------------------------------------------------------------------------------
class AnyRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request has. The operation ``canonical`` needs no more: it asks for the canonical form."""

    refreeze: Literal[1]
    """The version of the protocol."""
    id: str
    """The answer has the same id."""
    op: Operation
    dialect: str
    config: Any


class SegmentsRequest(AnyRequest, forbid_unknown_fields=True, kw_only=True):
    """Asks for the segments of [start, total)."""

    names: list[str] | None = None
    """What can be frozen, in the order of declaration; None: the names are not known."""
    total: _Tick
    steps_per_epoch: Annotated[int, Meta(ge=1)] = 1
    start: _Tick = 0


class ApplyRequest(AnyRequest, forbid_unknown_fields=True, kw_only=True):
    """Asks what is frozen after the configuration is applied once, at ``tick``."""

    names: list[str]
    sizes: list[_Tick]
    """The elements of each name."""
    frozen: list[str]
    """The names that are frozen before."""
    tick: _Tick


class RunRequest(AnyRequest, forbid_unknown_fields=True, kw_only=True):
    """Asks an executor to train the kit's model; it is never sent to an implementation at schedule level."""

    names: list[str]
    total: _Tick
    optimizer: Optimizer
    off: list[str]
    """The layers that the user has switched off."""
    stop_after: int | None
    """Training stops after so many epochs."""
    fail_at: int | None
    """This call of the fit function, from 0, fails; on PyTorch the first step of this segment."""
    resumed: Any
    """The configuration under which the run is then resumed on another model."""
    meddles: bool = False
    """A callback inverts the flags of all layers when a fit begins."""
    steps_per_epoch: int = 1
    """The steps in an epoch, where ticks are steps."""
    fail_tick: int | None = None
    """In place of ``fail_at``, on PyTorch: the first step of this tick fails."""


REQUESTS: dict[str, type[AnyRequest]] = {
    "segments": SegmentsRequest,
    "apply": ApplyRequest,
    "canonical": AnyRequest,
    "run": RunRequest,
}
"""The type of request of each operation."""


def check_request(request: Request) -> AnyRequest:
    """Return the request, read; raises ``InvalidSpec`` for one that is malformed."""
    check_plain(request, "request")
    op = request.get("op")
    try:
        return msgspec.convert(request, REQUESTS.get(op if isinstance(op, str) else "", AnyRequest))
    except msgspec.ValidationError as error:
        raise InvalidSpec("request", request, f"a request of protocol {PROTOCOL} ({error})") from None


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


# Answers -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Schedule:
    """Segments as they were answered, in whatever encoding; whether they are a schedule is for the laws to say."""

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
        return json.dumps(self.canonical, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Rejected:
    """The configuration is wrong; the message is for people."""

    error: ErrorId
    message: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"error {self.error}" + (f" ({one_line(self.message)})" if self.message else "")


@dataclass(frozen=True, slots=True)
class UnsupportedRequest:
    """The request is not a capability of the implementation."""

    unsupported: Literal[True] = True

    def __str__(self) -> str:
        return "unsupported"


Answer = Schedule | Applied | Canonical | Ran | Rejected | UnsupportedRequest


class _Listed(Struct):
    segments: list[ListedSegment]


_ANSWERS: dict[str, Any] = {"segments": _Listed, "apply": Applied, "canonical": Canonical}


def read_answer(op: str, data: Any) -> Answer:
    """Return what ``data``, plain data, answers to a request with the operation ``op``.

    Keys that the protocol does not know are ignored. Raises ``InvalidSpec`` for what is no answer to that, and for a
    name that is given twice.
    """
    form: Any = Rejected if "error" in data else UnsupportedRequest if "unsupported" in data else _ANSWERS[op]
    try:
        answer = msgspec.convert(data, form)
    except msgspec.ValidationError as error:
        raise InvalidSpec("answer", data, f"an answer to {op!r} ({error})") from None
    if isinstance(answer, Applied) and len(answer.frozen) != len(data["frozen"]):
        raise InvalidSpec("frozen", data["frozen"], "distinct names")
    found: Answer = Schedule(as_listed(answer.segments)) if isinstance(answer, _Listed) else answer
    return found


# Faults ------------------------------------------------------------------------------------------------------------
class Fault(Exception):
    """The adapter is at fault, not the schedule: nothing that it answers can be judged."""

    def __init__(self, kind: FaultKind, detail: str, request: Request | None = None) -> None:
        super().__init__(kind, detail)
        self.kind: FaultKind = kind
        self.detail, self.request = one_line(detail), request

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def said(error: BaseException) -> str:
    """Return what an exception says of itself in one line, and the name of its class where its own code fails."""
    try:
        return one_line(str(error))
    except (Exception, SystemExit):
        return f"<{type(error).__name__}>"


def crash(error: BaseException) -> Fault:
    """Return the fault of an implementation that raised what it should not have, with the innermost place in it."""
    place = _innermost(traceback.extract_tb(error.__traceback__))
    return Fault("crashed", f"{type(error).__name__}: {said(error)} ({place.filename}:{place.lineno})")


def _innermost(frames: traceback.StackSummary) -> traceback.FrameSummary:
    """Return the innermost frame of the user's own: not of this package, nor, if there is any, of a library."""
    ours, standard = str(Path(__file__).parents[1]), sysconfig.get_path("stdlib")
    others = [frame for frame in frames if not frame.filename.startswith(ours)]
    installed = ("/site-packages/", "/dist-packages/")
    own = [
        frame
        for frame in others
        if not frame.filename.startswith((standard, "<frozen"))
        and not any(part in Path(frame.filename).as_posix() for part in installed)
    ]
    return (own or others or frames)[-1]


# Capabilities ------------------------------------------------------------------------------------------------------
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

    In dialects of layers patterns are an extension (NAM-5), so they and ``each`` are among these.

    Whether an implementation supports a request may depend on these, and on nothing else, such as its numbers.
    """
    keys, words = _vocabulary(request["dialect"])
    config, names = request.get("config"), request.get("names")
    of_layers = dialect(request["dialect"]).names == "layers"

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
            yield from ["containers"] if (container := any(n.startswith(f"{node}/") for n in names or ())) else []
            is_name = container or node in (names or ())
            yield from ["patterns"] if of_layers and not is_name and {*"*?["} & {*node} else []

    found = {request["op"], request["dialect"], *walk(config)}
    found |= {"several entries"} if isinstance(config, list) and len(config) > 1 else set()
    found |= {"names unknown"} if names is None else set()
    found |= {"resume"} if request.get("start") else set()
    found |= {f"optimizer {request['optimizer']}"} if "optimizer" in request else set()
    found |= {"checkpoints"} if request.get("resumed") is not None else set()
    found |= {"steps_per_epoch"} if request.get("steps_per_epoch", 1) != 1 else set()
    return frozenset(found)
