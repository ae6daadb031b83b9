"""What does the first visit of a frozen set cost, until its first step is done, and how much of that is the trace?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from refreeze.keras import auto
from refreeze.keras.model import layer_names
from workload import (
    BUILDERS,
    WINDOWS,
    Traces,
    build,
    controller,
    describe,
    fit,
    optimizer_bytes,
    schedule,
    stepper,
    timed,
)  # fmt: skip

CASES = {
    "cached": ("refreeze, first visit", 1),
    "rebuild": ("refreeze, rebuild", 1),
    "auto": ("refreeze, specialised", 0),
}
"""By switch: what its first visit is called, and the traces of one."""


@pytest.mark.parametrize("switch", CASES)
@pytest.mark.parametrize("model", BUILDERS)
def test_first_visit(benchmark: Any, rounds: Any, model: str, switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed: the switch and one fit of one step. The rest of it, less a fit without a switch, is the first run."""
    monkeypatch.setattr(auto.Costs, "worth", lambda self, *asked: (True, "always"))  # each set has a step of its own
    network = build(model)
    traces, train = Traces(network), fit(network, 1)
    first, *others = segments = schedule(layer_names(network), WINDOWS)
    control = controller(network, segments, switch=switch)
    control.enter(first)  # the very first switch builds the optimizer and the metrics too
    train(1 + auto.TIMED)
    before = len(traces.seconds)

    def visit(segment: Any) -> None:
        control.enter(segment)
        train(1)

    turns = itertools.cycle(others)
    count = rounds(len(others))
    benchmark.pedantic(visit, setup=lambda: ((next(turns),), {}), rounds=count)

    traced = traces.seconds[before:]
    case, per_switch = CASES[switch]
    assert len(traced) == per_switch * (count if benchmark.enabled else 1)
    without = [timed(train, 1) for _ in range(rounds(3))]
    found = {"trace_seconds": traced, "fit_seconds": without, "optimizer_bytes": optimizer_bytes(network)}
    describe(benchmark, "switch", model, case, traces_per_switch=per_switch, **found)


@pytest.mark.parametrize("model", BUILDERS)
def test_first_visit_masked(benchmark: Any, rounds: Any, model: str) -> None:
    """Timed: the switch and one step, of sets that are new; before each, a later step of that set, traced for it."""
    network, other = build(model), build(model)
    first, *others = segments = schedule(layer_names(network), WINDOWS)
    control, beside_control = controller(network, segments, switch="masked"), controller(other)
    step, beside_step = stepper(network), stepper(other)
    control.enter(first)
    step()
    turns, beside = itertools.cycle(others), []

    def settle() -> Any:
        segment = next(turns)
        beside_control.enter(segment)
        beside_step()
        beside.append(timed(beside_step))
        return (segment,), {}

    def visit(segment: Any) -> None:
        control.enter(segment)
        step()

    benchmark.pedantic(visit, setup=settle, rounds=rounds(len(others)))
    describe(benchmark, "first step of a set", model, "refreeze, masked", beside_seconds=beside)
