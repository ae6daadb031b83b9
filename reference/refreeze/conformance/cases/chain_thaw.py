"""Chain-thaw (DeepMoji), in epochs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze.conformance.cases import (
    DROP,
    LAYERS,
    RATES,
    WRONG_INTS,
    agree,
    at,
    bad_layers,
    invalid,
    layers,
    meant,
    near,
    needs_model,
    picked,
    reject,
    resume,
    same,
    some,
    unknown_layers,
)
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request


@st.composite
def requests(draw: DrawFn, listed: bool | None = None, rates: bool | None = None) -> Request:
    """Return any valid request."""
    declared = layers(draw)
    config: dict[str, Any] = {"layers": picked(draw, declared)} if draw(st.booleans()) else {}
    every = meant(config.get("layers", "all"), declared)
    if draw(st.booleans()):
        config["new"] = some(draw, every, 1, 3)
    stages = 1 + len(every) - len(config.get("new", every[-1:]))
    if listed or (listed is None and draw(st.booleans())):
        config["epochs"] = draw(st.lists(st.integers(1, 3), min_size=stages, max_size=stages))
    else:
        config["epochs"] = draw(st.integers(1, 3))
    for key in ("initial_learning_rate", "learning_rate"):
        if rates or draw(st.booleans()):
            config[key] = draw(st.sampled_from(RATES))
    end = sum(config["epochs"]) if isinstance(config["epochs"], list) else config["epochs"] * stages
    return segments_request("chain_thaw", declared, config, near(draw, end, max(1, end // 2)))


def written_out(request: Request) -> tuple[Request, Request]:
    """Return the request with one number of epochs for each stage, and as it is, with one for all."""
    config = request["config"]
    every = meant(config.get("layers", "all"), request["names"])
    new = config.get("new", every[-1:])
    return request | {"config": config | {"epochs": [config["epochs"]] * (1 + len(every) - len(new)), "new": new}}, request


@st.composite
def with_a_new_layer_outside(draw: DrawFn) -> Request:
    declared = layers(draw, least=2)
    mine = some(draw, declared, 1, len(declared) - 1)
    outside = draw(st.sampled_from([name for name in declared if name not in mine]))
    return segments_request("chain_thaw", declared, {"epochs": 1, "layers": mine, "new": [outside]}, 4)


BASE = segments_request(
    "chain_thaw",
    list(LAYERS),
    {"epochs": [1, 2], "new": ["head"], "layers": ["stem", "head"], "initial_learning_rate": 0.5, "learning_rate": 0.25},
    8,
)

FAMILIES: dict[str, Family] = {
    "RES-1-a_resumed_run_is_the_rest_of_the_whole": resume(requests(rates=True)),
    "CHT-1-agrees_with_the_reference": agree(requests()),
    "CHT-1-one_number_is_a_list_of_equal_ones": same(requests(listed=False).map(written_out)),
    "CHT-1-unknown_name": reject("unknown-name", with_a_new_layer_outside()),
    "CHT-2-agrees_with_the_reference": agree(requests(rates=True)),
    "NAM-1-needs_model": needs_model(requests(listed=False)),
    "NAM-2-unknown_name": reject("unknown-name", unknown_layers(requests(listed=False))),
    "CFG-1-invalid_spec": invalid(
        [BASE],
        [
            *at(("epochs",), 0, *WRONG_INTS, [], [1], [1, 2, 3], [1, 0], [1, True], [1, "2"], DROP),
            *at(("new",), [], {}, "head", 3, [1], ["head", "head"]),
            *(edit for key in ("initial_learning_rate", "learning_rate") for edit in at((key,), 0, -1, True, "0.5")),
            *bad_layers(("layers",)),
            *at(("lengths",), 1),
            *at((), [], "all", 3),
        ],
    ),
}
