"""What a run leaves: history, report and picture in its folder, and a table on the terminal."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
from rich import box
from rich.table import Table

import refreeze
from refreeze import plot, segments_json
from refreeze.job.inputs import Inputs
from refreeze.keras.report import SegmentReport, whole_step_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to."""

    reports: list[SegmentReport]
    """The segments trained, in order."""
    history: dict[str, list[Any]]
    """The history of all epochs that have ended, those before a resumption included."""
    epochs_trained: int
    """How many those are."""
    resumed_after: int
    """How many of them were trained before this run resumed."""
    interrupted: bool
    """Whether Ctrl-C ended it."""
    failure: Exception | None
    """What ended it, if anything went wrong."""
    seconds: float
    """The time it took."""
    comparisons: int
    """How often a frozen weight was compared with what it was."""


def write(given: Inputs, outcome: Trained, settings: dict[str, Any]) -> None:
    """Write ``history.json``, ``report.json`` and ``timeline.png``, each whole or not at all."""
    found, language = given.plan, given.asked.dialect
    whole = whole_step_seconds(outcome.reports)
    report = {
        "refreeze": refreeze.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "dialect": language.name,
        "config": msgspec.to_builtins(given.asked.config),
        **settings,
        "rates_ignored": sorted(found.rates.names) if found.rates else [],
        "unit": found.unit,
        "total": found.total,
        "epochs": given.epochs,
        "epochs_trained": outcome.epochs_trained,
        "resumed_after": outcome.resumed_after,
        "interrupted": outcome.interrupted,
        "failure": outcome.failure and str(outcome.failure),
        "training_seconds": outcome.seconds,
        "frozen_weights_compared": outcome.comparisons,
        "whole_step_seconds": whole,
        "schedule": segments_json.to_json(found.segments),
        "segments": [_segment(item, whole) for item in outcome.reports],
    }
    for name, content in (("history.json", outcome.history), ("report.json", report)):
        # NaN is no JSON: a metric that is absent in an epoch is null there, which is how msgspec writes it.
        plain = msgspec.json.format(msgspec.json.encode(content, enc_hook=float), indent=1) + b"\n"
        _replace(given.folder / name, plain)
    title = f"{language.name}, {found.total} {found.unit}"
    picture = plot.draw(found.segments, found.names, unit=found.unit, title=title)
    _replace(given.folder / "timeline.png", plot.render(picture, "png"))


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _segment(item: SegmentReport, whole: float | None) -> dict[str, Any]:
    own = [field.name for field in dataclasses.fields(item) if field.name not in ("segment", "history")]
    return {
        "start": item.segment.start,
        "stop": item.segment.stop,
        **{name: getattr(item, name) for name in own},
        "break_even_steps": item.break_even(whole),  # infinity is no JSON either: null if it never has paid
        "last": {key: values[-1] for key, values in item.history.items() if values},
    }


def table(reports: Sequence[SegmentReport], unit: str) -> Table:
    """Return the table of the segments trained."""
    found = Table(
        title="Segments",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="loss, accuracy, test: when the segment ends\n"
        "first: its first step, with the trace of a new one; step: the median of the next\n"
        "repaid: after how many of its steps entering it has paid, against training all",
    )
    headings = [unit, "frozen\nlayers", "trained\nparams", "loss", "accu-\nracy", "test"]
    for heading in [*headings, "switch\nms", "first\nms", "step\nms", "repaid\nsteps"]:
        found.add_column(heading, justify="right", no_wrap=True)
    whole = whole_step_seconds(reports)
    for item in reports:
        last = {key: values[-1] for key, values in item.history.items() if values}
        shown = [f"{last[key]:.3f}" if key in last else "" for key in ("loss", "accuracy", "val_accuracy")]
        segment, repaid = item.segment, item.break_even(whole)
        found.add_row(
            f"{segment.start}-{segment.start + item.trained - 1}",
            str(len(segment.frozen)),
            f"{item.trainable_parameters:,}",
            *shown,
            f"{item.switch_seconds * 1e3:.1f}",
            "" if item.first_step_seconds is None else f"{item.first_step_seconds * 1e3:,.0f}",
            "" if item.step_seconds is None else f"{item.step_seconds * 1e3:.1f}",
            "" if repaid is None else "never" if math.isinf(repaid) else f"{repaid:,}",
        )
    return found
