"""A schedule on several workers, with checkpoints from which all of them go on when one was killed.

    export TF_CONFIG='{"cluster": {"worker": ["host1:20001", "host2:20001"]}, "task": {"type": "worker", "index": 0}}'
    python examples/multi_worker.py FOLDER

Start it once per worker, each with its own index, all with one shared folder. If a worker is killed, the collective
operations of the others fail or wait for it, so stop them; then start all again, as they were started before.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from refreeze import Segment, random_windows
from refreeze.keras import Checkpointer, SegmentReport, execute
from refreeze.keras.guard import FrozenGuard

EPOCHS = 8
POLICY = random_windows(["one", "norm", "two"], window=1, span=2, seed=4)


def let_fit_work(model: Any) -> None:
    """Let ``fit`` and ``evaluate`` of Keras 3.15 work under MultiWorkerMirroredStrategy, where plain Keras fails.

    It reduces what a step returns along an axis that scalars do not have, and builds symbolically by a reduction of the
    first batch that TensorFlow cannot do (Keras issue 20585). The model must be built, as one with an Input is.
    """
    model._maybe_symbolic_build = lambda *args, **options: None
    for name in ("train_step", "test_step"):
        step = getattr(model, name)
        setattr(model, name, lambda data, step=step: {key: keras.ops.reshape(v, (1,)) for key, v in step(data).items()})


def network() -> Any:
    """Return the model, compiled. Unless synchronized, normalizations have statistics of their own on every replica."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, "tanh", name="one"),
            layers.Dropout(0.1),
            layers.BatchNormalization(name="norm", synchronized=True),
            layers.Dense(2, name="two"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"])
    return model


def main(folder: str) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = network()
    let_fit_work(model)
    x = np.linspace(-1, 1, 192, dtype=np.float32).reshape(48, 4)
    y = np.stack([x.sum(1), x[:, 0] * x[:, 1]], 1)

    guard, reports = FrozenGuard(), list[SegmentReport]()

    def fit(epochs: int) -> Any:
        return model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[guard])

    def show(segment: Segment) -> None:
        print(f"epochs [{segment.start}, {segment.stop}) frozen: {', '.join(sorted(segment.frozen))}", flush=True)

    keeper = Checkpointer(folder, every=1)
    history = execute(model, POLICY, EPOCHS, fit, checkpoint=keeper, resume=True, on_segment=show, reports=reports)
    bits = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        bits.update(variable.numpy().tobytes())
    print(f"{sum(report.new_step for report in reports)} train steps, {guard.checks} comparisons of frozen weights")
    print(f"loss {history.history['loss']}, evaluated {model.evaluate(x, y, batch_size=8, verbose=0)}")
    print(f"weights and optimizer {bits.hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1])
