"""On JAX: one executable for all sets, counted; one for a set is compiled while training goes on."""

from __future__ import annotations

import ast
import functools
import logging
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import always, stages
from refreeze.keras import FreezeSchedule, auto, backends, execute, private
from small_models import STEPS, build, count_traces, fit, said, weights
from test_auto import AtOnce
from test_masked import POLICY, SETS, SGD, moves, network, trained

pytestmark = [pytest.mark.engine, pytest.mark.only_on("jax")]
COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Yield a list of what XLA has compiled since."""
    import jax

    found: list[str] = []

    def listen(event: str, seconds: float, **more: Any) -> None:
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_after_the_first_step_nothing_is_compiled(compilations: list[str]) -> None:
    """Neither for a new set, nor when one comes again, nor at the beginning of an epoch."""
    model, found = build("cnn", "adam"), []

    def counting(epochs: int) -> Any:
        before = len(compilations)
        history = fit(model)(epochs)
        found.append(len(compilations) - before)
        return history

    turns = [["one"], ["two"], ["norm"], ["one"], [], ["one", "two", "head", "norm"], ["two"]]
    execute(model, stages(*((at, always(names)) for at, names in enumerate(turns))), 7, counting, switch="masked")
    assert found[0] >= 1
    assert found[1:] == [0] * 6


@pytest.fixture
def always_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "TIMED", 1)
    monkeypatch.setattr(auto.Costs, "worth", lambda self, *asked: (True, "always"))


def test_training_goes_on_while_a_step_is_compiled(
    monkeypatch: pytest.MonkeyPatch, always_worth: None, compilations: list[str]
) -> None:
    """Both are compiled only after the segments that asked for them: had a step waited, this would not end.

    Then each is compiled once, in no step of training, and the masked step not again for what comes out of them.
    """
    plain, go_on, threads = private.compiled_in_one_thread, threading.Event(), set()

    def late(lowered: Any) -> Any:
        assert go_on.wait(100)
        threads.add(threading.current_thread())
        return plain(lowered)

    model, made, measuring = build("dense", "sgd"), list[Any](), auto.Masked._measuring

    def listing(self: Any, state: bytes) -> Any:
        made.append(self._kept[state])
        return measuring(self, state)

    monkeypatch.setattr(private, "compiled_in_one_thread", late)
    monkeypatch.setattr(auto.Masked, "_measuring", listing)
    monkeypatch.setattr(auto.Costs, "worth", lambda self, *asked: (len(made) < 2, "for two"))
    traces, moved, compiled = count_traces(model), list[set[str]](), list[int]()

    def training(epochs: int) -> Any:
        if len(moved) == 2:
            assert {one.prepared for one in made} == {None}
            go_on.set()
            while None in {one.prepared for one in made}:
                threading.Event().wait(0.01)
        before, known = weights(model), len(compilations)
        history = fit(model)(epochs)
        moved.append({name.partition("/")[0] for name, now in weights(model).items() if now != before[name]})
        compiled.append(len(compilations) - known)
        return history

    visits = [["one"], ["two"], ["one"], ["head"], ["two"]]
    policy = stages(*((at, always(names)) for at, names in enumerate(visits)))
    execute(model, policy, len(visits), training, switch="auto")
    assert moved == [{"one", "two", "head"} - set(names) for names in visits]
    assert traces == [1]
    assert compiled[1:] == [0] * 4
    assert all(one._own is not None for one in made)
    assert threading.main_thread() not in threads


def test_what_xla_cannot_compile_is_said_and_the_masked_step_goes_on(
    monkeypatch: pytest.MonkeyPatch, always_worth: None, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(lowered: Any) -> Any:
        raise MemoryError("too large")

    monkeypatch.setattr(private, "compiled_in_one_thread", fails)
    monkeypatch.setattr("refreeze.keras.backends.jax_masked.ThreadPoolExecutor", AtOnce)
    model = build("dense", "sgd")
    history = execute(model, always(["one"]), 3, fit(model), switch="auto")
    assert len(history.history["loss"]) == 3
    assert "the masked step goes on, for JAX cannot compile one for the set: too large" in said(caplog, logging.WARNING)


def test_RES_2_a_run_with_auto_goes_on_from_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, always_worth: None, tmp_path: Path
) -> None:
    """What a set's own step has left is saved, and loaded into a run that makes its own steps anew; to rounding."""
    monkeypatch.setattr("refreeze.keras.backends.jax_masked.ThreadPoolExecutor", AtOnce)
    policy, ends = stages((0, always(["one"])), (2, always(["two"])), (4, always(["one"]))), []
    for parts in ([(0, 6)], [(0, 3), (3, 6)]):
        for begins, total in parts:
            model, reports = build("dense", "adam"), list[Any]()
            keep = {"checkpoint": tmp_path, "resume": True} if len(parts) > 1 else {}
            execute(model, policy, total, fit(model), switch="auto", reports=reports, **keep)
            assert (reports[0].segment.start, reports[0].decision) == (begins, "specialised: always")
        ends.append([variable.numpy() for variable in (*model.variables, *model.optimizer.variables)])
    assert all(np.allclose(*pair, 1e-4, 1e-6) for pair in zip(*ends, strict=True))


