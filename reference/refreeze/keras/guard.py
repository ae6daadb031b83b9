"""The guard: watches, while training goes on, that what is frozen stays bitwise as it is (EXE-3)."""

from __future__ import annotations

from typing import Any

import keras

from refreeze.keras.batchnorm import moving_statistics
from refreeze.keras.model import read


class FrozenMoved(AssertionError):
    """A weight of a frozen layer has changed: the engine, Keras or a callback is at fault, not the schedule."""


class FrozenGuard(keras.callbacks.Callback):
    """Compares what is frozen, bit for bit, after every epoch with what it was when its segment began.

    That is all weights of frozen layers, statistics too unless they move by policy (BN-1), and single variables that
    are frozen. ``checks`` counts the comparisons. Raises ``FrozenMoved`` with the names of the weights that changed.
    What is frozen is looked up when a fit begins; call ``segment_begins`` where that changes inside of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self._before: dict[str, tuple[Any, bytes]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self._before, self._tree = {}, read(self.model)
        self.segment_begins()

    def segment_begins(self) -> None:
        """Compare for the segment that ends, then look up what is frozen in the one that begins."""
        self._compare("before the segment's end")
        layers = set(self._tree.frozen_layers())
        held = set(map(id, self._tree.trainable)).difference(map(id, self.model.trainable_variables))
        moving = moving_statistics(self._tree)
        frozen = (
            (f"{node.path}: {weight.path}", weight)
            for node in self._tree.nodes
            for weight in node.layer.weights
            if (node.path in layers and id(weight) not in moving) or id(weight) in held
        )
        self._before = {name: (weight, weight.numpy().tobytes()) for name, weight in frozen}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._compare(f"in epoch {epoch} of the fit")

    def _compare(self, when: str) -> None:
        moved = [name for name, (weight, before) in self._before.items() if weight.numpy().tobytes() != before]
        self.checks += len(self._before)
        if moved:
            raise FrozenMoved(f"frozen weights changed {when}: {', '.join(moved)}")
