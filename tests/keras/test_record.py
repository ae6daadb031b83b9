"""REC-1: what a callback decided in one run is written, and replayed in another."""

import keras
import numpy as np
import pytest
from refreeze import Unsupported, read, segments
from refreeze.keras import FreezeSchedule, RecordDecisions

pytestmark = pytest.mark.engine


def model_and_data():
    layers = [keras.layers.Dense(2, name=name) for name in ("stem", "body", "head")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile("sgd", "mse")
    return model, np.ones((6, 2)), np.ones((6, 2))


class Decides(keras.callbacks.Callback):
    """Stands in for what depends on metrics."""

    def on_train_batch_begin(self, batch, logs=None):
        step = self.model.optimizer.iterations.numpy()
        self.model.get_layer("stem").trainable = step >= 5
        self.model.get_layer("body").trainable = step != 2


@pytest.mark.only_on("tensorflow", "torch")  # on JAX Keras itself refuses what it does
def test_REC_1_what_was_decided_is_replayed(tmp_path):
    model, x, y = model_and_data()
    file = tmp_path / "record.json"
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[Decides(), RecordDecisions(file)])
    found = segments(read(file).policy(["stem", "body", "head"], total=6, steps_per_epoch=3), 6)
    assert [(s.start, sorted(s.frozen)) for s in found] == [
        (0, ["stem"]),
        (2, ["body", "stem"]),
        (3, ["stem"]),
        (5, []),
    ]
    replay = FreezeSchedule(file)
    model_and_data()[0].fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[replay])
    assert replay.schedule == found


def test_data_of_unknown_length_are_refused(tmp_path):
    model, x, y = model_and_data()
    batches = ((x[:2], y[:2]) for _ in range(3))
    with pytest.raises(Unsupported, match="needs data that say how many batches"):
        model.fit(batches, shuffle=False, verbose=0, callbacks=[RecordDecisions(tmp_path / "record.json")])
    assert not any(tmp_path.iterdir())
