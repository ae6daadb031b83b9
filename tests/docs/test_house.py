"""The map of the house in CONTRIBUTING and README agrees with the code: rooms, and what each of them imports."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from typing import NamedTuple

import pytest
import refreeze
import yaml
from pages import ROOT, blocks, title, written
from test_examples import PROJECT, TOX, commands, wrong
from test_import import LEVEL, SOURCE, imports

CORE = {"", "errors", "policy", "schedule", "windows", "selectors"}
ROOMS = sorted(path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "docs")
READMES = [path for room in ROOMS for path in sorted(room.rglob("README.md"))]


def rooms() -> set[str]:
    found = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")}
    return {room for room in found if not room.startswith("_")}


def imported(room: str) -> set[str]:
    """Return the rooms and the packages, but for the standard library, that a room imports."""
    paths = [SOURCE / f"{room}.py"] if (SOURCE / f"{room}.py").exists() else list((SOURCE / room).rglob("*.py"))
    assert paths, room
    found = set()
    for path in paths:
        for name, _ in imports(ast.parse(path.read_text(encoding="utf-8"))):
            package, _, rest = name.partition(".")
            if package == "refreeze":
                found.add(rest.partition(".")[0] if rest.partition(".")[0] in rooms() else "")
            elif package not in sys.stdlib_module_names:
                found.add(package)
    return found - {room}


class Room(NamedTuple):
    """A row of the map."""

    may: set[str]
    needs: set[str]


def table() -> dict[str, Room]:
    """Return the map, as CONTRIBUTING has it."""
    found: dict[str, Room] = {}
    for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        name, _, allowed, needs = (cell.strip() for cell in line.strip("|").split("|"))
        named = set(re.findall(r"`(\w+)`", allowed))
        may = {*found, ""} - named if "all above" in allowed else named | (CORE if "the core" in allowed else set())
        found[name.strip("`")] = Room(may, set(re.findall(r"\w+", needs)))
    return found


def test_the_map_has_every_room_lowest_first():
    assert table().keys() == rooms()
    assert [LEVEL[room] for room in table()] == sorted(LEVEL[room] for room in table())


@pytest.mark.parametrize("room", sorted(table()))
def test_a_room_imports_what_the_map_says(room):
    assert imported(room) <= table()[room].may | table()[room].needs


def test_no_two_files_of_tests_have_one_name():
    """Pytest refuses the second: no folder of tests is a package."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_the_tests_lie_as_the_package_does():
    """A file for each module at the top, a folder for each package; the others are named here."""
    tests = ROOT / "tests"
    files = {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")}
    folders = {path.parent.name for path in tests.glob("*/test_*.py")}
    assert files - rooms() <= {"import", "typing"}
    assert folders - rooms() <= {"docs", "fuzz", "peers", "proofs", "pytorch"}
    assert "torch" not in folders, "it would be imported in place of PyTorch, which need not be installed"


PAGES = [*written(), *READMES]


@pytest.mark.parametrize("page", PAGES, ids=map(title, PAGES))
def test_what_a_page_names_is_there(page):
    """Files and folders of this repository, environments of tox and extras; what follows `RR-4` is an example."""
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:docs|tests|reference|benchmarks|examples)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists() and "RR-4" not in path] == []
    assert [name for name in re.findall(r"tox -e ([\w-]+\w)", text) if f"[testenv:{name}]" not in TOX] == []
    assert [extra for extra in re.findall(r"refreeze\[(\w+)\]", text) if f"\n{extra} = [" not in PROJECT] == []


@pytest.mark.parametrize("page", READMES, ids=map(title, READMES))
def test_the_commands_of_a_readme_are_there(page):
    shown = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.kind == "console"]
    assert [bad for text in shown for command, _ in commands(text) for bad in wrong(command)] == []


def test_the_readme_says_what_is_where():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What is where")[2].partition("\n## ")[0]
    places = re.findall(r"^\| `([\w./-]+)`", text, flags=re.MULTILINE)
    assert len(places) > 8
    assert [place for place in places if not (ROOT / place).exists()] == []
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "README.md").exists()}
    assert {f"{name}/" for name in top if not name.startswith(".")} <= set(places)


def test_the_error_in_the_readme_is_what_the_command_line_says(tmp_path):
    (shown,) = (block.text for block in blocks((ROOT / "README.md").read_text(encoding="utf-8")) if not block.kind)
    spec = {"layers": ["stem"], "training_interval": [0, 5]}
    wrong = spec | {"strategy": {"type": "round_robin", "window_size": 0, "iterative_span": 1}}
    (tmp_path / "schedule.json").write_text(json.dumps({"dialect": "vl3d", "config": [spec, wrong]}))
    call = [sys.executable, "-m", "refreeze.cli", "plan", "schedule.json", "--epochs", "5", "--names", "stem"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, " ".join(done.stderr.split())) == (2, shown.strip())


def test_the_hooks_before_a_commit_are_what_tox_checks_first():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == re.findall(
        r"^    py: ((?:ruff|mypy)[^>\n]*)$", TOX, re.MULTILINE
    )


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == refreeze.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation.keys() >= {"title", "message", "authors"}
