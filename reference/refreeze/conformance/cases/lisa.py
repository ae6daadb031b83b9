"""LISA: a few layers are drawn that train, in steps."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze.conformance.cases import (
    DROP,
    LAYERS,
    SEEDS,
    WRONG_INTS,
    agree,
    at,
    bad_layers,
    invalid,
    layers,
    meant,
    near,
    needs_model,
    reject,
    same,
    some,
    unknown_layers,
    variant,
)
from refreeze.conformance.laws import Case, Family, counts
from refreeze.conformance.protocol import Request, segments_request


def drawn_from(config: dict[str, Any], names: list[str]) -> list[str]:
    """Return the layers that are drawn from."""
    return [name for name in meant(config.get("layers", "all"), names) if name not in config.get("always_on", ())]


@st.composite
def requests(draw: DrawFn, listed: bool | None = None) -> Request:
    """Return any valid request."""
    declared = layers(draw, least=2)
    config: dict[str, Any] = {}
    if draw(st.booleans()):
        config["always_on"] = some(draw, declared, 1, len(declared) - 1)
    rest = drawn_from(config, declared)
    if listed or (listed is None and draw(st.booleans())):
        config["layers"] = some(draw, rest)
    config["n_layers"] = draw(st.integers(1, len(drawn_from(config, declared))))
    config["step_interval"] = draw(st.integers(1, 4))
    if draw(st.integers(0, 3)):
        config["seed"] = draw(SEEDS)
    return segments_request("lisa", declared, config, near(draw, config["step_interval"] * draw(st.integers(2, 6))))


def number_frozen(request: Request) -> Case:
    config = request["config"]
    frozen = len(drawn_from(config, request["names"])) - config["n_layers"]
    return {"request": request, "from": 0, "to": request["total"], "frozen": frozen}


def written_out(request: Request) -> tuple[Request, Request]:
    """Return the request with the layers that are drawn from, and as it is, with "all"."""
    config = request["config"]
    return request | {"config": config | {"layers": drawn_from(config, request["names"])}}, request


@st.composite
def both(draw: DrawFn) -> Request:
    """Return a layer that is drawn from and always on."""
    request = draw(requests(listed=True))
    config = request["config"]
    config["always_on"] = [*config.get("always_on", []), draw(st.sampled_from(config["layers"]))]
    return request


@st.composite
def nothing_left(draw: DrawFn) -> Request:
    declared = layers(draw)
    config = {"n_layers": 1, "step_interval": 2, "always_on": draw(st.permutations(declared))}
    return segments_request("lisa", declared, config, 4)


BASE = segments_request(
    "lisa",
    list(LAYERS),
    {"n_layers": 1, "step_interval": 2, "layers": ["stem", "conv1"], "always_on": ["head"], "seed": 1},
    6,
)

FAMILIES: dict[str, Family] = {
    "LIS-1-agrees_with_the_reference": agree(requests()),
    "LIS-1-so_many_layers_train": Family(counts, requests().map(number_frozen)),
    "LIS-1-all_is_what_is_not_always_on": same(requests(listed=False).map(written_out)),
    "LIS-1-invalid_spec": reject("invalid-spec", both()),
    "LIS-1-empty_selection": reject("empty-selection", nothing_left()),
    "RND-3-no_seed_is_seed_0": variant(
        requests().map(lambda r: r | {"config": r["config"] | {"seed": 0}}),
        lambda config: {key: value for key, value in config.items() if key != "seed"},
    ),
    "NAM-1-needs_model": needs_model(requests(listed=False)),
    "NAM-2-unknown_name": reject("unknown-name", unknown_layers(requests(listed=True))),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("n_layers",), 0, 3, *WRONG_INTS, DROP),
            *at(("step_interval",), 0, *WRONG_INTS, DROP),
            *at(("seed",), 2**64, *WRONG_INTS),
            *at(("always_on",), [], {}, "head", 3, [1], ["head", "head"]),
            *bad_layers(("layers",)),
            *at(("interval",), 1),
            *at((), [], "all", 3),
        ],
    ),
}
