"""Right implementations that answer differently: by operations, and in encodings that are not canonical."""

from __future__ import annotations

import brute_force
import refreeze.conformance.reference


def by_operations(request):
    """Says what changes at each tick, and plays that back."""
    answer = brute_force.respond(request | {"start": 0} if request["op"] == "segments" else request)
    if "segments" not in answer:
        return answer
    operations, frozen, bn_frozen = [], set(), set()
    for segment in answer["segments"]:
        now, bn_now = set(segment["frozen"]), set(segment["bn_frozen"])
        if now != frozen or bn_now != bn_frozen or segment["learning_rate"] is not None:
            operations.append(
                (segment["start"], now - frozen, frozen - now, bn_now ^ bn_frozen, segment["learning_rate"])
            )
        frozen, bn_frozen = now, bn_now
    frozen, bn_frozen, found, rate, since = set(), set(), [], None, request["start"]
    for tick, freeze, unfreeze, flip, new_rate in [*operations, (request["total"], set(), set(), set(), None)]:
        if since < tick:
            found.append(
                {"start": since, "stop": tick, "frozen": [*frozen], "learning_rate": rate, "bn_frozen": [*bn_frozen]}
            )
            since, rate = tick, None
        frozen, bn_frozen = (frozen | freeze) - unfreeze, bn_frozen ^ flip
        rate = new_rate if tick >= request["start"] else None
    return answer | {"segments": found}


def split_in_halves(request):
    """The reference, with segments cut in two, names in another order, keys left out and some more."""
    answer = refreeze.conformance.reference.respond(request)
    found = []
    for segment in answer.pop("segments", ()):
        middle = (segment["start"] + segment["stop"]) // 2
        names = segment["frozen"][::-1]
        first = segment | {"frozen": names, "stop": middle, "note": "first half"}
        second = {"start": middle, "stop": segment["stop"], "frozen": names}
        second |= {"bn_frozen": segment["bn_frozen"]} if segment["bn_frozen"] else {}
        if middle == segment["start"]:
            second |= {"learning_rate": segment["learning_rate"]}
        found += [second] if middle == segment["start"] else [first, second]
    if "error" not in answer and request["op"] == "segments":
        answer["segments"] = found
    return answer | {"debug": {"took": 0.1}}
