"""Keras itself: ``trainable`` is set before each epoch, as the schedule says, and nothing is compiled anew.

``python peers/keras_flips.py BACKEND`` is a program that answers in the dialect vl3d by what moved: a layer is frozen
in an epoch if training did not change its weight. The schedule is refreeze's, and so is what is refused; what is asked
is whether flags alone carry it out. A resumed run is a new model, compiled with the flags of its first epoch.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ |= {"KERAS_BACKEND": sys.argv[1], "TF_CPP_MIN_LOG_LEVEL": "3"}
    sys.path.insert(0, str(Path(__file__).parents[1]))

from refreeze.dialects import dialect

from peers.adapter import CannotExpress, Frozen, Request, adapter

DATA = 3  # samples, of ones
LONG = 100  # epochs: a run of JAX that is longer is compiled, as 10,000 steps take minutes else


@adapter("vl3d")
def respond(request: Request) -> Frozen:
    """Return which layers do not move in each epoch of [start, total)."""
    config, names, total = request["config"], request["names"], request["total"]
    specs = [spec for spec in config if isinstance(spec, dict)] if isinstance(config, list) else []
    if any(spec.get("initial_learning_rate") is not None for spec in specs):
        raise CannotExpress
    policy = dialect("vl3d").policy(config, names, total=total)
    wanted = tuple(
        tuple(name not in policy.frozen_at(epoch) for name in names) for epoch in range(request["start"], total)
    )
    moved = train(len(names), wanted)
    return [[name for name, yes in zip(names, epoch, strict=True) if not yes] for epoch in moved]


@functools.cache
def train(layers: int, wanted: tuple[tuple[bool, ...], ...]) -> tuple[tuple[bool, ...], ...]:
    """Return which layers move in each epoch, if their flags are ``wanted`` before it."""
    import keras

    class Shift(keras.layers.Layer):
        """Adds its weight: as the loss is their mean output, all layers have the gradient 1, however long the run."""

        def build(self, shape: Any) -> None:
            self.shift = self.add_weight(shape=(), initializer="zeros")

        def call(self, x: Any) -> Any:
            return x + self.shift

    keras.utils.clear_session(free_memory=False)
    model = keras.Sequential([keras.Input((1,)), *(Shift() for _ in range(layers))])
    jit = keras.backend.backend() == "jax" and len(wanted) > LONG
    model.compile(keras.optimizers.SGD(0.001), lambda y_true, y_pred: keras.ops.mean(y_pred), jit_compile=jit)
    x = keras.ops.convert_to_numpy(keras.ops.ones((DATA, 1)))
    found = []
    for flags in wanted:
        for layer, flag in zip(model.layers, flags, strict=True):
            layer.trainable = flag
        before = weights(model)
        model.train_on_batch(x, x)
        found.append(tuple(bool(one != other) for one, other in zip(weights(model), before, strict=True)))
    return tuple(found)


def weights(model: Any) -> list[float]:
    """Return the weight of each layer, in order; the order of ``get_weights`` depends on the flags."""
    return [float(layer.get_weights()[0]) for layer in model.layers]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(respond(json.loads(line))), flush=True)
