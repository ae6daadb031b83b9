"""On JAX the masked step: one trace for all frozen sets, the same moves, and the values of steps made for each set."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import always, stages
from refreeze.keras import execute
from small_models import Probe, build, fit, said, slots, weights

pytestmark = [pytest.mark.engine, pytest.mark.only_on("jax")]
SETS = ([], ["one"], ["two", "norm"], ["one"], ["one", "two", "head", "norm"], ["two"])
GATHERING = {"gradient_accumulation_steps": 2, "global_clipnorm": 1.0, "momentum": 0.9}


def run(kind: str, switch: Any, **options: Any) -> tuple[Probe, int, Any]:
    model = build(kind, "sgd")
    if options:
        model.compile(keras.optimizers.SGD(0.05, **options), model.loss)
    if kind == "dense":
        model.get_layer("two").kernel.regularizer = keras.regularizers.L2(0.01)
    policy = stages(*((at, always(set(held) & {n.name for n in model.layers})) for at, held in enumerate(SETS)))
    reports, probe = [], Probe(model)
    history = execute(model, policy, len(SETS), probe, switch=switch, reports=reports)
    return probe, sum(report.new_step for report in reports), history


@pytest.mark.parametrize(("kind", "options"), [("dense", GATHERING), ("cnn", {})])
def test_EXE_7_masked_equals_cached(kind: str, options: dict[str, Any]) -> None:
    found, one, history = run(kind, "masked", **options)
    should_be, each, plain = run(kind, "cached", **options)
    assert (one, each) == (1, 4 if kind == "dense" else 5)
    assert [call.moved for call in found.calls] == [call.moved for call in should_be.calls]
    assert [call.slots_moved for call in found.calls] == [call.slots_moved for call in should_be.calls]
    for now, then in ((weights, weights), (slots, slots)):
        ends = now(found.model), then(should_be.model)
        for name, bits in ends[0].items():
            if "iteration" in name or "seed" in name:
                assert bits == ends[1][name], name
            else:
                one, other = (np.frombuffer(end[name], np.float32) for end in ends)
                assert np.allclose(one, other, rtol=0, atol=1e-5), name
    assert np.allclose(history.history["loss"], plain.history["loss"], rtol=1e-5)


def test_what_cannot_be_masked_is_named_and_cached(caplog: pytest.LogCaptureFixture) -> None:
    model = build("dense", "sgd", run_eagerly=True)
    execute(model, always(["one"]), 1, fit(model), switch="masked")
    (line,) = said(caplog, logging.WARNING)
    assert line == "a step that is not compiled cannot be masked: each frozen set is traced and kept instead"
