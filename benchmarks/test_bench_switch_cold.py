"""What does the first visit of a frozen set cost, until its first step is done, and how much of that is the trace?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from refreeze.keras.model import layer_names
from workload import BUILDERS, WINDOWS, Traces, build, controller, describe, fit, optimizer_bytes, schedule, timed


@pytest.mark.parametrize("switch", ["cached", "rebuild"])
@pytest.mark.parametrize("model", BUILDERS)
def test_first_visit(benchmark: Any, rounds: Any, model: str, switch: str) -> None:
    """Timed: the switch and one fit of one step. The rest of it, less a fit without a switch, is the first run."""
    network = build(model)
    traces, train = Traces(network), fit(network, 1)
    control = controller(network, switch=switch)
    first, *others = schedule(layer_names(network), WINDOWS)
    control.enter(first)  # the very first switch builds the optimizer and the metrics too
    train(1)
    before = len(traces.seconds)

    def visit(segment: Any) -> None:
        control.enter(segment)
        train(1)

    turns = itertools.cycle(others)
    count = rounds(len(others))
    benchmark.pedantic(visit, setup=lambda: ((next(turns),), {}), rounds=count)

    traced = traces.seconds[before:]
    assert len(traced) == (count if benchmark.enabled else 1)
    case = "refreeze, first visit" if switch == "cached" else "refreeze, rebuild"
    without = [timed(train, 1) for _ in range(rounds(3))]
    found = {"trace_seconds": traced, "fit_seconds": without, "optimizer_bytes": optimizer_bytes(network)}
    describe(benchmark, "switch", model, case, traces_per_switch=1, **found)
