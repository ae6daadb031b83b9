"""Switches: the compiled train step that goes with the flags (EXE-2, EXE-7).

A train step is compiled with the variables that are trainable when it is traced, and a later change of a flag changes
nothing, or the wrong thing. So every change needs another train function: a new one each time (``Rebuild``), or one per
set of flags, kept and put back (``Cached``). How one is made is the backend's.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any, Protocol

from refreeze.keras import backends, private


def identity(model: Any) -> tuple[object, ...]:
    """Return what a train function is made for: others after each ``compile``, and after a change of these settings."""
    settings = model.optimizer, model.jit_compile, model.run_eagerly, model.steps_per_execution
    return private.compilation(model), *settings


class Switch(Protocol):
    """Gives the model the train function that fits its flags."""

    decision: str
    """What was decided for the train function installed last, in words."""

    def to(self, signature: bytes, tick: int = 0) -> bool:
        """Install the train function for ``signature`` from ``tick`` on, and say whether it is still to be traced."""
        ...

    def end(self) -> None:
        """Leave the model with a train function that holds nothing of the run, and is held by nothing but the model."""
        return


class Rebuild(Switch):
    """A new train function at every switch: plain, and traced each time.

    Nothing holds the old one, and Python collects it when it next collects: some are around at any time, not more and
    more. To collect here would take longer than the rest of a switch, and in a process with many objects much longer.
    """

    decision = "traced"

    def __init__(self, model: Any) -> None:
        self._model, self._backend = model, backends.current()

    def to(self, signature: bytes, tick: int = 0) -> bool:
        self._backend.forget(self._model.train_function)
        self._backend.make(self._model)
        return True

    def end(self) -> None:
        self._backend.forget(self._model.train_function)


class Cached(Switch):
    """One train function per set of flags, of which the ``size >= 1`` used last are kept; the others are freed.

    A ``compile`` by the user in between makes all kept ones wrong, for they hold the old optimizer and loss; it is
    noticed at the next switch, and they are dropped.
    """

    decision = "cached"

    def __init__(self, model: Any, size: int = 16) -> None:
        self._model, self._size, self._backend = model, size, backends.current()
        self._kept: OrderedDict[bytes, Any] = OrderedDict()
        self._compiled = identity(self._model)

    def __len__(self) -> int:
        return len(self._kept)

    def to(self, signature: bytes, tick: int = 0) -> bool:
        self._backend.forget(self._model.train_function)
        before = len(self._kept)
        if any(now is not then for now, then in zip(identity(self._model), self._compiled, strict=True)):
            self._kept.clear()
            self._compiled = identity(self._model)
        new = signature not in self._kept
        if new:
            self._backend.make(self._model)
            self._kept[signature] = self._model.train_function
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
            if len(self._kept) <= before:
                # A trace is a cycle of big objects; only so are there never more than ``size``, which is promised. It
                # takes less than the trace that is coming.
                gc.collect()
        self._kept.move_to_end(signature)
        self._model.train_function = self._kept[signature]
        return new

    def end(self) -> None:
        self._backend.forget(self._model.train_function)
