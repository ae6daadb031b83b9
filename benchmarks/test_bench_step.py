"""What does a train step cost, by share and place of the frozen layers, and is it that of plain Keras?"""

from __future__ import annotations

import functools
from typing import Any

import pytest
from refreeze import Segment
from refreeze.keras.model import layer_names
from workload import BUILDERS, build, controller, describe, freeze, shares, stepper, timed

PARTS = [
    ("none", 0.0),
    *((place, share) for place in ("prefix", "suffix", "interleaved") for share in (0.25, 0.5, 0.75)),
]


@functools.lru_cache(maxsize=1)
def prepared(model: str) -> Any:
    network = build(model)
    return network, controller(network), stepper(network)


@pytest.mark.parametrize(("place", "share"), PARTS)
@pytest.mark.parametrize("model", BUILDERS)
def test_step(benchmark: Any, rounds: Any, model: str, place: str, share: float) -> None:
    """Timed: one step, against one with all layers trainable."""
    network, control, step = prepared(model)
    control.enter(Segment(0, 1, shares(layer_names(network), place, share)))
    step()
    loss = benchmark.pedantic(step, rounds=rounds(20), warmup_rounds=rounds(2))
    assert loss == loss  # NaN is not
    case = "all trainable" if place == "none" else f"{place} {share:.0%} frozen"
    describe(benchmark, "step", model, case, baseline=place == "none")


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("model", BUILDERS)
def test_step_of_plain_keras(benchmark: Any, rounds: Any, model: str, share: float) -> None:
    """Timed: one step under the engine; before each, one of plain Keras with the same flags, so that drift cancels."""
    prepared.cache_clear()
    network, plain = build(model), build(model)
    frozen = shares(layer_names(network), "prefix", share)
    controller(network).enter(Segment(0, 1, frozen))
    freeze(plain, frozen)
    step, plain_step = stepper(network), stepper(plain)
    plain.make_train_function()
    step(), plain_step()

    beside: list[float] = []
    benchmark.pedantic(step, setup=lambda: beside.append(timed(plain_step)), rounds=rounds(40))
    case = f"prefix {share:.0%} frozen" if share else "all trainable"
    assert [w.numpy().tobytes() for w in network.weights] == [w.numpy().tobytes() for w in plain.weights]
    describe(benchmark, "step against plain Keras", model, case, beside_seconds=beside)
