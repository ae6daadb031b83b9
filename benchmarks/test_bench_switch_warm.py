"""What does it cost to go back to a frozen set that was there before?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from refreeze.keras.model import layer_names
from workload import BUILDERS, WINDOWS, Traces, build, controller, describe, fit, schedule, timed


@pytest.mark.parametrize("model", BUILDERS)
def test_revisit(benchmark: Any, rounds: Any, model: str) -> None:
    """Timed: all that the switch does. Beside it: the step after it, and one without a switch; they should be equal."""
    network = build(model)
    traces, train = Traces(network), fit(network, 1)
    control = controller(network)
    sets = schedule(layer_names(network), WINDOWS)
    for segment in [*sets, *sets]:  # the second time, so that all which a first visit leaves to do is done
        control.enter(segment)
        train(1)
    visited = len(traces.seconds)

    turns = itertools.cycle(sets)
    benchmark.pedantic(control.enter, setup=lambda: ((next(turns),), {}), rounds=rounds(50))

    after, without = [], []
    for _ in range(rounds(10)):
        control.enter(next(turns))
        after.append(timed(train, 1))
        without.append(timed(train, 1))
    assert visited == len(traces.seconds) == len(sets)
    describe(benchmark, "switch", model, "refreeze, revisit", fit_after_seconds=after, fit_seconds=without)
