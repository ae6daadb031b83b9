"""The main job, as a user runs it: real digits, real files, a real Ctrl-C."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_models
from refreeze import InvalidSpec, ScheduleError, UnknownName, Unsupported, segments, segments_json
from refreeze.cli import app
from refreeze.dialects import vl3d
from refreeze.job import digits, inputs
from refreeze.job import run as job
from refreeze.job.inputs import Settings
from refreeze.keras.guard import FrozenGuard, FrozenMoved
from refreeze.keras.options import Options
from typer.testing import CliRunner

pytestmark = pytest.mark.engine


def model() -> Any:
    return small_models.build("dense")


def data() -> Any:
    return (small_models.X, small_models.Y), (small_models.X[:8], small_models.Y[:8])


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "refreeze"), "run", *arguments]


def spec(folder: Path, config: Any) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps({"dialect": "vl3d", "config": config}))
    return str(path)


def test_the_default_run_writes_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = ["--epochs", "10", "--optimizer-state", "per_variable"]
    done = subprocess.run(command("--out", str(out), *chosen), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints",
        "history.json",
        "report.json",
        "timeline.png",
    ]
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")

    history, report = (json.loads((out / name).read_text()) for name in ("history.json", "report.json"))
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert {len(values) for values in history.values()} == {10}
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_accuracy"][-1] > 0.6  # of five digits; chance is 0.2

    policy = vl3d.policy(vl3d.DIALECT.parse(digits.SCHEDULE))
    expected = segments(policy, 10)
    assert segments_json.from_json(report["schedule"]) == expected
    assert [(item["start"], item["stop"], item["trained"]) for item in report["segments"]] == [
        (segment.start, segment.stop, segment.length) for segment in expected
    ]
    assert report["frozen_weights_compared"] > 0
    assert report["optimizer_state"] == "per_variable"
    assert "as large as a new optimizer's" not in done.stderr
    assert not report["interrupted"]
    for words in ("Pretraining the embedded network", "Segments", "all bitwise equal", "Wrote timeline.png"):
        assert words in done.stdout


def test_a_schedule_in_steps_over_parameters_switches_inside_of_epochs(tmp_path: Path) -> None:
    freezers = {"dialect": "lighter", "config": [{"names": "one/kernel", "until_step": 3}, {"name_starts_with": "two"}]}
    (tmp_path / "spec.yaml").write_text(json.dumps(freezers))
    out = tmp_path / "out"
    arguments = {"model": "test_run:model", "data": "test_run:data", "quiet": True, "out": str(out), "epochs": 3}
    assert job.run(Settings(spec=str(tmp_path / "spec.yaml"), **arguments)) == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["unit"], report["total"], report["epochs_trained"]) == ("steps", 6, 3)
    assert [(item["start"], item["stop"], item["frozen_parameters"]) for item in report["segments"]] == [
        (0, 3, 64 * 12 + 12 * 13),
        (3, 6, 12 * 13),
    ]
    # Three frozen variables after the first epoch and at the switch inside of the second; then two, after two epochs.
    assert report["frozen_weights_compared"] == 3 + 3 + 2 + 2
    first, second = report["segments"]
    assert (first["trained"], first["last"].keys()) == (3, {"loss", "accuracy", "val_loss", "val_accuracy"})
    assert first["first_step_seconds"] > first["step_seconds"] > 0
    assert (report["whole_step_seconds"], second["break_even_steps"]) == (None, None)  # nothing trained everything
    with pytest.raises(InvalidSpec, match="must be absent: a schedule in steps is one fit"):
        job.run(Settings(spec=str(tmp_path / "spec.yaml"), **arguments, resume=True))


def test_rates_of_single_layers_are_ignored_if_asked_and_the_report_says_so(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("dialect: freezeout\nconfig: {}\n")
    arguments = {"spec": str(tmp_path / "spec.yaml"), "model": "test_run:model", "data": "test_run:data", "epochs": 1}
    with pytest.raises(Unsupported, match="--rates ignore"):
        job.run(Settings(**arguments, out=str(tmp_path / "refused"), quiet=True))
    assert job.run(Settings(**arguments, out=str(tmp_path / "out"), quiet=True, options=Options(rates="ignore"))) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rates_ignored"] == ["head", "one", "two"]
    assert [item["start"] for item in report["segments"]] == [0]


class Failing(keras.Sequential):
    """A model whose evaluation fails after each epoch but the first ``left``."""

    left = 0

    def evaluate(self, *args: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no\n  more")
        return super().evaluate(*args, **options)


class Misshapen(keras.layers.Layer):
    """A layer that fails when its step is traced, in the middle of TensorFlow."""

    def call(self, x: Any, training: bool = False) -> Any:
        return keras.ops.matmul(x, keras.ops.ones((3, 3))) if training else x


def failing(left: int = 0, *more: Any) -> Any:
    network = Failing([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, name="one"), *more])
    network.left = left
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network


def failing_later() -> Any:
    return failing(1)


def misshapen() -> Any:
    return failing(1, Misshapen())


def mismatched() -> Any:
    network = small_models.dense()
    network.compile("sgd", "mse")  # which needs targets of another shape
    return network


FAILS, MISSHAPES = (method.__code__.co_firstlineno for method in (Failing.evaluate, Misshapen.call))
FILES = ["checkpoints", "history.json", "report.json", "timeline.png"]


@pytest.mark.parametrize(
    ("model", "reason", "left"),
    [
        ("failing", rf"RuntimeError: no more, at \S*test_run\.py:{FAILS + 3}", []),
        ("failing_later", rf"RuntimeError: no more, at \S*test_run\.py:{FAILS + 3}", FILES),
        ("misshapen", rf"\w+: Exception encountered when calling Misshapen.*, at \S*test_run\.py:{MISSHAPES + 1}", []),
        ("mismatched", r"\w+: .*(?<!test_run\.py:\d\d\d)", []),
    ],
    ids=["at once", "later", "in a trace", "in Keras alone"],
)
def test_a_fit_that_fails_is_one_error_that_names_the_users_line_and_loses_no_epoch(
    model: str, reason: str, left: list[str], tmp_path: Path
) -> None:
    path, out = spec(tmp_path, [{"layers": ["one"], "training_interval": [0, 1]}]), tmp_path / "new" / "out"
    with pytest.raises(InvalidSpec) as raised:
        job.run(
            Settings(spec=path, epochs=2, model=f"test_run:{model}", data="test_run:data", out=str(out), quiet=True)
        )
    expected = r"--data = 'float32 \(48, 8, 8, 1\), int64 \(48,\)' must be what the model can be trained on"
    assert re.fullmatch(rf"{expected} \({reason}\)", str(raised.value))
    assert (sorted(path.name for path in out.iterdir()) if out.exists() else []) == left
    assert out.parent.exists() is bool(left)  # a folder that was made for nothing goes again
    if left:
        assert len(json.loads((out / "history.json").read_text())["loss"]) == 1
        assert json.loads((out / "report.json").read_text())["failure"] == str(raised.value)


def test_the_schedule_of_the_default_run_is_gradual_then_round_robin() -> None:
    found = segments(vl3d.policy(vl3d.DIALECT.parse(digits.SCHEDULE)), digits.EPOCHS)
    assert sum(segment.length for segment in found) == digits.EPOCHS
    counts = [len(segment.frozen) for segment in found]
    assert counts == [6, 4, 2, 0, 2, 2, 2, 2, 2, 0]
    assert f"{digits.EPOCHS} by default" in CliRunner().invoke(app, ["run", "--help"]).output


def test_one_seed_is_one_result(tmp_path: Path) -> None:
    arguments = {"spec": spec(tmp_path, [{"layers": ["one"], "training_interval": [1, 2]}]), "epochs": 3, "quiet": True,
                 "model": "test_run:model", "data": "test_run:data"}  # fmt: skip
    for number, switch in enumerate(("cached", "cached", "rebuild")):
        assert (
            job.run(Settings(**arguments, seed=5, options=Options(switch=switch), out=str(tmp_path / str(number)))) == 0
        )
    histories = [(tmp_path / str(number) / "history.json").read_text() for number in range(3)]
    assert histories[0] == histories[1] == histories[2]


@contextlib.contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen]:
    # A shell that starts its jobs in the background lets them ignore Ctrl-C, and their children inherit that.
    hear = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(arguments, preexec_fn=hear, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], Any], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_run_is_resumed_to_the_same_history(tmp_path: Path) -> None:
    turns = [{"layers": ["stem_conv", "block1_conv"], "training_interval": [0, 8],
              "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 2}}]  # fmt: skip
    arguments = ("--spec", spec(tmp_path, turns), "--epochs", "8", "--quiet")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(*arguments, "--out", str(whole)), check=True, timeout=240)
    with started(*command(*arguments, "--out", str(killed))) as process:
        until(lambda: list(killed.glob("checkpoints/epoch-*4.npz")))
        process.kill()
    assert not (killed / "history.json").exists()
    subprocess.run(command(*arguments, "--out", str(killed), "--resume"), check=True, timeout=240)
    assert (killed / "history.json").read_text() == (whole / "history.json").read_text()
    report = json.loads((killed / "report.json").read_text())
    assert report["resumed_after"] >= 4
    assert report["epochs_trained"] == 8


def test_ctrl_c_ends_cleanly_and_loses_no_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(folder) for folder in Path(__file__).parents[:2]))
    out = tmp_path / "out"
    endless = ("--epochs", "100000", "--checkpoint-every", "1", "--spec", spec(tmp_path, []))
    mine = ("--model", "small_models:build", "--data", "test_run:data")
    long = command("--out", str(out), *endless, *mine)
    with started(*long, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: list(out.glob("checkpoints/epoch-*2.npz")))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report, history = (json.loads((out / name).read_text()) for name in ("report.json", "history.json"))
    assert report["interrupted"]
    assert 0 < report["epochs_trained"] < 100000
    assert {len(values) for values in history.values()} == {report["epochs_trained"]}
    assert f"Interrupted after {report['epochs_trained']} of 100000 epochs; --resume --out" in output
    assert "Wrote timeline.png, history.json and report.json" in output


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"resume": True}, InvalidSpec, "must be the folder of the run to resume, with checkpoints/ in it"),
        ({"checkpoint_every": 0}, InvalidSpec, "--checkpoint-every = 0 must be an integer >= 1"),
        ({"seed": -1}, InvalidSpec, "--seed = -1 must be an integer in [0, 2**32)"),
        ({"model": "test_run"}, InvalidSpec, "--model = 'test_run' must be of the form module:name"),
        ({"model": "test_run:data"}, InvalidSpec, "must be a function that returns a compiled Keras model"),
        ({"data": "test_run:model"}, InvalidSpec, "must be a function that returns (x, y)"),
        ({"data": "test_run:scalars"}, InvalidSpec, "must be a function that returns (x, y) or ((x, y), (x_test, y_te"),
        (
            {"data": "test_run:too_few"},
            InvalidSpec,
            "--data = '48 inputs, 47 targets' must be as many inputs as targets",
        ),
        (
            {"data": "test_run:words"},
            InvalidSpec,
            "--data = '<U5' must be a function that returns (x, y) or ((x, y), (x_te",
        ),
        ({"data": "test_run:too_wide"}, InvalidSpec, "--data = (9, 9, 1) must be of the model's input shape (8, 8, 1)"),
        ({"epochs": -1}, InvalidSpec, "--epochs = -1 must be an integer >= 0"),
        ({"model": "test_run:model"}, UnknownName, "unknown 'stem_conv'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained_or_written(
    tmp_path: Path, arguments: dict[str, Any], kind: type[ScheduleError], message: str
) -> None:
    with pytest.raises(kind) as raised:
        job.run(Settings(**arguments, out=str(tmp_path / "out"), quiet=True))
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


def words() -> Any:
    return small_models.X, np.full(48, "seven")


def too_few() -> Any:
    return small_models.X, small_models.Y[1:]


def scalars() -> Any:
    return np.float32(1), np.float32(2)


def any_size() -> Any:
    layers = keras.layers
    inputs = [keras.Input((None, None, 1)), layers.Conv2D(2, 3, name="one"), layers.GlobalAveragePooling2D()]
    network = keras.Sequential([*inputs, layers.Dense(10, name="two")])
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network


class Subclassed(keras.Model):
    """A model without an input shape."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = keras.layers.Flatten(), keras.layers.Dense(10, name="two")

    def call(self, x: Any) -> Any:
        return self.two(self.one(x))


