"""Every example in README and docs runs, in the order of its page, and prints what the page says.

A page is one program, in an empty folder: ``pycon`` blocks are doctests, ``python`` blocks are run, blocks whose first
line is a comment with a file name are written to that file, and in ``console`` blocks the commands after ``$`` are run
and their output compared, where ``…`` alone on a line stands for any lines, and within one for any text. Those in
``sh`` blocks are only looked up. A ``timeline`` shows the ``policy`` of the page. The folder of the benchmark tutorial
is not empty: the runs that it reads are there.
"""

from __future__ import annotations

import doctest
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import refreeze
from pages import DOCS, ROOT, Block, blocks, title, written

TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
RUN = ("pycon", "python", "console", "sh")
NOT_HERE = re.compile(r"^(pip|tox|git|pytest|python|node|refreeze run|refreeze plan --model)\b|'node ")
"""Commands that other tests run, or that need a network, another program or minutes: what they name must be there."""


def pages() -> list[object]:
    found = []
    for page in written():
        text = page.read_text(encoding="utf-8")
        if any(block.kind in RUN for block in blocks(text)):
            marks = [pytest.mark.engine] if re.search(r"import keras|refreeze\.keras", text) else []
            if re.search(r"^import torch", text, flags=re.MULTILINE):
                missing = importlib.util.find_spec("torch") is None
                marks = [pytest.mark.torch, pytest.mark.skipif(missing, reason="torch is not installed")]
            found.append(pytest.param(page, id=title(page), marks=marks))
    return found


@pytest.mark.parametrize("page", pages())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.stem == "read-a-benchmark-report":
        shutil.copytree(DOCS / "tutorials" / "benchmark-runs", tmp_path, dirs_exist_ok=True)
        (tmp_path / "benchmarks").mkdir()
        shutil.copy(ROOT / "benchmarks" / "requirements.toml", tmp_path / "benchmarks")
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
    elif block.kind == "timeline":
        total = int(block.argument.split()[0])
        shown = eval(block.text, {**vars(refreeze)})
        assert refreeze.segments(shown, total) == refreeze.segments(names["policy"], total)
    elif block.kind == "sh":
        lines = re.sub("^", "$ ", block.text.strip(), flags=re.MULTILINE)
        assert [bad for command, _ in commands(lines) for bad in wrong(command)] == []
    elif block.kind == "console":
        for command, expected in commands(block.text):
            where = f"{title(page)}, line {block.line}"
            if NOT_HERE.search(command):
                assert wrong(command) == [], where
            else:
                shell(command, expected, where)


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown; comments are left out."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        command, _, output = part.partition("\n")
        found.append((re.sub(r"\s+# .*", "", command), output))
    return found


def wrong(command: str) -> list[str]:
    """Return what a command names that is not there: environments of tox, files, commands and options of refreeze."""
    found = [part for part in re.findall(r"tox -e (\w+)", command) if f"[testenv:{part}]" not in TOX]
    found += [extra for extra in re.findall(r"refreeze\[(\w+)\]", command) if f"\n{extra} = [" not in PROJECT]
    if called := re.match(r"(?:pytest|python) (.*)", command):
        paths = [part for part in called[1].split() if "/" in part]
        found += [path for path in paths if not (ROOT / path).exists()]
    if called := re.match(r"refreeze ((?:[a-z]+ )+)", command):
        said = options(called[1])
        found += [called[1]] if said is None else []
        found += [option for option in re.findall(r"--[a-z-]+", command) if option not in (said or "")]
    return found


@functools.cache
def options(command: str) -> str | None:
    """Return the help of a command of refreeze, None if there is no such command."""
    call = [sys.executable, "-m", "refreeze.cli", *command.split(), "--help"]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    return None if done.returncode else done.stdout


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("tox -e docs", []),
        ("tox -e dcos", ["dcos"]),
        ("pip install 'refreeze[run]'", []),
        ("pip install 'refreeze[runn]'", ["runn"]),
        ("pytest tests/docs/test_examples.py", []),
        ("pytest tests/docs/test_exmaples.py", ["tests/docs/test_exmaples.py"]),
        ("refreeze run --spec x", []),
        ("refreeze run --sepc x", ["--sepc"]),
        ("refreeze rnu --spec x", ["rnu ", "--spec"]),
    ],
)
def test_a_command_that_is_not_there_is_found(command, found):
    assert wrong(command) == found


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
