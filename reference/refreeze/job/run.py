"""The main job: fine-tune a model under a schedule, watch that frozen stays frozen, and report every segment."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import keras
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import refreeze
from refreeze import plot, segments_json
from refreeze.dialects import dialect, files
from refreeze.errors import InvalidSpec
from refreeze.keras import model as models
from refreeze.keras.callback import FreezeSchedule
from refreeze.keras.checkpoint import Checkpointer
from refreeze.keras.executor import SegmentReport, execute
from refreeze.keras.guard import FrozenGuard
from refreeze.keras.history import merge
from refreeze.keras.optimizer import check_single_rates
from refreeze.keras.options import Switch
from refreeze.loading import call_object
from refreeze.policy import check_int
from refreeze.schedule import Segment, segments, steps_per_epoch

DEFAULT_OUT = "refreeze-out"
CHECKPOINTS = "checkpoints"
BATCH_SIZE = 32


def _default(name: str) -> Any:
    """Return the embedded example's ``name``; it is imported late, for it alone needs scikit-learn."""
    from refreeze.job import digits

    return getattr(digits, name)


def _model(reference: str | None) -> Any:
    if reference is None:
        return _default("model")()
    model = call_object("--model", reference)
    if not isinstance(model, keras.Model):
        raise InvalidSpec("--model", model, "a function that returns a compiled Keras model")
    return model


def _data(reference: str | None, model: Any) -> tuple[Any, Any, Any]:
    """Return x, y and the test pair or None; the numbers of examples and the shapes of the images are checked."""
    found = _default("data")(first=5) if reference is None else call_object("--data", reference)
    allowed = "a function that returns (x, y) or ((x, y), (x_test, y_test)), arrays"
    if not isinstance(found, tuple) or len(found) != 2:
        raise InvalidSpec("--data", found, allowed)
    train, test = found if isinstance(found[0], tuple) else (found, None)
    for pair in (train, test) if test is not None else (train,):
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(getattr(array, "shape", ()) for array in pair):
            raise InvalidSpec("--data", found, allowed)
        if len(pair[0]) != len(pair[1]):
            raise InvalidSpec("--data", f"{len(pair[0])} inputs, {len(pair[1])} targets", "as many inputs as targets")
        given, wanted = pair[0].shape[1:], getattr(model, "input_shape", (None, *pair[0].shape[1:]))[1:]
        if len(given) != len(wanted) or any(size not in (None, g) for g, size in zip(given, wanted, strict=True)):
            raise InvalidSpec("--data", tuple(given), f"of the model's input shape {wanted}")
    return *train, test


