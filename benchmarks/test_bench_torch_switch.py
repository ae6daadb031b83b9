"""What does refreeze.torch cost: a switch against the same flags written by hand, a step against the plain loop?"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from refreeze import Policy, always, round_robin
from workload import WINDOWS, describe, timed


@pytest.fixture
def new() -> Any:
    """Return what makes a loop of a network."""
    pytest.importorskip("torch", exc_type=ImportError)
    from torch_nets import Loop

    return Loop


def windows(names: list[str]) -> Policy:
    """Freeze a quarter of the layers at a time, another at each tick."""
    quarter = len(names) // WINDOWS
    return round_robin(names[: quarter * WINDOWS], window=quarter, span=1)


@pytest.mark.parametrize("batch_norm", ["batch", "keras"])
@pytest.mark.parametrize("network", ["mlp", "mobilenetv2"])
def test_torch_switch(benchmark: Any, rounds: Any, new: Any, network: str, batch_norm: str) -> None:
    """Timed: ``begin`` at a boundary; before each, the flags by hand. Under "keras" normalizations change modes too."""
    loop, plain, most = new(network), new(network), rounds(200)
    policy = windows(loop.names)
    running = loop.schedule(policy, most, batch_norm=batch_norm)
    ticks, by_hand = itertools.count(), []

    def turn() -> Any:
        tick = next(ticks)
        by_hand.append(timed(plain.freeze, policy.frozen_at(tick)))
        return (0, tick), {}

    benchmark.pedantic(running.begin, setup=turn, rounds=most)
    flags = [[p.requires_grad for p in one.module.parameters()] for one in (loop, plain)]
    assert flags[0] == flags[1]
    assert not all(flags[0])
    describe(
        benchmark,
        "switch on PyTorch, against flags by hand",
        network,
        f"batch_norm={batch_norm}",
        beside_seconds=by_hand,
    )


@pytest.mark.parametrize("network", ["mlp", "mobilenetv2"])
def test_torch_step(benchmark: Any, rounds: Any, new: Any, network: str) -> None:
    """Timed: ``begin`` and a step between two boundaries; before each, one of the plain loop with the same flags."""
    loop, plain, most = new(network), new(network), rounds(400 if network == "mlp" else 40)
    frozen = loop.names[: len(loop.names) // 2]
    running = loop.schedule(always(frozen), most + 10, batch_norm="batch")
    plain.freeze(frozenset(frozen))
    ticks, beside = itertools.count(), []

    def step(tick: int) -> None:
        running.begin(0, tick)
        loop.step()

    for _ in range(10):  # the first steps make the optimizer's state
        step(next(ticks)), plain.step()

    def turn() -> Any:
        beside.append(timed(plain.step))
        return (next(ticks),), {}

    benchmark.pedantic(step, setup=turn, rounds=most)
    assert all(a.equal(b) for a, b in zip(loop.module.parameters(), plain.module.parameters(), strict=True))
    describe(benchmark, "step on PyTorch, against the plain loop", network, "half frozen", beside_seconds=beside)
