"""EXE-13: the bias of each variable is corrected by the updates of that variable alone; else a late thaw overshoots."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import CheckpointError, Policy, Segment, Unsupported, always, during, stages
from refreeze.keras import FreezeSchedule, execute, overshoot, own_counts
from small_models import agree, build, everything, fit, rewriting, said

pytestmark = pytest.mark.engine
RATE, LATE, STEPS, DECAY = 1e-3, 200, 232, 0.1
THAW = during(always(["late"]), 0, LATE)
X = np.random.default_rng(0).normal(size=(STEPS, 8, 3)).astype(np.float32)
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": keras.optimizers.Adam,
    "adamw": lambda rate, **rest: keras.optimizers.AdamW(rate, weight_decay=DECAY, **rest),
    "adamax": keras.optimizers.Adamax,
    "amsgrad": lambda rate, **rest: keras.optimizers.Adam(rate, amsgrad=True, **rest),
}


def network(optimizer: Any, **options: Any) -> keras.Model:
    """Return a model whose gradients do not depend on its weights: those of both kernels are means of the data."""
    start = keras.Input((3,))
    dense = [
        keras.layers.Dense(2, use_bias=False, kernel_initializer=keras.initializers.Constant(0.1), name=name)
        for name in ("early", "late")
    ]
    model = keras.Model(start, keras.layers.Add()([layer(start) for layer in dense]))
    model.compile(optimizer, lambda y_true, y_pred: keras.ops.mean(y_pred, -1), **options)
    return model


def gradients() -> Iterator[np.ndarray]:
    return (np.repeat(batch.mean(0)[:, None] / 2, 2, 1) for batch in X)


def trained(model: keras.Model, policy: Policy, **options: Any) -> dict[str, np.ndarray]:
    """Return the kernels before each step and at the end."""
    seen: dict[str, list[np.ndarray]] = {"early": [], "late": []}

    def note(*_: Any, **__: Any) -> None:
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        for name, kernels in seen.items():
            kernels.append(np.array(keras.ops.convert_to_numpy(model.get_layer(name).kernel)))

    note()
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    schedule = FreezeSchedule(policy, unit="steps", **options)
    flat = X.reshape(-1, 3)
    model.fit(flat, flat[:, :1], batch_size=8, shuffle=False, verbose=0, callbacks=[schedule, watch])
    return {name: np.stack(kernels) for name, kernels in seen.items()}


def by_formula(name: str, updated: range) -> np.ndarray:
    """Return the kernel before each step and at the end, after the papers, in double precision."""
    kernel, first, second, largest = np.full((3, 2), 0.1), 0.0, 0.0, 0.0
    found = [kernel]
    for step, gradient in enumerate(gradients()):
        if step in updated:
            own = step - updated.start + 1
            first = 0.9 * first + 0.1 * gradient
            if name == "adamw":
                kernel = kernel - RATE * DECAY * kernel
            if name == "adamax":
                second = np.maximum(0.999 * second, abs(gradient))
                kernel = kernel - RATE / (1 - 0.9**own) * first / (second + 1e-7)
            else:
                second = 0.999 * second + 0.001 * gradient**2
                largest = np.maximum(largest, second) if name == "amsgrad" else second
                corrected = RATE * np.sqrt(1 - 0.999**own) / (1 - 0.9**own)
                kernel = kernel - corrected * first / (np.sqrt(largest) + 1e-7)
        found.append(kernel)
    return np.stack(found)


def from_formula(name: str, found: dict[str, np.ndarray]) -> float:
    """Return the largest difference of kernels from those of the formula."""
    updated = {"early": range(STEPS), "late": range(LATE, STEPS)}
    return max(float(abs(kernels - by_formula(name, updated[layer])).max()) for layer, kernels in found.items())


@pytest.mark.parametrize("switch", ["cached", "masked"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_EXE_13_a_late_thaw_is_that_of_a_new_optimizer(name: str, switch: str) -> None:
    found = trained(network(OPTIMIZERS[name](RATE)), THAW, optimizer_state="per_variable", switch=switch)
    assert from_formula(name, found) < 1e-6
    first = abs(np.diff(found["late"], axis=0))[LATE]
    decayed = RATE * DECAY * abs(found["late"][LATE]) if name == "adamw" else 0.0
    assert (first - decayed).max() <= RATE * (1 + 1e-4)  # the kernel is rounded to 1.2e-7


@pytest.mark.torch
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_EXE_13_a_late_thaw_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind = {"adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}.get(name, torch.optim.Adam)
    more = {"adamw": {"weight_decay": DECAY}, "amsgrad": {"amsgrad": True}}.get(name, {})
    kernel = torch.full((3, 2), 0.1, requires_grad=True)
    optimizer = kind([kernel], lr=RATE, eps=1e-7, **more)
    found = trained(network(OPTIMIZERS[name](RATE)), THAW, optimizer_state="per_variable")["late"]
    for step, gradient in enumerate(gradients()):
        if step >= LATE:
            kernel.grad = torch.from_numpy(gradient)
            optimizer.step()
            assert abs(found[step + 1] - kernel.detach().numpy()).max() < 1e-6


IN_ANOTHER = """
import test_own_counts as t
model = t.network(t.OPTIMIZERS["adam"](t.RATE))
found = t.trained(model, t.THAW, optimizer_state="per_variable")
model.optimizer.save_own_variables(store := {})
print(t.from_formula("adam", found) < 1e-6, *map(int, t.own_counts.counts(model.optimizer)), len(store))
"""


@pytest.mark.peers
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_EXE_13_on_another_backend(backend: str) -> None:
    pytest.importorskip(backend)
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", IN_ANOTHER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(STEPS), str(STEPS - LATE), "6"]


@pytest.mark.parametrize(("name", "times"), [("adam", 1.3), ("adamw", 1.3), ("adamax", 0.1)])
def test_under_keep_the_first_steps_are_of_another_size(name: str, times: float) -> None:
    steps = abs(np.diff(trained(network(OPTIMIZERS[name](RATE)), THAW)["late"], axis=0)).max((1, 2)) / RATE
    assert steps[LATE] == pytest.approx(times, rel=0.06)


@pytest.mark.parametrize("state", ["per_variable", "per_variable_reset"])
def test_a_second_thaw_goes_on_or_begins_anew(state: str) -> None:
    """Frozen in [10, 40) after 10 updates: the slots and the count go on, or are as new."""
    found = trained(network(OPTIMIZERS["adam"](RATE)), during(always(["late"]), 10, 40), optimizer_state=state)["late"]
    anew = 0.1 - by_formula("adam", range(40, STEPS))[60] == pytest.approx(found[40] - found[60], abs=1e-6)
    assert anew == (state == "per_variable_reset")


def test_updates_are_counted_by_windows_of_accumulation() -> None:
    model = network(OPTIMIZERS["adam"](RATE, gradient_accumulation_steps=4))
    trained(model, during(always(["late"]), 0, 40), optimizer_state="per_variable")
    assert [int(count.numpy()) for count in own_counts.counts(model.optimizer)] == [STEPS / 4, (STEPS - 40) / 4]


BY_EPOCH = stages((0, always(["one"])), (1, always(["two", "head"])), (2, always(["two"])), (3, always([])))


@pytest.mark.only_on("tensorflow", "jax")  # on torch the one is refused, and test_torch_compiled has the other
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"steps_per_execution": 3}], ids=str)
def test_EXE_7_every_switch_counts_alike(options: dict[str, Any]) -> None:
    ends = []
    for switch in ("cached", "rebuild", "masked"):
        model = build("dense", "adamw", **options)
        with rewriting(False):
            history = execute(model, BY_EPOCH, 4, fit(model), switch=switch, optimizer_state="per_variable")
        counts = [int(count.numpy()) for count in own_counts.counts(model.optimizer)]
        ends.append((*everything(model, history), counts))
    assert ends[0] == ends[1]
    agree(ends[2], ends[0])
    assert ends[0][-1] == ends[2][-1] == [9, 9, 6, 6, 9, 9]


def test_RES_2_a_resumed_run_counts_on(tmp_path: Path) -> None:
    def run(total: int = 4, state: Any = "per_variable", **options: Any) -> tuple[Any, ...]:
        model = build("dense", "adam")
        history = execute(model, BY_EPOCH, total, fit(model), optimizer_state=state, **options)
        return *everything(model, history), [int(count.numpy()) for count in own_counts.counts(model.optimizer)]

    run(3, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"is of another optimizer_state: it has updates of one variable \(\)"):
        run(state="keep", checkpoint=tmp_path, resume=True)
    assert run(checkpoint=tmp_path, resume=True) == run()


def test_an_optimizer_that_comes_with_updates() -> None:
    """What has slots has had all updates, what is as new none; counts of an earlier run count on; keep ends them."""
    model = build("dense", "adam")

    def counted(policy: Policy, state: Any) -> list[int]:
        execute(model, policy, 1, fit(model), optimizer_state=state)
        return [int(count.numpy()) for count in own_counts.counts(model.optimizer)]

    assert counted(always(["one"]), "keep") == []
    assert counted(always(["head"]), "per_variable") == [0, 0, 6, 6, 3, 3]
    assert counted(always(["two"]), "per_variable") == [0, 0, 6, 6, 3, 3]
    assert counted(always(["two"]), "keep") == []
    assert "update_step" not in vars(model.optimizer)


def test_steps_that_loss_scaling_skips_do_not_count() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build("dense", "adam")
    finally:
        keras.config.set_dtype_policy("float32")
    model.optimizer.initial_scale = 2.0**40  # whose gradients are not finite, for some steps
    execute(model, during(always(["one"]), 0, 8), 9, fit(model), optimizer_state="per_variable")
    *_, head = counted = [int(count.numpy()) for count in own_counts.counts(model.optimizer)]
    assert head == int(model.optimizer.iterations.numpy()) < 9 * 3
    assert counted == [3, 3, head, head, head, head]


def test_what_keras_saves_is_what_it_loads(tmp_path: Path) -> None:
    model = build("dense", "adam")
    execute(model, during(always(["one"]), 0, 1), 2, fit(model), optimizer_state="per_variable")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").optimizer.variables
    known = model.optimizer.variables[: len(again)]  # on JAX the counts are the last of them, and are not saved
    assert [keras.ops.convert_to_numpy(v).tolist() for v in again] == [
        keras.ops.convert_to_numpy(v).tolist() for v in known
    ]
    assert len(known) == 2 + 2 * len(model.trainable_variables)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            lambda: keras.optimizers.Nadam(name="nadam"),
            "optimizer 'nadam', a Nadam, keeps u_product over the updates of all variables, and 'per_variable' counts "
            "those of each; 'keep' and 'reset' do without",
        ),
        (
            lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), name="adam"),
            "optimizer 'adam' computes its learning rate from the updates of all variables, with ExponentialDecay, and "
            "'per_variable' counts those of each; give it a number, which a LearningRateScheduler may change",
        ),
    ],
)
def test_state_of_all_variables_is_refused(optimizer: Callable[[], Any], message: str) -> None:
    with pytest.raises(Unsupported) as raised:
        trained(network(optimizer()), THAW, optimizer_state="per_variable")
    assert str(raised.value) == message


# What the log says ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("optimizer", "policy", "state", "times"),
    [
        ("adam", THAW, "keep", "2.9"),
        ("adam", THAW, "reset_unfrozen", "2.9"),
        ("adam", THAW, "per_variable", None),
        ("adam", THAW, "reset", None),
        ("adamax", THAW, "keep", None),
        ("adam", during(always(["late"]), 0, 20), "keep", None),  # so few steps
        ("adam", during(always(["late"]), 1, LATE), "keep", None),  # has trained before
        ("adam", during(always(["early", "late"]), 0, LATE), "keep", None),  # nobody else has
    ],
)
def test_a_thaw_that_will_overshoot_is_said_once(
    optimizer: str, policy: Policy, state: Any, times: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    trained(network(OPTIMIZERS[optimizer](RATE), run_eagerly=False), policy, optimizer_state=state)
    assert said(caplog, logging.WARNING) == ([] if times is None else [
        "late train for the first time when others have for long, and Adam corrects the bias of their empty moments by "
        f"the updates of all: their first steps will be up to {times} times as large as a new optimizer's; "
        "optimizer_state='per_variable' counts the updates of each"
    ])  # fmt: skip


def test_where_steps_are_not_known_there_are_many(caplog: pytest.LogCaptureFixture) -> None:
    model = build("dense", "adam")
    execute(model, during(always(["one", "two"]), 0, 1), 2, fit(model))
    (line,) = said(caplog, logging.WARNING)
    assert line.startswith("one, two train for the first time")
    assert "up to 6.6 times" in line


@pytest.mark.parametrize("before", [1, 20, 300, 10_000])
def test_how_far_adam_overshoots_is_what_its_formula_says(before: int) -> None:
    """Under a gradient of 1 a new Adam takes steps of its rate; a late one's moments are corrected as if old."""
    updates = np.arange(1, 17)
    first, second = ((1 - beta**updates) / (1 - beta ** (before + updates)) for beta in (0.8, 0.99))
    expected = (first / np.sqrt(second)).max()
    found = overshoot.overshoot(lambda: keras.optimizers.Adam(0.5, beta_1=0.8, beta_2=0.99, epsilon=1e-12), before)
    assert found == pytest.approx(expected, rel=1e-4)
    assert overshoot.overshoot(lambda: keras.optimizers.SGD(0.5, momentum=0.9), before) == 1


