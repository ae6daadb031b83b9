"""What does a whole run under a schedule cost, end to end?"""

from __future__ import annotations

from typing import Any

import pytest
from refreeze.keras.model import layer_names
from workload import (
    BUILDERS,
    IMPLEMENTATIONS,
    WINDOWS,
    Traces,
    build,
    describe,
    fit,
    optimizer_bytes,
    schedule,
    windows,
)

EPOCHS = 5 * WINDOWS  # five cycles of a round robin
STEPS = 3
KINDS = ("round robin", "random")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", BUILDERS)
def test_run(benchmark: Any, model: str, kind: str, implementation: str) -> None:
    """Timed: segments of one epoch of a few steps. Round robin goes back to each of its sets, random hardly ever."""
    made = []

    def fresh() -> Any:
        network = build(model)
        made.append((network, Traces(network)))
        return (network, "vl3d", windows(layer_names(network), EPOCHS, kind), EPOCHS, fit(network, STEPS)), {}

    run = IMPLEMENTATIONS[implementation].run
    history = benchmark.pedantic(run, setup=fresh)

    network, traces = made[-1]
    segments = schedule(layer_names(network), EPOCHS, kind)
    assert len(history.history["loss"]) == EPOCHS
    counts = {
        "segments": len(segments),
        "distinct_sets": len({segment.frozen for segment in segments}),
        "traces": len(traces.seconds),
        "optimizer_bytes": optimizer_bytes(network),
    }
    baseline = implementation == "keras compile per segment"
    describe(benchmark, f"run, {kind}", model, implementation, baseline=baseline, **counts)
