"""Laws: what must hold of every implementation, one clause each, checked on one case at a time.

A case is plain JSON: the requests to send and what the law needs besides, so that any failure can be replayed. A
``Family`` is a way to check together with cases of one dialect; which laws there are stands in the ``catalogue``. Some
laws compare with the reference, the others need no oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from refreeze import InvalidSpec, Segment, canonical, cut
from refreeze.conformance import reference
from refreeze.conformance.protocol import (
    PROTOCOL,
    Answer,
    Applied,
    Canonical,
    Framework,
    Level,
    Rejected,
    Request,
    Schedule,
    UnsupportedRequest,
    check_request,
    read_answer,
)
from refreeze.limits import check_plain

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Case = dict[str, Any]
"""What a ``GivenCase`` says, with the keys that the check of its law needs."""
_Count = Annotated[int, Meta(ge=0)]
Ask = Callable[[Request], Answer]
CheckCase = Callable[[Ask, Case], None]
"""Raises ``Broken`` if the case breaks the law."""


class GivenCase(Struct, forbid_unknown_fields=True, kw_only=True):
    """All that a case may have; each check says what it makes of it."""

    request: Request
    other: Request | UnsetType = UNSET
    names: list[str] | UnsetType = UNSET
    start: _Count | UnsetType = UNSET
    stop: _Count | UnsetType | None = UNSET
    since: _Count | UnsetType = field(name="from", default=UNSET)
    until: _Count | UnsetType = field(name="to", default=UNSET)
    frozen: _Count | UnsetType = UNSET
    layers: list[str] | UnsetType = UNSET
    ticks: list[_Count] | UnsetType = UNSET
    times: _Count | UnsetType = UNSET
    error: str | UnsetType | None = UNSET
    expected: dict[str, Any] | UnsetType = UNSET
    vector: str | UnsetType = UNSET
    before: Literal["trained", "changed"] | UnsetType | None = UNSET


def check_case(case: object) -> Case:
    """Return a case from outside; raises ``InvalidSpec`` for what is none of any law, and for a malformed request."""
    check_plain(case, "case")
    try:
        given = msgspec.convert(case, GivenCase)
    except msgspec.ValidationError as error:
        raise InvalidSpec("case", case, f"a case ({error})") from None
    for request in (given.request, given.other):
        if request is not UNSET:
            check_request({"refreeze": PROTOCOL, "id": "", **request})
    return cast(Case, case)


class Broken(AssertionError):
    """A law does not hold: what was asked, what was got, and what it should be."""

    def __init__(self, what: str, got: object, should_be: object) -> None:
        super().__init__(what, str(got), str(should_be))
        self.what, self.got, self.should_be = what, str(got), str(should_be)
        self.schedules = None
        if isinstance(got, Schedule) and isinstance(should_be, Schedule):
            self.schedules = got.segments, should_be.segments

    def __str__(self) -> str:
        return f"{self.what} is {self.got}, but should be {self.should_be}"


class NotSupported(Exception):
    """The adapter answered ``unsupported``, so the case says nothing."""


@dataclass(frozen=True, slots=True)
class Family:
    """Cases of one dialect and how each is checked."""

    check: CheckCase
    cases: SearchStrategy[Case] | None
    """Draws more cases; None where those that are always checked are all there are."""
    always: tuple[Case, ...] = ()
    """Cases that are checked in every run: small spaces are enumerated, not sampled."""
    weight: int = 1
    """How many times as many cases are drawn as elsewhere."""
    level: Level = "schedule"
    """What is checked: schedules, which every adapter has, or the execution of one."""
    framework: Framework | None = None
    """The only one in which there is what is checked; None for all of them."""


# How to check ------------------------------------------------------------------------------------------------------
def _what(request: Request) -> str:
    return f"{request['op']} of the {request['dialect']} configuration"


def _asked(ask: Ask, request: Request) -> Answer:
    answer = ask(request)
    if isinstance(answer, UnsupportedRequest):
        raise NotSupported
    return answer


def _scheduled(
    ask: Ask, request: Request, start: int = 0, stop: int | None = None, names: Sequence[str] | None = None
) -> tuple[Segment, ...]:
    """Return the canonical segments of [start, stop), of all names or only ``names``."""
    answer = _asked(ask, request)
    if not isinstance(answer, Schedule):
        raise Broken(_what(request), answer, "a schedule, as the configuration is right")
    found = answer.segments
    if names is not None:
        found = tuple(Segment(s.start, s.stop, s.frozen & {*names}, s.learning_rate, s.bn_frozen) for s in found)
    try:
        return canonical(cut(canonical(found), start, stop))
    except InvalidSpec as error:
        raise Broken(_what(request), answer, f"segments without a gap ({error})") from None


def reference_answer(request: Request) -> Answer:
    """Return what the reference answers."""
    return read_answer(request["op"], reference.respond({"refreeze": PROTOCOL, "id": "reference", **request}))


def agrees(ask: Ask, case: Case) -> None:
    """The answer is the reference's."""
    agrees_with(ask, case["request"], reference_answer(case["request"]))


def agrees_with(ask: Ask, request: Request, should_be: Answer) -> None:
    """Raise ``Broken`` unless the answer is ``should_be``; segments in canonical form, and errors by id."""
    if isinstance(should_be, Schedule):
        got: Answer = Schedule(_scheduled(ask, request))
        should_be = Schedule(canonical(should_be.segments))
    else:
        got = _asked(ask, request)
    if got != should_be:
        raise Broken(_what(request), got, should_be)


