"""Small real Keras models, real digits, and a probe that watches what a run does to weights and optimizer slots."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
from refreeze.keras import own_counts
from refreeze.keras.model import read
from sklearn.datasets import load_digits

IMAGES, LABELS = load_digits(return_X_y=True)
X = (IMAGES[:48] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
Y = LABELS[:48]
BATCH = 16
STEPS = 3  # per epoch


def dense() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            # UnitNorm moves a kernel at every update, gradient or not: a frozen one must be spared (EXE-3).
            layers.Dense(12, "relu", name="one", kernel_constraint=keras.constraints.UnitNorm()),
            layers.Dense(12, "relu", name="two"),
            layers.Dense(10, name="head"),
        ]
    )


def cnn() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="one"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Dropout(0.3, seed=7),
            layers.Conv2D(6, 3, name="two"),
            layers.Flatten(),
            layers.Dense(10, name="head"),
        ]
    )


def nested() -> keras.Model:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(4, 3, name="deep"), layers.BatchNormalization(name="norm")], name="inner"
    )
    start = keras.Input((8, 8, 1))
    backbone = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="one"), inner], name="backbone")
    return keras.Model(start, layers.Dense(10, name="head")(layers.Flatten()(backbone(start))))


BACKEND = keras.backend.backend()
TRACES = BACKEND != "torch"
"""Whether train steps are traced; on torch they run as they are."""
MODELS = {"dense": dense, "cnn": cnn, "nested": nested}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda: keras.optimizers.Adam(0.01, clipnorm=1.0),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.05),
}


def build(model: str = "cnn", optimizer: str = "adam", **compile_options: Any) -> keras.Model:
    """Return a compiled model, always with the same weights."""
    keras.utils.set_random_seed(0)
    network = MODELS[model]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(OPTIMIZERS[optimizer](), loss, metrics=["accuracy"], **compile_options)
    return network


def fit(model: keras.Model, **options: Any) -> Any:
    """Return a fit function for the executor; the data come in the same order every time."""
    return lambda epochs: model.fit(
        X, Y, **{"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    )


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Return all weights by ``layer path/name``."""
    return {f"{node.path}/{weight.name}": weight for node in read(model).nodes for weight in node.layer.weights}


def weights(model: keras.Model) -> dict[str, bytes]:
    """Return the bits of all weights."""
    return {name: weight.numpy().tobytes() for name, weight in named_weights(model).items()}


def slots(model: keras.Model) -> dict[str, bytes]:
    """Return the bits of all optimizer variables: slots by ``name of the weight:name``, the others by name."""
    named = {weight.path.replace("/", "_"): name for name, weight in named_weights(model).items()}
    found, counted = {}, {*map(id, own_counts.counts(model.optimizer))}  # on JAX these are among the variables
    variables = [variable for variable in model.optimizer.variables if id(variable) not in counted]
    for variable in variables:
        owner = max((path for path in named if variable.name.startswith(f"{path}_")), key=len, default=None)
        name = variable.name if owner is None else f"{named[owner]}:{variable.name.removeprefix(owner + '_')}"
        found[name] = variable.numpy().tobytes()
    assert len(found) == len(variables)
    return found


def everything(model: keras.Model, history: Any) -> tuple[Any, ...]:
    return weights(model), slots(model), repr(history.history)


def agree(found: tuple[Any, ...], should_be: tuple[Any, ...]) -> None:
    """Compare what ``everything`` returns: to the bit, but on JAX, where XLA fuses each step in its own way."""
    if BACKEND != "jax":
        assert found == should_be
        return
    for now, then in zip(found[:2], should_be[:2], strict=True):
        for name, one, other in ((name, now[name], bits) for name, bits in then.items()):
            whole = len(one) == len(other) == 4 and "iteration" in name
            one, other = (np.frombuffer(bits, np.int32 if whole else np.float32) for bits in (one, other))
            np.testing.assert_allclose(one, other, 0 if whole else 1e-4, 0 if whole else 1e-6, err_msg=name)


def said(caplog: pytest.LogCaptureFixture, least: int = logging.INFO) -> list[str]:
    """Return what this package has logged; TensorFlow warns on its own, and what it says depends on other tests."""
    return [one.getMessage() for one in caplog.records if one.name == "refreeze" and one.levelno >= least]


def count_traces(model: keras.Model) -> list[int]:
    """Return a list whose only item is the number of traces of the train step from now on; on torch, of steps."""
    count, step = [0], model.train_step

    def counting(*args: Any) -> Any:
        count[0] += 1
        return step(*args)

    model.train_step = counting
    return count


@contextlib.contextmanager
def rewriting(on: bool) -> Iterator[None]:
    """Let TensorFlow rewrite what was traced, or not: it leaves a conditional of the masked step as it is."""
    if BACKEND != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not on})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@dataclass
class Call:
    """What one call of the fit function was, and what it did."""

    epochs: int
    flags: dict[str, bool]
    before: dict[str, bytes]
    slots_before: dict[str, bytes]
    after: dict[str, bytes] = field(default_factory=dict)
    slots_after: dict[str, bytes] = field(default_factory=dict)

    @property
    def moved(self) -> set[str]:
        return {path for path, value in self.after.items() if value != self.before[path]}

    @property
    def slots_moved(self) -> set[str]:
        return {path for path, value in self.slots_after.items() if value != self.slots_before[path]}


class Probe:
    """A fit function that records each of its calls."""

    def __init__(self, model: keras.Model, **options: Any) -> None:
        self.model, self.calls, self._fit = model, [], fit(model, **options)

    def __call__(self, epochs: int) -> Any:
        flags = {layer.name: layer.trainable for layer in self.model._flatten_layers()}
        call = Call(epochs, flags, weights(self.model), slots(self.model))
        self.calls.append(call)
        history = self._fit(epochs)
        call.after, call.slots_after = weights(self.model), slots(self.model)
        return history
