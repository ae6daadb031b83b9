"""A process of its own for an executor that a command line names, so that one that hangs can be ended: both its ends.

A request goes there as a line of JSON, and a ``Reply`` comes back as msgpack in base 64, since JSON has neither bytes
nor NaN. What the executor itself writes to stdout goes to stderr, where the calls of the fit function are told too.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from typing import Any

import msgspec
from msgspec import Struct

from refreeze.conformance.execution.observations import Ran
from refreeze.conformance.protocol import Fault, FaultKind, Request, crash, said
from refreeze.conformance.transports import Subprocess
from refreeze.errors import InvalidSpec
from refreeze.loading import load_object

START_SECONDS = 300.0
"""What the process may take to import the executor and TensorFlow."""
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from refreeze.conformance.execution import process; process.main()"


class Reply(Struct):
    """What comes of a request; of the first, which loads the executor, nothing if all is well."""

    ran: Ran | None = None
    fault: tuple[FaultKind, str] | None = None
    wrong: tuple[str, str] | None = None
    """What was given as the adapter, and what must be given."""


def not_started(name: str, error: BaseException) -> Fault:
    """Return the fault of an adapter that raised while it was loaded."""
    return Fault("not-started", f"{name}: {type(error).__name__}: {said(error)}")


def executor(found: Any, name: str) -> Any:
    """Return an executor, made if ``found`` is a class; raises ``Fault``, and ``InvalidSpec`` for what is none."""
    try:
        made = found() if isinstance(found, type) else found
    except BaseException as error:
        raise not_started(name, error) from error
    if not callable(getattr(made, "run", None)):
        raise InvalidSpec("adapter", name, "an object with run(model, dialect, config, total, fit)")
    return made


def observe(found: Any, request: Request) -> Ran:
    """Return what is seen of a run of an executor in this process; raises ``Fault``."""
    from refreeze.conformance.execution import harness

    return harness.observe(found, request)


# This end -----------------------------------------------------------------------------------------------------------
class ExecutorProcess:
    """The process, seen from outside; ``seconds`` are what a run may take."""

    def __init__(self, reference: str, seconds: float) -> None:
        self._seconds = seconds
        self._program = Subprocess([sys.executable, "-c", _PROGRAM, reference, *sys.path])
        self.close = self._program.close

    def start(self) -> None:
        """Wait until the executor is loaded; raises ``InvalidSpec`` and ``Fault``."""
        self._ask(None, START_SECONDS)

    def observe(self, request: Request) -> Ran:
        """Return what is seen of a run; raises ``Fault``, "timeout" if it takes too long."""
        ran = self._ask(request, self._seconds).ran
        assert ran is not None
        return ran

    def _ask(self, request: Request | None, seconds: float) -> Reply:
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
                found, reply = _load(sys.argv[1]), Reply()
            else:
                reply = Reply(observe(found, json.loads(line)))
            packed = msgspec.msgpack.encode(reply)
        except Fault as fault:
            packed = msgspec.msgpack.encode(Reply(fault=(fault.kind, fault.detail)))
        except InvalidSpec as error:
            packed = msgspec.msgpack.encode(Reply(wrong=(sys.argv[1], error.allowed)))
        except BaseException as error:
            packed = msgspec.msgpack.encode(Reply(fault=("crashed", crash(error).detail)))
        replies.write(base64.b64encode(packed) + b"\n")
        replies.flush()


def _load(reference: str) -> Any:
    try:
        found = load_object("adapter", reference)
    except InvalidSpec:
        raise
    except BaseException as error:
        raise not_started(reference, error) from error
    made = executor(found, reference)
    from refreeze.conformance.execution import harness  # noqa: F401 (the first run is not to wait for TensorFlow)

    return made
