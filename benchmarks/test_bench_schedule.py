"""How does the computation of a schedule grow with its boundaries, its layers and its length?"""

from __future__ import annotations

from typing import Any

import pytest
from refreeze import segments
from refreeze.dialects import dialect
from workload import describe

pytestmark = pytest.mark.benchmark(min_rounds=3, max_time=0.2, min_time=0.0001)


def config(name: str, layers: list[str], boundaries: int, span: int) -> Any:
    """Return a configuration with so many boundaries, ``span`` ticks apart."""
    ticks = [span * number for number in range(1, boundaries + 1)]
    if name in ("round_robin", "random"):
        strategy = {"type": name, "window_size": 1, "iterative_span": span}
        return [{"layers": layers, "training_interval": [0, span * (boundaries + 1)], "strategy": strategy}]
    if name == "kempner":
        stages = [
            {"start_step": tick, "specs": [{"module": layers[i % len(layers)], "frozen": i // len(layers) % 2 == 0}]}
            for i, tick in enumerate(ticks)
        ]
        return {"freeze": [], "freeze_schedule": stages}
    if name == "fastai":
        calls = [{"at": tick, "call": "freeze_to", "n": number % 2} for number, tick in enumerate(ticks, start=1)]
        return {"groups": [layers[:1], layers[1:]], "calls": calls}
    # Each layer is released at a tick of its own, as far as there are boundaries.
    return [{"names": layer, "until_step": tick} for layer, tick in zip(layers, ticks, strict=False)]


def measure(benchmark: Any, name: str, layers: int, boundaries: int, span: int) -> int:
    names = [f"layer{number}" for number in range(layers)]
    language = dialect("vl3d" if name in ("round_robin", "random") else name)
    raw, total = config(name, names, boundaries, span), span * (boundaries + 1)

    def compute() -> Any:
        return segments(language.policy(raw, names, total=total), total)

    return len(benchmark(compute))


@pytest.mark.parametrize("boundaries", [10, 100, 1000])
@pytest.mark.parametrize("layers", [10, 100])
@pytest.mark.parametrize("name", ["round_robin", "random", "fastai", "kempner"])
def test_boundaries_and_layers(benchmark: Any, name: str, layers: int, boundaries: int) -> None:
    """Timed: from the plain configuration to the segments."""
    found = measure(benchmark, name, layers, boundaries, span=1)
    assert found <= boundaries + 1
    case = f"{name}, {boundaries} boundaries, {layers} layers"
    series = f"{name}, {layers} layers"
    describe(benchmark, "schedule", "boundaries", case, series=series, x=boundaries, segments=found)


@pytest.mark.parametrize("layers", [10, 100, 300])
def test_released_one_by_one(benchmark: Any, layers: int) -> None:
    """Timed: as many freezers as layers, each until a step of its own."""
    found = measure(benchmark, "lighter", layers, layers, span=1)
    assert found == layers + 1
    describe(
        benchmark, "schedule", "boundaries", f"lighter, {layers} layers", series="lighter, as many layers", x=layers
    )


@pytest.mark.parametrize("total", [11, 11_000, 11_000_000])
def test_length(benchmark: Any, total: int) -> None:
    """Timed: ten boundaries, in runs of any length."""
    found = measure(benchmark, "round_robin", 10, 10, span=total // 11)
    assert found == 11
    describe(benchmark, "schedule", "length", f"10 boundaries in {total:,} epochs", baseline=total == 11)
