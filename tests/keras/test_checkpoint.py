"""Checkpoints as files: what is in them, what damage does, which one is used (RES-3, RES-4)."""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import random
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import CheckpointError, InvalidSpec, Segment, always, canonical, cut, during, segments
from refreeze.keras import execute
from refreeze.keras.checkpoint import Checkpointer, Saved
from refreeze.keras.model import read
from refreeze.keras.optimizer import prebuild
from strategies import encodings, runs

pytestmark = pytest.mark.engine
SCHEDULE = segments(during(always(["one"]), 0, 3), 14)


def history(epoch: int) -> dict[str, list[float]]:
    """Return one of so many epochs, with what JSON does not have: infinity, and what is no number."""
    some = {"loss": [0.1, math.inf], "mae": [math.nan, float(np.float32(0.3))]}
    return {key: (values * epoch)[:epoch] for key, values in some.items()}


def network(
    seed: int, *, units: int = 2, name: str = "one", optimizer: Any = keras.optimizers.Adam, more: bool = False
) -> keras.Model:
    """Return a compiled model whose every variable, also of the optimizer, was drawn with ``seed``."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units, name=name),
            keras.layers.Dropout(0.5),
            keras.layers.BatchNormalization(name="norm"),
            *([keras.layers.Dense(2, name="more")] if more else []),
        ]
    )
    model.compile(optimizer(gradient_accumulation_steps=2), "mse")
    prebuild(read(model))
    draw = np.random.default_rng(seed)
    for variable in [*model.variables, *model.optimizer.variables]:
        variable.assign(draw.integers(1, 99, variable.shape))
    return model


def bits(model: keras.Model) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]]


def saved(folder: Path, *epochs: int, model: keras.Model | None = None, **options: Any) -> Path:
    """Save one checkpoint per epoch, that of epoch ``e`` with the variables of ``network(e)``; return the last."""
    keeper = Checkpointer(folder, keep=99, **options)
    folder.mkdir(exist_ok=True)
    return [keeper.save(model or network(epoch), SCHEDULE, epoch, history(epoch)) for epoch in epochs][-1]


def rewrite_members(path: Path, changes: dict[str, bytes | None], method: int = zipfile.ZIP_STORED) -> None:
    """Change members of a checkpoint, or leave them out, and keep the others."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(path, "w", method) as new:
        for name, data in members.items():
            if data is not None:
                new.writestr(name, data)


def rewrite(path: Path, **changes: Any) -> None:
    """Change entries of ``state.json``, and leave all else of a checkpoint as it is."""
    with zipfile.ZipFile(path) as old:
        state = {**json.loads(old.read("state.json")), **changes}
    rewrite_members(path, {"state.json": json.dumps(state).encode()})


def array_1(path: Path, array: np.ndarray, end: int | None = None, method: int = zipfile.ZIP_STORED) -> None:
    """Put another array, or the beginning of one, into the place of the second variable, two float32."""
    file = io.BytesIO()
    np.save(file, array)
    rewrite_members(path, {"1.npy": file.getvalue()[:end]}, method)


