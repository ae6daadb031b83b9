"""Gradual unfreezing (ULMFiT), in epochs; its rates are no part of the protocol."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze.conformance.cases import LAYERS, WRONG_INTS, agree, at, invalid, layers, needs_model, reject, same
from refreeze.conformance.cases.fastai import some_groups, with_layer_in_two_groups, with_unknown_layer
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request


@st.composite
def requests(draw: DrawFn, grouped: bool | None = None) -> Request:
    """Return any valid request."""
    declared = layers(draw)
    config: dict[str, Any] = {}
    if grouped or (grouped is None and draw(st.booleans())):
        config["groups"] = some_groups(draw, declared, 2)
    if draw(st.integers(0, 3)):
        config["every"] = draw(st.integers(1, 4))
    return segments_request("gradual", declared, config, draw(st.integers(0, 16)))


def one_by_one(request: Request) -> tuple[Request, Request]:
    """Return the request with a group for each layer, and as it is, without groups."""
    return request | {"config": request["config"] | {"groups": [[name] for name in request["names"]]}}, request


BASE = segments_request(
    "gradual", list(LAYERS), {"groups": [["stem"], ["head"]], "every": 2, "learning_rate": 0.5, "factor": 2}, 8
)

FAMILIES: dict[str, Family] = {
    "GRD-1-agrees_with_the_reference": agree(requests()),
    "GRD-1-without_groups_each_layer_is_one": same(requests(grouped=False).map(one_by_one)),
    "GRD-1-invalid_spec": reject("invalid-spec", with_layer_in_two_groups(requests(grouped=True))),
    "NAM-1-needs_model": needs_model(requests(grouped=False)),
    "NAM-2-unknown_name": reject("unknown-name", with_unknown_layer(requests(grouped=True), batch_norm=False)),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("groups",), [], {}, "stem", 3, ["stem"], [[]], [["stem"], []], [["stem", 1]], [["stem", "stem"]]),
            *at(("every",), 0, *WRONG_INTS),
            *at(("learning_rate",), 0, -1, True, "0.5"),
            *at(("factor",), 0, -1, True, "2"),
            *at(("each",), 1),
            *at((), [], "stem", 3),
        ],
    ),
}