def subclassed() -> Any:
    network = Subclassed()
    network(small_models.X[:1])
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network


@pytest.mark.parametrize("model", [any_size, subclassed])
def test_images_may_have_any_size_that_the_model_takes(model: Callable[[], Any], tmp_path: Path) -> None:
    freeze = spec(tmp_path, [{"layers": ["two"], "training_interval": [0, 1]}])
    arguments = {"model": f"test_run:{model.__name__}", "data": "test_run:data", "epochs": 1, "quiet": True}
    assert job.run(Settings(spec=freeze, **arguments, out=str(tmp_path / "out"))) == 0


def too_wide() -> Any:
    return np.zeros((4, 9, 9, 1), np.float32), np.zeros(4)


def test_what_an_earlier_run_wrote_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(InvalidSpec, match="must be a new or an empty folder"):
        inputs._folder(str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    for name in ("refreeze-out", "refreeze-out-2", "refreeze-out-3"):
        assert str(inputs._folder(None)) == name
        (tmp_path / name).mkdir()


def test_the_guard_sees_a_frozen_weight_that_moves() -> None:
    network = small_models.build("cnn")
    network.get_layer("norm").trainable = False
    guard = FrozenGuard()
    guard.set_model(network)
    guard.on_train_begin()
    guard.on_epoch_end(0)
    assert guard.checks == 4
    moving_mean = network.get_layer("norm").moving_mean
    moving_mean.assign(moving_mean + 1e-7)
    with pytest.raises(FrozenMoved, match=r"changed in epoch 1 of the fit: norm: .*moving_mean$"):
        guard.on_epoch_end(1)
