"""Composer: linear progressive freezing, in fractions of a run of epochs."""

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
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request

SHARES = st.sampled_from((0.5, 0.1, 0.7, "1/3", "2/3", 0.25, 0.29, 0, 1))


@st.composite
def requests(draw: DrawFn, shares: st.SearchStrategy[Any] = SHARES) -> Request:
    """Return any valid request."""
    declared = layers(draw)
    config: dict[str, Any] = {"layers": picked(draw, declared)} if draw(st.booleans()) else {}
    if draw(st.integers(0, 3)):
        config["freeze_start"] = draw(shares.filter(lambda share: Fraction(str(share)) < 1))
    if draw(st.integers(0, 3)):
        config["freeze_level"] = draw(shares)
    return segments_request("composer", declared, config, draw(st.sampled_from((10, 9, 12, 20, 1, 0, 25, 7))))


@st.composite
def on_the_tick(draw: DrawFn) -> Request:
    """Return freezing that begins and goes on exactly at epochs, by decimal digits and not in floats."""
    tenth = draw(st.sampled_from((1, 2, 4, 8, 6, 7)))
    steps = draw(st.sampled_from([n for n in (2, 3, 4) if (10 - tenth) % n == 0]))
    config = {"freeze_start": tenth / 10}
    return segments_request("composer", list(LAYERS[: steps + 1]), config, draw(st.sampled_from((10, 20))))


def as_fractions(request: Request) -> tuple[Request, Request]:
    """Return the request with its shares as strings, and as it is."""
    config = {
        key: f"{Fraction(str(value)).numerator}/{Fraction(str(value)).denominator}" if key != "layers" else value
        for key, value in request["config"].items()
    }
    return request | {"config": config}, request


BASE = segments_request("composer", list(LAYERS), {"freeze_start": 0.25, "freeze_level": 0.5, "layers": "all"}, 8)
SHARE_EDITS = ("half", "1/0", "-1/2", "1.5/2", "3/2", -0.5, 1.5, True, [0.5])

FAMILIES: dict[str, Family] = {
    "CMP-1-agrees_with_the_reference": agree(on_the_tick() | requests()),
    "CMP-1-a_number_means_its_digits": same((on_the_tick() | requests()).map(as_fractions)),
    "NAM-1-needs_model": needs_model(requests()),
    "NAM-2-unknown_name": reject("unknown-name", unknown_layers(requests())),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("freeze_start",), 1, "1/1", *SHARE_EDITS),
            *at(("freeze_level",), *SHARE_EDITS),
            *bad_layers(("layers",)),
            *at(("start",), 0.5),
            *at((), [], "all", 3),
        ],
    ),
}
