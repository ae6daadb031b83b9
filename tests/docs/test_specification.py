"""Each clause has a place in the specification with an example, and in the kit laws and vectors."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import DOCS, Block, blocks
from refreeze import errors
from refreeze.conformance.catalogue import laws
from refreeze.conformance.clauses import Clause, clauses
from refreeze.conformance.vectors import vectors
from refreeze.dialects import BUILT_IN, dialect

ONE_ALONE = {
    "SCH-2": "every answer is brought into canonical form before a law sees it",
    "KMP-2": "which form it is does not matter, only when two are equal",
}
"""Clauses that have laws or vectors, not both, and why."""
GLOSSARY = DOCS / "specification" / "terms.md"


class Stated(NamedTuple):
    """A clause as a page states it."""

    page: Path
    title: str
    example: bool
    """Whether an example that runs follows, before the next heading."""


def stated_on(page: Path, text: str) -> dict[str, Stated]:
    """Return the clauses of a page by id."""
    found: dict[str, Stated] = {}
    lines = text.splitlines()
    items: list[tuple[int, str | Block]] = [(block.line, block) for block in blocks(text)]
    inside = {line for block in blocks(text) for line in range(block.line, block.line + block.text.count("\n") + 1)}
    items += [(n, line) for n, line in enumerate(lines, 1) if re.match("#+ ", line) and n not in inside]
    title, current = "", None
    for _, item in sorted(items, key=lambda pair: pair[0]):
        if isinstance(item, str):
            title, current = item.lstrip("# "), None
        elif item.kind == "clause":
            assert item.argument not in found, f"{item.argument} is stated twice on {page.name}"
            assert not item.text.strip(), f"{item.argument}: the sentence is written in clauses.toml, and only there"
            current = item.argument
            found[current] = Stated(page, title, False)
        elif current and item.kind in ("pycon", "console"):
            found[current] = found[current]._replace(example=True)
    return found


@functools.cache
def stated() -> dict[str, Stated]:
    found: dict[str, Stated] = {}
    for page in sorted(DOCS.rglob("*.md")):
        here = stated_on(page, page.read_text(encoding="utf-8"))
        assert not found.keys() & here.keys(), f"stated on two pages: {found.keys() & here.keys()}"
        found |= here
    return found


def differences(clause: Clause, here: Stated) -> list[str]:
    """Return what the page says otherwise than the kit."""
    found = []
    if here.title != clause.title:
        found.append(f"the heading is {here.title!r}, but should be {clause.title!r}")
    if not here.example:
        found.append("no example follows")
    return found


def test_the_pages_state_every_clause_and_no_other():
    assert sorted(stated()) == sorted(clauses())


@pytest.mark.parametrize("clause", clauses().values(), ids=clauses())
def test_a_clause_has_its_heading_and_an_example(clause):
    here = stated().get(clause.id)
    assert here is not None, f"no page states {clause.id}: put it there, with an example"
    assert differences(clause, here) == [], here.page


@pytest.mark.parametrize("clause", clauses().values(), ids=clauses())
def test_a_clause_has_a_law_and_a_vector_or_a_reason_for_none(clause):
    law, vector = any(law.clause == clause.id for law in laws().values()), bool(vectors(clause.id))
    if clause.untestable or clause.id in ONE_ALONE:
        assert law + vector == (0 if clause.untestable else 1)
    else:  # a vector is a request and its answer: it cannot show a run
        assert law
        assert vector or clause.level == "execution"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("## Partition", "## Parts"), "the heading is"),
        (lambda text: text.replace("```pycon", "```text"), "no example"),
    ],
)
def test_a_clause_without_its_heading_or_an_example_is_found(change, said):
    page = DOCS / "specification" / "schedule.md"
    text = page.read_text(encoding="utf-8")
    assert differences(clauses()["SCH-1"], stated_on(page, text)["SCH-1"]) == []
    (problem,) = differences(clauses()["SCH-1"], stated_on(page, change(text))["SCH-1"])
    assert problem.startswith(said)


# Tables ------------------------------------------------------------------------------------------------------------
def cells(page: str, first: str) -> list[list[str]]:
    """Return the rows of the tables of a page whose first cell matches ``first``."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in found if re.match(first, row[0])]


def test_the_table_of_families_has_every_clause_on_the_page_that_states_it():
    listed = []
    for _, page, family, last in re.findall(
        r"\| \[([\w ]+)\]\((\S+)\) \|[^|]+\| ([A-Z]+)-1(?:\.\.(\d+))? \|",
        (DOCS / "specification" / "index.md").read_text(encoding="utf-8"),
    ):
        ids = [f"{family}-{number}" for number in range(1, int(last or 1) + 1)]
        assert [name for name, here in stated().items() if here.page.name == page] == ids
        listed += ids
    assert sorted(listed) == sorted(n for n, here in stated().items() if here.page.parent.name == "specification")


def test_the_table_of_errors_has_every_class_and_its_id():
    found = [error for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "id")]
    classes = {error.id: error.__name__ for error in found if error is not errors.ScheduleError}
    rows = cells("specification/index.md", "`[a-z-]+`$")
    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == classes
    assert {name for row in rows for name in re.findall(r"[A-Z]+-\d+", row[2])} <= set(clauses())


def test_the_table_of_dialects_is_what_they_say_of_themselves():
    rows = cells("dialects/index.md", r"\[\w+\]")
    assert {re.split(r"[\[\]]", row[0])[1]: row[1:] for row in rows} == {
        name: [dialect(name).names, dialect(name).unit, dialect(name).source] for name in BUILT_IN
    }


def test_the_table_of_limits_has_the_numbers_of_the_code():
    rows = [row for row in cells("specification/limits.md", ".") if re.search(r"\.[A-Z_]+`$", row[2])]
    assert len(rows) > 5
    for what, limit, place in rows:
        module, _, name = place.strip("`").rpartition(".")
        assert getattr(importlib.import_module(module), name) == int(limit.partition(" ")[0].replace(",", "")), what


# Terms -------------------------------------------------------------------------------------------------------------
def defined() -> list[str]:
    text = GLOSSARY.read_text(encoding="utf-8")
    return [line for block in blocks(text) for line in block.text.splitlines() if re.match(r"\S", line)]


def test_terms_are_defined_once_and_in_order():
    assert defined() == sorted(set(defined()), key=lambda term: term.replace(" ", ""))


def test_every_term_that_a_page_uses_is_defined():
    used = {
        (page.name, found[2] or found[1])
        for page in DOCS.rglob("*.md")
        for found in re.finditer(r"\{term\}`([^`<]+?)(?: <([^>]+)>)?`", page.read_text(encoding="utf-8"))
    }
    assert used
    assert [(page, term) for page, term in sorted(used) if term not in defined()] == []
