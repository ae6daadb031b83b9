"""Adapters: how the kit reaches an implementation, and what can go wrong with one that is not a broken law.

An implementation at schedule level is a callable from request to answer, or a program that does so line by line; one at
execution level is an object that trains Keras models. All are asked through ``Adapter.ask``, which raises a ``Fault``
unless it gets an answer, of wire protocols in time, to this request, of a form that the protocol knows.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from refreeze.conformance.execution.observations import Ran
from refreeze.conformance.protocol import (
    PROTOCOL,
    Answer,
    Fault,
    FaultKind,
    Level,
    Request,
    UnsupportedRequest,
    crash,
    features,
    read_answer,
)  # fmt: skip
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.loading import load_object


class InProcess:
    """A callable, in a thread of its own, so that one that hangs does not hang the kit."""

    def __init__(self, respond: Callable[[Request], Any]) -> None:
        self._respond = respond
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | Fault] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for line in iter(self._lines.get, None):
            self._answers.put(self._answer(line))

    def _answer(self, line: bytes) -> bytes | Fault:
        try:
            answer = self._respond(json.loads(line))
        except BaseException as error:  # also SystemExit, which would end the thread
            return crash(error)
        try:
            return msgspec.json.encode(answer)
        except (TypeError, ValueError, RecursionError) as error:
            return Fault("malformed", f"the answer is not JSON: {error}")

    def send(self, line: bytes, timeout: float) -> bytes:
        """Return the answer to ``line``; raises ``Fault``, "timeout" after as many seconds."""
        self._lines.put(line)
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise Fault("timeout", f"no answer in {timeout:g} s") from None
        if isinstance(answer, Fault):
            raise answer
        return answer

    def close(self) -> None:
        self._lines.put(None)


class Subprocess:
    """A program that reads requests line by line, kept running; what it writes to stderr is shown if it crashes."""

    def __init__(self, command: str) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        try:
            if not (words := shlex.split(command)):
                raise ValueError("it names no program")
            self._process = subprocess.Popen(  # noqa: S603 (the user asks for it)
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._stderr.close()
            raise Fault("not-started", f"{command!r}: {error}") from None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def send(self, line: bytes, timeout: float) -> bytes:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
            answer = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise Fault("timeout", f"no answer in {timeout:g} s") from None
        except OSError:
            answer = b""
        if not answer:
            raise Fault("crashed", self._last_words())
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        code = self._process.poll()
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 2000))
        said = self._stderr.read().decode(errors="replace").strip().splitlines()[-5:]
        how = "it closed its output" if code is None else f"it ended with exit status {code}"
        return how + (", after: " + " | ".join(said) if said else "")

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()


class Adapter:
    """An implementation that can be asked."""

    level: Level

    def __init__(self, name: str) -> None:
        self.name = name
        """What the user called it: the argument of ``refreeze verify`` that replays a case."""
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

    def ask(self, request: Request) -> Answer:
        """Return the answer to ``request``."""
        self._asked += 1
        line = msgspec.json.encode({"refreeze": PROTOCOL, "id": f"c{self._asked}", **request})
        try:
            answer = self._read(self._transport.send(line, self._timeout), request)
        except Fault as fault:
            fault.request = msgspec.json.decode(line)
            raise
        return answer

    def _read(self, line: bytes, request: Request) -> Answer:
        shown = line[:200].decode(errors="replace").strip()
        try:
            data = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Fault("rubbish", f"not a line of JSON: {shown!r}") from None
        if not isinstance(data, dict):
            raise Fault("rubbish", f"not an object: {shown}")
        if data.get("id") != f"c{self._asked}":
            earlier = {f"c{number}" for number in range(1, self._asked)}
            stale = isinstance(data.get("id"), str) and data["id"] in earlier
            kind: FaultKind = "out-of-order" if stale else "wrong-id"
            detail = "an earlier request, which has its answer" if stale else "no request"
            raise Fault(kind, f"asked c{self._asked}, got {data.get('id', 'no id')!r}: the id of {detail}")
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
    """An implementation at execution level: an object with ``run(model, dialect, config, total, fit) -> history``.

    ``run`` trains the compiled Keras model for ``total`` epochs under the configuration, by calls ``fit(epochs)``, each
    of which returns a History, and returns one History of it all, or the dictionary of one. It refuses with an
    exception that has an attribute ``id``, one of the error ids of the protocol; ``NotImplementedError`` says that it
    does not have that capability. An object that keeps checkpoints has ``resume(model, dialect, config, total, fit,
    folder)`` too: as ``run``, with checkpoints in the folder, from the newest of which it goes on if there is one.
    """

    level = "execution"

    def __init__(self, name: str, executor: Any) -> None:
        super().__init__(name)
        self._executor = executor
        self._run = functools.lru_cache(512)(self._observe)

    def ask(self, request: Request) -> Answer:
        """Return what is seen of the run; of equal requests only the first is run."""
        found = self._run(json.dumps(request))
        self._remember(features(request), found.error == "unsupported")
        return found

    def _observe(self, text: str) -> Ran:
        from refreeze.conformance.execution import harness

        request = json.loads(text)
        try:
            return harness.observe(self._executor, request)
        except Fault as fault:
            fault.request = request
            raise


def load(
    reference: str | Callable[[Request], Any] | Any = None,
    command: str | None = None,
    *,
    level: str = "schedule",
    timeout: float = 20,
) -> Adapter:
    """Return the adapter for ``module:object``, such an object itself, or the command line of a program.

    At execution level it is an object that ``Executor`` describes, or a class of such that needs no arguments; there
    are no programs there, and no ``timeout``. Raises ``InvalidSpec`` unless exactly one is given and is such, ``Fault``
    if it cannot be imported or started, ``Unsupported`` without Keras on TensorFlow.
    """
    if (reference is None) == (command is None):
        raise InvalidSpec("adapter", (reference, command), "either module:callable or a command")
    if command is not None:
        if level == "execution":
            raise InvalidSpec("--command", command, "left out: executors are objects in Python")
        return Responder(f"--command {shlex.quote(command)}", Subprocess(command), timeout)
    found, name = reference, reference if isinstance(reference, str) else _name(reference)
    try:
        if isinstance(reference, str):
            found = load_object("adapter", reference)
        if level == "execution" and isinstance(found, type):
            found = found()
    except InvalidSpec:
        raise
    except BaseException as error:
        raise Fault("not-started", f"{name}: {type(error).__name__}: {error}") from error
    if level == "schedule":
        if not callable(found):
            raise InvalidSpec("adapter", found, "a callable from request to answer")
        return Responder(name, InProcess(found), timeout)
    if not callable(getattr(found, "run", None)):
        raise InvalidSpec("adapter", found, "an object with run(model, dialect, config, total, fit)")
    try:
        import keras
    except ImportError as error:
        raise Unsupported(f"executors need Keras: pip install 'refreeze[tensorflow]' ({error})") from None
    if (backend := keras.backend.backend()) != "tensorflow":
        raise Unsupported(f"executors are tried on TensorFlow, not on {backend}; set KERAS_BACKEND=tensorflow")
    return Executor(name, found)


def _name(found: Any) -> str:
    named = found if hasattr(found, "__qualname__") else type(found)
    return f"{getattr(named, '__module__', '?')}:{named.__qualname__}"
