"""Causes: in a few words why a case breaks a law, so that laws which one mistake breaks can be told as one.

Whatever the law, what counts is how the implementation answers the requests of the case, and what it should answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from refreeze import InvalidSpec, Segment, canonical, cut
from refreeze.conformance.laws import Ask, Broken, Case, reference_answer
from refreeze.conformance.protocol import Answer, Rejected, Request, Schedule, UnsupportedRequest, features


def cause(asked: Iterable[tuple[Request, Answer]], broken: Broken) -> str:
    """Return why a case breaks its law, in which so much was ``asked`` and answered.

    Equal words in one dialect are taken for one mistake. They have no numbers and no quoted words, as these differ from
    case to case.
    """
    for request, got in asked:  # what a run does is seen by the laws alone, and any canonical form may be right
        if request["op"] in ("segments", "apply") and (found := _difference(got, reference_answer(request))):
            return found
    return _bare(broken.what)


def same_mistake(known: Case, known_cause: str, case: Case, its_cause: str, ask: Ask) -> bool:
    """Return whether a known failure explains another one: by its cause, and by nothing that the other case lacks.

    What a request for a schedule has besides, an object, another entry or a later start, is taken out. If the answer is
    right then, what was taken out makes it wrong, and that is another mistake.
    """
    if known_cause != its_cause or known["request"]["op"] == "run":
        return known_cause == its_cause
    needed, request = features(known["request"]), case["request"]
    if not needed <= features(request) or "other" in case or case.get("error") is not None:
        return needed <= features(request)
    while True:
        told = [(less, wrong) for less in _less(request, needed) if (wrong := _is_wrong(ask, less)) is not None]
        wrong_too = next((less for less, wrong in told if wrong), None)
        if wrong_too is None:
            return not told
        request = wrong_too


def _less(request: Request, needed: frozenset[str]) -> Iterator[Request]:
    """Yield the request with less to it, but all features that are needed.

    Keys with a number or a word stay, as what an implementation does without one may be right by chance.
    """
    config = request["config"]
    smaller = [request | {"config": part} for part in _without_an_object(config)]
    smaller += [request | {"config": [entry]} for entry in config] if isinstance(config, list) else []
    smaller += [request | {"start": 0}]
    yield from (less for less in smaller if needed <= features(less) < features(request))


def _without_an_object(data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        yield from (
            {other: data[other] for other in data if other != key} for key in data if isinstance(data[key], dict)
        )
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        for part in _without_an_object(value):
            yield data | {key: part} if isinstance(data, dict) else [*data[:key], part, *data[key + 1 :]]


def _is_wrong(ask: Ask, request: Request) -> bool | None:
    """Return whether the answer is wrong, in a run so long or longer; None if there is no right one to compare."""
    found = None
    for total in (request["total"], 2 * request["total"] + 1):
        asked = request | {"total": total}
        should_be, got = reference_answer(asked), ask(asked)
        if isinstance(should_be, Schedule) and not isinstance(got, UnsupportedRequest):
            found = bool(found) or _difference(got, should_be) is not None
    return found


def _bare(text: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", text)


def _difference(got: Answer, should_be: Answer) -> str | None:
    if isinstance(got, Schedule) and isinstance(should_be, Schedule):
        return _between(got.segments, should_be.segments)
    if got == should_be:
        return None
    if isinstance(should_be, Rejected):
        answered = f"error {got.error}" if isinstance(got, Rejected) else "an answer"
        why = f": {_bare(should_be.message)}" if should_be.error == "invalid-spec" else ""
        return f"{answered} in place of error {should_be.error}{why}"
    return f"error {got.error} in place of an answer" if isinstance(got, Rejected) else "another state"


def _between(got: tuple[Segment, ...], should_be: tuple[Segment, ...]) -> str | None:
    """Return what is wrong at the first tick at which the schedules differ."""
    try:
        got, should_be = canonical(got), canonical(should_be)
    except InvalidSpec:
        return "segments with a gap, or with none of what is asked"
    if got == should_be:
        return None
    for tick in sorted({s.start for s in (*got, *should_be)}):
        one, other = _at(got, tick), _at(should_be, tick)
        if one is None or other is None:
            break
        if one.frozen != other.frozen:
            extra, missing = one.frozen - other.frozen, other.frozen - one.frozen
            return f"{'other' if extra and missing else 'more' if extra else 'fewer'} names are frozen"
        if one != other:
            return "another learning rate" if one.bn_frozen == other.bn_frozen else "other names in inference mode"
    return "segments that begin or stop elsewhere"


def _at(found: tuple[Segment, ...], tick: int) -> Segment | None:
    """Return the part of the schedule at ``tick``, with a learning rate if one is set right there."""
    return next(iter(cut(found, tick, tick + 1)), None)
