"""What was frozen when, as a configuration to replay: for schedules that are no functions of time."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.optim import Optimizer

from refreeze.errors import Unsupported
from refreeze.policy import check_int
from refreeze.torch.modules import Named, check_module, layer_names, unwrapped
from refreeze.writing import checked_target, write_whole


class RecordDecisions:
    """Writes which layers were frozen at each ``optimizer.step()``, as a configuration of the dialect recorded.

    It reads the flags of the parameters, before the step is taken: a layer is frozen if it has parameters and none of
    them requires a gradient. Use it as a context around the training, or call ``close`` at last; that writes the file.

    Args:
        path: the JSON file to write; one that is there is replaced.
        model: the module; or a ``DistributedDataParallel``, on one of its processes.
        optimizer: the one whose steps count.
        step: the number of its next step, from 0; what is read first holds from step 0 on.

    Raises ``InvalidSpec`` for a number or a file that is not allowed, ``Unsupported`` for what is no optimizer, and for
    a module as ``FreezeSchedule`` does. Clause REC-1.
    """

    def __init__(self, path: str | Path, model: Any, optimizer: Any, *, step: int = 0) -> None:
        check_module(unwrapped(model))
        if not isinstance(optimizer, Optimizer):
            raise Unsupported(f"optimizer is a {type(optimizer).__name__}, and must be a torch.optim.Optimizer")
        self._step, self._path = check_int("step", step), checked_target("path", path)
        named = Named(unwrapped(model)).parameters.items()
        every = {layer: [p for p, names in named if layer in names] for layer in layer_names(model)}
        self._layers = {layer: owned for layer, owned in every.items() if owned}
        self._decisions: list[tuple[int, list[str]]] = []
        self._hook = optimizer.register_step_pre_hook(self._read)

    def _read(self, *_: Any) -> None:
        frozen = [layer for layer, owned in self._layers.items() if not any(p.requires_grad for p in owned)]
        if not self._decisions or self._decisions[-1][1] != frozen:
            self._decisions.append((self._step if self._decisions else 0, frozen))
        self._step += 1

    def close(self) -> None:
        """Write the file, unless no step was taken, and read no more."""
        self._hook.remove()
        if self._decisions:
            content = {"dialect": "recorded", "config": {"decisions": self._decisions}}
            write_whole("path", self._path, [json.dumps(content, indent=1).encode()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
