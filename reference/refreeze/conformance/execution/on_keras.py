"""Keras models under observation: the one that executors are tried on, and the plainest right run."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import logging
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from refreeze import segments
from refreeze.conformance.execution import harness
from refreeze.conformance.execution.harness import FitFailed
from refreeze.conformance.execution.observations import Call, ModelState, Ran
from refreeze.conformance.protocol import Fault, Optimizer, Request
from refreeze.conformance.reference import policy_of
from refreeze.errors import shown
from refreeze.keras.model import read

_log = logging.getLogger("refreeze.conformance")
_DATA = np.random.default_rng(0)
_X, _Y, _BATCH = _DATA.normal(size=(8, 4)).astype(np.float32), _DATA.integers(0, 3, 8), 4
OPTIMIZERS: dict[Optimizer, Callable[[], Any]] = {
    "sgd": lambda: keras.optimizers.SGD(0.0625, momentum=0.9, weight_decay=0.01),
    "adam": lambda: keras.optimizers.Adam(0.0625, clipnorm=1.0),
    "adamw": lambda: keras.optimizers.AdamW(0.0625, weight_decay=0.05),
    "scheduled": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.0625, 10, 0.5)),
    "ema": lambda: keras.optimizers.SGD(0.0625, use_ema=True),
}


def new_model(request: Request, seed: int = 0) -> Any:
    """Return the model compiled, always with the same weights for a seed; every weight has a gradient."""

    def dense(units: int, name: str, activation: str | None = "tanh", **options: Any) -> Any:
        kernel = keras.initializers.GlorotUniform(seed + len(name))
        return keras.layers.Dense(units, activation, name=name, kernel_initializer=kernel, **options)

    # The constraint moves a kernel at every update, gradient or not.
    stem = dense(4, "stem", kernel_constraint=keras.constraints.UnitNorm())
    body = keras.Sequential([keras.Input((4,)), dense(4, "a"), dense(4, "b")], name="body")
    norm = keras.layers.BatchNormalization(name="norm", momentum=0.5)
    model = keras.Sequential([keras.Input((4,)), stem, norm, body, dense(3, "head", None)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[request["optimizer"]](), loss)
    for node in read(model).nodes:
        node.layer.trainable = node.path not in request["off"]
    return model


def _bits(variable: Any) -> bytes:
    return np.asarray(keras.ops.convert_to_numpy(variable)).tobytes()


def state(model: Any) -> ModelState:
    """Return the state of ``model``."""
    named = {f"{node.path}/{weight.name}": weight for node in read(model).nodes for weight in node.layer.weights}
    owners = {weight.path.replace("/", "_") + "_": name for name, weight in named.items()}
    slots = {}
    for variable in model.optimizer.variables:
        if owner := max((path for path in owners if variable.name.startswith(path)), key=len, default=""):
            slots[f"{owners[owner]}:{variable.name.removeprefix(owner)}"] = _bits(variable)
    held = set(map(id, read(model).trainable)) - set(map(id, model.trainable_variables))
    return ModelState(
        {name: _bits(weight) for name, weight in named.items()},
        slots,
        {n.path: n.layer.trainable and held.isdisjoint(map(id, n.layer.weights)) for n in read(model).nodes},
        (float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),),
        int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
    )


class KerasWatch(harness.Watch):
    """Runs of a compiled model by a fit function, which it is itself: it records its calls, and does what is asked."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.model: Any = None
        self._done, self._epochs = 0, 0

    def begin(self, seed: int) -> None:
        """Make a model."""
        super().begin(seed)
        self.model = new_model(self.request, seed)

    def state(self) -> ModelState:
        """Return the state of the model."""
        return state(self.model)

    def run(self, start: Callable[..., Any], config: Any, *folder: str) -> dict[str, Any]:
        """Return the history that the executor returns."""
        history, epochs = _read(
            start(self.model, self.request["dialect"], config, self.request["total"], self, *folder)
        )
        return {"history": history, "epochs": epochs}

    def again(self) -> None:
        """Train for an epoch."""
        self(1)

    def __call__(self, epochs: int) -> Any:
        """Train for so many epochs, always with the same data in the same order, and return the History.

        As callbacks may, it halves the learning rate at its end; and every other History has one metric more.
        """
        _log.info("call %d of fit: %s epochs", self._done, shown(epochs))
        tick = self.start + sum(call.length for call in self.calls)
        call = Call(tick, operator.index(epochs), state(self.model))
        self.calls.append(call)
        if self._done == self.request["fail_at"] and not self.failed:
            self.failed = True
            raise FitFailed
        watching = keras.callbacks.LambdaCallback(on_train_begin=self._meddle, on_epoch_end=self._count)
        with _quiet():
            history = self.model.fit(
                _X, _Y, epochs=epochs, batch_size=_BATCH, shuffle=False, verbose=0, callbacks=[watching]
            )
        if self._done % 2:
            history.history["odd"] = [float(self._done)] * len(history.epoch)
        with contextlib.suppress(TypeError):  # a schedule object
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2
        self._done += 1
        call.after, call.history = state(self.model), copy.deepcopy(history.history)
        return history

    def _meddle(self, logs: Any = None) -> None:
        for node in read(self.model).nodes if self.request.get("meddles") else ():
            node.layer.trainable = not node.layer.trainable

    def _count(self, epoch: int, logs: Any = None) -> None:
        self._epochs += 1
        if self._epochs == self.request["stop_after"]:
            self.model.stop_training = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Keras says of segments with everything frozen, and TensorFlow of many traces."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model does not have any trainable weights")
        yield
    logger.setLevel(level)


