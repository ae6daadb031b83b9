"""What others do to a model while a schedule runs on it: frozen stays frozen (EXE-2, EXE-3), or the run is refused."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import InvalidSpec, Unsupported, always, round_robin
from refreeze.keras import FreezeSchedule, execute
from small_models import OPTIMIZERS, X, Y, build, fit, said, weights

pytestmark = pytest.mark.engine
LAYERS = ["one", "two", "head"]
POLICY = round_robin(LAYERS, window=1, span=1)
Meddle = Callable[[keras.Model], None]


def flip(model: keras.Model) -> None:
    for layer in model.layers:
        layer.trainable = not layer.trainable


def flip_and_make(model: keras.Model) -> None:
    flip(model)
    model.make_train_function(force=True)


class Meddling(keras.callbacks.Callback):
    def __init__(self, when: str, meddle: Meddle) -> None:
        super().__init__()
        setattr(self, when, lambda *args, **logs: meddle(self.model))


def moved(model: keras.Model, before: dict[str, bytes]) -> set[str]:
    return {name.partition("/")[0] for name, now in weights(model).items() if now != before[name]}


@pytest.mark.parametrize(
    ("when", "meddle", "switch", "eagerly"),
    [
        ("on_train_begin", flip, "cached", False),
        ("on_train_batch_begin", flip, "rebuild", False),
        ("on_train_batch_begin", flip_and_make, "cached", False),
        ("on_epoch_end", flip_and_make, "cached", False),
        ("on_train_batch_begin", flip, "cached", True),
    ],
)
def test_EXE_3_whatever_callbacks_do_to_flags(when: str, meddle: Meddle, switch: Any, eagerly: bool) -> None:
    """The batches are of two shapes, so that a step is traced again in the middle of a segment."""
    model, seen = build("dense", "sgd", run_eagerly=eagerly), []

    def meddled(epochs: int) -> Any:
        before = weights(model)
        history = None
        for size in (16, 12):
            data = np.concatenate([X[:size]] * 2), np.concatenate([Y[:size]] * 2)
            callbacks = [Meddling(when, meddle)]
            history = model.fit(*data, batch_size=size, shuffle=False, verbose=0, callbacks=callbacks)
        seen.append(moved(model, before))
        return history

    execute(model, POLICY, 4, meddled, switch=switch)
    assert seen == [{*LAYERS} - POLICY.frozen_at(epoch) for epoch in range(4)]


@pytest.mark.parametrize("when", ["on_epoch_begin", "on_train_batch_begin"])
def test_the_same_in_one_fit(when: str) -> None:
    model, seen = build("dense", "sgd"), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: seen.append(weights(model)), on_train_end=lambda *_: seen.append(weights(model))
    )
    fit(model, callbacks=[FreezeSchedule(POLICY), Meddling(when, flip), note])(4)
    changes = [{n.partition("/")[0] for n in now if now[n] != was[n]} for was, now in itertools.pairwise(seen)]
    assert changes == [{*LAYERS} - POLICY.frozen_at(epoch) for epoch in range(4)]


def test_what_is_put_back_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = build("dense", "sgd")
    thaw = Meddling("on_train_begin", lambda model: setattr(model.get_layer("one"), "trainable", True))
    with caplog.at_level(logging.WARNING, logger="refreeze"):
        execute(model, always(["one"]), 1, fit(model, callbacks=[thaw]))
    assert said(caplog) == ["something else than the schedule has changed the flags of one; they are put back"]


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_after_a_run_flags_are_the_users_again(ends: str) -> None:
    model = build("dense", "sgd")
    step = model.train_step
    schedule = FreezeSchedule(always(["one"]))
    if ends == "well":
        fit(model, callbacks=[schedule])(1)
    else:
        with pytest.raises(ZeroDivisionError):
            fit(model, callbacks=[schedule, Meddling("on_epoch_end", lambda model: 1 // 0)])(1)
    flip(model)
    # On JAX Keras refuses an optimizer that was built over other variables.
    fresh = keras.backend.backend() == "jax"
    model.compile(OPTIMIZERS["sgd"]() if fresh else model.optimizer, model.loss)
    before = weights(model)
    fit(model)(1)
    assert moved(model, before) == {"one"}
    execute(model, always(["one"]), 1, fit(model))
    assert model.train_step == step


def test_two_schedules_at_once_are_refused() -> None:
    model = build("dense")
    before, one = weights(model), FreezeSchedule(always(["one"]))
    for second in (one, FreezeSchedule(always(["two"]))):
        with pytest.raises(InvalidSpec) as raised:
            fit(model, callbacks=[one, second])(1)
        assert str(raised.value) == (
            "callbacks = 'several' must be one FreezeSchedule; union makes one of several policies"
        )
    layers = [keras.layers.Flatten(), keras.layers.Dense(12)]
    other = keras.Sequential([keras.Input((8, 8, 1)), *layers, model.get_layer("head")])
    other.compile("sgd", model.loss)
    for inner in (model, other):
        for start in (
            lambda epochs, inner=inner: execute(inner, always(["head"]), 1, fit(inner)),
            fit(inner, callbacks=[FreezeSchedule(always(["head"]))]),
        ):
            with pytest.raises(Unsupported, match=r"^'(sequential\w*|head)' is being trained under another schedule"):
                execute(model, always(["one"]), 1, start)
    assert weights(model) == before
    execute(model, always(["one"]), 1, fit(model))
