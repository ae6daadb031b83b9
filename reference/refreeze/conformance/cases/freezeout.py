"""FreezeOut: each layer trains for a share of the run, in steps; its rates are no part of the protocol."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze.conformance.cases import (
    LAYERS,
    agree,
    at,
    bad_layers,
    invalid,
    layers,
    needs_model,
    picked,
    reject,
    same,
    unknown_layers,
)
from refreeze.conformance.cases.composer import SHARE_EDITS, SHARES
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request


@st.composite
def requests(draw: DrawFn) -> Request:
    """Return any valid request."""
    declared = layers(draw)
    config: dict[str, Any] = {"layers": picked(draw, declared)} if draw(st.booleans()) else {}
    if draw(st.integers(0, 3)):
        config["t_0"] = draw(SHARES.filter(lambda share: Fraction(str(share)) > 0))
    if draw(st.integers(0, 3)):
        config["how_scale"] = draw(st.sampled_from(("linear", "squared", "cubic")))
    if draw(st.booleans()):
        config["scale_lr"] = draw(st.booleans())
    return segments_request("freezeout", declared, config, draw(st.sampled_from((10, 16, 9, 27, 20, 8, 1, 0))))


@st.composite
def on_the_tick(draw: DrawFn) -> Request:
    """Return a first layer that trains until exactly a step, by decimal digits and not in floats."""
    config = {"t_0": draw(st.sampled_from((0.3, 0.6, 0.7))), "how_scale": "linear"}
    return segments_request("freezeout", layers(draw, least=2), config, draw(st.sampled_from((10, 20))))


def as_fraction(request: Request) -> tuple[Request, Request]:
    """Return the request with ``t_0`` as a string, and as it is."""
    share = Fraction(str(request["config"].get("t_0", 0.8)))
    return request | {"config": request["config"] | {"t_0": f"{share.numerator}/{share.denominator}"}}, request


BASE = segments_request(
    "freezeout", list(LAYERS), {"t_0": 0.5, "how_scale": "linear", "scale_lr": True, "learning_rate": 0.5}, 8
)

FAMILIES: dict[str, Family] = {
    "FRO-1-agrees_with_the_reference": agree(on_the_tick() | requests()),
    "FRO-1-a_number_means_its_digits": same((on_the_tick() | requests()).map(as_fraction)),
    "NAM-1-needs_model": needs_model(requests()),
    "NAM-2-unknown_name": reject("unknown-name", unknown_layers(requests())),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("t_0",), 0, "0/1", *SHARE_EDITS),
            *at(("how_scale",), "quartic", 3, True, "Cubic"),
            *at(("scale_lr",), 1, "yes"),
            *at(("learning_rate",), 0, -1, True, "0.5"),
            *bad_layers(("layers",)),
            *at(("t0",), 0.5),
            *at((), [], "all", 3),
        ],
    ),
}
