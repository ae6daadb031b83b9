"""The executor: one call of the user's fit function per segment, and one history of it all (EXE-1..13).

A drop-in for VL3D's ``DLFreezeTrainingExecutor``, under whose name it can be imported too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import keras

from refreeze.choices import check_listener
from refreeze.dialects import vl3d
from refreeze.errors import InvalidSpec, ScheduleError
from refreeze.keras import model as models
from refreeze.keras.checkpoint import Checkpointer
from refreeze.keras.controller import Controller, log_frozen_summary, log_segment
from refreeze.keras.options import Keywords, Options
from refreeze.keras.report import SegmentReport, SegmentRun
from refreeze.plan import Configuration, Plan, configuration, plan
from refreeze.policy import Policy, check_int
from refreeze.schedule import Segment, cut
from refreeze.selectors import Exactly

_log = logging.getLogger("refreeze")


class RunKeywords(Keywords, total=False):
    """The fields of ``RunOptions`` as keyword arguments."""

    checkpoint: Checkpointer | str | os.PathLike[str] | None
    resume: bool


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """``Options``, and those of a run that is one fit per segment; raises ``InvalidSpec`` as they do."""

    checkpoint: Checkpointer | str | os.PathLike[str] | None = None
    """Where checkpoints are kept: a folder, or a ``Checkpointer``, which may also save inside of segments."""
    resume: bool = False
    """Whether the run goes on from the newest checkpoint, or begins if there is none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.checkpoint is None:
            raise InvalidSpec("resume", self.resume, "False without a checkpoint")
        self.checkpointer()

    def checkpointer(self) -> Checkpointer | None:
        """Return what keeps the checkpoints of one run, if anything does."""
        given = self.checkpoint
        return given if given is None or isinstance(given, Checkpointer) else Checkpointer(given)


def execute(
    model: Any,
    policy: Policy,
    total: int,
    fit: Callable[[int], Any],
    *,
    on_segment: Callable[[Segment], None] | None = None,
    reports: list[SegmentReport] | None = None,
    **options: Unpack[RunKeywords],
) -> Any:
    """Train ``model`` for ``total`` epochs under ``policy`` and return one ``keras.callbacks.History`` of it all.

    Before each call of ``fit`` the model is put into the state of the segment (EXE-2). If training is stopped in a
    segment, the run ends there (EXE-8). An exception of ``fit`` passes through, and the model stays as it is in that
    segment (EXE-9). A ``Checkpointer`` that also saves inside of segments trains them in parts, and everything that is
    said here of a segment is then said of each part. A resumed run calls ``fit`` for what is left; weights, optimizer
    and history end bit for bit like those of a run that was never interrupted (RES-1, RES-2), if the data come in the
    same order. Where data are shuffled at random, ``on_segment`` can see to that:
    ``lambda segment: keras.utils.set_random_seed(segment.start)``.

    Args:
        model: a Keras model, built and compiled.
        policy: what is frozen when; its ticks are epochs.
        total: the epochs of the run, an integer >= 0.
        fit: is called with the length of each segment, in order (EXE-1), and returns the History of its
            ``model.fit(..., epochs=length)``.
        on_segment: is called with each segment when it has begun, before its fit.
        reports: a list that is given a ``SegmentReport`` after each call of ``fit`` in this run.
        options: the fields of ``RunOptions``.

    Raises a ``ScheduleError`` before anything is changed: ``Conflict``, ``UnknownName``, ``Unsupported``,
    ``InvalidSpec``, ``CheckpointError``, ``ScheduleMismatch`` (RES-3); ``InvalidSpec`` also if ``fit`` returns no
    History of that many epochs, and ``CheckpointError`` if no checkpoint can be written.
    """
    chosen = RunOptions(**options)
    return train(model, plan(policy, total=total), fit, chosen, on_segment, [] if reports is None else reports)


def train(
    model: Any,
    planned: Plan,
    fit: Callable[[int], Any],
    options: RunOptions,
    on_segment: Callable[[Segment], None] | None,
    reports: list[SegmentReport],
) -> Any:
    """Do what ``execute`` does, for a plan in epochs and a model, be it read already; raises what it raises."""
    check_listener(on_segment)
    schedule = run = planned.segments
    controller = Controller(model, planned.policy.names, schedule, options)
    tree, model = controller.tree, controller.model
    keeper = options.checkpointer()
    history: dict[str, list[float]] = {}
    done, stopped = 0, False
    if keeper is not None:
        if resumed := keeper.begin(tree, schedule, resume=options.resume, optimizer_state=options.optimizer_state):
            history, done, stopped = resumed.history, resumed.epoch, resumed.stopped
            for before in cut(schedule, done - 1, done):
                controller.follow(before)
            run = () if stopped else cut(schedule, done)
        run = tuple(keeper.parts(run))
    model.stop_training = stopped
    with controller.running(resumed=done > 0):
        for number, segment in enumerate(run, start=1):
            now = SegmentRun(controller, segment)
            counts = f", {now.trainable} of {now.frozen + now.trainable} parameters trainable"
            log_segment(f"{number}/{len(run)}", "epochs", segment, counts)
            try:
                if on_segment is not None:
                    on_segment(segment)
                new = fit(segment.length)
            finally:
                now.leave()
            stopped = bool(model.stop_training)
            epochs = _epochs_of(new, model, segment.length, stopped)
            reports.append(now.ended(epochs, new.history))
            history, done = merge([(history, done), (new.history, epochs)]), done + epochs
            if keeper is not None:
                keeper.save(tree, schedule, done, history, stopped)
            if stopped:
                _log.info("training was stopped after %d of %d epochs", done, planned.total)
                break
    log_frozen_summary(tree)
    if options.restore:
        controller.restore()
    merged = keras.callbacks.History()
    merged.set_model(model)
    merged.history, merged.epoch, merged.params = history, list(range(done)), {"epochs": planned.total}
    return merged


