"""fastai: groups of layers and the calls that freeze them, in epochs."""

from __future__ import annotations

from typing import Any

from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, LAYERS, WRONG_INTS, Cases, at, entries, layers, near, some
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request

Call = dict[str, Any]
FREEZING = ("freeze_to", "freeze_to", "freeze", "unfreeze")


def some_groups(draw: DrawFn, declared: list[str], least: int = 1) -> list[list[Any]]:
    """Return the declared layers, or some of them, as groups in any order, perhaps by containers."""
    least = min(least, len(declared))
    mine = some(draw, declared, least)
    if draw(c.sampled((False, False, True))):
        mine = entries(draw, declared, least)
    cuts = sorted(some(draw, range(1, len(mine)), min(least, len(mine)) - 1)) if len(mine) > 1 else []
    return [mine[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(mine)], strict=True)]


def a_call(draw: DrawFn, kinds: tuple[str, ...], ticks: int, groups: int) -> Call:
    call: Call = {"at": draw(c.integers(0, ticks)), "call": draw(c.sampled(kinds))}
    if call["call"] == "freeze_to":
        call["n"] = draw(c.sampled((-1, 1, -groups - 1, -2, 2, 0, groups + 1)))
    if call["call"] == "bn_freeze":
        call["do_freeze"] = draw(c.BOOLEANS)
    return call


@c.composite
def requests(
    draw: DrawFn, kinds: tuple[str, ...] = (*FREEZING, "bn_freeze"), least: int = 0, most: int = 4, ticks: int = 6
) -> Request:
    """Return any valid request."""
    declared = layers(draw, least=3 if least else 1)
    config: dict[str, Any] = {"groups": some_groups(draw, declared, draw(c.sampled((3, 3, 2, 1))))}
    count, number = len(config["groups"]), draw(c.sampled(range(most, least - 1, -1)))
    config["calls"] = [a_call(draw, kinds, ticks, count) for _ in range(number)]
    if "bn_freeze" in kinds and draw(c.integers(0, 3)):
        config["batch_norm"] = some(draw, declared, min(1, least))
    return segments_request(
        "fastai", declared, config, near(draw, *[call["at"] + 1 for call in config["calls"]] or [2])
    )


def in_order(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"calls": sorted(config["calls"], key=lambda call: call["at"])}


