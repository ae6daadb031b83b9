"""What does plain Keras pay for a switch: ``compile`` again, with a new optimizer or with the same one?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from refreeze.keras.model import layer_names
from workload import (
    BUILDERS,
    LARGE,
    WINDOWS,
    Traces,
    build,
    compile_fresh,
    describe,
    fit,
    freeze,
    optimizer_bytes,
    schedule,
    timed,
)


@pytest.mark.parametrize("optimizer", ["fresh", "same"])
@pytest.mark.parametrize("model", BUILDERS)
def test_recompile(benchmark: Any, rounds: Any, model: str, optimizer: str) -> None:
    """Timed: the flags, ``compile``, and one fit of one step."""
    network = build(model)
    traces, train = Traces(network), fit(network, 1)
    train(1)  # with all trainable: only then can the same optimizer go on
    first, *others = schedule(layer_names(network), WINDOWS)

    def recompile(segment: Any) -> None:
        freeze(network, segment.frozen)
        compile_fresh(network, network.optimizer if optimizer == "same" else None)
        train(1)

    recompile(first)
    before = len(traces.seconds)
    turns = itertools.cycle(others)
    count = rounds(2 if model in LARGE else 3)
    benchmark.pedantic(recompile, setup=lambda: ((next(turns),), {}), rounds=count)

    traced = traces.seconds[before:]
    without = [timed(train, 1) for _ in range(rounds(3))]
    found = {"trace_seconds": traced, "fit_seconds": without, "optimizer_bytes": optimizer_bytes(network)}
    each = len(traced) // (count if benchmark.enabled else 1)
    case = f"Keras compile, {optimizer} optimizer"
    describe(benchmark, "switch", model, case, baseline=optimizer == "fresh", traces_per_switch=each, **found)
