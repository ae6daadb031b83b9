"""A record of what was frozen when, for schedules that are no functions of time: they can be replayed and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from refreeze.errors import Unsupported
from refreeze.keras import model as models
from refreeze.writing import write_whole


class RecordDecisions(keras.callbacks.Callback):
    """Writes which layers were frozen at each step of one ``model.fit``, as a configuration of the dialect recorded.

    Put it behind the callback that decides: it reads the flags of the layers at the beginning of each step. A layer is
    frozen if nothing in it can train. Steps count from 0 at epoch 0; what it reads first holds from step 0 on.

    Args:
        path: the JSON file to write when the training ends; one that is there is replaced.

    Raises ``Unsupported`` if the data do not say how many batches an epoch has, and ``InvalidSpec`` for a file that
    cannot be written. Clause REC-1.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = path
        self._decisions: list[tuple[int, list[str]]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        if self.params.get("steps") is None:
            raise Unsupported("a record of steps needs data that say how many batches an epoch has")
        self._tree, self._decisions = models.read(self.model), []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        frozen = self._tree.frozen_layers()
        if not self._decisions or self._decisions[-1][1] != frozen:
            step = self._epoch * self.params["steps"] + batch
            self._decisions.append((step if self._decisions else 0, frozen))

    def on_train_end(self, logs: Any = None) -> None:
        content = {"dialect": "recorded", "config": {"decisions": self._decisions}}
        write_whole("record", self._path, [json.dumps(content, indent=1).encode()])
