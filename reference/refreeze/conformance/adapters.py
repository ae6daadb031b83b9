"""Adapters: how the kit asks an implementation, and what can go wrong with one that is not a broken law.

An implementation at schedule level is a callable from request to answer, or a program that does so line by line; one at
execution level is an object that trains models. All are asked through ``Adapter.ask``, which raises a ``Fault``
unless it gets an answer in time, to this request, of a form that the protocol knows. ``transports`` carry the lines.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shlex
from collections.abc import Callable
from typing import Any

import msgspec

from refreeze.conformance.execution.observations import Ran
from refreeze.conformance.execution.process import ExecutorProcess, executor, not_started, observe
from refreeze.conformance.protocol import (
    PROTOCOL,
    Answer,
    Fault,
    FaultKind,
    Framework,
    Level,
    Request,
    UnsupportedRequest,
    crash,
    features,
    read_answer,
)  # fmt: skip
from refreeze.conformance.transports import InProcess, Subprocess
from refreeze.errors import InvalidSpec, Unsupported, shown
from refreeze.loading import load_object
from refreeze.reading import NESTING_LIMIT, is_nested_deeper

ANSWER_SECONDS, RUN_SECONDS = 20.0, 300.0
"""What an answer may take unless a timeout is given: at schedule level, and of a run, which trains a model."""


class Adapter:
    """An implementation that can be asked."""

    level: Level
    framework: Framework | None = None
    """That of an executor."""

    def __init__(self, name: str) -> None:
        self.name = name
        """What the user called it: the argument of ``refreeze verify`` that replays a case."""
        self.stored = ""
        """Where a replay finds a case by its id: ``report.json#``, or nothing for the cases that this machine keeps."""
        self.supported: set[frozenset[str]] = set()
        """The features of each request that it answered."""
        self.unsupported: set[frozenset[str]] = set()
        """The features of each request that it does not support; no set is in both."""

    def ask(self, request: Request) -> Answer:
        """Return the answer to ``request``, which has neither version nor id yet; raises ``Fault``."""
        raise NotImplementedError

    def _remember(self, now: frozenset[str], unsupported: bool) -> None:
        (self.unsupported if unsupported else self.supported).add(now)
        if now in self.unsupported and now in self.supported:
            raise Fault("lied-unsupported", f"it supports one request with {', '.join(sorted(now))}, not another")

    def close(self) -> None:
        """End what was started."""


class Responder(Adapter):
    """An implementation at schedule level."""

    level = "schedule"

    def __init__(self, name: str, transport: InProcess | Subprocess, timeout: float = 20) -> None:
        super().__init__(name)
        self._transport, self._timeout, self._asked = transport, timeout, 0
        self._ended = False

    def ask(self, request: Request) -> Answer:
        """Return the answer to ``request``; a program that crashed before is started anew for it."""
        if self._ended and isinstance(self._transport, Subprocess):
            self._transport.close()
            self._transport, self._ended = Subprocess(self._transport.command), False
        self._asked += 1
        line = msgspec.json.encode({"refreeze": PROTOCOL, "id": f"c{self._asked}", **request})
        try:
            answer = self._read(self._transport.send(line, self._timeout), request)
        except Fault as fault:
            self._ended = fault.kind == "crashed"
            fault.request = fault.request or msgspec.json.decode(line)
            raise
        return answer

    def _read(self, line: bytes, request: Request) -> Answer:
        start = line[:200].decode(errors="replace").strip()
        try:
            data = msgspec.json.decode(line)
            deep = is_nested_deeper(data)
        except RecursionError:
            deep = True
        except (msgspec.MsgspecError, ValueError):
            raise Fault("rubbish", f"not a line of JSON: {start!r}") from None
        if deep:
            raise Fault("rubbish", f"nested more than {NESTING_LIMIT} levels deep: {start!r}")
        if not isinstance(data, dict):
            raise Fault("rubbish", f"not an object: {start}")
        if data.get("id") != f"c{self._asked}":
            earlier = {f"c{number}" for number in range(1, self._asked)}
            stale = isinstance(data.get("id"), str) and data["id"] in earlier
            kind: FaultKind = "out-of-order" if stale else "wrong-id"
            detail = "an earlier request, which has its answer" if stale else "no request"
            raise Fault(kind, f"asked c{self._asked}, got {shown(data.get('id', 'no id'))}: the id of {detail}")
        try:
            answer = read_answer(request["op"], data)
        except InvalidSpec as error:
            raise Fault("malformed", str(error)) from None
        self._remember(features(request), isinstance(answer, UnsupportedRequest))
        return answer

    def close(self) -> None:
        """End what was started."""
        self._transport.close()