def _folder(out: str | None, resume: bool = False) -> Path:
    """Return the folder to write to, made; only a run that is resumed writes where something is already."""
    if resume:
        if out is None or not (Path(out) / CHECKPOINTS).is_dir():
            raise InvalidSpec("--out", out, f"the folder of the run to resume, with {CHECKPOINTS}/ in it")
        return Path(out)
    if out is None:
        candidates = (Path(DEFAULT_OUT if number == 1 else f"{DEFAULT_OUT}-{number}") for number in range(1, 10_000))
        folder = next(path for path in candidates if not path.exists())
    else:
        folder = Path(out)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidSpec("--out", out, "a new or an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpec("--out", str(folder), f"a folder that can be made ({error.strerror})") from None
    return folder


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


def _table(reports: list[SegmentReport], unit: str) -> Table:
    table = Table(
        title="Segments",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="loss, accuracy, test: at the end of the segment; step: a train step made anew, or put back",
    )
    headings = [unit, "frozen\nlayers", "frozen\nparams", "trained\nparams", "rate\nset"]
    for heading in [*headings, "loss", "accu-\nracy", "test", "switch\nms"]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("step", no_wrap=True)
    for report in reports:
        last = {key: values[-1] for key, values in report.history.items() if values}
        shown = [f"{last[key]:.3f}" if key in last else "" for key in ("loss", "accuracy", "val_accuracy")]
        segment = report.segment
        table.add_row(
            f"{segment.start}-{segment.start + report.epochs - 1}",
            str(len(segment.frozen)),
            f"{report.frozen_parameters:,}",
            f"{report.trainable_parameters:,}",
            "" if segment.learning_rate is None else f"{segment.learning_rate:g}",
            *shown,
            f"{report.switch_seconds * 1e3:.1f}",
            "new" if report.new_step else "back",
        )
    return table


def run(
    *,
    spec: str | None = None,
    epochs: int | None = None,
    model: str | None = None,
    data: str | None = None,
    switch: Switch = "cached",
    cache_size: int = 16,
    seed: int = 0,
    out: str | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> int:
    """Run the main job and return the exit code: 0, or 130 after Ctrl-C.

    Without arguments: a small convolutional network, pretrained on the digits 0-4, is fine-tuned on 5-9, gradually,
    then in round robin. ``spec`` is a configuration file of any dialect; ``model`` and ``data``: ``module:function``.
    Writes ``timeline.png``, ``history.json`` and ``report.json`` into ``out``, by default a new ``refreeze-out``.
    A checkpoint is kept at the end of each segment and, with ``checkpoint_every``, after so many epochs; ``resume``
    goes on from the last one in ``out``, to the same weights and history as if nothing had happened (RES-2).
    Raises ``ScheduleError`` for what is wrong with the input, before anything is trained or written.
    """
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InvalidSpec("--seed", seed, "an integer in [0, 2**32)")
    if checkpoint_every is not None:
        check_int("--checkpoint-every", checkpoint_every, 1)
    language, config = (dialect("vl3d"), _default("SCHEDULE")) if spec is None else files.read(spec)
    config = language.parse(config)
    total = _default("EPOCHS") if epochs is None else epochs
    console = Console(quiet=quiet)
    keras.utils.set_random_seed(seed)
    network = _model(model)
    names = models.layer_names(network) if language.names == "layers" else models.variable_names(network)
    x, y, test = _data(data, network)
    in_steps, steps = language.unit == "steps", steps_per_epoch(len(x), BATCH_SIZE)
    if in_steps and (resume or checkpoint_every is not None):
        raise InvalidSpec("--resume, --checkpoint-every", language.name, "absent: a schedule in steps is one fit")
    ticks = check_int("--epochs", total) * (steps if in_steps else 1)
    check_single_rates(language.learning_rates(config, names, total=ticks, steps_per_epoch=steps))
    policy = language.policy(config, names, total=ticks, steps_per_epoch=steps)
    schedule = segments(policy, ticks)
    folder = _folder(out, resume)
    keeper = None if in_steps else Checkpointer(folder / CHECKPOINTS, every=checkpoint_every)
    if model is None and not (resume and keeper and keeper.found()):
        console.print("Pretraining the embedded network on the digits 0-4 …")
        _default("pretrain")(network)
    console.print(plot.text(schedule, names, console.width))

    reports: list[SegmentReport] = []
    guard = FrozenGuard()
    begun = time.perf_counter()
    interrupted = False
    with Progress(*_COLUMNS, console=console) as bar:
        watch = _Watch(bar, total)

        def on_segment(segment: Segment) -> None:
            # The order of the data depends on where the run is, not on where it was begun (RES-2).
            keras.utils.set_random_seed((seed + segment.start) % 2**32)
            watch.segment_begins(segment)

        def on_segment_of_steps(segment: Segment, seconds: float, new: bool) -> None:
            guard.segment_begins()
            frozen, trainable = models.read(network).parameter_counts()
            report = SegmentReport(
                segment=segment, epochs=segment.length, frozen_parameters=frozen, trainable_parameters=trainable,
                switch_seconds=seconds, new_step=new, history={},
            )  # fmt: skip
            reports.append(report)

        def fit(length: int, *more: Any) -> Any:
            return network.fit(
                x, y, epochs=length, batch_size=BATCH_SIZE, validation_data=test, verbose=0,
                callbacks=[guard, watch, *more],
            )  # fmt: skip

        try:
            if in_steps:
                options: dict[str, Any] = {"switch": switch, "cache_size": cache_size}
                fit(total, FreezeSchedule(policy, unit="steps", on_segment=on_segment_of_steps, **options))
            else:
                execute(
                    network, policy, total, fit, switch=switch, cache_size=cache_size, on_segment=on_segment,
                    reports=reports, checkpoint=keeper, resume=resume,
                )  # fmt: skip
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - begun

    before = (keeper.resumed.history, keeper.resumed.epoch) if keeper and keeper.resumed else ({}, 0)
    history = merge([before, *(({key: [value] for key, value in logs.items()}, 1) for logs in watch.epochs)])
    trained = before[1] + len(watch.epochs)
    report = {
        "refreeze": refreeze.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "dialect": language.name,
        "config": msgspec.to_builtins(config),
        "seed": seed,
        "switch": switch,
        "unit": language.unit,
        "total": ticks,
        "epochs": total,
        "epochs_trained": trained,
        "resumed_after": before[1],
        "interrupted": interrupted,
        "training_seconds": seconds,
        "frozen_weights_compared": guard.checks,
        "schedule": segments_json.to_json(schedule),
        "segments": [
            {
                "start": item.segment.start,
                "stop": item.segment.stop,
                "trained": item.epochs,
                "frozen_parameters": item.frozen_parameters,
                "trainable_parameters": item.trainable_parameters,
                "switch_seconds": item.switch_seconds,
                "new_step": item.new_step,
                "last": {key: values[-1] for key, values in item.history.items() if values},
            }
            for item in reports
        ],
    }
    for name, content in (("history.json", history), ("report.json", report)):
        unfinished = folder / f"{name}.unfinished"
        # NaN is no JSON: a metric that is absent in an epoch is null there, which is how msgspec writes it.
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(content, enc_hook=float), indent=1) + b"\n")
        unfinished.replace(folder / name)
    plot.save(
        plot.draw(schedule, names, unit=language.unit, title=f"{language.name}, {ticks} {language.unit}"),
        folder / "timeline.png",
    )

    console.print(_table(reports, language.unit))
    console.print(f"{guard.checks:,} comparisons of frozen weights, after every epoch: all bitwise equal.")
    if interrupted:
        console.print(f"Interrupted after {trained} of {total} epochs; --resume --out {folder} goes on.")
    console.print(f"Wrote timeline.png, history.json and report.json to {folder}/")
    return 130 if interrupted else 0