def test_after_the_run_the_flags_decide_again() -> None:
    """A train step is traced for what they say; no masked one is left that would train something else."""
    model = build("dense", "sgd")
    schedule = FreezeSchedule(POLICY, switch="masked")
    fit(model, callbacks=[schedule])(len(SETS))
    model.get_layer("one").trainable, model.get_layer("head").trainable = False, True
    before = weights(model)
    fit(model)(1)
    moved = {name.partition("/")[0] for name, now in weights(model).items() if now != before[name]}
    assert moved == {"two", "head"}
    assert len(schedule.reports) == len(SETS)
    assert STEPS > 1


# Wrong masked steps -------------------------------------------------------------------------------------------------
HARD = [["one"], ["norm", "two"], [], ["one", "norm", "two", "head"], ["head"], ["one"]]
TOLD = "self.row, self._to_ours, self._to_keras, self._trained_now = self._rows[state]"
WRONG = [
    # gradients of the frozen count in the global norm
    ("zeros = map(jax.numpy.zeros_like, gradients)", "zeros = gradients", "EXE-7"),
    # so does what they had gathered
    ("plain(shown, seen, weights)", "plain(slots, seen, weights)", "EXE-7"),
    # slots of the frozen move
    ("kept.append(self._when(condition, new, old))", "kept.append(new)", "EXE-3"),
    # weights of the frozen are decayed, constrained and updated
    ("self._when(*one) for one in zip(trains, updated, weights, strict=True)", "*updated", "EXE-3"),
    # steps count while everything is frozen
    ("if id(variable) in self._owners else self._any", "if id(variable) in self._owners else True", "EXE-3"),
    # the boolean of another
    ("self._told[condition.number], value", "self._told[0], value", "EXE-3"),
    # a frozen batch normalization uses the batch; or it does when it trains only at times
    ("with private.moments_replaced(layer, self._either(layer, by_batch, moments)):", "if True:", "EXE-7"),
    ("if by_batch is False:", "if by_batch is not True:", "EXE-3"),
    # its statistics move; where it uses them they are averaged with themselves, and stay even so
    ("weight.assign(self._when(moves, weight.value, value))", "pass", "EXE-3", "batch_fixed"),
    # the booleans come one switch late
    (TOLD, f"late = self.row\n        {TOLD}\n        self.row = self.row if late is None else late", "EXE-3"),
    # a full window leaves what the frozen have gathered
    ("old = self._when(self._any, ", "old = self._when(False, ", "EXE-7"),
    # the penalty of the frozen is part of the loss
    ("self._when(trains, penalty := plain(value), jax.numpy.zeros_like(penalty))", "plain(value)", "EXE-7"),
]  # fmt: skip


def hard(switch: str, batch_norm: str = "keras") -> Any:
    """Return what ``trained`` does where decay, constraint, regularizer, norm and window touch what is frozen."""
    first = {"kernel_constraint": keras.constraints.UnitNorm(), "kernel_regularizer": keras.regularizers.L2(0.1)}
    optimizer = SGD(0.05, momentum=0.9, weight_decay=0.01, global_clipnorm=0.1, gradient_accumulation_steps=2)
    policy = stages(*((epoch, always(names)) for epoch, names in enumerate(HARD)))
    norm = lambda: keras.layers.BatchNormalization(name="norm", momentum=0.5)  # noqa: E731
    return trained(lambda: network(norm(), **first), lambda: optimizer, policy, switch, batch_norm=batch_norm)[0]


@functools.cache
def traced_for_each(batch_norm: str = "keras") -> Any:
    return hard("cached", batch_norm)


def broken(found: Any, should_be: Any) -> set[str]:
    """Return the laws that are broken: what moves (EXE-3), and the values, which agree to rounding (EXE-7)."""
    laws = set() if moves(found) == moves(should_be) else {"EXE-3"}
    for (now, slots, history), (then, others, other) in zip(found, should_be, strict=True):
        pairs = [*zip(now.values(), then.values(), strict=True), *zip(slots, others, strict=True)]
        values = [tuple(np.frombuffer(bits, np.float32) for bits in pair) for pair in pairs]
        values.append(tuple(np.array(ast.literal_eval(text)["loss"]) for text in (history, other)))
        if not all(np.allclose(*pair, 1e-4, 1e-6) for pair in values):
            laws.add("EXE-7")
    return laws


@pytest.mark.parametrize("batch_norm", ["keras", "batch_fixed"])
def test_EXE_7_the_masked_step_breaks_no_law(batch_norm: str) -> None:
    assert broken(hard("masked", batch_norm), traced_for_each(batch_norm)) == set()


@pytest.mark.parametrize(
    ("old", "new", "law", "batch_norm"),
    [
        pytest.param(*wrong[:3], *(wrong[3:] or ["keras"]), marks=() if number < 2 else pytest.mark.slow)
        for number, wrong in enumerate(WRONG)
    ],
)
def test_a_wrong_masked_step_is_caught(
    old: str, new: str, law: str, batch_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import refreeze.keras.backends.jax_masked as right

    source, wrong = Path(right.__file__).read_text(encoding="utf-8"), types.ModuleType("wrong")
    assert source.count(old) == 1
    exec(compile(source.replace(old, new), "wrong", "exec"), wrong.__dict__)
    monkeypatch.setattr(backends.current(), "masked", wrong.JaxMaskedStep)
    assert law in broken(hard("masked", batch_norm), traced_for_each(batch_norm))
