"""What a dropped train step holds: nothing. Counted in graphs and registry entries; resident memory in a slow test."""

from __future__ import annotations

import gc
import inspect
import logging
import weakref
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from refreeze import Segment, always, stages
from refreeze.keras import execute, traces
from refreeze.keras.model import layer_names
from small_models import build, everything, fit, weights
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import FuncGraph

pytestmark = pytest.mark.engine
SETS = [(), ("one",), ("norm",), ("two",), ("one", "norm")]


def custom_gradients() -> set[str]:
    return {name for name in ops.gradient_registry._registry if name.startswith("CustomGradient-")}


def watched(model: keras.Model, visits: list[tuple[str, ...]], **options: Any) -> list[dict[str, int]]:
    """Run one epoch per visit; return what there is after each switch, beyond what there was before the run."""
    fit(model)(1)  # whatever Keras and TensorFlow make once for a model is there now
    entries_before = custom_gradients()
    steps: list[Any] = []
    found = []

    def count(segment: Segment) -> None:
        if options.get("switch") == "rebuild":
            gc.collect()  # it drops the old one, and leaves the collecting to Python
        steps.append(weakref.ref(inspect.unwrap(model.train_function)))  # not the clock around it
        found.append(
            {
                "steps": sum(step() is not None for step in steps),
                "graphs": sum(issubclass(type(thing), FuncGraph) for thing in gc.get_objects()),
                "entries": len(custom_gradients() - entries_before),
            }
        )

    policy = stages(*((at, always(names)) for at, names in enumerate(visits)))
    execute(model, policy, len(visits), fit(model), on_segment=count, **options)
    return found


@pytest.mark.parametrize(("options", "bound"), [({"cache_size": 2}, 2), ({"switch": "rebuild"}, 1)])
def test_a_dropped_train_step_is_freed(options: dict[str, Any], bound: int) -> None:
    found = watched(build(optimizer="sgd"), SETS, **options)
    assert [now["steps"] for now in found[bound:]] == [bound] * (len(SETS) - bound)
    # From the first that is dropped on nothing grows, however many follow.
    assert len({now["graphs"] for now in found[bound:]}) == 1
    assert {now["entries"] for now in found} == {0}


@pytest.mark.parametrize("switch", ["cached", "rebuild", "masked"])
def test_the_last_train_step_of_a_run_is_held_by_its_model_alone(switch: Any) -> None:
    model, before = build("dense", "sgd"), custom_gradients()
    execute(model, always(["one"]), 1, fit(model), switch=switch)
    assert custom_gradients() == before


def test_gradients_inside_control_flow_are_forgotten_too() -> None:
    """Gradient accumulation updates in a branch, and its all-reduce has a custom gradient there."""
    model = build(optimizer="sgd")
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), model.loss)
    assert {now["entries"] for now in watched(model, SETS[:2], cache_size=1)} == {0}


@tf.function
def gate(x: Any) -> Any:
    return tf.nn.silu(x)  # has a custom gradient


@keras.saving.register_keras_serializable("refreeze-tests")
class Gate(keras.layers.Layer):
    """Calls a ``tf.function`` that others may call too, and that is traced only once."""

    def call(self, x: Any) -> Any:
        return gate(x)


@pytest.mark.only_on("tensorflow")
def test_gradients_of_functions_that_others_may_call_stay() -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4, name="one"), Gate(), layers.Dense(10, name="head")]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = weights(model)
    execute(model, stages((0, always([])), (1, always(["head"])), (2, always([]))), 3, fit(model), switch="rebuild")
    assert all(before[name] != now for name, now in weights(model).items())
    x = tf.random.uniform((16, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gate(x)
    assert tape.gradient(y, x) is not None


@pytest.mark.only_on("tensorflow")
def test_with_other_internals_of_tensorflow_only_the_clean_up_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="refreeze")
    traces._say_once.cache_clear()
    policy = stages((0, always([])), (1, always(["one"])), (2, always([])))
    results = []
    for broken in (False, True):
        if broken:
            monkeypatch.delattr(type(gate), "_list_all_concrete_functions")
        model = build("dense")
        results.append(everything(model, execute(model, policy, 3, fit(model), cache_size=1)))
    assert results[0] == results[1]
    said = [record for record in caplog.records if "stay registered" in record.message]
    assert [record.levelname for record in said] == ["DEBUG"]


def resident() -> int:
    """Return the MiB that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read as Linux has it")
def test_twenty_frozen_sets_of_mobilenet_take_the_memory_of_five() -> None:
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=5)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy())
    x, y = np.random.default_rng(0).random((8, 96, 96, 3), np.float32), np.arange(8) % 5
    names = layer_names(model)
    steps: list[Any] = []
    found: list[tuple[int, int, int]] = []

    def measured(epochs: int) -> Any:
        history = model.fit(x, y, epochs=epochs, verbose=0)
        steps.append(weakref.ref(model.train_function))
        gc.collect()
        graphs = sum(issubclass(type(thing), FuncGraph) for thing in gc.get_objects())
        found.append((resident(), sum(step() is not None for step in steps), graphs))
        return history

    sets = stages(*((epoch, always(names[5 * epoch : 5 * epoch + 5])) for epoch in range(20)))
    execute(model, sets, 20, measured, cache_size=4)
    used, alive, graphs = zip(*found, strict=True)
    print("MiB", used, "train functions", alive, "graphs", graphs)
    assert alive == (1, 2, 3, *[4] * 17)
    assert len(set(graphs[3:])) == 1, graphs
    # A set takes some 100 MiB; the 15 dropped since the fifth have not left as much as one of them.
    assert max(used) - used[4] < 100, used
