"""Lightning's BackboneFinetuning, in epochs; its rates are no part of the protocol."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze.conformance.cases import (
    LAYERS,
    WRONG_INTS,
    agree,
    at,
    invalid,
    layers,
    meant,
    misspelt,
    near,
    reject,
    same,
    some,
)
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request


@st.composite
def requests(draw: DrawFn) -> Request:
    """Return any valid request."""
    declared = layers(draw)
    config: dict[str, Any] = {"backbone": some(draw, declared)}
    if meant(["body"], declared) and draw(st.booleans()):
        config["backbone"] = ["body", *[name for name in config["backbone"] if not name.startswith("body/")]]
    if draw(st.integers(0, 4)):
        config["unfreeze_backbone_at_epoch"] = draw(st.integers(0, 6))
    if draw(st.integers(0, 3)):
        config["batch_norm"] = some(draw, meant(config["backbone"], declared), 0)
    if draw(st.booleans()):
        config["train_bn"] = draw(st.booleans())
    return segments_request("lightning", declared, config, near(draw, config.get("unfreeze_backbone_at_epoch", 10)))


def written_out(request: Request) -> tuple[Request, Request]:
    """Return the request with the layers of containers, and as it is."""
    config = request["config"]
    return request | {"config": config | {"backbone": meant(config["backbone"], request["names"])}}, request


@st.composite
def with_unknown_layer(draw: DrawFn) -> Request:
    request = draw(requests())
    name = misspelt(draw, request["names"])
    target = request["config"]["backbone"] if draw(st.booleans()) else request["config"].setdefault("batch_norm", [])
    target.insert(draw(st.integers(0, len(target))), name)
    return request


BASE = segments_request(
    "lightning",
    list(LAYERS),
    {
        "unfreeze_backbone_at_epoch": 3,
        "backbone": ["stem", "conv1"],
        "batch_norm": ["conv1"],
        "train_bn": False,
        "learning_rate": 0.5,
        "multiplier": 2,
    },
    6,
)

FAMILIES: dict[str, Family] = {
    "LTN-1-agrees_with_the_reference": agree(requests()),
    "NAM-3-a_container_is_its_layers": same(requests().map(written_out)),
    "NAM-2-unknown_name": reject("unknown-name", with_unknown_layer()),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("unfreeze_backbone_at_epoch",), *WRONG_INTS),
            *at(("backbone",), [], {}, "stem", 3, [1], ["stem", "stem"]),
            *at(("batch_norm",), {}, "conv1", 3, [1], ["conv1", "conv1"]),
            *at(("train_bn",), 1, 0, "no"),
            *at(("learning_rate",), 0, -1, True, "0.5"),
            *at(("multiplier",), 0, 0.5, True, "2"),
            *at(("unfreeze_at",), 3),
            *at((), [], "all", 3),
        ],
    ),
}
