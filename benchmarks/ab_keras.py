"""Rows for `refreeze bench ab`: a run with two switches on a small Keras model, beside plain Keras.

Its times differ more than those of plans, so it asks for more pairs, of ten minutes in all: docs/assurance.md.

    refreeze bench ab OLD NEW benchmarks/ab_keras.py --pairs 20 --rounds 20
"""

from __future__ import annotations

import os
from collections.abc import Callable

# Threads that wait for each other spend processor time too, now more, now less.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
import keras
import numpy as np
from refreeze.keras import FreezeTrainingExecutor


def rows() -> dict[str, Callable[[], dict[str, int] | None]]:
    """Return what is timed: of few steps, so that what refreeze adds is a good part of it."""
    x, y = np.zeros((32, 8), "float32"), np.zeros((32, 1), "float32")

    def built() -> keras.Model:
        model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8) for _ in range(3)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    window = {"type": "round_robin", "window_size": 2, "iterative_span": 1}
    spec = [{"layers": "all", "training_interval": [0, 2], "strategy": window}]
    plain, frozen, executor = built(), built(), FreezeTrainingExecutor(spec)

    def reference() -> None:
        plain.fit(x, y, batch_size=8, epochs=2, verbose=0)

    def run() -> dict[str, int]:
        history = executor.run(frozen, 2, lambda epochs: frozen.fit(x, y, batch_size=8, epochs=epochs, verbose=0))
        return {"epochs": len(history.epoch)}

    return {"reference": reference, "run": run}
