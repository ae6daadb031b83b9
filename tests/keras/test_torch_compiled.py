"""On torch with ``jit_compile=True`` each frozen set has a step of its own, whatever torch has compiled before.

A callback makes everything trainable before each step, so the flags of the segment must come back outside of the step.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Unsupported, always, stages
from refreeze.keras import execute
from refreeze.keras.model import read

pytestmark = [pytest.mark.engine, pytest.mark.only_on("torch"), pytest.mark.slow]
X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)


def network(jit_compile: bool, optimizer: str = "sgd") -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(2, "tanh", name="one"), keras.layers.Dense(1, name="two")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    made = {"sgd": keras.optimizers.SGD(0.1, momentum=0.9), "adam": keras.optimizers.Adam(0.1, global_clipnorm=1.0)}
    model.compile(made[optimizer], "mse", jit_compile=jit_compile)
    return model


def trained(model: keras.Model, sets: list[list[str]], **options: Any) -> tuple[list[Any], list[np.ndarray]]:
    """Train a tick on each set; return what moved, what had a gradient and all graphs so far by tick, and the end."""
    from torch._dynamo.utils import counters

    variables, seen = read(model).variables, []
    thaw = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: setattr(model, "trainable", True))

    def fit(epochs: int) -> Any:
        before = {name: keras.ops.convert_to_numpy(value).copy() for name, value in variables.items()}
        history = model.fit(X, X[:, :1], batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[thaw])
        moved = {name for name, value in variables.items() if (keras.ops.convert_to_numpy(value) != before[name]).any()}
        with_gradient = {name for name, value in variables.items() if value.value.grad is not None}
        seen.append((moved, with_gradient, counters["stats"]["unique_graphs"]))
        return history

    policy = stages(*((tick, always(frozen)) for tick, frozen in enumerate(sets)))
    execute(model, policy, len(sets), fit, **options)
    return seen, [
        np.array(keras.ops.convert_to_numpy(value)) for value in [*model.variables, *model.optimizer.variables]
    ]


def test_EXE_3_of_many_sets_each_is_compiled_and_trains_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By gradients, None exactly where frozen, for 4, 8, 9 and 16 sets: torch keeps 8 variants of a function."""
    import torch

    # What torch's compiler reads and keeps is the same; code for the processor would take most of the time.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    names = list(read(network(False)).variables)
    subsets = [list(held) for size in range(5) for held in itertools.combinations(names, size)]
    steps = [(0, 4), (4, 8), (8, 9), (9, 16)]
    assert len(subsets) == steps[-1][1]
    visits = [held for begin, end in steps for held in (*subsets[begin:end], *subsets[:end])]
    seen, _ = trained(network(True), visits)
    graphs = 0
    for visit, (frozen, (moved, with_gradient, now)) in enumerate(zip(visits, seen, strict=True)):
        assert moved == with_gradient == {*names} - {*frozen}
        if frozen not in visits[:visit]:
            assert now > graphs, "a new set is compiled"
        graphs = now


def test_EXE_13_compiled_to_machine_code_a_run_ends_like_one_that_is_not() -> None:
    sets = [["one/kernel"], ["two/kernel", "two/bias"], ["one/kernel"]]
    runs = [trained(network(jit, "adam"), sets, optimizer_state="per_variable") for jit in (True, False)]
    assert [[*map(sorted, each[:2])] for each in runs[0][0]] == [[*map(sorted, each[:2])] for each in runs[1][0]]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-5)


def test_a_torch_that_cannot_keep_sets_apart_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", lambda model, *, backend: model)
    with pytest.raises(Unsupported, match=r"jit_compile=False or torch 2\.13 is needed"):
        trained(network(True), [["one/kernel"]])
