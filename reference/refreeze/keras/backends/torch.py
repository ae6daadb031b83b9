"""torch: a step does what the flags say when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from refreeze.errors import Unsupported
from refreeze.keras import private
from refreeze.keras.backends import Backend


class Torch(Backend):
    """torch in one process, step by step or compiled."""

    def check(self, model: Any) -> None:
        if model.steps_per_execution > 1:
            raise Unsupported(
                f"model {model.name!r} is compiled with steps_per_execution = {model.steps_per_execution}, and Keras "
                "executes one step at a time on torch"
            )

    def count(self, optimizer: Any, counts: list[Any]) -> Callable[[], None]:
        return private.update_one_by_one(optimizer)

    def wait(self, outcome: Any) -> None:
        super().wait(outcome)
        if torch.cuda.is_available():
            torch.cuda.synchronize()


BACKEND = Torch()
