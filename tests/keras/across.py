"""A program that trains under a schedule on the backend that its environment names, and writes what came of it.

python across.py RESULT.npz KEEP [RESUME]: checkpoints of half a run go to the folder KEEP; with RESUME, a folder of
that kind, another run goes on from there.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
from refreeze import Policy, always, during, rate, shift, union
from refreeze.keras import execute
from refreeze.keras.model import read

TOTAL, HALF = 8, 4
POLICY: Policy = union(
    during(always(["one"]), 1, 3), during(always(["two", "norm"]), 2, 6), shift(rate(0.02), 2),
    during(always(["one", "norm", "two", "head"]), 6, 7),
)  # fmt: skip
DATA = np.random.default_rng(0)
X, Y = DATA.normal(size=(32, 6)).astype("float32"), DATA.normal(size=(32, 3)).astype("float32")
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01, clipnorm=1.0),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.05, global_clipnorm=1.0),
    "gathering": lambda: keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=3),
}


def network(optimizer: str) -> keras.Model:
    """Return a model with the same weights on every backend."""
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((6,)), layers.Dense(5, "tanh", name="one"), layers.BatchNormalization(name="norm", momentum=0.5),
        layers.Dense(4, "tanh", name="two", kernel_regularizer="l2"), layers.Dense(3, name="head"),
    ])  # fmt: skip
    draws = np.random.default_rng(1)
    for layer in (layer for layer in model.layers if layer.name != "norm"):
        layer.set_weights([draws.normal(0, 0.5, size=weight.shape) for weight in layer.weights])
    # On TensorFlow step by step: its traces would take most of the time.
    model.compile(OPTIMIZERS[optimizer](), "mse", run_eagerly=keras.backend.backend() == "tensorflow")
    return model


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Return weights and slots, by names that no backend has an influence on."""
    weights = {f"{node.path}/{weight.name}": weight for node in read(model).nodes for weight in node.layer.weights}
    slots = {f"slot {number}": slot for number, slot in enumerate(model.optimizer.variables)}
    return {name: np.array(keras.ops.convert_to_numpy(value)) for name, value in (weights | slots).items()}


def train(optimizer: str, total: int = TOTAL, **options: Any) -> dict[str, np.ndarray]:
    """Return all values at the end, losses, and a row per call of fit that says which of the weights moved in it."""
    model, rows = network(optimizer), []

    def fit(epochs: int) -> Any:
        before = values(model)
        history = model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
        rows.append([bool((now != before.get(name)).any()) for name, now in values(model).items()])
        return history

    history = execute(model, POLICY, total, fit, **options)
    return values(model) | {"losses": np.array(history.history["loss"]), "moved": np.array(rows)}


if __name__ == "__main__":
    result, keep, *resume = sys.argv[1:]
    found = {f"{optimizer}: {name}": end for optimizer in OPTIMIZERS for name, end in train(optimizer).items()}
    for optimizer in ("momentum", "adamw"):
        train(optimizer, HALF, checkpoint=f"{keep}/{optimizer}")
        for folder in resume:
            ends = train(optimizer, checkpoint=f"{folder}/{optimizer}", resume=True)
            found |= {f"resumed {optimizer}: {name}": end for name, end in ends.items() if name != "moved"}
    np.savez(result, **found)
