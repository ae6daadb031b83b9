"""Objects that the command line names as module:name."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from refreeze import InvalidSpec
from refreeze.loading import call_object, load_object

USERS = """\
def broken():
    # what the user's own file does is shown, whatever was called from there
    raise LookupError("no such data")
def json():
    import json; json.loads("")
def gone():
    import no_such
class Mute(Exception):
    def __str__(self):
        raise ValueError
def mute():
    raise Mute
"""


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
            "users:broken",
            "--data = 'users:broken' must be a function that needs no arguments and works "
            "(LookupError: no such data, at users.py:3)",
        ),
        ("users:json", "(JSONDecodeError: Expecting value: line 1 column 1 (char 0), at users.py:5)"),
        ("users:gone", "(ModuleNotFoundError: No module named 'no_such', at users.py:7)"),
        ("imports:f", "works (ModuleNotFoundError: No module named 'no_such', at imports.py:1)"),
        ("quits:f", "works (SystemExit: 3, at quits.py:2)"),
        ("sys:exit", "works (SystemExit)"),
        ("users:mute", "works (Mute, at users.py:12)"),
        ("..:f", "--data = '..:f' must be of the form module:name"),
        ("no_such.inner:f", "must be the name of something that exists (No module named 'no_such')"),
        (
            "math.inner:f",
            "must be the name of something that exists (No module named 'math.inner'; 'math' is not a package)",
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
    (tmp_path / "imports.py").write_text("import no_such")
    (tmp_path / "quits.py").write_text("import sys\nsys.exit(3)")
    (tmp_path / "users.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users", raising=False)
    with pytest.raises(InvalidSpec) as raised:
        call_object("--data", reference)
    assert message in str(raised.value)
