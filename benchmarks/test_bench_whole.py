"""What does a run in steps take under `auto`, its traces included, against plain training and the other switches?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest
from refreeze import Policy, always, during, random_windows, round_robin, segments, stages
from refreeze.choices import Switch
from refreeze.dialects import dialect
from refreeze.keras import FreezeSchedule
from refreeze.keras.model import layer_names
from workload import build, compile_fresh, data, describe, freeze, timed

PLAIN = "plain Keras, nothing frozen"
COMPILE = "keras compile per segment"


def _share(names: Sequence[str], share: float) -> int:
    return round(len(names) * share)


def _lisa(names: Sequence[str], steps: int) -> Policy:
    config = {"layers": [*names[1:-1]], "always_on": [names[0], names[-1]], "n_layers": 2, "step_interval": 20}
    return dialect("lisa").policy(config, names, total=steps)


SCHEDULES: dict[str, tuple[int, Callable[[Sequence[str], int], Policy]]] = {
    "random windows, 20 sets": (200, lambda names, _: random_windows(names, _share(names, 0.5), 10)),
    "random windows, 50 sets": (500, lambda names, _: random_windows(names, _share(names, 0.5), 10)),
    "round robin, 27 of 105": (48, lambda names, _: round_robin(names, _share(names, 27 / 105), 4)),
    "lisa": (200, _lisa),
    "thaw in 5 stages": (
        250,
        lambda names, _: stages(*((50 * at, always(names[: _share(names, 0.8 - 0.2 * at)])) for at in range(5))),
    ),
    "4 windows, 5 cycles": (200, lambda names, _: round_robin(names[: len(names) // 4 * 4], len(names) // 4, 10)),
    "prefix of 3/4": (200, lambda names, steps: during(always(names[: _share(names, 0.75)]), 10, steps - 10)),
}
"""By name: the steps of the run, and the policy for the layers and that many steps."""


@pytest.mark.parametrize("way", [PLAIN, *(f"refreeze {name}" for name in get_args(Switch) if name != "auto"), COMPILE])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("model", ["mlp", "mobilenetv2"])
def test_whole(benchmark: Any, rounds: Any, model: str, schedule: str, way: str) -> None:
    """Timed: one fit in steps under `auto`; before each, one another way, as machines are slow for minutes."""
    import tensorflow as tf

    steps, make = SCHEDULES[schedule]
    batch = data(build(model), 1)

    def fit(network: Any, steps: int, callbacks: Sequence[Any] = ()) -> Any:
        batches = tf.data.Dataset.from_tensors(batch).repeat(steps)
        return network.fit(batches, shuffle=False, verbose=0, callbacks=[*callbacks])

    def run(way: str, network: Any, policy: Policy) -> Any:
        if way == PLAIN:
            return fit(network, steps)
        if way == COMPILE:  # a fit for each segment
            for segment in segments(policy, steps):
                freeze(network, segment.frozen)
                compile_fresh(network)
                fit(network, segment.length)
            return None
        return fit(network, steps, [FreezeSchedule(policy, unit="steps", switch=way.removeprefix("refreeze "))])

    def fresh(way: str) -> tuple[str, Any, Policy]:
        network = build(model)
        return way, network, make(layer_names(network), steps)

    beside: list[float] = []

    def setup() -> Any:
        beside.append(timed(run, *fresh(way)))
        return fresh("refreeze auto"), {}

    benchmark.pedantic(run, setup=setup, rounds=rounds(15 if model == "mlp" else 3))  # of a second, or of a minute
    describe(benchmark, f"whole run under auto, {schedule}", model, f"against {way}", beside_seconds=beside)
