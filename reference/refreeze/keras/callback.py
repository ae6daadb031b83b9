"""The callback: a whole schedule in one ordinary ``model.fit``.

``fit`` looks ``model.train_function`` up at every step, so it can be swapped at any of them. Weights, optimizer and
history end bit for bit like those of one ``fit`` per segment on the same data; and callbacks that remember, such as
EarlyStopping, ReduceLROnPlateau or TensorBoard, see one training instead of many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import keras

from refreeze.choices import check_listener
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.keras import model as models
from refreeze.keras.controller import Controller, log_frozen_summary, log_segment
from refreeze.keras.optimizer import check_single_rates
from refreeze.keras.options import Keywords, Options
from refreeze.keras.report import SegmentReport, SegmentRun
from refreeze.plan import Unit, asked, plan
from refreeze.policy import Policy, check_int
from refreeze.schedule import Segment, cut

_MARK = "refreeze"
"""In the ``params`` that all callbacks of one fit share: that a schedule runs in it already."""


class FreezeSchedule(keras.callbacks.Callback):
    """Runs a freeze schedule inside one ``model.fit(..., callbacks=[FreezeSchedule(spec)])``.

    Epochs and steps count from 0 at the beginning of the training; ``fit(initial_epoch=e)`` starts in the middle of the
    schedule, in the state that a run from the beginning has there (RES-1). A segment begins before the first batch of
    its epoch, or before its step. Its learning rate is set once, at its start (EXE-5); what other callbacks make of it
    holds until a segment sets one again. Of several callbacks that set the rate when an epoch begins, the last one in
    the list wins. ``schedule`` has the segments once the training has begun, ``reports`` a ``SegmentReport`` for each
    that has ended.

    Args:
        spec: the path of a configuration file (a ``str`` or ``Path``), which names its dialect; or a configuration as
            plain data; or a ``Policy``.
        dialect: the dialect of plain data.
        unit: what a tick of a ``Policy`` is, "epochs" (the default) or "steps".
        steps_per_epoch: is needed for schedules in steps if the data do not say how many batches they have, >= 1.
        on_segment: is called with each segment when it has begun, before its first step.
        options: the fields of ``Options``.

    Raises a ``ScheduleError`` for a configuration when the callback is made; for what depends on the model and the data
    when the training begins, before anything is changed. ``Unsupported``, besides what ``Controller`` raises: a
    boundary inside of an execution of ``steps_per_execution > 1`` steps. ``InvalidSpec`` also at the end of an epoch
    that had another number of batches than was said.
    """

    async_safe = True  # all that is done after a batch is to count it

    def __init__(
        self,
        spec: Any,
        *,
        dialect: str = "vl3d",
        unit: Unit | None = None,
        steps_per_epoch: int | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        **options: Unpack[Keywords],
    ) -> None:
        super().__init__()
        self._spec, self._unit = asked(spec, dialect, unit)
        if steps_per_epoch is not None:
            check_int("steps_per_epoch", steps_per_epoch, 1)
        self._given_steps, self._on_segment = steps_per_epoch, on_segment
        self._options = Options(**options)
        check_listener(on_segment)
        self.schedule: tuple[Segment, ...] = ()
        self.reports: list[SegmentReport] = []

    def on_train_begin(self, logs: Any = None) -> None:
        if _MARK in self.params:
            raise InvalidSpec("callbacks", "several", "one FreezeSchedule; union makes one of several policies")
        epochs, self._steps = self.params["epochs"], self._steps_per_epoch(self.params.get("steps"))
        spec, ticks = self._spec, {"total": epochs * self._per_epoch, "steps_per_epoch": self._steps or 1}
        tree = models.read(self.model)
        names = None if isinstance(spec, Policy) else tree.declared(spec.dialect.names)
        found = plan(spec, names, unit=self._unit, **ticks)
        check_single_rates(found.rates, self._options.rates)
        run = found.segments
        self._at_once = self.model.steps_per_execution
        if cutting := [s.start for s in run if s.start % self._per_epoch % self._at_once]:
            raise Unsupported(
                f"the schedule has a boundary at step {cutting[0]}, which is inside an execution of "
                f"steps_per_execution = {self._at_once} steps; compile with a divisor of the steps to it, such as 1"
            )
        steps = 1 if self._unit == "steps" else self._steps
        self._controller = Controller(tree, found.policy.names, run, self._options, self.model.history, steps)
        self.params[_MARK] = True
        self.schedule, self.reports = run, []
        self._to_come: list[Segment] | None = None
        self._now: SegmentRun | None = None

    def _steps_per_epoch(self, known: int | None) -> int | None:
        given = self._given_steps
        if given is not None and known is not None and given != known:
            raise InvalidSpec("steps_per_epoch", given, f"{known}, the batches that the data have")
        if self._unit == "steps" and given is None and known is None:
            raise InvalidSpec("steps_per_epoch", None, "given, for the data do not say how many batches they have")
        return known if given is None else given

    @property
    def _per_epoch(self) -> int:
        """The ticks in an epoch."""
        return 1 if self._unit == "epochs" else self._steps or 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        tick = epoch * self._per_epoch
        if self._to_come is None:  # only now it is known where the training begins
            self._to_come = list(reversed(cut(self.schedule, tick)))
            for before in cut(self.schedule, max(0, tick - 1), tick):
                self._controller.follow(before)
        self._epoch, self._batches = epoch, 0
        self._reach(tick)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # Where their number is not known, Keras announces one batch more than there is.
        if self._unit == "steps" and batch < self._per_epoch:
            self._reach(self._epoch * self._per_epoch + batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches = max(self._batches, batch + 1)  # Keras may do this in other threads, in any order

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for key, value in (logs or {}).items():
            self._logs.setdefault(key, []).append(value)
        said = -(-self._per_epoch // self._at_once) * self._at_once  # Keras counts the last execution as a full one
        if self._unit == "steps" and self._batches != said and not self.model.stop_training:
            raise InvalidSpec("steps_per_epoch", self._steps, f"{self._batches}, the batches that epoch {epoch} had")

    def _reach(self, tick: int) -> None:
        while self._to_come and self._to_come[-1].start <= tick:
            segment = self._to_come.pop()
            self._end_segment(segment.start)
            self._now = SegmentRun(self._controller, segment)
            self._begun, self._logs = segment.start, dict[str, list[float]]()
            if self._on_segment is not None:
                self._on_segment(segment)
            total = len(self.schedule)
            log_segment(f"{total - len(self._to_come)}/{total}", self._unit, segment)

    def _end_segment(self, tick: int) -> None:
        if self._now is not None:
            self.reports.append(self._now.ended(tick - self._begun, self._logs))

    def on_train_end(self, logs: Any = None) -> None:
        if self._to_come is not None:  # else there was no epoch
            done = min(self._batches, self._per_epoch) if self._unit == "steps" else 1
            self._end_segment(self._epoch * self._per_epoch + done)
        log_frozen_summary(self._controller.tree)
        self._controller.end()
        if self._options.restore:
            self._controller.restore()
        del self._controller, self.params[_MARK]  # and with the controller the train functions that are kept
