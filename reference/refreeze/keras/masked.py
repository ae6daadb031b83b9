"""The masked step on TensorFlow: one trace of the train step, whose booleans say what is frozen (EXE-3, EXE-7).

It is traced with everything trainable that the schedule ever trains. What depends on the state, see ``conditions``, is
inside of a ``tf.cond``, so what is frozen stays bitwise as it is, whatever its gradient is. To switch is to assign the
booleans.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from refreeze.keras import private
from refreeze.keras.batchnorm import Mode, chosen
from refreeze.keras.conditions import Condition
from refreeze.keras.masking import Constraint, Masking, Regularizer
from refreeze.keras.specialised import Boolean, Programs


class MaskedStep(Masking):
    """The step of a model for all states of a schedule; ``Masking`` says what they are."""

    METHODS = ("apply", "apply_gradients", *private.UPDATING)
    BEHIND = False
    """Whether a specialised step is prepared while the masked one trains."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._booleans = tf.Variable([False] * len(self.conditions), trainable=False, name="frozen_set")
        self._replicas, self._patches = 0, contextlib.ExitStack()
        self._masks: Sequence[Any] | dict[int, Any] = []
        self._functions: dict[str, Any] = {}
        self._updated: list[Any] = []

    def obstacle(self) -> str | None:
        if found := super().obstacle():
            return found
        model, optimizer = self._tree.model, self._tree.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if model.distribute_strategy.num_replicas_in_sync == 1:
            return None
        for layer in self._tree.inside:
            if getattr(layer, "synchronized", False):
                return f"layer {layer.name!r}, which synchronizes its statistics among replicas"
        if inner.gradient_accumulation_steps:
            return "gradient accumulation on several replicas"
        if inner.weight_decay is not None or getattr(inner, "adam_weight_decay", None) is not None:
            return "weight decay on several replicas"
        if self._any is not True:
            return "a segment with everything frozen, on several replicas"
        return None

    def make(self) -> Any:
        """Return a new train function of the model, to be traced; the model keeps the one that it has."""
        model, kept = self._tree.model, self._tree.model.train_function
        watched = model.train_step
        plain = getattr(watched, "plain", watched)

        def step(data: Any) -> Any:
            if not self._replicas:
                self._put_back()
                self._patches.enter_context(self._conditional())
            self._replicas += 1
            try:
                return plain(data)
            finally:  # replicas are traced in turns, inside of each other's calls: the last to end undoes it
                self._replicas -= 1
                if not self._replicas:
                    self._patches.close()

        with private.replaced(model, "train_step", step):
            model.make_train_function(force=True)
        made, model.train_function = model.train_function, kept
        return made

    def program(self, traced: Any, state: bytes | None = None) -> Programs:
        """Return a train function that does what ``traced`` does, for one of the states or for whichever is set."""
        if state is None and len(tf.config.list_logical_devices()) > 1:
            return Programs(traced, None, ())  # as traced: a branch that is prepared late must be of one device
        asked: list[Boolean] = ["asked" for _ in range(len(self.conditions))]
        booleans = asked if state is None else self.conditions.values(state)
        return Programs(traced, self._booleans.handle, booleans)

    def left(self, program: Any) -> Any:
        """Return the train function to leave the model with when the run is over."""
        return program

    def set(self, state: bytes) -> None:
        """Let the next steps be those of one of the states."""
        self._booleans.assign(self.conditions.values(state))

    @contextlib.contextmanager
    def _conditional(self) -> Iterator[None]:
        """While it lasts, a trace of the model's own step has its conditionals."""
        optimizer = self._tree.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        self._masks = tf.unstack(self._booleans) if len(self.conditions) else []
        with contextlib.ExitStack() as stack:
            stack.callback(self._functions.clear)

            def replace(holder: Any, name: str, value: Any) -> None:
                stack.enter_context(private.replaced(holder, name, value))

            stack.enter_context(self._flags.shown(self._ever))
            for layer, by_batch, moves in self._modes.values():
                keras_own = type(layer) is keras.layers.BatchNormalization and not _has_own_call(layer)
                stack.enter_context(chosen(layer, self._mode_of(by_batch, moves)))
                if keras_own and not tf.distribute.has_strategy():
                    replace(layer, "call", self._shared(layer, by_batch, moves))
            for variable in self._tree.trainable:
                trains = self._trains[id(variable)]
                if variable.regularizer is not None and trains is not True:
                    replace(variable, "regularizer", self._regularizer(variable.regularizer, trains))
                if variable.constraint is not None and trains is not True:
                    replace(variable, "constraint", self._constraint(variable.constraint, trains))
            replace(optimizer, "apply", self._apply(optimizer.apply))
            decay, apply, accumulate, _, update = (getattr(inner, name) for name in private.UPDATING)
            replace(inner, private.APPLY, self._noting(apply))
            replace(inner, private.DECAY, lambda variables: None)  # each in the conditional of its update
            replace(inner, private.UPDATE, self._update(decay, update))
            replace(inner, private.ACCUMULATE, self._accumulate(accumulate))
            if inner.global_clipnorm:
                replace(inner, private.CLIP, lambda grads: self._clip(grads, inner.global_clipnorm))
            if inner is not optimizer:
                replace(optimizer, "check_finite", self._check_finite(optimizer.check_finite))
            yield

    def _when(self, condition: Condition, do: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        if isinstance(condition, bool):
            return do() if condition else otherwise()
        return tf.cond(self._masks[condition.number], do, otherwise)

    def _do_when(self, condition: Condition, do: Callable[[], Any]) -> None:
        """Do what returns nothing of interest."""
        self._when(condition, lambda: [do()][:0], list)

    def _groups(self, variables: Sequence[Any]) -> Iterator[tuple[Condition, list[int]]]:
        """Yield the numbers of the variables that train under one condition."""
        found: dict[Condition, list[int]] = {}
        for number, variable in enumerate(variables):
            found.setdefault(self._trains[id(variable)], []).append(number)
        yield from found.items()

    def _mode_of(self, by_batch: Condition, moves: Condition) -> Callable[[Callable[[Mode], Any]], Any]:
        def choose(run: Callable[[Mode], Any]) -> Any:
            def batch() -> Any:
                if moves == by_batch:  # where it uses the batch it moves
                    return run("train")
                return self._when(moves, lambda: run("train"), lambda: run("fixed"))

            return self._when(by_batch, batch, lambda: run("inference"))

        return choose

    def _shared(self, layer: Any, by_batch: Condition, moves: Condition) -> Callable[..., Any]:
        """Return a ``call`` that layers of one configuration and shape share: it is traced once, not once for each."""
        plain, weights = layer.call, layer.weights
        asked = [one for one in dict.fromkeys((by_batch, moves)) if not isinstance(one, bool)]
        modes = [asked.index(one) if one in asked else one for one in (by_batch, moves)]
        config = {name: value for name, value in layer.get_config().items() if name not in ("name", "trainable")}
        kind = repr((config, modes, [tuple(weight.shape) for weight in weights]))
        parameters = {id(variable) for variable in private.made_to_train(layer)}

        @functools.partial(tf.function, autograph=False)
        def function(masks: Any, held: Any, inputs: Any, mask: Any) -> Any:
            before, self._masks = self._masks, {one.number: at for one, at in zip(asked, masks, strict=True)}
            try:
                with private.holding(weights, held):
                    return plain(inputs, training=True, mask=mask)
            finally:
                self._masks = before

        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if not training:
                return plain(inputs, training=training, mask=mask)
            masks = [self._masks[one.number] for one in asked]
            # Parameters are read here: the gradient is taken of what is read.
            held = [tf.convert_to_tensor(one) if id(one) in parameters else one.value for one in weights]
            return self._functions.setdefault(kind, function)(masks, held, inputs, mask)

        return call

    def _regularizer(self, plain: Callable[[Any], Any], trains: Condition) -> Regularizer:
        return Regularizer(lambda x: self._when(trains, lambda: plain(x), lambda: tf.zeros_like(plain(x))))

    def _constraint(self, plain: Callable[[Any], Any], trains: Condition) -> Constraint:
        return Constraint(lambda x: self._when(trains, lambda: plain(x), lambda: tf.identity(x)))

    def _apply(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def apply(grads: Any, trainable_variables: Any = None) -> None:
            self._updated = [v for g, v in zip(grads, trainable_variables, strict=True) if g is not None]
            self._do_when(self._any, lambda: plain(grads, trainable_variables))

        return apply

    def _noting(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def backend_apply_gradients(grads: Any, trainable_variables: Any) -> None:
            self._updated = list(trainable_variables)
            plain(grads, trainable_variables)

        return backend_apply_gradients

    def _update(self, decay: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
        def update(distribution: Any, grads_and_vars: Any, learning_rate: Any) -> None:
            for condition, numbers in self._groups(self._updated):

                def group(numbers: list[int] = numbers) -> None:
                    decay([self._updated[number] for number in numbers])
                    plain(distribution, [grads_and_vars[number] for number in numbers], learning_rate)

                self._do_when(condition, group)

        return update

    def _accumulate(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def accumulate(grads: Any, accumulators: Any) -> None:
            for condition, numbers in self._groups(self._updated):

                def group(numbers: list[int] = numbers) -> None:
                    plain([grads[number] for number in numbers], [accumulators[number] for number in numbers])

                self._do_when(condition, group)

        return accumulate

    def _counted(self, grads: Sequence[Any]) -> list[tuple[Condition, Any]]:
        """Return the gradients that there are, each with the condition that it counts under."""
        conditions = [self._trains[id(variable)] for variable in self._updated]
        return list(zip(conditions, [grad for grad in grads if grad is not None], strict=True))

    def _clip(self, grads: list[Any], most: float) -> list[Any]:
        """Do what Keras does for ``global_clipnorm``, in the same order, over the gradients of what trains."""
        counted = [(condition, grad) for condition, grad in self._counted(grads) if condition is not False]
        none = tf.zeros((), counted[0][1].dtype)
        squares = [self._when(condition, functools.partial(_square, grad), lambda: none) for condition, grad in counted]
        # Zeros among the summands would change the order of summation, and so the last bits.
        there = [True if isinstance(one, bool) else self._masks[one.number] for one, _ in counted]
        norm = tf.sqrt(tf.reduce_sum(tf.boolean_mask(tf.stack(squares), tf.stack(there))))
        scale = most * tf.minimum(1.0 / norm, 1.0 / most) + (norm - norm)
        return [grad * scale for grad in grads]

    def _check_finite(self, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def check_finite(grads: Any) -> Any:
            counted = self._counted(grads)
            return tf.reduce_all(
                [
                    self._when(condition, functools.partial(plain, [grad]), lambda: tf.constant(True))
                    for condition, grad in counted
                ]
            )

        return check_finite


def _has_own_call(layer: Any) -> bool:
    """Return whether somebody else than this engine has given this one layer another ``call``."""
    return "call" in vars(layer) and not hasattr(layer.call, "mode")


def _square(grad: Any) -> Any:
    return tf.reduce_sum(tf.square(grad))