def merge(parts: Sequence[tuple[Mapping[str, Sequence[float]], int]]) -> dict[str, list[float]]:
    """Return one history for ``parts``, each a history and the epochs that it is of, in order (EXE-6).

    Every key of any part is there, in the order of first appearance, with one value per epoch: NaN where a part does
    not have it. A part with fewer values than epochs (``validation_freq``) does not say which epochs they are of: they
    are taken as the first, the rest is NaN, and a warning is logged.

    >>> merge([({"loss": [3.0, 2.0]}, 2), ({"loss": [1.0], "acc": [0.5]}, 1)])
    {'loss': [3.0, 2.0, 1.0], 'acc': [nan, nan, 0.5]}
    """
    nan = float("nan")
    merged: dict[str, list[float]] = {key: [] for history, _ in parts for key in history}
    for history, epochs in parts:
        for key, values in merged.items():
            new = list(history.get(key, ()))
            if 0 < len(new) < epochs:
                _log.warning(
                    "history[%r] has %d values for %d epochs; the last are taken as missing", key, len(new), epochs
                )
            values += (new + [nan] * epochs)[:epochs]
    return merged


def _epochs_of(history: Any, model: Any, wanted: int, stopped: bool) -> int:
    """Return the epochs of what a fit function returned; raise ``InvalidSpec`` unless it is what was asked for."""
    where = f"fit_fn({wanted})"
    if not isinstance(history, keras.callbacks.History) or not isinstance(getattr(history, "epoch", None), list):
        raise InvalidSpec(where, history, "the History that model.fit returns")
    if history.model is not None and history.model is not model:
        raise InvalidSpec(where, history.model.name, f"a History of the model that the run is for, {model.name!r}")
    epochs = len(history.epoch)
    if epochs > wanted or (epochs < wanted and not stopped):
        raise InvalidSpec(f"epochs of {where}", epochs, f"{wanted}, if nothing stops training")
    return epochs


class FreezeTrainingExecutor:
    """Prepares and runs VL3D's freeze-training on any Keras model.

    ``freeze_training`` is the list of specifications, or None for plain training; the options are the fields of
    ``RunOptions``. Both are checked here: raises ``InvalidSpec`` for what is wrong by itself. After ``run``,
    ``reports`` has a ``SegmentReport`` per call of ``fit``: one per segment, or part of one.
    """

    def __init__(self, freeze_training: Any = None, **options: Unpack[RunKeywords]) -> None:
        self.freeze_training = freeze_training
        self.reports: list[SegmentReport] = []
        self._options = RunOptions(**options)
        self._configuration()

    def prepare_schedule(self, training_epochs: int, nn: Any = None) -> vl3d.Rated:
        """Return ``compute_schedule`` of the executor's own specifications."""
        return self.compute_schedule(self.freeze_training, training_epochs, nn)

    @staticmethod
    def compute_schedule(freeze_training: Any, training_epochs: int, nn: Any = None) -> vl3d.Rated:
        """Return ``(op_epoch, op, lrs)`` as ``vl3d.compute_schedule`` does; with a model, its layers are the names."""
        return vl3d.compute_schedule(freeze_training, training_epochs, None if nn is None else models.layer_names(nn))

    @staticmethod
    def resolve_layers(layers: Iterable[str] | str, spec_index: int, nn: Any = None) -> list[str]:
        """Return the layers meant by an entry ``layers``, as ``vl3d.resolve_layers`` does for the layers of ``nn``."""
        return vl3d.resolve_layers(layers, spec_index, None if nn is None else models.layer_names(nn))

    handle_round_robin_freezing = staticmethod(vl3d.handle_round_robin_freezing)
    handle_random_freezing = staticmethod(vl3d.handle_random_freezing)

    @staticmethod
    def validate_layers(nn: Any, ops: Sequence[dict[str, list[str]]]) -> None:
        """Raise ``UnknownName``, with every missing layer and close matches, unless ``nn`` has those of ``ops``."""
        used = dict.fromkeys(name for op in ops for key in ("freeze", "unfreeze") for name in op[key])
        Exactly(tuple(used))(models.layer_names(nn), "operations")

    def run(self, nn: Any, training_epochs: int, fit_fn: Callable[[int], Any]) -> Any:
        """Train ``nn`` under the schedule and return one History; see ``execute``, which says what is raised."""
        if not callable(fit_fn):
            raise InvalidSpec("fit_fn", fit_fn, "callable with a number of epochs")
        check_int("training_epochs", training_epochs)
        tree = models.read(nn)
        planned = plan(self._configuration(), tree.layer_names, total=training_epochs)
        self.reports, before = [], self.reports
        try:
            return train(tree, planned, fit_fn, self._options, None, self.reports)
        except ScheduleError:
            self.reports = self.reports or before  # a run that is refused takes away nothing
            raise

    def _configuration(self) -> Configuration:
        return configuration([] if self.freeze_training is None else self.freeze_training, vl3d.DIALECT)

    @staticmethod
    def log_frozen_summary(nn: Any) -> None:
        """Log how many layers of ``nn`` are frozen, and which (EXE-11)."""
        log_frozen_summary(models.read(nn))


DLFreezeTrainingExecutor = FreezeTrainingExecutor