def begin(folder: Path, model: keras.Model, **options: Any) -> Saved | None:
    return Checkpointer(folder, **options).begin(model, SCHEDULE, resume=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_float16"])
def test_every_variable_and_the_history_come_back_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(dtype)
    try:
        before, after = network(1), network(2)
    finally:
        keras.config.set_dtype_policy("float32")
    assert "SeedGenerator" in repr(before.layers[1].seed_generator)
    assert [v.path for v in before.variables if "seed" in v.path]  # they are among the variables compared
    assert isinstance(before.optimizer, keras.optimizers.LossScaleOptimizer) is (dtype == "mixed_float16")
    assert not any(old == new for old, new in zip(bits(before), bits(after), strict=True))
    saved(tmp_path, 2, model=before)
    resumed = begin(tmp_path, after)
    assert (resumed.epoch, repr(resumed.history), resumed.stopped) == (2, repr(history(2)), False)
    assert bits(after) == bits(before)


def test_the_file_is_a_zip_that_numpy_reads_and_the_same_state_makes_the_same_one(tmp_path: Path) -> None:
    first, second = (saved(tmp_path / folder, 2) for folder in "ab")
    assert first.read_bytes() == second.read_bytes()
    with np.load(first) as file:
        assert (file["0"] == network(2).variables[0].numpy()).all()
        state = json.loads(file["state.json"])
    assert (state["format"], state["version"], state["epoch"]) == ("refreeze checkpoint", 1, 2)
    assert state["variables"][:2] == ["one/kernel (3, 2) float32", "one/bias (2,) float32"]
    assert state["schedule"][0]["frozen"] == ["one"]


def test_without_any_checkpoint_a_resumed_run_begins(tmp_path: Path) -> None:
    model = network(3)
    before = bits(model)
    assert begin(tmp_path / "new" / "folder", model) is None
    assert bits(model) == before


def test_RES_4_a_truncated_checkpoint_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = saved(tmp_path, 2, 4)
    whole, expected, model = newest.read_bytes(), bits(network(2)), network(9)
    for length in [*range(0, len(whole), len(whole) // 9), len(whole) - 1]:
        newest.write_bytes(whole[:length])
        caplog.clear()
        assert begin(tmp_path, model).epoch == 2
        assert bits(model) == expected
        assert caplog.records[0].levelno == logging.WARNING
        assert caplog.messages[0].startswith(f"checkpoint {newest} is damaged")
    newest.write_bytes(whole)
    assert begin(tmp_path, model).epoch == 4
    assert bits(model) == bits(network(4))


def test_RES_4_a_flipped_bit_is_never_loaded(tmp_path: Path) -> None:
    newest, model, draw = saved(tmp_path, 2, 4), network(9), random.Random(0)
    whole, expected, skipped = newest.read_bytes(), {2: bits(network(2)), 4: bits(network(4))}, 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        newest.write_bytes(damaged)
        resumed = begin(tmp_path, model)
        # Where the flip is in what nothing depends on, as the file's date, the checkpoint is as good as it was.
        assert bits(model) == expected[resumed.epoch]
        assert repr(resumed.history) == repr(history(resumed.epoch))
        skipped += resumed.epoch == 2
    assert skipped >= 30


def _members(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name.replace("_", "."), text)


FOREIGN = {
    "text": (lambda path: path.write_text("no zip"), "is damaged, or no checkpoint (File is not a zip file)"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is damaged, or no checkpoint"),
    "an empty zip": (_members, "is damaged, or no checkpoint (\"There is no item named 'state.json' in the archive\")"),
    "another json": (lambda path: _members(path, state_json="[]"), "is damaged, or no checkpoint"),
    "another format": (
        lambda path: rewrite(path, format="safetensors"),
        "is 'safetensors' of version 1, not 'refreeze checkpoint' of version 1",
    ),
    "an older version": (
        lambda path: rewrite(path, version=0),
        "is 'refreeze checkpoint' of version 0, not 'refreeze checkpoint' of version 1",
    ),
    "a newer version": (
        lambda path: rewrite(path, version=2, future={"x": 1}),
        "is 'refreeze checkpoint' of version 2, not 'refreeze checkpoint' of version 1",
    ),
    "a wrong type": (lambda path: rewrite(path, epoch="four"), "is damaged, or no checkpoint (Expected `int`"),
    "another epoch": (lambda path: rewrite(path, epoch=10**9), "is damaged, or no checkpoint (its name, epoch, sched"),
    "an epoch beyond its schedule": (
        lambda path: rewrite(path, epoch=10**9, history={}) or path.rename(path.with_name("epoch-1000000000.npz")),
        "is damaged, or no checkpoint (its name, epoch, schedule",
    ),
    "no schedule": (lambda path: rewrite(path, schedule=[7]), "is damaged, or no checkpoint (segments = "),
    "a path among the names": (lambda path: rewrite(path, written=["../epoch-00000001.npz"]), "is damaged, or no"),
    "a variable missing": (
        lambda path: rewrite_members(path, {"1.npy": None}),
        "is damaged, or no checkpoint (\"There is no item named '1.npy'",
    ),
    "another shape": (lambda path: array_1(path, np.ones(3, "f4")), "is damaged, or no checkpoint (1.npy has ((3,)"),
    "another type": (lambda path: array_1(path, np.ones(2, "f8")), "is damaged, or no checkpoint (1.npy has ((2,)"),
    "a pickle": (lambda path: array_1(path, np.array([{}, {}])), "is damaged, or no checkpoint (1.npy has ((2,)"),
    "values cut off": (
        lambda path: array_1(path, np.ones(2, "f4"), -1),
        "is damaged, or no checkpoint (1.npy has ((2,)",
    ),
    "values too many": (
        lambda path: array_1(path, np.ones(999, "f4")),
        "is damaged, or no checkpoint (1.npy is compre",
    ),
    "a bomb": (
        lambda path: array_1(path, np.zeros(2**20, "f4"), method=zipfile.ZIP_DEFLATED),
        "is damaged, or no checkpoint (state.json is compressed",
    ),
    "a sparse file": (lambda path: os.truncate(path, 2**40), "is of another model: it is too large for this one"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is damaged, or no checkpoint (checkpoint = "),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_RES_4_a_file_that_is_no_checkpoint_of_this_version_is_skipped(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, why = FOREIGN[kind]
    newest, model = saved(tmp_path, 2, 4), network(9)
    spoil(newest)
    assert begin(tmp_path, model).epoch == 2
    assert bits(model) == bits(network(2))
    assert caplog.messages[0].startswith(f"checkpoint {tmp_path}/epoch-")
    assert f".npz {why}" in caplog.messages[0]


OTHERS = {
    "name": ({"name": "uno"}, "it has one/kernel (3, 2) float32, and the model uno/kernel (3, 2) float32"),
    "shape": ({"units": 4}, "it has one/kernel (3, 2) float32, and the model one/kernel (3, 4) float32"),
    "a layer more": ({"more": True}, "it has Adam[0] () {integer}, and the model more/kernel (2, 2) float32"),
    "optimizer": (
        {"optimizer": keras.optimizers.Lion},
        "it has Adam[0] () {integer}, and the model Lion[0] () {integer}",
    ),
    "fewer slots": ({"optimizer": partial(keras.optimizers.Adam, amsgrad=True)}, "it has nothing, and the model Adam["),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_another_model_or_optimizer_is_refused_and_nothing_changed(kind: str, tmp_path: Path) -> None:
    options, why = OTHERS[kind]
    saved(tmp_path, 2, 4)
    model = network(9, **options)
    integer = model.optimizer.variables[0].dtype
    before = bits(model)
    with pytest.raises(CheckpointError) as caught:
        begin(tmp_path, model)
    assert str(caught.value).startswith(
        f"checkpoint {tmp_path}/epoch-00000004.npz is of another model: {why.format(integer=integer)}"
    )
    assert bits(model) == before


def test_if_no_checkpoint_is_whole_the_error_is_that_of_the_newest(tmp_path: Path) -> None:
    saved(tmp_path, 2, 4)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    model = network(9)
    before = bits(model)
    with pytest.raises(CheckpointError, match=r"epoch-00000004\.npz is damaged"):
        begin(tmp_path, model)
    assert bits(model) == before


def test_what_is_not_allowed_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    def run(**options: Any) -> None:
        execute(network(1), always(["one"]), 4, lambda epochs: pytest.fail("trained"), **options)

    saved(tmp_path / "used", 2)
    with pytest.raises(InvalidSpec, match=r"checkpoint = '.*used' must be a folder without checkpoints, unless"):
        run(checkpoint=tmp_path / "used")
    with pytest.raises(InvalidSpec, match="resume = True must be False without a checkpoint"):
        run(resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSpec, match=r"checkpoint = '.*file' must be a folder that can be made \(File exists\)"):
        run(checkpoint=str(tmp_path / "file"))
    with pytest.raises(InvalidSpec, match=r"checkpoint = '.*' must be a folder that can be made \(.*null byte\)"):
        run(checkpoint="a\0b")
    for options, message in [
        ({"every": 0}, "every = 0 must be an integer >= 1"),
        ({"every": True}, "every = True must be an integer >= 1"),
        ({"keep": 0}, "keep = 0 must be an integer >= 1"),
    ]:
        with pytest.raises(InvalidSpec, match=message):
            Checkpointer(tmp_path, **options)
    with pytest.raises(InvalidSpec, match="checkpoint = 7 must be a folder, or a Checkpointer"):
        Checkpointer(7)  # type: ignore[arg-type]


def names(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("epoch-")) for path in folder.glob("epoch-????????.npz"))


def test_the_newest_whole_ones_stay(tmp_path: Path) -> None:
    keeper, model, there = Checkpointer(tmp_path), network(1), []
    for epoch in (1, 2, 10, 11):
        keeper.save(model, SCHEDULE, epoch, history(epoch))
        there.append(names(tmp_path))
    assert there == [[1], [1, 2], [2, 10], [10, 11]]

    # One that the run has not written is not counted, and stays.
    (tmp_path / "epoch-00000013.npz").touch()
    keeper = Checkpointer(tmp_path)
    assert keeper.begin(model, SCHEDULE, resume=True).epoch == 11
    for epoch, expected in [(12, [11, 12, 13]), (14, [12, 13, 14])]:
        keeper.save(model, SCHEDULE, epoch, history(epoch))
        assert names(tmp_path) == expected


def test_files_of_the_user_stay_and_links_are_not_followed(tmp_path: Path) -> None:
    """Only the exact names that the run, or the run that it resumes, has written are ever removed."""
    own = ("epoch-00000002.best.npz", "epoch-00000000-backup.npz", "epoch-00000001.npz", "unfinished", "notes.txt")
    folder, model, outside = tmp_path / "run", network(1), tmp_path / "outside"
    keeper = Checkpointer(folder, keep=1)
    keeper.begin(model, SCHEDULE, resume=False)
    keeper.save(model, SCHEDULE, 2, history(2))
    for name in own:
        (folder / name).write_text(name)
    keeper = Checkpointer(folder, keep=1)
    assert keeper.begin(model, SCHEDULE, resume=True).epoch == 2
    (folder / "epoch-00000004.npz").write_text("mine")
    (folder / "epoch-00000003.npz.unfinished").write_text("of a killed run")
    for epoch in (3, 4):
        keeper.save(model, SCHEDULE, epoch, history(epoch))
    assert names(folder) == [1, 4]
    assert (folder / "epoch-00000004.npz.1").read_text() == "mine"
    assert all((folder / name).read_text() == name for name in own)

    (folder / "epoch-00000005.npz.unfinished").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"epoch-00000005\.npz cannot be written \(File exists\)"):
        keeper.save(model, SCHEDULE, 5, history(5))
    assert not outside.exists()
    assert names(folder) == [1, 4]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_RES_4_a_failure_to_write_leaves_the_checkpoints_before(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
        with pytest.raises(CheckpointError) as caught:
            saved(tmp_path, 4)
    assert str(caught.value).endswith("epoch-00000004.npz cannot be written (No space left on device)")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert begin(tmp_path, network(9)).epoch == 2


@given(runs().flatmap(encodings).map(canonical), st.integers(1, 9) | st.none(), st.data())
def test_parts_are_the_segments_cut_at_the_multiples_of_every(
    schedule: tuple[Segment, ...], every: int | None, data: st.DataObject
) -> None:
    parts = list(Checkpointer("unused", every=every).parts(schedule))
    assert canonical(parts) == schedule
    edges = {part.start for part in parts}
    total = schedule[-1].stop if schedule else 0
    assert edges == {s.start for s in schedule} | (set(range(0, total, every)) if every else set())
    # A resumed run is a suffix of one that was not interrupted (RES-1).
    if parts:
        at = data.draw(st.sampled_from(sorted(edges)))
        rest = [part for part in parts if part.start >= at]
        assert list(Checkpointer("unused", every=every).parts(cut(schedule, at))) == rest


def test_a_refused_resumption_leaves_an_optimizer_that_was_not_built_as_it_was(tmp_path: Path) -> None:
    Checkpointer(tmp_path).save(network(1), SCHEDULE, 4, history(4))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, name="one")])
    model.compile("adam", "mse")
    with pytest.raises(CheckpointError, match="is of another model"):
        Checkpointer(tmp_path).begin(model, SCHEDULE, resume=True)
    assert not model.optimizer.built
    assert [variable.name for variable in model.optimizer.variables] == ["iteration", "learning_rate"]
