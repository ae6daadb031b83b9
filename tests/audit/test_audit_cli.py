"""`refreeze audit`: exit codes, JSON, the picture, one line for whatever is wrong with the input."""

from __future__ import annotations

import json

import pytest
from made_up import NAMES, MadeUp
from refreeze.cli import app
from typer.testing import CliRunner

ALL = set(NAMES)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = [{"layers": ["stem", "body"], "training_interval": [0, 3]}]
    (tmp_path / "spec.json").write_text(json.dumps({"dialect": "vl3d", "config": config}))
    for name, rule in (("right", lambda e, s: {"head"} if e < 3 else ALL), ("wrong", lambda e, s: ALL)):
        run = MadeUp()
        run.start()
        run.train(rule)
        run.write(tmp_path / name)
    return tmp_path


def call(*arguments):
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_right_run_exits_with_0_and_a_wrong_one_with_1():
    code, out, err = call("right", "--spec", "spec.json")
    assert (code, err) == (0, "")
    assert "12 records, from epoch 0, step 0 to epoch 5, step 1. The run did what the schedule says." in out
    code, out, err = call("wrong", "--spec", "spec.json")
    assert (code, err) == (1, "")
    assert "moved-while-frozen from epoch 0, step 0 on (6 of 6 records): stem.w, body.w" in out
    assert "  did move: stem.w, body.w, head.w" in out


def test_json_has_all_of_it():
    code, out, _ = call("wrong", "--spec", "spec.json", "--json", "--ignore", "statistics-drifted")
    found = json.loads(out)
    assert (code, found["held"], found["counts"]) == (1, False, {"moved-while-frozen": 2})
    assert found["faults"][0] == {
        "kind": "moved-while-frozen", "name": "stem.w", "tick": 0, "epoch": 0, "step": 0, "records": 6, "of": 6,
        "why": "", "record": 1,
    }  # fmt: skip


def test_what_is_unclear_counts_if_it_is_asked_for(folder):
    run = MadeUp()
    run.start()
    for epoch in range(6):
        run.step(epoch, 0, {"body", "head"} if epoch >= 3 else {"head"})
    run.write(folder / "unclear")
    assert call("unclear", "--spec", "spec.json")[0] == 0
    code, out, _ = call("unclear", "--spec", "spec.json", "--strict")
    assert code == 1
    assert "Unclear: stem.w did not move while it was trainable, from epoch 3, step 0 on" in out


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_shows_what_should_be_and_what_was(folder, ending):
    assert call("wrong", "--spec", "spec.json", "--picture", f"picture.{ending}")[0] == 1
    content = (folder / f"picture.{ending}").read_bytes()
    if ending == "svg":
        for part in (b'id="frozen stem"', b'id="moved head"', b'id="wrong body"'):
            assert part in content
    assert len(content) > 1_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing",), "RUN = 'missing' must be a file that can be read (No such file or directory)"),
        (("spec.json",), "RUN, line 1"),
        (("right", "--epochs", "2"), "RUN, line 7 = 2 must be a tick of the run, which has 2 epochs"),
        (("right", "--ignore", "noise"), "--ignore = 'noise' must be one of moved-while-frozen, frozen-late"),
        (("right", "--picture", "right"), "--picture = 'right' must be named .png or .svg"),
        (("right", "--picture", "none/p.svg"), "--picture = 'none/p.svg' must be a file that can be written"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(arguments, said):
    code, out, err = call(*arguments, "--spec", "spec.json")
    assert (code, out) == (2, "")
    assert err.startswith(f"refreeze: error: {said}")
    assert len(err.splitlines()) == 1
