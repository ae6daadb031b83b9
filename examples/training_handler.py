"""A training handler at work: digits as point sets, a small PointNet, a sequencer that shuffles in place.

Each of scikit-learn's digits becomes the set of its 24 darkest pixels, points (x, y, darkness): a receptive field. The
network is trained on the digits 0-4, then fine-tuned on 5-9 under a schedule that freezes the layers that see single
points: all of them at first, then one at a time, then none. The sequencer shuffles the receptive fields themselves
after every epoch; the handler puts them back in the end, so that they still belong to whatever else the caller has.

    python examples/training_handler.py
"""

# ruff: noqa: N803, N806 (names and signatures are VL3D's)

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from refreeze.keras import TrainingHandler
from sklearn.datasets import load_digits

POINTS = 24
FREEZE_TRAINING = [
    {"layers": ["point1", "point2"], "training_interval": [0, 4], "initial_learning_rate": 0.01},
    {
        "layers": ["point1", "point2"],
        "training_interval": [4, 8],
        "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 2},
        "initial_learning_rate": 0.003,
    },
]


def receptive_fields(first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points, float32 of shape (n, 24, 3) in [0, 1], and the labels 0..4 of the digits first..first+4."""
    images, labels = load_digits(return_X_y=True)
    chosen = (labels >= first) & (labels < first + 5)
    darkest = np.argsort(-images[chosen], axis=1, kind="stable")[:, :POINTS]
    darkness = np.take_along_axis(images[chosen], darkest, axis=1) / 16
    points = np.stack([darkest % 8 / 7, darkest // 8 / 7, darkness], axis=-1).astype(np.float32)
    return points, labels[chosen] - first


class Shuffled(keras.utils.PyDataset):
    """A sequencer that feeds batches, and shuffles the receptive fields and labels in place after every epoch."""

    def __init__(self, X: np.ndarray, y: np.ndarray, batch_size: int, seed: int = 0) -> None:
        super().__init__()
        self.X, self.y, self._batch_size = X, y, batch_size
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.X) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return self.X[batch], self.y[batch]

    def on_epoch_end(self) -> None:
        order = self._random.permutation(len(self.X))
        self.X[:], self.y[:] = self.X[order], self.y[order]


class PointNet:
    """The architecture: two layers on each point, the maximum over the points, two layers on that."""

    def __init__(self) -> None:
        layers = keras.layers
        self.nn = keras.Sequential(
            [
                keras.Input((POINTS, 3)),
                layers.Dense(32, "relu", name="point1"),
                layers.Dense(64, "relu", name="point2"),
                layers.GlobalMaxPooling1D(),
                layers.Dense(32, "relu", name="global"),
                layers.Dense(5, name="head"),
            ],
            name="pointnet",
        )

    def prefit_logic_callback(self, cache_map: dict[str, Any]) -> None:
        """Remember the layers of points, to see later how far they went."""
        cache_map["before"] = {name: self.nn.get_layer(name).kernel.numpy() for name in ("point1", "point2")}

    def posfit_logic_callback(self, cache_map: dict[str, Any]) -> None:
        """Put the distances into the history."""
        for name, before in cache_map["before"].items():
            cache_map["history"].moved = getattr(cache_map["history"], "moved", {})
            cache_map["history"].moved[name] = float(np.linalg.norm(self.nn.get_layer(name).kernel.numpy() - before))


class Handler:
    """The model handler: what trains, for how long, and what feeds it."""

    def __init__(self, arch: PointNet, training_epochs: int, batch_size: int = 32) -> None:
        self.arch, self.training_epochs, self.batch_size = arch, training_epochs, batch_size
        self.fit_verbose = 0
        self.history: Any = None
        self.compile()

    def compile(self, y_rf: Any = None) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.arch.nn.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])

    def build_sequencer(self, X: np.ndarray, y_rf: np.ndarray, training: bool) -> tuple[Any, None]:
        return Shuffled(X, y_rf, self.batch_size), None


def main() -> Any:
    keras.utils.set_random_seed(0)
    arch = PointNet()
    TrainingHandler()(Handler(arch, training_epochs=6), *receptive_fields(first=0), callbacks=[])

    handler = TrainingHandler(FREEZE_TRAINING)
    X, y = receptive_fields(first=5)
    came = X.copy()
    history = handler(Handler(arch, training_epochs=10), X, y, callbacks=[])
    assert np.array_equal(X, came), "the receptive fields are in the order in which they came"

    print("epochs   frozen            trainable   loss    accuracy")
    for report in handler.reports:
        segment, loss, accuracy = report.segment, report.history["loss"][-1], report.history["accuracy"][-1]
        names = ", ".join(sorted(segment.frozen)) or "nothing"
        print(
            f"{segment.start:2}-{segment.stop - 1:<5} {names:<17} {report.trainable_parameters:9}   "
            f"{loss:.4f}  {accuracy:.3f}"
        )
    for name, distance in history.moved.items():
        print(f"{name} moved by {distance:.2f}")
    return history


if __name__ == "__main__":
    main()
