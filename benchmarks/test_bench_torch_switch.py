"""What does refreeze.torch cost: a switch against the same flags by hand, a step against the plain loop, a record?"""

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
def test_lightning_switch(benchmark: Any, rounds: Any, new: Any, network: str) -> None:
    """Timed: the same switches by the functions of Lightning's ``BaseFinetuning``; before each, the flags by hand."""
    callbacks = pytest.importorskip("lightning.pytorch.callbacks", exc_type=ImportError)
    loop, plain, most = new(network), new(network), rounds(200)
    policy = windows(loop.names)
    ticks, by_hand = itertools.count(), []

    def switch(frozen: list[Any], others: list[Any]) -> None:
        callbacks.BaseFinetuning.freeze(frozen, train_bn=False)
        callbacks.BaseFinetuning.make_trainable(others)

    def turn() -> Any:
        frozen = policy.frozen_at(next(ticks))
        by_hand.append(timed(plain.freeze, frozen))
        parts: tuple[list[Any], list[Any]] = ([], [])
        for name, layer in loop.layers.items():
            parts[name not in frozen].append(layer)
        return parts, {}

    benchmark.pedantic(switch, setup=turn, rounds=most)
    flags = [[p.requires_grad for p in one.module.parameters()] for one in (loop, plain)]
    assert flags[0] == flags[1]
    question = "switch on PyTorch, against flags by hand"
    describe(benchmark, question, network, "Lightning BaseFinetuning", beside_seconds=by_hand)


def compiled(*loops: Any) -> None:
    """Compile the networks, or skip where that does not work."""
    import torch

    torch._dynamo.reset()
    for loop in loops:
        loop.module.compile()
        try:
            loop.step()
        except Exception as error:
            pytest.skip(f"torch.compile does not work here: {type(error).__name__}: {error}")


def test_torch_switch_compiled(benchmark: Any, rounds: Any, new: Any) -> None:
    """Timed: ``begin`` at a boundary and the step after it, where each set is compiled; before each, by hand."""
    loop, plain, most = new("mlp"), new("mlp"), rounds(60)
    policy = windows(loop.names)
    compiled(loop, plain)
    running = loop.schedule(policy, most + WINDOWS, batch_norm="batch")
    ticks, by_hand = itertools.count(), []

    def hand(frozen: frozenset[str]) -> None:
        plain.freeze(frozen)
        plain.step()

    def switch(tick: int) -> None:
        running.begin(0, tick)
        loop.step()

    for _ in range(WINDOWS):
        hand(policy.frozen_at(tick := next(ticks)))
        switch(tick)

    def turn() -> Any:
        tick = next(ticks)
        by_hand.append(timed(hand, policy.frozen_at(tick)))
        return (tick,), {}

    benchmark.pedantic(switch, setup=turn, rounds=most)
    assert all(a.equal(b) for a, b in zip(loop.module.parameters(), plain.module.parameters(), strict=True))
    describe(
        benchmark, "switch on PyTorch, against flags by hand", "mlp", "torch.compile, with the step after it",
        beside_seconds=by_hand,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["eager", "compile"])
@pytest.mark.parametrize("network", ["mlp", "mobilenetv2"])
def test_torch_step(benchmark: Any, rounds: Any, new: Any, network: str, how: str) -> None:
    """Timed: ``begin`` and a step between two boundaries; before each, one of the plain loop with the same flags."""
    loop, plain, most = new(network), new(network), rounds(400 if network == "mlp" else 40)
    frozen = loop.names[: len(loop.names) // 2]
    running = loop.schedule(always(frozen), most + 11, batch_norm="batch")
    plain.freeze(frozenset(frozen))
    if how == "compile":
        running.begin(0, 0)
        compiled(loop, plain)
    ticks, beside = itertools.count(how == "compile"), []

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
    case = "half frozen" if how == "eager" else "half frozen, torch.compile"
    describe(benchmark, "step on PyTorch, against the plain loop", network, case, beside_seconds=beside)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("network", ["mlp", "mobilenetv2"])
def test_torch_record(benchmark: Any, rounds: Any, new: Any, tmp_path: Any, network: str, optimizer: str) -> None:
    """Timed: a step of the plain loop, and the record of it; before each, one without."""
    import torch
    from refreeze.torch import Recorder

    loop, plain, most = new(network), new(network), rounds(400 if network == "mlp" else 40)
    for one in (loop, plain) if optimizer == "AdamW" else ():
        one.optimizer = torch.optim.AdamW(one.module.parameters(), 1e-3)
    beside: list[float] = []
    with Recorder(loop.module, loop.optimizer, tmp_path / "run.jsonl"):
        for _ in range(3):
            loop.step(), plain.step()

        def turn() -> Any:
            beside.append(timed(plain.step))
            return (), {}

        benchmark.pedantic(loop.step, setup=turn, rounds=most)
    lines = (tmp_path / "run.jsonl").read_bytes().splitlines()
    assert len(lines) == 2 + 3 + most
    describe(
        benchmark, "step on PyTorch, against the plain loop", network, f"with a record of it, {optimizer}",
        beside_seconds=beside, record_bytes=len(lines[-1]),
    )  # fmt: skip