class Broken(keras.optimizers.Adam):
    """Somebody else's optimizer, which needs more than a variable and its gradient."""

    def update_step(self, *asked: Any) -> None:
        raise RuntimeError("not so")


def told(optimizer: Any, caplog: pytest.LogCaptureFixture, ticks: int = 3, steps: int | None = 100) -> list[str]:
    caplog.set_level(logging.DEBUG, logger="refreeze")
    caplog.clear()
    schedule = [Segment(0, ticks, frozenset({"late"})), Segment(ticks, ticks + 1, frozenset())]
    overshoot.warn(SimpleNamespace(optimizer=optimizer), schedule, ["early", "late"], steps, False)
    return [f"{record.levelname}: {record.message}" for record in caplog.records]


def test_how_large_the_steps_will_be_is_told_before_the_first(caplog: pytest.LogCaptureFixture) -> None:
    def line(times: float) -> str:
        return (
            "WARNING: late train for the first time when others have for long, and Adam corrects the bias of their "
            f"empty moments by the updates of all: their first steps will be up to {times} times as large as a new "
            "optimizer's; optimizer_state='per_variable' counts the updates of each"
        )

    for optimizer in (
        keras.optimizers.Adam(),
        keras.optimizers.Adam(0.5, gradient_accumulation_steps=4),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
    ):
        assert told(optimizer, caplog) == [line(3.4)]
        assert told(optimizer, caplog, steps=None) == [line(6.6)]
        assert told(optimizer, caplog, ticks=1, steps=1) == []
        assert told(optimizer, caplog, ticks=0) == []
        getattr(optimizer, "inner_optimizer", optimizer).variables[0].assign(4)  # it has made updates
        assert told(optimizer, caplog) == []
    assert told(Broken(name="mine"), caplog) == ["DEBUG: it is not known how optimizer 'mine' begins"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError
