"""What each segment of a run was, and what it cost to enter it: times are measured in the run itself.

The first steps of a segment are timed one by one, and waited for, so that the times also hold on a device that computes
while Python goes on. After ``1 + MEASURED`` calls of the train function nothing is left in its way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from refreeze.keras import backends
from refreeze.keras.controller import Controller
from refreeze.schedule import Segment

MEASURED = 8
"""How many calls of the train function are timed after the first of a segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """What one segment of a run was, or one part of it that was trained by a fit of its own."""

    segment: Segment
    """The segment as scheduled."""
    trained: int
    """The ticks trained: ``segment.length``, or fewer if training was stopped in it (EXE-8)."""
    frozen_parameters: int
    """The scalars that could be trained and were frozen."""
    trainable_parameters: int
    """The scalars that were trained."""
    new_step: bool
    """Whether the segment needed a train step that was not there yet, to be traced at its first batch."""
    switch_seconds: float
    """The time to enter the segment, without its first step."""
    first_step_seconds: float | None
    """The time of its first step, the trace of a new train step included; None if it had no step."""
    step_seconds: float | None
    """The median time of the next steps, at most ``MEASURED`` calls of the train function; None if it had no more."""
    history: dict[str, list[float]]
    """The history of the epochs that ended in the segment."""
    decision: str = ""
    """Which train step it had, and under ``switch="auto"`` why."""

    def break_even(self, whole_step: float | None) -> float | None:
        """Return after how many of the segment's steps the switch has repaid itself, a whole number.

        Entering it took ``switch_seconds + first_step_seconds - step_seconds`` more than an ordinary step of it, and
        each of its steps takes ``whole_step - step_seconds`` less than one that trains everything. The break-even is
        the first divided by the second, rounded up; infinite if its steps are not faster; None if a time is missing.

        >>> report = SegmentReport(
        ...     segment=Segment(0, 9, frozenset("a")), trained=9, frozen_parameters=1, trainable_parameters=1,
        ...     new_step=True, switch_seconds=0.5, first_step_seconds=2.625, step_seconds=0.125, history={})
        >>> report.break_even(0.25), report.break_even(0.125), report.break_even(None)
        (24, inf, None)
        """
        if whole_step is None or self.step_seconds is None or self.first_step_seconds is None:
            return None
        cost = self.switch_seconds + self.first_step_seconds - self.step_seconds
        saved = whole_step - self.step_seconds
        return math.ceil(max(0.0, cost) / saved) if saved > 0 else math.inf


def whole_step_seconds(reports: Iterable[SegmentReport]) -> float | None:
    """Return the median step of the segments in which nothing was frozen; None if none of those was measured."""
    steps = [r.step_seconds for r in reports if not r.segment.frozen and r.step_seconds is not None]
    return median(steps) if steps else None


class SegmentRun:
    """One segment: it is entered when this is made, and trained until ``ended`` or ``leave`` is called.

    This object stands in the place of the model's train function for the first calls of it, and times them.
    """

    def __init__(self, controller: Controller, segment: Segment) -> None:
        self._segment, self._model, self._backend = segment, controller.model, backends.current()
        self._controller = controller
        self._seconds, self._new = controller.enter(segment)
        self.frozen, self.trainable = controller.tree.parameter_counts()
        self.__wrapped__, self._calls = self._model.train_function, list[float]()
        self._model.train_function = self

    def __call__(self, *args: Any) -> Any:
        begun = time.perf_counter()
        self._model.train_function = self.__wrapped__  # it may put another in its own place, once
        outcome = self.__wrapped__(*args)
        self._backend.wait(outcome)
        self._calls.append(time.perf_counter() - begun)
        self.__wrapped__ = self._model.train_function
        if self.__wrapped__ is not None and len(self._calls) <= MEASURED:
            self._model.train_function = self
        return outcome

    def leave(self) -> None:
        """Stop measuring; this is called when training has failed, too."""
        if self._model.train_function is self:
            self._model.train_function = self.__wrapped__

    def ended(self, trained: int, history: dict[str, list[float]]) -> SegmentReport:
        """Stop measuring, and return the report of a segment of which so many ticks were trained."""
        self.leave()
        at_once = self._model.steps_per_execution  # the steps that one call makes
        later = median(self._calls[1:]) / at_once if self._calls[1:] else None
        first = self._calls[0] - (at_once - 1) * (later or 0.0) if self._calls else None
        return SegmentReport(
            segment=self._segment,
            trained=trained,
            frozen_parameters=self.frozen,
            trainable_parameters=self.trainable,
            new_step=self._new,
            switch_seconds=self._seconds,
            first_step_seconds=first,
            step_seconds=later,
            history=history,
            decision=self._controller.decision,
        )
