"""The masked step on JAX: one executable for a whole schedule, told by booleans what is frozen (EXE-3, EXE-7).

It is traced with everything trainable that the schedule ever trains. What depends on the state, see ``conditions``, is
selected after it is computed: a selection lets nothing of what it does not take through, no NaN either, so what is
frozen stays bitwise as it is. The booleans are an argument: to switch is to pass others.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import keras
from jax import numpy as jnp

from refreeze.keras import optimizer as optimizers
from refreeze.keras import own_counts, private
from refreeze.keras.batchnorm import MODES, BatchNorms, Mode, chosen
from refreeze.keras.conditions import Condition, Conditions
from refreeze.keras.flags import Flags
from refreeze.keras.model import ModelTree

_Step = Callable[[Any, Any], Any]


class MaskedStep:
    """The step of a model for all ``states``: ``bytes`` of the flags, each in its place, and of the modes after them.

    ``fit`` does a step with the optimizer of what trains in it; ``put_back`` is called before a trace. Raises nothing:
    ask ``obstacle`` before.
    """

    def __init__(
        self,
        fit: Callable[[Any, _Step, Any, Any], Any],
        tree: ModelTree,
        flags: Flags,
        batch_norms: BatchNorms,
        states: Iterable[bytes],
        put_back: Callable[[], None],
    ) -> None:
        states = list(dict.fromkeys(states))
        self._tree, self._flags, self._put_back, self._fit = tree, flags, put_back, fit
        self.conditions = conditions = Conditions(states)
        model = flags.place[id(tree.model)]
        places = {id(variable): flags.place[id(variable)] for variable in tree.trainable}
        self._trains = {key: conditions.when(functools.partial(_both, at, model)) for key, at in places.items()}
        self._any = conditions.when(lambda state: state[model] and any(state[at] for at in places.values()))
        self._modes: list[tuple[Any, Condition, Condition]] = []
        for at, layer in enumerate(batch_norms.layers, start=len(flags.place)):
            by_batch = conditions.when(functools.partial(_differs, at, MODES.index("inference")))
            moves = conditions.when(functools.partial(_equals, at, MODES.index("train")))
            self._modes.append((layer, by_batch, moves))
        self._ever = tuple(any(state[at] for state in states) for at in range(len(flags.place)))
        self._row: Any = jnp.zeros(0, bool)
        self._told: Any = ()

    def obstacle(self) -> str | None:
        """Return what of the model cannot be masked, in words, or None."""
        model = self._tree.model
        step = getattr(model.train_step, "plain", model.train_step)
        if model.run_eagerly or not model.jit_compile:
            return "a step that is not compiled"
        if model.steps_per_execution > 1:
            return "an execution of several steps"
        if keras.distribution.distribution() is not None:
            return "a step under a distribution of Keras"
        if not private.of_keras(getattr(step, "__func__", step)):
            return f"the train_step of model {model.name!r}"
        for layer in self._tree.inside:
            if not private.of_keras(type(layer)) and layer is not model:
                return f"layer {layer.name!r}, which is not one of Keras and may look at flags itself"
        if own_counts.counts(model.optimizer):
            return "own counts of updates"
        if any(getattr(variable, "overwrite_with_gradient", False) for variable in self._tree.trainable):
            return "variables that are overwritten by their gradients"
        return None

    def make(self) -> Any:
        """Return a new train function of the model, to be traced; the model keeps the one that it has."""
        model = self._tree.model
        plain = getattr(model.train_step, "plain", model.train_step)
        with self._flags.shown(self._ever):
            ever, count = _sorted(model), len(model.trainable_variables)

        def step(state: Any, data: Any, row: Any) -> Any:
            self._put_back()
            with self._conditional(row):
                return self._fit(model, plain, state, data)

        # Not in the trace: to find them out an optimizer is made.
        self._owners = optimizers.owners(model.optimizer)
        compiled = jax.jit(step, donate_argnums=0)

        def function(state: Any, iterator: Any) -> Any:
            trained, others, slots, metrics = state
            now = dict(zip(self._now, [*trained, *others], strict=True))
            values = [now[key] for key in ever]
            given = values[:count], values[count:], slots, metrics
            logs, (trained_now, others_now, slots, metrics) = compiled(given, next(iterator), self._told)
            now = dict(zip(ever, [*trained_now, *others_now], strict=True))
            values = [now[key] for key in self._now]
            return logs, (values[: len(trained)], values[len(trained) :], slots, metrics)

        function.compiled = compiled  # type: ignore[attr-defined]
        return function

    def set(self, state: bytes) -> None:
        """Let the next steps be those of one of the states, whose flags the model has now."""
        self._told = jnp.array(self.conditions.values(state), bool)
        self._now = _sorted(self._tree.model)

    @contextlib.contextmanager
    def _conditional(self, row: Any) -> Iterator[None]:
        """While it lasts, a trace of the model's own step has its selections."""
        optimizer, self._row = self._tree.model.optimizer, row
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._flags.shown(self._ever))
            for layer, by_batch, moves in self._modes:
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
        return jnp.where(self._row[condition.number], value, otherwise)

    def _regularizer(self, plain: Callable[[Any], Any], trains: Condition) -> Callable[[Any], Any]:
        return lambda value: self._when(trains, penalty := plain(value), jnp.zeros_like(penalty))

    def _mode_of(self, layer: Any, by_batch: Condition, moves: Condition) -> Callable[[Callable[[Mode], Any]], Any]:
        def choose(run: Callable[[Mode], Any]) -> Any:
            if by_batch is False:
                return run("inference")
            statistics = [w for w in layer.weights if all(w is not made for made in private.made_to_train(layer))]
            with keras.StatelessScope([(weight, weight.value) for weight in layer.weights]) as scope:
                batch = run("train")
            for weight in statistics:
                weight.assign(self._when(moves, scope.get_current_value(weight), weight.value))
            return batch if by_batch is True else self._when(by_batch, batch, run("inference"))

        return choose

    def _apply(self, optimizer: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        gathering = {id(slot) for _, slot in private.accumulators(inner)}

        def apply(slots: Any, gradients: Any, weights: Any) -> Any:
            trains = [self._trains[id(variable)] for variable in private.built_over(optimizer)]
            zeros = map(jnp.zeros_like, gradients)
            seen = [self._when(t, g, zero) for t, g, zero in zip(trains, gradients, zeros, strict=True)]
            now, after = plain(slots, seen, weights)
            variables, owners = optimizer.variables, self._owners
            places = {id(variable): place for place, variable in enumerate(variables)}
            window = inner.gradient_accumulation_steps or 1
            full = (slots[places[id(private.own_variables(inner)[0])]] + 1) % window == 0
            kept = []
            for variable, old, new in zip(variables, slots, after, strict=True):
                condition = self._trains[owners[id(variable)]] if id(variable) in owners else self._any
                if id(variable) in gathering:  # a full window empties all of them, if anything trains
                    old = self._when(self._any, jnp.where(full, jnp.zeros_like(old), old), old)
                kept.append(self._when(condition, new, old))
            return [self._when(t, new, old) for t, new, old in zip(trains, now, weights, strict=True)], kept

        return apply


def _both(one: int, other: int, state: bytes) -> bool:
    return bool(state[one] and state[other])


def _equals(at: int, value: int, state: bytes) -> bool:
    return state[at] == value


def _differs(at: int, value: int, state: bytes) -> bool:
    return state[at] != value


def _sorted(model: Any) -> list[int]:
    """Return the ids of the variables of a model in the order in which Keras sorts their values by the flags."""
    return [*map(id, model.trainable_variables), *map(id, model.non_trainable_variables)]
