"""A process of its own for an executor that a command line names, so that one that hangs can be ended: both its ends.

A request goes there as a line of JSON, and a ``Reply`` comes back as msgpack in base 64, since JSON has neither bytes
nor NaN. What the executor itself writes to stdout goes to stderr, where the calls of the fit function are told too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import sys
from typing import Any

import msgspec
from msgspec import Struct

from refreeze.conformance.execution.observations import Ran
from refreeze.conformance.protocol import Fault, FaultKind, Framework, Request, crash, said
from refreeze.conformance.transports import Subprocess
from refreeze.errors import InvalidSpec, shown
from refreeze.loading import load_object

START_SECONDS = 300.0
"""What the process may take to import the executor and its framework."""
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from refreeze.conformance.execution import process; process.main()"


class Reply(Struct):
    """What comes of a request; of the first, which loads the executor, nothing if all is well."""

    ran: Ran | None = None
    framework: Framework = "keras"
    fault: tuple[FaultKind, str] | None = None
    wrong: tuple[str, str] | None = None
    """What was given as the adapter, and what must be given."""


def not_started(name: str, error: BaseException) -> Fault:
    """Return the fault of an adapter that raised while it was loaded."""
    return Fault("not-started", f"{name}: {type(error).__name__}: {said(error)}")


_RUN: dict[Framework, str] = {
    "keras": "run(model, dialect, config, total, fit)",
    "torch": "run(module, make_optimizer, dialect, config, epochs, loader)",
}


def executor(found: Any, name: str, asked: Framework | None = None) -> tuple[Any, Framework]:
    """Return an executor, made if ``found`` is a class, and its framework: what it says, else what is asked, or Keras.

    Raises ``Fault``, and ``InvalidSpec`` for what is no executor, or one of another framework than is asked.
    """
    try:
        made = found() if isinstance(found, type) else found
    except BaseException as error:
        raise not_started(name, error) from error
    framework = getattr(made, "framework", asked or "keras")
    if framework not in _RUN or (asked or framework) != framework:
        allowed = " or ".join(map(repr, [asked] if asked else _RUN))
        raise InvalidSpec("adapter", name, f"an object whose framework is {allowed}, not {shown(framework)}")
    if not callable(getattr(made, "run", None)):
        raise InvalidSpec("adapter", name, f"an object with {_RUN[framework]}")
    return made, framework


def observe(found: Any, request: Request, framework: Framework) -> Ran:
    """Return what is seen of a run of an executor in this process; raises ``Fault``."""
    from refreeze.conformance.execution import harness

    return harness.observe(found, request, framework)


# This end -----------------------------------------------------------------------------------------------------------
class ExecutorProcess:
    """The process, seen from outside; ``seconds`` are what a run may take."""

    def __init__(self, reference: str, seconds: float) -> None:
        self._seconds = seconds
        self._program = Subprocess([sys.executable, "-c", _PROGRAM, reference, *sys.path])
        self.close = self._program.close

    def start(self, asked: Framework | None) -> Framework:
        """Wait until the executor is loaded, and return its framework; raises what ``executor`` does."""
        return self._ask(asked, START_SECONDS).framework

    def observe(self, request: Request) -> Ran:
        """Return what is seen of a run; raises ``Fault``, "timeout" if it takes too long."""
        ran = self._ask(request, self._seconds).ran
        assert ran is not None
        return ran

    def _ask(self, request: Request | Framework | None, seconds: float) -> Reply:
        line = self._program.send(json.dumps(request).encode(), seconds)
        reply = msgspec.msgpack.decode(base64.b64decode(line), type=Reply)
        if reply.fault is not None:
            raise Fault(*reply.fault)
        if reply.wrong is not None:
            raise InvalidSpec("adapter", *reply.wrong)
        return reply


# The other end ------------------------------------------------------------------------------------------------------
def main() -> None:
    """Answer requests until there are no more; the executor is named by the first argument."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # written line by line: what a run printed is not lost when it is ended
    log = logging.getLogger("refreeze.conformance")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    found = None
    for line in requests:
        try:
            if found is None:
                found = _load(sys.argv[1], json.loads(line))
                reply = Reply(framework=found[1])
            else:
                reply = Reply(observe(found[0], json.loads(line), found[1]))
            packed = msgspec.msgpack.encode(reply)
        except Fault as fault:
            packed = msgspec.msgpack.encode(Reply(fault=(fault.kind, fault.detail)))
        except InvalidSpec as error:  # pragma: no cover (the process is killed then, with what it counted)
            packed = msgspec.msgpack.encode(Reply(wrong=(sys.argv[1], error.allowed)))
        except BaseException as error:  # pragma: no cover (as above)
            packed = msgspec.msgpack.encode(Reply(fault=("crashed", crash(error).detail)))
        replies.write(base64.b64encode(packed) + b"\n")
        replies.flush()


def _load(reference: str, asked: Framework | None) -> tuple[Any, Framework]:
    try:
        found = load_object("adapter", reference)
    except InvalidSpec:  # pragma: no cover (as above)
        raise
    except BaseException as error:  # pragma: no cover (as above)
        raise not_started(reference, error) from error
    made = executor(found, reference, asked)
    from refreeze.conformance.execution import harness

    with contextlib.suppress(ImportError):  # the other end says so
        harness.load(made[1])  # the first run is not to wait for it
    return made
