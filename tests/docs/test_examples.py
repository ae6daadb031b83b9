"""Every example in README and docs runs, in the order of its page, and prints what the page says.

A page is one program, in an empty folder: ``pycon`` blocks are doctests, ``python`` blocks are run, blocks whose first
line is a comment with a file name are written to that file, and in ``console`` blocks the commands after ``$`` are run
and their output compared, where ``…`` alone on a line stands for any lines, and within one for any text.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Block, blocks, title, written

RUN = ("pycon", "python", "console")
NOT_HERE = re.compile(r"pip install|tox|git |refreeze run")
"""Commands that other tests run, or that need a network."""


def pages() -> list[object]:
    found = []
    for page in written():
        text = page.read_text(encoding="utf-8")
        if any(block.kind in RUN for block in blocks(text)):
            marks = [pytest.mark.engine] if re.search(r"import keras|refreeze\.engine", text) else []
            found.append(pytest.param(page, id=title(page), marks=marks))
    return found


@pytest.mark.parametrize("page", pages())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {"__name__": "__main__"} | (a_users_model() if page.name == "README.md" else {})
    known = {*sys.modules}
    try:
        for block in blocks(page.read_text(encoding="utf-8")):
            run(block, names, page)
    finally:
        for name in {*sys.modules} - known:  # a file of one page is not that of another
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]


def a_users_model() -> dict[str, object]:
    """Return the ``model``, ``x`` and ``y`` that the README's reader has."""
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(2) for _ in range(3))])
    model.compile("sgd", "mse")
    return {"model": model, "x": np.ones((8, 3), "float32"), "y": np.ones((8, 2), "float32")}


def run(block: Block, names: dict[str, object], page: Path) -> None:
    """Do what a block says, in the current folder."""
    if block.file is not None:
        Path(block.file).write_text(block.text, encoding="utf-8")
    elif block.kind == "pycon" or block.text.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(
            block.text, names, f"{title(page)}:{block.line}", str(page), block.line - 1
        )
        test.globs = names  # not a copy: functions see what later blocks define
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        if runner.run(test, out=said.append, clear_globs=False).failed:
            pytest.fail("".join(said), pytrace=False)
    elif block.kind == "python":
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, str(page), "exec"), names)
    elif block.kind == "console":
        for command, expected in commands(block.text):
            if not NOT_HERE.search(command):
                shell(command, expected, f"{title(page)}, line {block.line}")


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown; comments are left out."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        command, _, output = part.partition("\n")
        found.append((re.sub(r"\s+# .*", "", command), output))
    return found


def shell(command: str, expected: str, where: str) -> None:
    """Run a command with the interpreter of the tests first in the path; compare what it prints, if that is shown."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=300)
    printed = done.stdout + done.stderr
    if not expected.strip():
        assert done.returncode == 0, f"{where}: {command}\n{printed}"
        return
    lines = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + r"\n"
        for line in expected.rstrip().splitlines()
    )
    assert re.fullmatch(pattern, lines), f"{where}: {command} prints\n{lines}\nand should\n{expected}"
