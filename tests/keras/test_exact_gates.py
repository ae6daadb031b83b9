"""What a switch may cost, without a clock: traces, train functions, registered functions and optimizer variables."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import keras
import pytest
from refreeze.keras import FreezeTrainingExecutor
from refreeze.keras.model import layer_names
from refreeze.plan import configuration, plan, traces
from small_models import build, count_traces, fit
from tensorflow.python.eager import context

pytestmark = pytest.mark.engine


def moving(window: int, epochs: int) -> list[dict[str, Any]]:
    strategy = {"type": "round_robin", "window_size": window, "iterative_span": 1}
    return [{"layers": "all", "training_interval": [0, epochs], "strategy": strategy}]


def watched(model: keras.Model, config: list[dict[str, Any]], epochs: int, **options: Any) -> list[dict[str, Any]]:
    """Run the schedule and return what there is after each segment."""
    traces, train = count_traces(model), fit(model)
    functions: dict[int, weakref.ref[Any]] = {}
    found = []

    def counting(length: int) -> Any:
        history = train(length)
        gc.collect()
        function = inspect.unwrap(model.train_function)  # the first steps of a segment are timed, around it
        functions[id(function)] = weakref.ref(function)
        found.append(
            {
                "traces": traces[0],
                "alive": sum(function() is not None for function in functions.values()),
                "registered": len(context.context().list_function_names()),
                "variables": [id(variable) for variable in model.optimizer.variables],
            }
        )
        return history

    FreezeTrainingExecutor(config, **options).run(model, epochs, counting)
    return found


@pytest.mark.only_on("tensorflow", "jax")
def test_a_revisit_traces_registers_and_makes_nothing() -> None:
    """All that there will be is there after the first of nearly five cycles."""
    cycles = watched(build("dense"), moving(2, 14), 14)
    assert layer_names(build("dense")) == ("one", "two", "head")
    after_first = cycles[2]  # three layers, two at a time: three windows
    assert after_first["traces"] == after_first["alive"] == 3
    assert cycles[2:] == [after_first] * 12


@pytest.mark.only_on("tensorflow", "jax")
def test_a_plan_says_how_many_traces_there_will_be() -> None:
    """Two train steps are kept: that of everything, to which each second segment goes back, and another."""
    config = [
        {"layers": [name], "training_interval": [at, at + 1]} for name, at in (("one", 1), ("two", 3), ("one", 5))
    ]
    visits = plan(configuration(config, "vl3d"), ["one", "two", "head"], total=7).visits
    found = watched(build("dense"), config, 7, cache_size=2)
    assert found[-1]["traces"] == traces(visits, 2) == 4


@pytest.mark.parametrize("options", [{}, {"cache_size": 1}, {"switch": "rebuild"}], ids=str)
def test_optimizer_variables_are_made_once(options: dict[str, Any]) -> None:
    found = watched(build(), moving(2, 6), 6, **options)
    assert len({tuple(now["variables"]) for now in found}) == 1
