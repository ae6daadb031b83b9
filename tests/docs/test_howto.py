"""Following the how-to of a clause in a copy of the project: all of it is enough, and nothing of it can be left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, ROOT, blocks

PARTS = ("sentence", "page", "example", "table", "law", "wrong one", "vector")


def follow(copy: Path, without: str = "") -> None:
    """Add the clause of the page to a copy of the project, without one of the parts that it has."""
    kit = copy / "reference" / "refreeze" / "conformance"
    given = {block.kind: block.text for block in blocks((DOCS / "howto" / "add-a-clause.md").read_text("utf-8"))}
    sentence, page, law, vector = (given[kind] for kind in ("toml", "text", "py", "json"))
    if without == "example":
        page = page.partition("```pycon")[0]

    def edit(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    if without != "sentence":
        edit(kit / "clauses.toml", '[[clause]]\nid = "RND-1"', f'{sentence}\n[[clause]]\nid = "RND-1"')
    if without != "page":
        path = copy / "docs" / "specification" / "round-robin.md"
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{page}", encoding="utf-8")
    if without != "table":
        edit(copy / "docs" / "specification" / "index.md", "RR-1..3", "RR-1..4")
    if without != "law":
        edit(kit / "cases" / "vl3d.py", '    "RND-1-agrees', f'{law}    "RND-1-agrees')
    if without != "wrong one":
        edit(copy / "tests" / "conformance" / "wrong_ones.py", '1]))", "VL3-2")', '1]))", "VL3-2 RR-4")')
    if without != "vector":
        (kit / "vectors" / "RR-4").mkdir()
        (kit / "vectors" / "RR-4" / "all.json").write_text(vector, encoding="utf-8")


def passes(copy: Path) -> bool:
    """Return whether the tests of the specification, of the page's example and of what laws catch pass in the copy."""
    files = ("docs/test_specification.py", "docs/test_examples.py", "conformance/test_kit_laws.py")
    tests = [*(f"tests/{file}" for file in files), "-k", "specification or round-robin or every_law_catches"]
    environment = os.environ | {"PYTHONPATH": str(copy / "reference")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not engine", *tests]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


@pytest.fixture
def copy(tmp_path):
    for folder in ("reference", "docs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for file in ("pyproject.toml", "tox.ini", "README.md"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


def test_a_clause_that_is_added_as_the_page_says_is_complete(copy):
    follow(copy)
    assert passes(copy)


@pytest.mark.slow
@pytest.mark.parametrize("without", PARTS)
def test_a_clause_that_lacks_a_part_is_found(copy, without):
    follow(copy, without)
    assert not passes(copy)