def contiguous(ask: Ask, case: Case) -> None:
    """The segments are not empty, each starts where the one before stops, and together they are [start, total)."""
    request = case["request"]
    answer = _asked(ask, request)
    if not isinstance(answer, Schedule):
        raise Broken(_what(request), answer, "a schedule, as the configuration is right")
    at = request["start"]
    for s in answer.segments:
        if s.start != at or s.stop <= s.start:
            raise Broken(_what(request), answer, f"a segment that starts at {at} and is not empty")
        at = s.stop
    if at != request["total"]:
        raise Broken(_what(request), answer, f"segments that stop at {request['total']}")


def coincide(ask: Ask, case: Case) -> None:
    """Two requests have the same meaning in [start, stop), for all names or some; without these, everywhere."""
    one, other = case["request"], case["other"]
    window = case.get("start", max(one.get("start", 0), other.get("start", 0))), case.get("stop"), case.get("names")
    got, should_be = _scheduled(ask, other, *window), _scheduled(ask, one, *window)
    if got != should_be:
        where = f" in [{window[0]}, {'…' if window[1] is None else window[1]})" + " of some names" * ("names" in case)
        raise Broken(f"the schedule{where}, of the second request and of the first", Schedule(got), Schedule(should_be))


def again(ask: Ask, case: Case) -> None:
    """A request has the same answer after another one was asked."""
    before = _scheduled(ask, case["request"])
    ask(case["other"])
    after = _scheduled(ask, case["request"])
    if before != after:
        raise Broken("the second and the first answer to one request", Schedule(after), Schedule(before))


def rejected(ask: Ask, case: Case) -> None:
    """A wrong configuration is rejected with the id of what is wrong, and a right one, with no such id, is not."""
    if case["error"] is None:
        _scheduled(ask, case["request"])
        return
    got, should_be = _asked(ask, case["request"]), Rejected(case["error"])
    if got != should_be:
        raise Broken(_what(case["request"]), got, should_be)


def counts(ask: Ask, case: Case) -> None:
    """In [from, to) exactly so many names are frozen at every tick."""
    for s in _scheduled(ask, case["request"], case["from"], case["to"]):
        if len(s.frozen) != case["frozen"]:
            got = f"{len(s.frozen)} frozen in [{s.start}, {s.stop}): {' '.join(sorted(s.frozen))}"
            raise Broken(_what(case["request"]), got, f"{case['frozen']} frozen in [{case['from']}, {case['to']})")


def fair(ask: Ask, case: Case) -> None:
    """Over the given ticks each layer is frozen the same, given number of times."""
    found = _scheduled(ask, case["request"])
    for layer in case["layers"]:
        times = sum(layer in s.frozen for tick in case["ticks"] for s in cut(found, tick, tick + 1))
        if times != case["times"]:
            got = f"{layer} frozen in {times} of {len(case['ticks'])} spans: {Schedule(found)}"
            raise Broken(_what(case["request"]), got, f"each layer frozen in {case['times']}")


def together(ask: Ask, case: Case) -> None:
    """At every tick the layers of a unit are all frozen, or none of them is."""
    for s in _scheduled(ask, case["request"]):
        for unit in case["units"]:
            if 0 < len(s.frozen.intersection(unit)) < len(unit):
                got = f"{' '.join(sorted(s.frozen))} frozen in [{s.start}, {s.stop})"
                raise Broken(_what(case["request"]), got, f"{' '.join(unit)} frozen together, or none of them")


def idempotent(ask: Ask, case: Case) -> None:
    """Applied to its own result, a configuration changes nothing, and flips no element."""
    first = _asked(ask, case["request"])
    if not isinstance(first, Applied):
        raise Broken(_what(case["request"]), first, "a state, as the configuration is right")
    second = _asked(ask, case["request"] | {"frozen": sorted(first.frozen)})
    if second != (should_be := Applied(first.frozen, 0)):
        raise Broken("the second application", second, should_be)


def flips(ask: Ask, case: Case) -> None:
    """The elements flipped are the sizes of the names whose state changed."""
    request = case["request"]
    got = _asked(ask, request)
    if not isinstance(got, Applied):
        raise Broken(_what(request), got, "a state, as the configuration is right")
    changed = got.frozen ^ {*request["frozen"]}
    flipped = sum(size for name, size in zip(request["names"], request["sizes"], strict=True) if name in changed)
    if got.flipped != flipped:
        raise Broken(_what(request), got, Applied(got.frozen, flipped))


def applied(ask: Ask, case: Case) -> None:
    """The state after applying is the reference's; what was flipped is another law's."""
    got, should_be = _asked(ask, case["request"]), reference_answer(case["request"])
    assert isinstance(should_be, Applied)
    if not isinstance(got, Applied) or got.frozen != should_be.frozen:
        raise Broken(_what(case["request"]), got, f"frozen {' '.join(sorted(should_be.frozen)) or '-'}")


def _form(ask: Ask, request: Request) -> object:
    answer = _asked(ask, {"op": "canonical", "dialect": request["dialect"], "config": request["config"]})
    if not isinstance(answer, Canonical):
        raise Broken(f"canonical form of the {request['dialect']} configuration", answer, "a form")
    return answer.canonical


def equal_forms_equal_schedules(ask: Ask, case: Case) -> None:
    """If two configurations have one canonical form, they have one schedule."""
    if _form(ask, case["request"]) == _form(ask, case["other"]):
        coincide(ask, case)


def equal_forms(ask: Ask, case: Case) -> None:
    """Two configurations have one canonical form."""
    got, should_be = _form(ask, case["other"]), _form(ask, case["request"])
    if got != should_be:
        raise Broken("the canonical form of the second configuration", Canonical(got), Canonical(should_be))
