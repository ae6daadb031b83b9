"""On a real large model: a first visit of a frozen set traces the step once, a revisit builds and traces nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from refreeze import segments
from refreeze.dialects import vl3d
from refreeze.keras.controller import Controller
from refreeze.keras.model import layer_names
from small_models import count_traces

pytestmark = pytest.mark.engine


def test_first_visit_traces_once_and_a_revisit_not_at_all() -> None:
    model = keras.applications.MobileNetV2(input_shape=(96, 96, 3), weights=None, classes=4)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    names = layer_names(model)
    assert len(names) == 105
    half = {"type": "round_robin", "window_size": 53, "iterative_span": 1}
    spec = vl3d.DIALECT.parse([{"layers": "all", "training_interval": [0, 6], "strategy": half}])
    policy = vl3d.policy(spec, names)
    run = segments(policy, 6)
    controller = Controller(model, policy.names, run)
    traces, built = count_traces(model), [0]
    make = model.make_train_function

    def counting(force: bool = False) -> None:
        built[0] += force
        make(force=force)

    model.make_train_function = counting
    x, y = np.zeros((2, 96, 96, 3), np.float32), np.zeros(2)
    for number, segment in enumerate([run[0], run[1], run[0], run[1], run[0]]):
        controller.enter(segment)
        model.fit(x, y, verbose=0)
        assert (traces[0], built[0]) == (min(number + 1, 2),) * 2
