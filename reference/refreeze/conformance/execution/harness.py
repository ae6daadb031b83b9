"""Training under observation, in whatever framework: how an executor is started, and how its run ends.

What a framework shows of a run is the work of its ``Watch``, in ``on_keras`` and ``on_torch``.
"""

from __future__ import annotations

import copy
import importlib
import tempfile
from collections.abc import Callable
from typing import Any, get_args

from refreeze.conformance.execution.observations import Call, ModelState, Ran
from refreeze.conformance.protocol import ErrorId, Fault, Framework, Request, crash

REFUSED = ("scheduled", "ema")
"""Optimizers under which some schedules are to be refused, in whatever words (EXE-5, EXE-12)."""
REFUSALS = (*get_args(ErrorId), "unsupported")
_WATCHES: dict[Framework, tuple[str, str]] = {"keras": ("on_keras", "KerasWatch"), "torch": ("on_torch", "TorchWatch")}


class FitFailed(Exception):
    """What the fit function, or the module, raises where it is asked to fail."""


class Watch:
    """The runs of one request: it makes models, and records what is done with them.

    ``calls`` are those of the newest model. ``failed`` says whether one has failed as it was asked to; it does so once.
    """

    steps_per_tick: int | None = None

    def __init__(self, request: Request) -> None:
        self.request = request
        self.calls: list[Call] = []
        self.failed = False
        self.start = 0
        """The tick from which on the newest model is trained: that of the failure, if there was one."""

    def begin(self, seed: int) -> None:
        """Make a model, always the same one for a seed, and record what is done with it."""
        self.start = self.calls[-1].tick if self.failed else 0
        self.calls = []

    def run(self, start: Callable[..., Any], config: Any, *folder: str) -> dict[str, Any]:
        """Let ``start``, a method of the executor, train the model; return what it says itself of the run."""
        raise NotImplementedError

    def state(self) -> ModelState:
        """Return the state of the model."""
        raise NotImplementedError

    def again(self) -> None:
        """Train a little more, without the executor."""
        raise NotImplementedError

    def end(self) -> None:
        """Record nothing more."""


def load(framework: Framework) -> type[Watch]:
    """Import a framework, and return what watches runs in it."""
    module, name = _WATCHES[framework]
    found: type[Watch] = getattr(importlib.import_module(f"refreeze.conformance.execution.{module}"), name)
    return found


def observe(executor: Any, request: Request, framework: Framework = "keras") -> Ran:
    """Run an executor as the request says and return what was seen; raises ``Fault``."""
    watched = load(framework)(request)
    if request["resumed"] is None:
        return _watched(watched, executor.run, request["config"])
    if not hasattr(executor, "resume"):
        watched.begin(0)
        return Ran(begun=(begun := watched.state()), calls=(), end=begun, error="unsupported")
    with tempfile.TemporaryDirectory() as folder:
        before = _watched(watched, executor.resume, request["config"], folder)
        if not watched.failed:
            return before
        return _watched(watched, executor.resume, request["resumed"], folder, resumed=True)


def _watched(watched: Watch, start: Callable[..., Any], config: Any, *folder: str, resumed: bool = False) -> Ran:
    """Return what is seen of one run of a new model, which ``start`` starts."""
    request = watched.request
    watched.begin(int(resumed))
    begun = watched.state()
    seen: dict[str, Any] = {}
    try:
        try:
            seen = watched.run(start, copy.deepcopy(config), *folder)
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            if watched.failed and not resumed:
                seen["raised"] = type(error).__name__
            elif request["optimizer"] in REFUSED or isinstance(error, NotImplementedError):
                seen["error"] = "unsupported"
            elif (identifier := getattr(error, "id", None)) in REFUSALS:
                seen["error"] = identifier
            else:
                raise crash(error) from error
        try:
            end, calls = watched.state(), tuple(watched.calls)
            if "raised" in seen and request["resumed"] is None:
                watched.again()
                seen["afterwards"] = watched.calls[-1]
        except Exception as error:  # who knows what was made of the model
            raise crash(error) from error
    finally:
        watched.end()
    return Ran(begun=begun, calls=calls, end=end, steps_per_tick=watched.steps_per_tick, **seen)
