"""The guard: watches, while training goes on, that what is frozen stays bitwise as it is (EXE-3)."""

from __future__ import annotations

from typing import Any

import keras

from refreeze.engine.flags import frozen_layers
from refreeze.engine.tree import nodes


class FrozenMoved(AssertionError):
    """A weight of a frozen layer has changed: the engine, Keras or a callback is at fault, not the schedule."""


class FrozenGuard(keras.callbacks.Callback):
    """Compares all weights of the frozen layers, bit for bit, after every epoch with those from before the fit.

    ``checks`` counts the comparisons. Raises ``FrozenMoved`` with the names of the weights that changed. For one fit
    per segment: the frozen layers are looked up when a fit begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self._before: dict[str, tuple[Any, bytes]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        frozen = set(frozen_layers(self.model))
        weights = (
            (f"{node.path}: {w.path}", w)
            for node in nodes(self.model)
            if node.path in frozen
            for w in node.layer.weights
        )
        self._before = {name: (weight, weight.numpy().tobytes()) for name, weight in weights}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        moved = [name for name, (weight, before) in self._before.items() if weight.numpy().tobytes() != before]
        self.checks += len(self._before)
        if moved:
            raise FrozenMoved(f"frozen weights changed in epoch {epoch} of the segment: {', '.join(moved)}")
