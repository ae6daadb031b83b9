"""The masked step on JAX: one executable for a whole schedule, told by booleans what is frozen (EXE-3, EXE-7).

It is traced with everything trainable that the schedule ever trains. What depends on the state, see ``conditions``, is
selected after it is computed: a selection lets nothing through of what it does not take, no NaN either, so what is
frozen stays bitwise as it is. The booleans are an argument of the executable: to switch is to pass others.

An executable for one state is the same trace with its booleans as constants: XLA leaves out what is then unused, the
backward pass below the last layer that trains, too. A thread compiles it from the trace alone and touches no variable
and nothing of Keras; until it is there the masked one trains.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from refreeze.errors import Unsupported
from refreeze.keras import backends, private
from refreeze.keras import optimizer as optimizers
from refreeze.keras.batchnorm import Mode, chosen
from refreeze.keras.conditions import Condition
from refreeze.keras.masking import Masking, Regularizer

_log = logging.getLogger("refreeze")


class JaxMaskedStep(Masking):
    """The step of a model for all states of a schedule; ``Masking`` says what they are."""

    METHODS = ("apply", "stateless_apply", private.DECAY, private.APPLY, private.CLIP)
    BEHIND = True

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.row: Any = None
        self._rows: dict[bytes, Any] = {}
        # Of the same priority as training: a thread that the system lets wait while it holds Python's lock stops all.
        # A lower one would not help: XLA compiles in threads of its own, and those have the priority of the process.
        self._thread = ThreadPoolExecutor(1, "refreeze")

    def obstacle(self) -> str | None:
        if found := super().obstacle():
            return found
        optimizer = self._tree.model.optimizer
        if not self._tree.model.jit_compile:
            return "jit_compile=False"
        try:
            self._owners = optimizers.owners(optimizer)
            private.repeater(self._tree.model)
        except Unsupported as error:
            return str(error)
        self._gathering = {
            id(slot) for _, slot in private.accumulators(getattr(optimizer, "inner_optimizer", optimizer))
        }
        return None

    def make(self) -> Any:
        """Return what traces and compiles the step, and what makes of a step a train function as Keras does."""
        model = self._tree.model
        plain = getattr(model.train_step, "plain", model.train_step)

        def step(state: Any, told: Any) -> Any:
            self._put_back()
            data, row = told
            with self._conditional(row):
                return plain(state, data)

        with self._flags.shown(self._ever), private.replaced(model, "train_step", step):
            self._sorted, self._trained = _sorted(model), len(model.trainable_variables)
            return private.compiled_step(model)

    def program(self, made: Any, state: bytes | None = None) -> JaxProgram:
        """Return a train function for whichever state is set, or for one, which has an executable of its own soon."""
        compiled, repeat = made
        row = None if state is None else np.array(self.conditions.values(state), bool)
        return JaxProgram(self, compiled, repeat, row, self._thread)

    def left(self, program: Any) -> Any:
        """Return the train function to leave the model with when the run is over: one that is traced for the flags."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        backends.current().make(self._tree.model)
        return self._tree.model.train_function

    def set(self, state: bytes) -> None:
        """Let the next steps be those of one of the states, whose flags the model has now."""
        if state not in self._rows:
            now = _sorted(self._tree.model)
            orders = [now.index(key) for key in self._sorted], [self._sorted.index(key) for key in now]
            row = jax.numpy.array(self.conditions.values(state), bool)
            self._rows[state] = row, *orders, len(self._tree.model.trainable_variables)
        self.row, self._to_ours, self._to_keras, self._trained_now = self._rows[state]

    def ours(self, state: Any) -> Any:
        """Return the values of a model, which Keras sorts by the flags of now, as the step takes them."""
        return _in_order(state, self._to_ours, self._trained)

    def as_keras(self, state: Any) -> Any:
        """Return the values of a model, as they come out of the step, sorted by the flags of now."""
        return _in_order(state, self._to_keras, self._trained_now)

    @contextlib.contextmanager
    def _conditional(self, row: Any) -> Iterator[None]:
        """While it lasts, a trace of the model's own step has its selections."""
        optimizer, self._told = self._tree.model.optimizer, row
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._flags.shown(self._ever))
            stack.enter_context(private.shown_as_built_over(optimizer, self._tree.model.trainable_variables))
            for layer, by_batch, moves in self._modes.values():
                stack.enter_context(chosen(layer, self._mode_of(layer, by_batch, moves)))
            for variable in self._tree.trainable:
                if variable.regularizer is not None:
                    masked = self._regularizer(variable.regularizer, self._trains[id(variable)])
                    stack.enter_context(private.replaced(variable, "regularizer", masked))
            apply = self._apply(optimizer, optimizer.stateless_apply)
            stack.enter_context(private.replaced(optimizer, "stateless_apply", apply))
            yield

    def _when(self, condition: Condition, value: Any, otherwise: Any) -> Any:
        if isinstance(condition, bool):
            return value if condition else otherwise
        return jax.lax.select(self._told[condition.number], value, otherwise)

    def _regularizer(self, plain: Callable[[Any], Any], trains: Condition) -> Regularizer:
        return Regularizer(lambda value: self._when(trains, penalty := plain(value), jax.numpy.zeros_like(penalty)))

    def _mode_of(self, layer: Any, by_batch: Condition, moves: Condition) -> Callable[[Callable[[Mode], Any]], Any]:
        own = {*map(id, private.made_to_train(layer))}
        statistics = [weight for weight in layer.weights if id(weight) not in own]

        def choose(run: Callable[[Mode], Any]) -> Any:
            if by_batch is False:
                return run("inference")
            before = [weight.value for weight in statistics]
            moments = private.moments_of(layer)
            if by_batch is True:
                found = run("train")
            elif moments is None:
                inferred = run("inference")
                found = self._when(by_batch, run("train"), inferred)
            else:  # normalized once, by one mean and variance or by the other: a second time costs as much again
                with private.moments_replaced(layer, self._either(layer, by_batch, moments)):
                    found = run("train")
            for weight, value in zip(statistics, before, strict=True):
                weight.assign(self._when(moves, weight.value, value))
            return found

        return choose

    def _either(self, layer: Any, by_batch: Condition, moments: Callable[..., Any]) -> Callable[..., Any]:
        def chosen_moments(inputs: Any, mask: Any) -> Any:
            moving = layer.moving_mean, layer.moving_variance
            pairs = zip(moments(inputs, mask), moving, strict=True)
            return tuple(self._when(by_batch, now, kept.value.astype(now.dtype)) for now, kept in pairs)

        return chosen_moments

    def _apply(self, optimizer: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return what updates what trains, and nothing else; what is frozen counts in no norm and no loss scaling."""
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        variables = optimizer.variables
        count = [id(variable) for variable in variables].index(id(private.own_variables(inner)[0]))

        def apply(slots: Any, gradients: Any, weights: Any) -> Any:
            trains = [self._trains[id(variable)] for variable in private.built_over(optimizer)]
            zeros = map(jax.numpy.zeros_like, gradients)
            seen = [self._when(*one) for one in zip(trains, gradients, zeros, strict=True)]
            # What a variable had gathered before it was frozen would count in a global norm.
            shown = [
                self._when(self._trains[self._owners[id(variable)]], slot, jax.numpy.zeros_like(slot))
                if id(variable) in self._gathering
                else slot
                for variable, slot in zip(variables, slots, strict=True)
            ]
            updated, after = plain(shown, seen, weights)
            full = (slots[count] + 1) % (inner.gradient_accumulation_steps or 1) == 0
            kept = []
            for variable, old, new in zip(variables, slots, after, strict=True):
                condition = self._trains[self._owners[id(variable)]] if id(variable) in self._owners else self._any
                if id(variable) in self._gathering:  # a full window empties all of them, if anything trains
                    old = self._when(self._any, jax.numpy.where(full, jax.numpy.zeros_like(old), old), old)
                kept.append(self._when(condition, new, old))
            return [self._when(*one) for one in zip(trains, updated, weights, strict=True)], kept

        return apply


class JaxProgram:
    """A train function: the masked step; once there is one, the executable of the state whose booleans are ``row``."""

    def __init__(self, step: JaxMaskedStep, compiled: Any, repeat: Callable[..., Any], row: Any, thread: Any) -> None:
        self._step, self._masked, self._row, self._thread = step, compiled, row, thread
        self._asked = row is None
        self._own: Any = None
        self._shapes: Any = None
        self._train = repeat(self._run)
        self.prepared: float | None = 0.0 if row is None else None

    def __call__(self, state: Any, iterator: Any) -> Any:
        """Do as a train function of Keras does."""
        return self._train(state, iterator)

    def prepare(self, state: Any, iterator: Any) -> None:
        """Do nothing: the first call traces and compiles."""

    def _run(self, state: Any, data: Any) -> Any:
        ours = self._step.ours(state)
        if not self._asked:
            self._ask(ours, data)
        if self._own is not None and jax.tree.map(_shape, data) == self._shapes:
            logs, after = self._own(ours, data)
        else:
            logs, after = self._masked(ours, (data, self._step.row))
        return logs, self._step.as_keras(after)

    def _ask(self, state: Any, data: Any) -> None:
        """Have the executable compiled for values of these shapes, which the masked step was called with before."""
        self._asked, self._shapes = True, jax.tree.map(_shape, data)
        traced = self._masked.trace(state, (data, self._step.row))  # is found, not made
        given = jax.tree.map(_described, (state, data))
        self._thread.submit(self._compile, traced.jaxpr, jax.tree.structure(traced.out_info), given)

    def _compile(self, trace: Any, outputs: Any, given: Any) -> None:
        run, begun = jaxpr_as_fun(trace), time.perf_counter()

        def step(state: Any, data: Any) -> Any:
            return jax.tree.unflatten(outputs, run(*jax.tree.leaves((state, (data, self._row)))))

        try:
            shardings = jax.tree.map(lambda value: value.sharding, given[0])
            jitted = jax.jit(step, donate_argnums=0, out_shardings=(None, shardings))
            self._own = private.compiled_in_one_thread(jitted.trace(*given).lower())
        except Exception as error:
            _log.warning("the masked step goes on, for JAX cannot compile one for the set: %s", error)
        self.prepared = time.perf_counter() - begun


def _sorted(model: Any) -> list[int]:
    """Return the ids of the variables of a model in the order in which Keras sorts their values by the flags."""
    return [*map(id, model.trainable_variables), *map(id, model.non_trainable_variables)]


def _in_order(state: Any, order: list[int], trained: int) -> Any:
    values = [*state[0], *state[1]]
    values = [values[place] for place in order]
    return values[:trained], values[trained:], *state[2:]


def _shape(value: Any) -> Any:
    return value.shape, value.dtype


def _described(value: Any) -> Any:
    # What is not bound to a device must not be so after a step: the masked one would be compiled again for it.
    bound = value.sharding if getattr(value, "committed", False) else None
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=bound)
