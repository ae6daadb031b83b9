"""What is conditional in a train step under a schedule, and what cannot be made so: the same on each backend."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras

from refreeze.keras.batchnorm import MODES, BatchNorms, Mode
from refreeze.keras.conditions import Condition, Conditions
from refreeze.keras.flags import Flags
from refreeze.keras.model import ModelTree


class _Function:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, value: Any) -> Any:
        return self._function(value)


class Regularizer(_Function, keras.regularizers.Regularizer):
    """A regularizer that is a function: Keras 3.13 takes no plain one."""


class Constraint(_Function, keras.constraints.Constraint):
    """A constraint that is a function: Keras 3.13 takes no plain one."""


class Masking:
    """The conditions of a step for all ``states``.

    A state is ``bytes``: the flags, each in its place, and after them the modes of the batch normalizations.
    ``put_back`` is called before a trace. Raises nothing: ask ``obstacle`` before.
    """

    METHODS: tuple[str, ...]
    """The methods of an optimizer that must be Keras' own."""

    def __init__(
        self,
        tree: ModelTree,
        flags: Flags,
        batch_norms: BatchNorms,
        states: Iterable[bytes],
        put_back: Callable[[], None],
    ) -> None:
        states = list(dict.fromkeys(states))
        self._tree, self._flags, self._put_back = tree, flags, put_back
        self.conditions = conditions = Conditions(states)
        model = flags.place[id(tree.model)]
        self._trains: dict[int, Condition] = {
            id(variable): conditions.when(functools.partial(_both, flags.place[id(variable)], model))
            for variable in tree.trainable
        }
        places = [flags.place[id(variable)] for variable in tree.trainable]
        self._any = conditions.when(lambda state: state[model] and any(state[at] for at in places))
        self._modes: dict[int, tuple[Any, Condition, Condition]] = {}
        for at, layer in enumerate(batch_norms.layers, start=len(flags.place)):
            by_batch = conditions.when(functools.partial(_any_of, at, _byte("train") + _byte("fixed")))
            moves = conditions.when(functools.partial(_any_of, at, _byte("train")))
            self._modes[id(layer)] = layer, by_batch, moves
        self._ever = tuple(any(state[at] for state in states) for at in range(len(flags.place)))

    def spared(self, state: bytes) -> float:
        """Return the share of the backward pass that a step made for one of the states leaves out."""
        values = self.conditions.values(state)
        trains = (self._trains[id(variable)] for variable in self._tree.trainable)
        return share_spared([one if isinstance(one, bool) else values[one.number] for one in trains])

    def obstacle(self) -> str | None:
        """Return what of the model cannot be masked, in words, or None."""
        model, optimizer = self._tree.model, self._tree.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if model.run_eagerly:
            return "run_eagerly=True"
        if not _calls_keras_own(model.train_step):
            return f"the train_step of model {model.name!r}"
        for layer in self._tree.inside:
            if not _of_keras(type(layer)) and layer is not model and "trainable" in _names_in(type(layer)):
                return f"layer {layer.name!r}, which looks at flags itself"
        for name in self.METHODS:
            method = getattr(type(inner), name, None)
            if method is None or not _of_keras(method):
                return f"{name} of optimizer {inner.name!r}"
        if any(getattr(variable, "overwrite_with_gradient", False) for variable in self._tree.trainable):
            return "variables that are overwritten by their gradients"
        return None


def share_spared(trains: list[bool]) -> float:
    """Return the share of the backward pass, from 0 to 1, that is not needed; of each variable, in order: if it trains.

    Each counts alike: half for its own gradient, which is not needed where it is frozen, half for the gradient of the
    inputs of its layer, which is not needed before everything that trains.

    >>> share_spared([False, False, True, False]), share_spared([True, True]), share_spared([False])
    (0.625, 0.0, 1.0)
    """
    before = [*trains, True].index(True)
    return (trains.count(False) + before) / max(2 * len(trains), 1)


def _both(one: int, other: int, state: bytes) -> bool:
    return bool(state[one] and state[other])


def _any_of(at: int, modes: bytes, state: bytes) -> bool:
    return state[at] in modes


def _byte(mode: Mode) -> bytes:
    return bytes([MODES.index(mode)])


def _of_keras(thing: Any) -> bool:
    return str(thing.__module__).partition(".")[0] == "keras"


def _names_in(kind: type) -> set[str]:
    """Return the names that the methods of a class, and of those that it is made of but for Keras' own, use."""
    found: set[str] = set()
    todo = [
        part.__code__
        for one in kind.__mro__
        if not _of_keras(one)
        for part in vars(one).values()
        if inspect.isfunction(part)
    ]
    while todo:
        code = todo.pop()
        found.update(code.co_names)
        todo += [constant for constant in code.co_consts if inspect.iscode(constant)]
    return found


def _calls_keras_own(step: Any) -> bool:
    """Return whether a train step is Keras' own, or a function around it."""
    todo, seen = [step], set[int]()
    while todo:
        step = todo.pop()
        if inspect.ismethod(step):
            return _of_keras(step.__func__)
        if inspect.isfunction(step) and id(step) not in seen:
            seen.add(id(step))
            todo += [value for value in inspect.getclosurevars(step).nonlocals.values() if callable(value)]
    return False
