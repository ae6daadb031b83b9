"""JAX: a train step is a function of values, and what it updates is what Keras hands it as trainable.

While an epoch lasts, the variables of a model are empty, and Keras holds their values in lists, sorted by the flags. So
values go back into the variables before a flag changes, and flags that something else has changed are put back before
Keras sorts by them. One optimizer has the slots of all variables; while a step is traced it shows itself as built over
those alone that train, with their own slots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np

from refreeze.errors import Unsupported
from refreeze.keras import private
from refreeze.keras.backends import Backend
from refreeze.keras.backends.jax_masked import JaxMaskedStep

_SORTING = ("JAXTrainer._get_jax_state", "JAXTrainer.jax_state_sync")
"""What takes values out of variables and puts them back, by the flags."""


class Jax(Backend):
    """JAX in one process, on any number of devices: the values are always those of one model."""

    def check(self, model: Any) -> None:
        if keras.config.is_nnx_enabled():
            raise Unsupported("Keras runs on flax.nnx here, whose train step is another; unset KERAS_NNX_ENABLED")
        if (processes := jax.process_count()) > 1:
            raise Unsupported(f"JAX runs in {processes} processes; the engine runs in one, on any number of devices")

    def settle(self, model: Any) -> None:
        model.jax_state_sync()

    def watch(self, model: Any, put_back: Callable[[], None]) -> None:
        super().watch(model, put_back)
        watched = model.train_step

        def step(state: Any, data: Any) -> Any:
            put_back()
            return _for_what_trains(model, watched, state, data)

        @contextlib.contextmanager
        def as_scheduled() -> Iterator[None]:
            put_back()
            yield

        step.plain = watched.plain  # type: ignore[attr-defined]
        model.train_step = step
        for method in _SORTING:
            private.within(model, method, as_scheduled)

    def resumed(self, model: Any) -> None:
        private.within(model, "Model._symbolic_build", _drawing_nothing)

    def unwatch(self, model: Any) -> None:
        super().unwatch(model)
        for method in (*_SORTING, "Model._symbolic_build"):
            private.within(model, method, None)

    def make(self, model: Any) -> None:
        # The step is a new object each time: JAX would find the executable of another set of the same shapes.
        plain, own = model.train_step, "train_step" in vars(model)
        if hasattr(plain, "plain"):  # watched, since this segment began
            model.make_train_function(force=True)
            return
        model.train_step = lambda state, data: _for_what_trains(model, plain, state, data)
        model.make_train_function(force=True)
        if own:
            model.train_step = plain
        else:
            del model.train_step

    def count(self, optimizer: Any, counts: list[Any]) -> Callable[[], None]:
        return private.pass_as_state(optimizer, counts)

    def masked(self, *parts: Any) -> Any:
        return JaxMaskedStep(*parts)

    def wait(self, outcome: Any) -> None:
        jax.block_until_ready(outcome)


@contextlib.contextmanager
def _drawing_nothing() -> Iterator[None]:
    # To build metrics Keras takes a first batch, and so draws an order of the data: one more than the run went on with.
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)


def _for_what_trains(model: Any, step: Callable[..., Any], state: Any, data: Any) -> Any:
    """Do a train step, for which the optimizer is one over what is trainable now."""
    optimizer, trainable = model.optimizer, model.trainable_variables
    with private.shown_as_built_over(optimizer, trainable):
        logs, (weights, others, slots, metrics) = step(state, data)
    # With everything frozen the optimizer does nothing; Keras would have a loss scale count the step on JAX alone.
    slots = _emptied(optimizer, {*map(id, trainable)}, state[2], slots) if weights else list(state[2])
    return logs, (weights, others, slots, metrics)


def _emptied(optimizer: Any, trained: set[int], before: Any, after: Any) -> list[Any]:
    """Return the optimizer's values, with the accumulated gradients of frozen variables zero after a full window.

    On TensorFlow and torch Keras empties all of them then, on JAX those that train.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    frozen = {id(slot) for of, slot in private.accumulators(inner) if id(of) not in trained}
    if not frozen:
        return list(after)
    places = [id(variable) for variable in optimizer.variables]
    steps = before[places.index(id(private.own_variables(inner)[0]))] + 1
    full = steps % inner.gradient_accumulation_steps == 0
    return [
        jax.numpy.where(full, jax.numpy.zeros_like(value), value) if place in frozen else value
        for place, value in zip(places, after, strict=True)
    ]


BACKEND = Jax()
