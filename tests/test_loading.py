"""Objects that the command line names as module:name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from refreeze import InvalidSpec
from refreeze.loading import call_object, load_object


def broken() -> None:
    raise LookupError("no such data")


def test_a_module_of_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_alone.py").write_text("answer = lambda: 42")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert call_object("--data", "mine_alone:answer") == 42


def test_the_object_itself_is_returned() -> None:
    assert load_object("--data", "math:pi") == math.pi


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("math", "--data = 'math' must be of the form module:name"),
        (":pi", "--data = ':pi' must be of the form module:name"),
        ("math:", "--data = 'math:' must be of the form module:name"),
        ("no_such:pi", "--data = 'no_such:pi' must be the name of something that exists (No module named 'no_such')"),
        (
            "math:no",
            "--data = 'math:no' must be the name of something that exists (module 'math' has no attribute 'no')",
        ),
        ("math:pi", "--data = 'math:pi' must be a function, not of the type float"),
        (
            "test_loading:broken",
            "--data = 'test_loading:broken' must be a function that needs no arguments and works "
            "(LookupError: no such data)",
        ),
        (
            "malformed:f",
            "--data = 'malformed:f' must be a function that needs no arguments and works "
            "(SyntaxError: invalid syntax (malformed.py, line 1))",
        ),
    ],
)
def test_what_cannot_be_called_is_one_clear_error(
    reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "malformed.py").write_text("def f(:")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidSpec) as raised:
        call_object("--data", reference)
    assert str(raised.value).startswith(message)
