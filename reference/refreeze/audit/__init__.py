"""Did a training do what its schedule says? Records of runs, and the audit that compares them with a schedule.

``refreeze.torch``, ``refreeze.keras`` and ``refreeze.jax`` each have a ``Recorder``, which writes such records.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from refreeze.audit.judge import AuditOptions, Judge, Watcher
from refreeze.audit.record import Header, Reader, Start
from refreeze.audit.verdict import KINDS, Finding, Verdict
from refreeze.errors import InvalidSpec
from refreeze.plan import Plan, Unit, asked, plan
from refreeze.policy import Policy

__all__ = ["KINDS", "AuditOptions", "Finding", "Verdict", "audit"]


def audit(
    path: str | Path,
    spec: Any,
    *,
    dialect: str = "vl3d",
    unit: Unit | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    options: AuditOptions | None = None,
    watch: Callable[[Plan, Header], Watcher] | None = None,
) -> Verdict:
    """Return the verdict on the run whose records are in the file at ``path``, under the schedule ``spec``.

    Args:
        path: a file of records, as ``docs/protocol.md`` has them.
        spec, dialect, unit: the schedule, as ``refreeze.plan.asked`` takes it.
        epochs: the epochs of the whole run, >= 0; if None, what the records say.
        steps_per_epoch: the steps in an epoch, >= 1; if None, what the records say, else 1 for a schedule in epochs.
        options: how the schedule was meant; by default as ``refreeze.torch`` and ``refreeze.keras`` run it by default.
        watch: makes, of the plan and the header, what is told what the ``Judge`` sees.

    Raises the ``ScheduleError`` that says what is wrong with the schedule or the file.
    """
    found, ticks = asked(spec, dialect, unit)
    with Reader("RUN", path) as reader:
        records = iter(reader)
        _, header = next(records)
        assert isinstance(header, Header)
        epochs = header.epochs if epochs is None else epochs
        per = header.steps_per_epoch if steps_per_epoch is None else steps_per_epoch
        for option, value in (("--epochs", epochs), ("--steps-per-epoch", per if ticks == "steps" else 1)):
            if value is None:
                raise InvalidSpec(option, None, "given, for the records do not say it")
        names = None if isinstance(found, Policy) else header.declared(found.dialect.names)
        total = (epochs or 0) * (per or 1) if ticks == "steps" else epochs or 0
        made = plan(found, names, total=total, steps_per_epoch=per or 1, unit=ticks)
        if not made.segments:
            raise InvalidSpec("--epochs", epochs, "at least 1")
        judge = Judge(made, header, reader, options or AuditOptions(), watch(made, header) if watch else None)
        for place, record in records:
            if isinstance(record, Header):
                if record.checksum != header.checksum:
                    raise reader.wrong(record.checksum, f"{header.checksum!r}, as in the first header")
            elif isinstance(record, Start):
                judge.start(place, record)
            else:
                judge.step(place, record)
        return judge.finish()
