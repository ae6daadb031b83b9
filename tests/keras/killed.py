"""A process that trains with checkpoints and may be killed at any moment; it tells its parent what it is doing."""

from __future__ import annotations

import hashlib
import os
import time
from multiprocessing.connection import Connection
from typing import Any

EPOCHS = 8
SCHEDULE = [
    {"layers": ["one"], "training_interval": [0, 3], "initial_learning_rate": 0.02},
    {"layers": ["two"], "training_interval": [3, 6]},
]


def train(folder: str | None, told: Connection) -> None:
    """Train to the end, from the newest checkpoint in ``folder`` if there is one; send moments, then the result.

    Saving is made slow, and each of its moments is told: after the file is begun, after each variable, before and
    after it is flushed to the disk, and after it is renamed.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    from refreeze.keras import checkpoint
    from refreeze.keras.executor import FreezeTrainingExecutor

    def moment(name: str) -> None:
        told.send(name)
        time.sleep(0.002)

    write, flush = checkpoint.np.lib.format.write_array, checkpoint.os.fsync

    def slow_write(*args: Any, **options: Any) -> None:
        moment("writing")
        write(*args, **options)

    def slow_flush(descriptor: int) -> None:
        moment("flushing")
        flush(descriptor)
        moment("flushed")

    checkpoint.np.lib.format.write_array, checkpoint.os.fsync = slow_write, slow_flush

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="one"),
            keras.layers.Dropout(0.4),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(3, name="two"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    x = np.linspace(-1, 1, 384, dtype=np.float32).reshape(96, 4)
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: moment("training"), on_epoch_end=lambda epoch, logs: moment("training")
    )

    def fit(epochs: int) -> Any:
        return model.fit(x, x[:, :3] ** 2, epochs=epochs, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])

    keeper = None if folder is None else checkpoint.Checkpointer(folder, every=1)
    executor = FreezeTrainingExecutor(SCHEDULE, checkpoint=keeper, resume=keeper is not None)
    history = executor.run(model, EPOCHS, fit)
    bits = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        bits.update(variable.numpy().tobytes())
    told.send((bits.hexdigest(), history.epoch, repr(history.history)))