class Executor(Adapter):
    """An implementation at execution level: an object that trains models of one framework.

    On Keras it has the method ``run(model, dialect, config, total, fit) -> history``. It trains the compiled model for
    ``total`` epochs under the configuration, by calls ``fit(epochs)``, each of which returns a History, and returns one
    History of it all, or the dictionary of one. It refuses with an exception that has an attribute ``id``, one of the
    error ids of the protocol; ``NotImplementedError`` says that it does not have that capability. An object that keeps
    checkpoints has ``resume(model, dialect, config, total, fit, folder)`` too: as ``run``, with checkpoints in the
    folder, from the newest of which it goes on if there is one.

    On PyTorch its attribute ``framework`` is "torch", and the method is ``run(module, make_optimizer, dialect, config,
    epochs, loader)``. It trains the module for so many epochs with the batches ``x, y`` of ``loader``, one step each:
    one forward pass in training mode, whose loss is ``cross_entropy(module(x), y)``, and the step of an optimizer that
    ``make_optimizer`` makes of parameters, or of groups of them. After an epoch in which ``module.stop_training`` has
    become true it stops. What it returns says nothing. It refuses as on Keras, and may have ``resume(module,
    make_optimizer, dialect, config, epochs, loader, folder)`` too.

    Args:
        name: What the user called it.
        framework: Of the models that it trains.
        observe: From a request to what is seen of the run; raises ``Fault``.
        close: Ends what was started.
    """

    level = "execution"

    def __init__(
        self,
        name: str,
        framework: Framework,
        observe: Callable[[Request], Ran],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name)
        self.framework = framework
        self._observe, self.close = observe, close  # type: ignore[method-assign]
        self._run = functools.lru_cache(512)(self._watch)

    def ask(self, request: Request) -> Answer:
        """Return what is seen of the run; of equal requests only the first is run."""
        found = self._run(json.dumps(request))
        self._remember(features(request), found.error == "unsupported")
        return found

    def _watch(self, text: str) -> Ran:
        request = json.loads(text)
        try:
            return self._observe(request)
        except Fault as fault:
            fault.request = fault.request or request
            raise
        except Exception as error:  # what is asked of an executor's objects may raise anything
            raise crash(error) from error


def load(
    reference: str | Callable[[Request], Any] | Any = None,
    command: str | None = None,
    *,
    level: str = "schedule",
    timeout: float | None = None,
    framework: Framework | None = None,
) -> Adapter:
    """Return an adapter, which is to be closed.

    Args:
        reference: ``module:object``, or such an object itself. At schedule level it is a callable; at execution level
            it is an object that ``Executor`` describes, or a class of such that needs no arguments.
        command: The command line of a program, in its place; only at schedule level.
        level: "schedule" or "execution".
        timeout: The seconds that an answer may take; None means ``ANSWER_SECONDS`` or ``RUN_SECONDS``. An executor that
            is given as ``module:object`` runs in a process of its own, which is ended then; one that is given as an
            object runs in this one, where nothing can end it.
        framework: That of an executor which does not say so itself.

    Raises ``InvalidSpec`` unless exactly one of the first two is given and is such, ``Fault`` if it cannot be imported
    or started, ``Unsupported`` without Keras on TensorFlow, or PyTorch, where the executor trains that.
    """
    if (reference is None) == (command is None):
        raise InvalidSpec("adapter", (reference, command), "either module:callable or a command")
    if timeout is not None and not 0 < timeout <= 86_400:
        raise InvalidSpec("timeout", timeout, "some seconds, at most a day")
    if command is not None:
        if level == "execution":
            raise InvalidSpec("--command", command, "left out: executors are objects in Python")
        return Responder(f"--command {shlex.quote(command)}", Subprocess(command), timeout or ANSWER_SECONDS)
    if level == "execution":
        return _load_executor(reference, timeout or RUN_SECONDS, framework)
    found, name = reference, reference if isinstance(reference, str) else _name(reference)
    if isinstance(reference, str):
        try:
            found = load_object("adapter", reference)
        except InvalidSpec:
            raise
        except BaseException as error:
            raise not_started(name, error) from error
    if not callable(found):
        raise InvalidSpec("adapter", found, "a callable from request to answer")
    return Responder(name, InProcess(found), timeout or ANSWER_SECONDS)


def _load_executor(reference: Any, timeout: float, asked: Framework | None) -> Executor:
    if not isinstance(reference, str):
        name = _name(reference)
        found, framework = executor(reference, name, asked)
        _check(framework)
        return Executor(name, framework, lambda request: observe(found, request, framework))
    process = ExecutorProcess(reference, timeout)
    try:
        framework = process.start(asked)
        _check(framework)
    except BaseException:
        process.close()
        raise
    return Executor(reference, framework, process.observe, process.close)


def _check(framework: Framework) -> None:
    """Raise ``Unsupported`` if this process cannot do what the laws of a framework need: on Keras they train models."""
    if framework == "torch":
        if importlib.util.find_spec("torch") is None:
            raise Unsupported("executors of PyTorch need it: pip install 'refreeze[torch]'")
        return
    try:
        from refreeze.keras import backends
    except ImportError as error:
        raise Unsupported(f"executors need Keras: pip install 'refreeze[tensorflow]' ({error})") from None
    backends.current()


def _name(found: Any) -> str:
    named = found if hasattr(found, "__qualname__") else type(found)
    return f"{getattr(named, '__module__', '?')}:{named.__qualname__}"