def spelt_out(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with ``freeze_to`` in place of its abbreviations."""
    n = {"freeze": -1, "unfreeze": 0}
    calls = [
        {"at": call["at"], "call": "freeze_to", "n": n[call["call"]]} if call["call"] in n else call
        for call in config["calls"]
    ]
    return config | {"calls": calls}


def from_the_front(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with indices >= 0 only: -1 is the last group, and what is beyond the front is 0."""
    calls = [
        call | {"n": max(0, call["n"] + len(config["groups"]))} if call.get("n", 0) < 0 else call
        for call in config["calls"]
    ]
    return config | {"calls": calls}


@c.composite
def with_and_without_bn_freeze(draw: DrawFn) -> tuple[Request, Request]:
    """Return two requests that differ in a ``bn_freeze`` alone, where no layer is a batch normalization."""
    request = draw(requests(kinds=("freeze_to", "freeze"), least=1, most=2))
    config = request["config"]
    call = {"at": config["calls"][0]["at"] + draw(c.integers(0, 2)), "call": "bn_freeze", "do_freeze": True}
    return request, request | {"config": config | {"calls": [*config["calls"], call]}}


@c.composite
def with_unknown_layer(draw: DrawFn, requests: SearchStrategy[Request], batch_norm: bool = True) -> Request:
    request = draw(requests)
    config = request["config"]
    if not batch_norm or draw(c.BOOLEANS):
        target = draw(c.sampled(config["groups"]))
    else:
        target = config.setdefault("batch_norm", [])
    target.insert(draw(c.integers(0, len(target))), c.misspelt(draw, request["names"]))
    return request


@c.composite
def with_each_alone(draw: DrawFn, requests: SearchStrategy[Request]) -> tuple[Request, Request]:
    """Return a request in which ``each`` stands in place of groups: with a group for each match, and as it is."""
    request = draw(requests)
    found = entries(draw, request["names"], 2, patterns=True)
    alone = [entry if isinstance(entry, dict) else [entry] for entry in found]
    spelt_out = [[path] for path in c.spelt_out(found, request["names"])]
    one, other = (request | {"config": request["config"] | {"groups": groups}} for groups in (spelt_out, alone))
    return one, other


@c.composite
def with_a_pattern_in_vain(draw: DrawFn, requests: SearchStrategy[Request]) -> Request:
    request = draw(requests)
    groups = request["config"]["groups"]
    target = draw(c.sampled([groups, groups[0], groups[-1]]))
    wrong = c.without_match(draw, request["names"])
    target.append([wrong] if target is groups and isinstance(wrong, str) else wrong)
    return request


@c.composite
def with_layer_in_two_groups(draw: DrawFn, requests: SearchStrategy[Request]) -> Request:
    request = draw(requests)
    groups = request["config"]["groups"]
    layer = draw(c.sampled([name for group in groups for name in group]))
    groups.append([layer]) if draw(c.BOOLEANS) else groups[-1 if layer in groups[0] else 0].append(layer)
    return request


_BASE = segments_request(
    "fastai",
    list(LAYERS),
    {
        "groups": [["stem"], ["conv2", "conv1"], ["head"]],
        "calls": [
            {"at": 0, "call": "freeze"},
            {"at": 1, "call": "freeze_to", "n": -2},
            {"at": 2, "call": "bn_freeze", "do_freeze": True},
            {"at": 3, "call": "unfreeze"},
        ],
        "batch_norm": ["conv1"],
    },
    6,
)
_EDITS = [
    *at((), [], "stem", 3, True),
    *at(("groups",), [], {}, "stem", 3, ["stem"], [[]], [["stem"], []], [["stem", 1]], DROP),
    *at(("groups",), [["stem", "stem"]], [["stem"], ["stem"]], [{"each": "body"}], ["b*"], [["b*"], {"each": "b*"}]),
    *at(("calls",), {}, "freeze", 3, ["freeze"]),
    *(edit for number in range(4) for edit in at(("calls", number, "at"), *WRONG_INTS, DROP)),
    *at(("calls", 0, "call"), "freez", "Freeze", 1, True, DROP),
    *at(("calls", 1, "n"), True, "1", 1.5, DROP),
    *at(("calls", 2, "do_freeze"), 1, 0, "yes", DROP),
    *at(("calls", 3, "when"), 1),
    *at(("batch_norm",), {}, "conv1", 3, [1], ["conv1", "conv1"]),
    *at(("batch_norms",), ["conv1"]),
]

FAMILIES: dict[str, Family] = {
    "FAI-1-agrees_with_the_reference": c.agree(requests(kinds=("freeze_to",), least=2)),
    "FAI-1-negative_n_counts_from_the_end": c.variant(requests(kinds=("freeze_to",), least=1), from_the_front),
    "FAI-1-invalid_spec": c.reject("invalid-spec", with_layer_in_two_groups(requests(least=2))),
    "FAI-2-agrees_with_the_reference": c.agree(requests(least=3, most=5, ticks=1)),
    "FAI-2-ticks_order_the_calls": c.variant(requests(least=2), in_order),
    "FAI-3-abbreviations": c.variant(requests(kinds=FREEZING, least=1), spelt_out),
    "FAI-4-agrees_with_the_reference": c.agree(
        requests(kinds=("freeze_to", "freeze", "bn_freeze", "bn_freeze"), least=2)
    ),
    "FAI-4-bn_freeze_freezes_nothing": c.same(with_and_without_bn_freeze()),
    "NAM-2-unknown_name": c.reject("unknown-name", with_unknown_layer(requests())),
    "NAM-3-needs_model": c.container_and_layer(
        "fastai",
        lambda one, other: {"groups": [[one, "stem"], [other]]},
        lambda one, other: {"groups": [[one], ["stem"]], "batch_norm": [other]},
    ),
    "NAM-5-each_alone_is_a_group_for_each_match": c.same(with_each_alone(requests())),
    "NAM-5-empty_selection": c.reject("empty-selection", with_a_pattern_in_vain(requests())),
    "CFG-1-invalid_spec": c.invalid(_BASE, _EDITS),
}

CASES = {"fastai": Cases(requests(), FAMILIES)}
