"""What the frameworks do: each answer in the documentation is what its experiment gives, wherever that can run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS

EXPERIMENTS = DOCS / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
lab = importlib.import_module("lab")
RESULTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in EXPERIMENTS.glob("results/*.json")}
CELLS = [(name, cell) for name, result in RESULTS.items() for cell in result["cells"]]
NEEDED = {
    "keras-jax": "jax",
    "keras-torch": "torch",
    "pytorch": "torch",
    "lightning": "lightning",
    "lighter": "lighter",
}


def scripts() -> dict[str, Path]:
    found = {path.stem: path for path in EXPERIMENTS.glob("*.py")}
    return {name: path for name, path in found.items() if name not in ("lab", "run_all")}


def test_every_question_has_its_experiment_and_every_experiment_a_result():
    assert sorted(RESULTS) == sorted(scripts()) == sorted(importlib.import_module("run_all").QUESTIONS)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_dated_and_has_an_answer_with_versions_or_a_reason_for_each_system(name):
    result = RESULTS[name]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert result["question"].endswith("?")
    assert [cell["system"] for cell in result["cells"]] == list(lab.SYSTEMS)
    for cell in result["cells"]:
        assert set(cell) == ({"system", "answer", "why"} if cell["answer"] is None else
                             {"system", "answer", "observed", "versions"})  # fmt: skip
        assert set(cell.get("versions", {"python": ""})) >= {"python"}


def test_the_table_of_accuracies_is_that_of_the_stored_runs():
    spec = importlib.util.spec_from_file_location("accuracy", EXPERIMENTS / "accuracy" / "late_thaw.py")
    experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)
    runs = json.loads(experiment.STORED.read_text(encoding="utf-8"))["runs"]
    assert len(runs) == len(experiment.POLICIES) * len(experiment.RATES) * len(experiment.SEEDS)
    assert experiment.TABLE.read_text(encoding="utf-8") == experiment.table(runs)


def marks(system: str) -> list[pytest.MarkDecorator]:
    """Return the marks of an experiment: those of Keras on TensorFlow run with the engine's tests, in this process."""
    if system in ("keras-tensorflow", "refreeze"):
        return [pytest.mark.engine]
    missing = importlib.util.find_spec(NEEDED[system]) is None
    return [pytest.mark.peers, pytest.mark.skipif(missing, reason=f"{NEEDED[system]} is not installed")]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        pytest.param(name, cell, id=f"{name}-{cell['system']}", marks=marks(cell["system"]))
        for name, cell in CELLS
        if cell["answer"] is not None
    ],
)
def test_an_experiment_gives_the_answer_that_is_written(name, cell):
    system = cell["system"]
    if system in ("keras-tensorflow", "refreeze"):
        module = importlib.import_module(name)
        got = lab.ask(str(module.__doc__), module.EXPERIMENTS, system)
    else:
        command = [sys.executable, str(scripts()[name]), system]
        got = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert got["answer"] == cell["answer"], f"write it down: python docs/experiments/run_all.py {name}"


CITED = [
    pytest.param(*found, page.name, id=f"{page.stem}-{found[1]}", marks=[pytest.mark.peers])
    for page in sorted(DOCS.glob("dialects/*.md"))
    for found in re.findall(r"`(\w[\w/]+\.py):(\d+)`\s+`([^`]+)`", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("file", "line", "code", "page"), CITED)
def test_a_line_that_a_page_cites_is_that_of_the_version_it_names(file, line, code, page):
    package = file.partition("/")[0]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    if importlib.metadata.version(package) not in (DOCS / "dialects" / page).read_text(encoding="utf-8"):
        pytest.skip(f"another version of {package} is installed")
    path = Path(found.submodule_search_locations[0]).parent / file
    assert code in path.read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_lines_are_cited():
    assert len(CITED) > 5
