"""What is measured of a segment, by the executor and by the callback alike, and what stays behind: nothing."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from refreeze import always, stages
from refreeze.keras import FreezeSchedule, SegmentReport, execute
from refreeze.keras.report import MEASURED, whole_step_seconds
from small_models import STEPS, build, fit

pytestmark = pytest.mark.engine
POLICY = stages((0, always(["one"])), (1, always([])), (5, always(["one"])))
TOTAL = 7


def by_executor(model: keras.Model, *callbacks: Any) -> list[SegmentReport]:
    reports: list[SegmentReport] = []
    execute(model, POLICY, TOTAL, fit(model, callbacks=callbacks), reports=reports)
    return reports


def by_callback(model: keras.Model, *callbacks: Any) -> list[SegmentReport]:
    schedule = FreezeSchedule(POLICY)
    fit(model, callbacks=[schedule, *callbacks])(TOTAL)
    return schedule.reports


@pytest.mark.only_on("tensorflow", "jax")  # on torch there is no trace, whose time it looks at
@pytest.mark.parametrize("run", [by_executor, by_callback])
def test_each_segment_is_reported_with_what_its_first_step_and_its_steps_took(run: Any) -> None:
    model, functions = build("dense"), []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: functions.append(type(model.train_function).__name__)
    )
    first, whole, again = reports = run(model, look)
    assert [(r.segment.start, r.trained, r.new_step) for r in reports] == [(0, 1, True), (1, 4, True), (5, 2, False)]
    assert [len(r.history["loss"]) for r in reports] == [1, 4, 2]
    assert whole.frozen_parameters == 0 < first.frozen_parameters == again.frozen_parameters
    # A trace takes many times as long as a step of three small layers.
    for report in (first, whole):
        assert report.first_step_seconds > 5 * report.step_seconds > 0
        assert report.first_step_seconds > report.switch_seconds
    assert 0 < again.first_step_seconds < first.first_step_seconds / 5
    assert whole_step_seconds(reports) == whole.step_seconds
    assert whole_step_seconds([first, again]) is None
    # The first steps are timed, and then the train function is Keras' own again.
    steps = [(min(r.trained * STEPS, 1 + MEASURED), r.trained * STEPS) for r in reports]
    assert functions == [name for timed, n in steps for name in ["SegmentRun"] * timed + ["function"] * (n - timed)]
    assert "function" in functions
    assert type(model.train_function).__name__ == "function"


def test_a_fit_that_fails_leaves_nothing_in_the_way() -> None:
    model = build("dense")

    def failing(epochs: int) -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        execute(model, POLICY, TOTAL, failing)
    assert type(model.train_function).__name__ == "function"
