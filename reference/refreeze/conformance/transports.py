"""Transports: how a line reaches an implementation, and how its answer comes back, in time and in bounded memory.

A function is called in a thread of this process. A program is a process group of its own: one deadline covers writing
the request and reading the answer, and at the end the whole group is ended. What leaves the group on purpose, as a
daemon does, is not waited for and not ended. After a timeout, a crash or a line that is too long nothing can be asked
any more: the same fault is raised again at once.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from refreeze.conformance.protocol import Fault, Request, crash, said
from refreeze.reading import MEBIBYTE

ANSWER_LIMIT = 16 * MEBIBYTE
"""The bytes that one line of an answer may have."""
STDERR_KEPT = 64 * 1024
"""The bytes of stderr that are kept: the last ones."""
_GRACE = 1.0
"""The seconds in which a program may end by itself when its input ends."""
_CHUNK = 64 * 1024
_JSON = json.JSONEncoder(allow_nan=False)


def _too_long() -> Fault:
    return Fault("too-long", f"a line of more than {ANSWER_LIMIT // MEBIBYTE} MiB")


class InProcess:
    """A function in a thread of its own, so that one that hangs does not hang the kit.

    Nothing can end such a thread: it is a daemon, which lasts until Python ends, and the function is not called again.
    """

    def __init__(self, respond: Callable[[Request], Any]) -> None:
        self._respond = respond
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | Fault] = queue.SimpleQueue()
        self._hangs: Fault | None = None
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
            found = _JSON.encode(answer).encode()
        except Exception as error:  # whatever its objects raise
            return Fault("malformed", f"the answer is not JSON: {said(error)}")
        return found if len(found) <= ANSWER_LIMIT else _too_long()

    def send(self, line: bytes, timeout: float) -> bytes:
        """Return the answer to ``line``; raises ``Fault``, "timeout" after as many seconds."""
        if self._hangs is not None:
            raise self._hangs
        self._lines.put(line)
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            self._hangs = Fault("timeout", f"no answer in {timeout:g} s")
            raise self._hangs from None
        if isinstance(answer, Fault):
            raise answer
        return answer

    def close(self) -> None:
        """End the thread, unless it hangs."""
        self._lines.put(None)


class Subprocess:
    """A program that reads requests line by line, kept running; what it writes to stderr last is shown if it fails.

    Needs the process groups and the non-blocking pipes of POSIX. Raises ``Fault`` if it cannot be started.
    """

    def __init__(self, command: str | Sequence[str]) -> None:
        self.command = command
        try:
            if not (words := shlex.split(command) if isinstance(command, str) else command):
                raise ValueError("it names no program")
            self._process = subprocess.Popen(  # noqa: S603 (the user asks for it)
                words,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Fault("not-started", f"{command!r}: {error}") from None
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in pipes if pipe is not None)
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe, False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._stdout, selectors.EVENT_READ)
        self._ready.register(self._stderr, selectors.EVENT_READ)
        self._unsent = b""
        self._received, self._newline = bytearray(), -1
        self._said = b""
        self._fault: Fault | None = None
        self._ended = False
        atexit.register(self.close)

    def send(self, line: bytes, timeout: float) -> bytes:
        """Return the answer to ``line``, without its line feed; raises ``Fault``, "timeout" after as many seconds."""
        if self._fault is None:
            try:
                return self._exchange(line, time.monotonic() + timeout)
            except TimeoutError:
                unread = ", nor was the request read" if self._unsent else ""
                self._end(0)
                self._fault = Fault("timeout", f"no answer in {timeout:g} s{unread}{self._last_words()}")
            except Fault as fault:
                self._end(0)
                self._fault = fault
        raise self._fault

    def _exchange(self, line: bytes, deadline: float) -> bytes:
        if not self._unsent:
            self._ready.register(self._stdin, selectors.EVENT_WRITE)
        self._unsent += line + b"\n"
        while self._newline < 0:
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            for key, _ in self._ready.select(left):
                {self._stdin: self._write, self._stdout: self._read, self._stderr: self._listen}[key.fd]()
        answer = bytes(self._received[: self._newline])
        del self._received[: self._newline + 1]
        self._newline = self._received.find(b"\n")
        return answer

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            raise self._crashed("it closed its input") from None
        if not self._unsent:
            self._ready.unregister(self._stdin)

    def _read(self) -> None:
        chunk = os.read(self._stdout, _CHUNK)
        if not chunk and not self._received:
            raise self._crashed("it closed its output")
        end = chunk.find(b"\n") if chunk else 0  # what was written last may lack its line feed
        self._newline = len(self._received) + end if end >= 0 else -1
        self._received += chunk
        if (len(self._received) if self._newline < 0 else self._newline) > ANSWER_LIMIT:
            self._received.clear()
            raise _too_long()

    def _listen(self) -> None:
        chunk = os.read(self._stderr, _CHUNK)
        if not chunk:
            self._ready.unregister(self._stderr)
        self._said = (self._said + chunk)[-STDERR_KEPT:]

    def _crashed(self, how: str) -> Fault:
        code = self._end(2 * _GRACE)
        how = how if code is None else f"it ended with exit status {code}"
        return Fault("crashed", how + self._last_words())

    def _last_words(self) -> str:
        said = self._said[-2000:].decode(errors="replace").strip().splitlines()[-5:]
        return ", after: " + " | ".join(said) if said else ""

    def _end(self, grace: float) -> int | None:
        """End the group and return the exit status of the program if it ended by itself within ``grace`` seconds."""
        if self._ended:
            return None
        self._ended = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        deadline = time.monotonic() + grace
        while (code := self._process.poll()) is None and time.monotonic() < deadline:
            self._drain()
            time.sleep(0.01)
        # The group keeps the program's number for as long as one of its processes lives.
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain()
        return code

    def _drain(self) -> None:
        """Read what stderr has now: at most what a pipe holds, as somebody may write to it for ever."""
        with contextlib.suppress(OSError):
            self._said = (self._said + os.read(self._stderr, _CHUNK))[-STDERR_KEPT:]

    def close(self) -> None:
        """End the program and all of its process group."""
        atexit.unregister(self.close)
        self._end(_GRACE)
        self._ready.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
