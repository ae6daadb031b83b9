"""What a switch may cost, without a clock: traces, train functions, registered functions and optimizer variables."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import keras
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from refreeze import segments
from refreeze.dialects import vl3d
from refreeze.keras import FreezeTrainingExecutor
from refreeze.keras.model import layer_names
from small_models import MODELS, build, count_traces, fit
from tensorflow.python.eager import context

pytestmark = pytest.mark.engine


def moving(kind: str, window: int, epochs: int, span: int = 1, seed: int | None = None) -> list[dict[str, Any]]:
    strategy = {"type": kind, "window_size": window, "iterative_span": span, **({} if seed is None else {"seed": seed})}
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


@pytest.mark.parametrize("kind", MODELS)
def test_traces_per_schedule_are_its_distinct_frozen_sets(kind: str) -> None:
    names = layer_names(MODELS[kind]())

    @settings(
        max_examples=2, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(
        st.sampled_from(["round_robin", "random"]), st.integers(1, len(names)), st.integers(1, 2), st.integers(0, 99)
    )
    def law(how: str, window: int, span: int, seed: int) -> None:
        config = moving(how, window, 6, span, seed if how == "random" else None)
        run = segments(vl3d.policy(vl3d.DIALECT.parse(config), names), 6)
        assert watched(build(kind), config, 6)[-1]["traces"] == len({segment.frozen for segment in run})

    law()


def test_a_revisit_traces_registers_and_makes_nothing() -> None:
    """All that there will be is there after the first of nearly five cycles."""
    cycles = watched(build("dense"), moving("round_robin", 2, 14), 14)
    assert layer_names(build("dense")) == ("one", "two", "head")
    after_first = cycles[2]  # three layers, two at a time: three windows
    assert after_first["traces"] == after_first["alive"] == 3
    assert cycles[2:] == [after_first] * 12


@pytest.mark.parametrize("size", [1, 2])
def test_train_functions_alive_are_at_most_those_that_are_kept(size: int) -> None:
    found = watched(build("dense"), moving("round_robin", 2, 7), 7, cache_size=size)
    assert [now["alive"] for now in found] == [min(number, size) for number in range(1, 8)]
    assert [now["traces"] for now in found] == list(range(1, 8))


@pytest.mark.parametrize("options", [{}, {"cache_size": 1}, {"switch": "rebuild"}], ids=str)
def test_optimizer_variables_are_made_once(options: dict[str, Any]) -> None:
    found = watched(build(), moving("round_robin", 2, 6), 6, **options)
    assert len({tuple(now["variables"]) for now in found}) == 1
