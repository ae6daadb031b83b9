"""``auto``: one trace whatever the schedule; a specialised step does what a traced one does (EXE-7); the rule."""

from __future__ import annotations

import gc
import itertools
import logging
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Unsupported, always, stages
from refreeze.keras import FreezeSchedule, auto, execute, private
from refreeze.keras.model import layer_names
from small_models import BACKEND, MODELS, STEPS, agree, build, count_traces, everything, fit, said
from test_masked import ON_TENSORFLOW, POLICY, SETS, SGD, network, trained

pytestmark = [pytest.mark.engine, pytest.mark.only_on("tensorflow", "jax")]


class AtOnce:
    """In the place of a thread: what is submitted is done at once."""

    def __init__(self, *how: Any) -> None:
        self.shutdown = lambda **how: None

    def submit(self, do: Any, *what: Any) -> None:
        do(*what)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every set have a specialised step from its first batch on, if there is room for one more."""

    def first(self: Any, *batch: Any) -> Any:
        self._masked.prepare(*batch)
        self._costs.masked = [1.0]
        if not self._specialises():
            self._model.train_function = self._masked
        return self._model.train_function(*batch)

    if BACKEND == "jax":
        monkeypatch.setattr("refreeze.keras.backends.jax_masked.ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(auto.Masked, "_first", first)
    monkeypatch.setattr(auto.Costs, "worth", lambda self, *asked: (True, "always"))


@pytest.mark.parametrize(("sets", "switch"), [(2, "auto"), (35, "masked"), (200, "auto")])
def test_a_model_is_traced_once_whatever_the_schedule(sets: int, switch: Any) -> None:
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Dense(2, name=f"dense{number}") for number in range(8)]
    model = keras.Sequential([keras.Input((2,)), *stack])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", metrics=["mae"])
    subsets = (itertools.combinations(layer_names(model), size) for size in range(9))
    chosen = itertools.islice(itertools.chain.from_iterable(subsets), sets)
    policy = stages(*((number, always(names)) for number, names in enumerate(chosen)))
    traces, x = count_traces(model), np.ones((sets, 2), np.float32)
    model.fit(x, x, batch_size=1, verbose=0, callbacks=[FreezeSchedule(policy, unit="steps", switch=switch)])
    assert traces == [1]


@pytest.mark.parametrize("kind", ["nested"])
def test_EXE_7_a_specialised_step_is_a_traced_one(kind: str, at_once: None) -> None:
    """With batch normalization too, of which the masked step has other last bits."""
    names = layer_names(MODELS[kind]())
    sets = [[names[0]], [names[1]], [], [names[0]], names, [names[0], names[-1]]]
    policy = stages(*((number, always(list(one))) for number, one in enumerate(sets)))
    results, decisions = [], []
    for switch in ("auto", "cached"):
        model, reports = build(kind, "sgd"), []
        traces = count_traces(model)
        history = execute(model, policy, 6, fit(model), switch=switch, reports=reports)
        results.append(everything(model, history))
        decisions.append(([report.decision.partition(":")[0] for report in reports], traces[0]))
    agree(*results)
    own, again = "specialised", "specialised before"
    assert decisions == [([own, own, own, again, own, own], 1), (["cached"] * 6, 5)]


@ON_TENSORFLOW
@pytest.mark.parametrize("options", [{"global_clipnorm": 0.1, "gradient_accumulation_steps": 2}], ids=str)
def test_EXE_7_and_inside_of_other_conditionals(options: dict[str, Any], at_once: None) -> None:
    def optimizer() -> Any:
        return keras.optimizers.LossScaleOptimizer(SGD(0.05, momentum=0.9, **options), 8.0, 4)

    runs = [trained(network, optimizer, POLICY, switch) for switch in ("auto", "cached")]
    assert runs[0][0] == runs[1][0]
    assert [traces for _, traces in runs] == [1, len({*map(tuple, SETS)})]


@ON_TENSORFLOW
def test_what_is_dropped_is_forgotten(at_once: None) -> None:
    """Of ``cache_size`` sets there are functions in TensorFlow, and those with the most to come stay."""
    from tensorflow.python.eager import context

    model, known, reports = build("dense", "sgd"), [], []
    turns = [["one"], ["two"], ["one"], ["head"], ["one"]] * 2
    policy = stages(*((number, always(names)) for number, names in enumerate(turns)))

    def watched(epochs: int) -> Any:
        history = fit(model)(epochs)
        known.append(sum("_refreeze_" in name for name in context.context().list_function_names()))
        return history

    execute(model, policy, len(turns), watched, switch="auto", cache_size=2, reports=reports)
    assert len({*known[3:]}) == 1
    assert [report.decision for report in reports if "one" in report.segment.frozen][1:] == ["specialised before"] * 4


@ON_TENSORFLOW
def test_without_what_tensorflow_keeps_to_itself_the_masked_step_trains(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(attribute: str) -> Any:
        raise Unsupported(private.gone(f"Context.{attribute}"))

    gc.collect()  # what other tests have left gives its functions back
    monkeypatch.setattr(private, "_context", gone)
    runs = [trained(network, SGD, POLICY, switch) for switch in ("auto", "cached")]
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] == 1
    assert said(caplog, logging.WARNING) == [private.gone("Context.get_function_def")]


def test_decisions_are_in_the_report_and_know_what_is_to_come() -> None:
    model, reports = build("dense", "sgd"), []
    policy = stages((0, always(["one"])), (1, always(["two"])), (3, always(["one"])))
    execute(model, policy, 4, fit(model), switch="auto", reports=reports)
    calls = [f"{STEPS * epochs} calls to come" for epochs in (2, 2, 1)]
    assert [said_calls in report.decision for said_calls, report in zip(calls, reports, strict=True)][1:] == [True] * 2
