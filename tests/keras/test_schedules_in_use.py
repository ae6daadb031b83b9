"""Each dialect in use on Keras: what moves in a step is what its plan says."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from in_use_runs import CONFIGS, EPOCHS, LAYERS, STEPS, trained
from refreeze.keras import FreezeSchedule
from refreeze.keras.model import read
from refreeze.plan import configuration, plan

pytestmark = pytest.mark.engine


class Moved(keras.callbacks.Callback):
    """Which layers moved in each step."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.moved: list[set[str]] = []

    def _bits(self) -> dict[str, bytes]:
        return {layer.name: b"".join(w.tobytes() for w in layer.get_weights()) for layer in self.model.layers}

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.before = self._bits()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        after = self._bits()
        self.moved.append({name for name in after if after[name] != self.before[name]})


@pytest.mark.parametrize("name", CONFIGS)
def test_what_moves_is_what_the_plan_of_a_dialect_in_use_says(name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4, name=layer) for layer in LAYERS)])
    model.compile("sgd", "mse")
    x, seen = np.random.default_rng(0).normal(size=(8, 4)), Moved()
    freezing = FreezeSchedule(CONFIGS[name], dialect=name, rates="ignore")
    model.fit(x, x, batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[freezing, seen])
    asked = configuration(CONFIGS[name], name)
    names = read(model).declared(asked.dialect.names)
    ticks = EPOCHS * (STEPS if asked.dialect.unit == "steps" else 1)
    found = plan(asked, names, total=ticks, steps_per_epoch=STEPS)
    assert seen.moved == trained(found, lambda parameter: parameter.partition("/")[0])
