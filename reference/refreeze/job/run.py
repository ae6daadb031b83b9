"""The main job: fine-tune a model under a schedule, watch that frozen stays frozen, and report every segment."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from refreeze import plot
from refreeze.errors import InvalidSpec, ScheduleError
from refreeze.job import inputs, report
from refreeze.keras.callback import FreezeSchedule
from refreeze.keras.executor import RunOptions, merge, train
from refreeze.keras.guard import FrozenGuard, FrozenMoved
from refreeze.loading import described
from refreeze.schedule import Segment


class _Watch(keras.callbacks.Callback):
    """Moves the progress bar, and keeps the history of every finished epoch, also of an interrupted run."""

    def __init__(self, bar: Progress, total: int) -> None:
        super().__init__()
        self.epochs: list[dict[str, float]] = []
        self._bar, self._task = bar, bar.add_task("", total=total, state="")

    def segment_begins(self, segment: Segment) -> None:
        self._bar.update(self._task, completed=segment.start, description=f"{len(segment.frozen)} frozen")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = {key: float(value) for key, value in (logs or {}).items()}
        self.epochs.append(now)
        shown = [f"{key} {now[key]:.3f}" for key in ("loss", "accuracy") if key in now]
        self._bar.update(self._task, advance=1, state="  ".join(shown))


_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("epochs"),
    TimeElapsedColumn(),
    TextColumn("{task.fields[state]}"),
)


def run(settings: inputs.Settings) -> int:
    """Run the main job and return the exit code: 0, or 130 after Ctrl-C.

    With the settings as they are by default, a small convolutional network, pretrained on the digits 0-4, is
    fine-tuned on 5-9, gradually, then in round robin. Writes ``timeline.png``, ``history.json`` and ``report.json``
    into a folder, also if training is interrupted or fails after an epoch; a folder in which nothing was written is
    removed again.

    Raises ``ScheduleError`` for what is wrong with the input, before anything is trained or written; ``InvalidSpec``
    also for a model and data that turn out not to train together.
    """
    given = inputs.check(settings)
    console = Console(quiet=settings.quiet)
    with given.folder_made():
        if settings.model is None and not (settings.resume and given.keeper and given.keeper.found()):
            console.print("Pretraining the embedded network on the digits 0-4 …")
            inputs.default("pretrain")(given.tree.model)
        console.print(plot.text(given.plan.segments, given.plan.names, console.width))
        outcome = _train(given, console)
        if outcome.failure is None or outcome.epochs_trained:
            report.write(given, outcome)
    if outcome.failure is not None:
        raise outcome.failure
    console.print(report.table(outcome.reports, given.plan.unit))
    console.print(
        f"{outcome.frozen_weights_compared:,} comparisons of frozen weights, after every epoch: all bitwise equal."
    )
    if outcome.interrupted:
        done = f"Interrupted after {outcome.epochs_trained} of {given.epochs} epochs"
        console.print(f"{done}; --resume --out {given.folder} goes on.")
    console.print(f"Wrote timeline.png, history.json and report.json to {given.folder}/")
    return 130 if outcome.interrupted else 0


def _train(given: inputs.Inputs, console: Console) -> report.Trained:
    """Train as planned; what ends it early is part of the outcome, so that nothing trained is lost."""
    settings, network, keeper = given.settings, given.tree.model, given.keeper
    options = asdict(settings.options)
    x, y, test = given.data
    guard, interrupted, failure = FrozenGuard(), False, None
    in_steps = FreezeSchedule(
        given.plan.policy, unit=given.plan.unit, on_segment=lambda segment: guard.segment_begins(), **options
    )
    reports = in_steps.reports
    begun = time.perf_counter()
    with Progress(*_COLUMNS, console=console) as bar:
        watch = _Watch(bar, given.epochs)

        def on_segment(segment: Segment) -> None:
            # The order of the data depends on where the run is, not on where it was begun (RES-2).
            keras.utils.set_random_seed((settings.seed + segment.start) % 2**32)
            watch.segment_begins(segment)

        def fit(length: int, *more: Any) -> Any:
            try:
                return network.fit(
                    x, y, epochs=length, batch_size=inputs.BATCH_SIZE, validation_data=test, verbose=0,
                    callbacks=[guard, watch, *more],
                )  # fmt: skip
            except (ScheduleError, FrozenMoved):
                raise
            except Exception as error:
                shown = ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in (x, y))
                raise InvalidSpec("--data", shown, f"what the model can be trained on ({described(error)})") from error

        try:
            if keeper is None:
                fit(given.epochs, in_steps)
            else:
                how = RunOptions(checkpoint=keeper, resume=settings.resume, **options)
                train(given.tree, given.plan, fit, how, on_segment, reports)
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:
            failure = error
    seconds = time.perf_counter() - begun
    before = (keeper.resumed.history, keeper.resumed.epoch) if keeper and keeper.resumed else ({}, 0)
    history = merge([before, *(({key: [value] for key, value in logs.items()}, 1) for logs in watch.epochs)])
    return report.Trained(
        epochs_trained=before[1] + len(watch.epochs),
        resumed_after=before[1],
        interrupted=interrupted,
        failure=failure,
        training_seconds=seconds,
        frozen_weights_compared=guard.checks,
        history=history,
        reports=reports if keeper else in_steps.reports,
    )
