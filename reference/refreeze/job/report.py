"""What a run leaves: history, report and picture in its folder, and a table on the terminal."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence
from typing import Any

import keras
import msgspec
from rich import box
from rich.table import Column, Table

import refreeze
from refreeze import plot, segments_json
from refreeze.job.inputs import Inputs
from refreeze.keras.report import SegmentReport, whole_step_seconds
from refreeze.writing import write_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to; most of it stands in ``report.json``."""

    epochs_trained: int
    """The epochs that have ended, those before a resumption included."""
    resumed_after: int
    """How many of them were trained before this run resumed."""
    interrupted: bool
    """Whether Ctrl-C ended it."""
    failure: Exception | None
    """What ended it, if anything went wrong."""
    training_seconds: float
    """The time it took."""
    frozen_weights_compared: int
    """How often a frozen weight was compared with what it was."""
    history: dict[str, list[Any]]
    """The history of the epochs that have ended."""
    reports: list[SegmentReport]
    """The segments trained, in order."""


def write(given: Inputs, outcome: Trained) -> None:
    """Write ``history.json``, ``report.json`` and ``timeline.png``, each whole or not at all."""
    found, language, settings = given.plan, given.asked.dialect, given.settings
    whole_step = whole_step_seconds(outcome.reports)
    report = {
        "refreeze": refreeze.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "dialect": language.name,
        "config": msgspec.to_builtins(given.asked.config),
        "seed": settings.seed,
        "switch": settings.options.switch,
        "optimizer_state": settings.options.optimizer_state,
        "rates_ignored": sorted(found.rates.names) if found.rates else [],
        "unit": found.unit,
        "total": found.total,
        "epochs": given.epochs,
        **_fields(outcome, "history", "reports"),
        "failure": outcome.failure and str(outcome.failure),
        "whole_step_seconds": whole_step,
        "schedule": segments_json.to_json(found.segments),
        "segments": [_segment(item, whole_step) for item in outcome.reports],
    }
    for name, content in (("history.json", outcome.history), ("report.json", report)):
        # NaN is no JSON: a metric that is absent in an epoch is null there, which is how msgspec writes it.
        plain = msgspec.json.format(msgspec.json.encode(content, enc_hook=float), indent=1)
        write_whole("--out", given.folder / name, [plain, b"\n"])
    title = f"{language.name}, {found.total} {found.unit}"
    picture = plot.draw(found.segments, found.names, unit=found.unit, title=title)
    write_whole("--out", given.folder / "timeline.png", [plot.render(picture, "png")])


def _segment(item: SegmentReport, whole_step: float | None) -> dict[str, Any]:
    return {
        "start": item.segment.start,
        "stop": item.segment.stop,
        **_fields(item, "segment", "history"),
        "break_even_steps": item.break_even(whole_step),  # infinity is no JSON either: null if it never has paid
        "last": _last(item),
    }


def _fields(item: Trained | SegmentReport, *without: str) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for f in dataclasses.fields(item) if f.name not in without}


def _last(item: SegmentReport) -> dict[str, float]:
    """Return what each metric was in the last epoch of a segment."""
    return {key: values[-1] for key, values in item.history.items() if values}


def table(reports: Sequence[SegmentReport], unit: str) -> Table:
    """Return the table of the segments trained."""
    columns = [unit, "frozen\nlayers", "trained\nparams", "loss", "accu-\nracy", "test"]
    columns += ["switch\nms", "first\nms", "step\nms", "repaid\nsteps"]
    found = Table(
        *(Column(heading, justify="right", no_wrap=True) for heading in columns),
        title="Segments",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="loss, accuracy, test: when the segment ends\n"
        "first: its first step, with the trace of a new one; step: the median of the next\n"
        "repaid: after how many of its steps entering it has paid, against training all",
    )
    whole_step = whole_step_seconds(reports)
    for item in reports:
        last, start, repaid = _last(item), item.segment.start, item.break_even(whole_step)
        found.add_row(
            f"{start}-{start + item.trained - 1}",
            str(len(item.segment.frozen)),
            f"{item.trainable_parameters:,}",
            *(f"{last[key]:.3f}" if key in last else "" for key in ("loss", "accuracy", "val_accuracy")),
            f"{item.switch_seconds * 1e3:.1f}",
            "" if item.first_step_seconds is None else f"{item.first_step_seconds * 1e3:,.0f}",
            "" if item.step_seconds is None else f"{item.step_seconds * 1e3:.1f}",
            "" if repaid is None else "never" if math.isinf(repaid) else f"{repaid:,}",
        )
    return found