def _read(found: Any) -> tuple[dict[str, list[Any]], list[int] | None]:
    """Return what a history holds: a ``History``, or a dictionary of lists."""
    try:
        values, epochs = getattr(found, "history", found), getattr(found, "epoch", None)
        read = {str(key): [float(value) for value in column] for key, column in values.items()}
        return read, None if epochs is None else [int(epoch) for epoch in epochs]
    except Exception:  # whatever its objects raise
        raise Fault("malformed", f"run returned {shown(found)}, which is no History, nor one's dictionary") from None


class Rebuilding:
    """The plainest right executor: flags are written and the train step is made anew for each segment."""

    def run(self, model: Any, dialect: str, config: Any, total: int, fit: Callable[[int], Any]) -> dict[str, list[Any]]:
        """Run the schedule; the history that is returned is empty."""
        layers = {node.path: node.layer for node in read(model).nodes}
        given = {path: layer.trainable for path, layer in layers.items()}
        for layer in layers.values():
            layer.trainable = True
        model.optimizer.build(model.trainable_variables)
        policy = policy_of({"dialect": dialect, "names": [*layers], "config": config, "total": total})
        for segment in segments(policy, total):
            for path, layer in layers.items():
                layer.trainable = path not in segment.frozen if path in policy.names else given[path]
            if segment.learning_rate is not None:
                model.optimizer.learning_rate = segment.learning_rate
            with _built_over_what_trains(model):
                model.make_train_function(force=True)
                fit(segment.length)
        return {}


@contextlib.contextmanager
def _built_over_what_trains(model: Any) -> Iterator[None]:
    """On JAX an optimizer updates exactly what it is built over: for a while, let another one, with the same values.

    Afterwards the model has its own again, with the values of the other.
    """
    own = model.optimizer
    if keras.backend.backend() == "jax":  # pragma: no cover (tox -e jax runs the laws there)
        model.optimizer = other = type(own).from_config(own.get_config())
        other.build(model.trainable_variables)
        slots = {variable.path: variable for variable in own.variables}
        for variable in other.variables:
            variable.assign(slots[variable.path])
        yield
        for variable in other.variables:
            slots[variable.path].assign(variable)
        model.optimizer = own
    else:
        yield


def rebuilt(request: Request) -> Ran:
    """Return what is seen of ``request``, without what is to fail in it, where each train step is made anew."""
    return _rebuilt(json.dumps(request | {"fail_at": None, "resumed": None, "meddles": False}))


@functools.lru_cache(512)
def _rebuilt(request: str) -> Ran:
    return harness.observe(Rebuilding(), json.loads(request))
