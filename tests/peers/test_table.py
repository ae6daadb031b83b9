"""The public table is what the stored reports say, and a stored report says of whom it is."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from refreeze.conformance.catalogue import every_check

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from peers import asked, table

STORED = sorted(asked.SYSTEMS.glob("*/*.json"))


def test_the_table_is_what_the_stored_reports_say():
    assert table.TABLE.read_text(encoding="utf-8") == table.combined(), "write it: python -m peers.table combine"


def test_the_table_has_at_least_twelve_implementations_and_the_versions_that_were_asked():
    rows = {row["name"]: row["versions"] for row in json.loads(table.TABLE.read_text("utf-8"))["implementations"]}
    assert len(rows) >= 12
    assert sum(map(len, rows.values())) == len(STORED)
    assert all(len(rows[name]) >= 3 for name in ("lightning", "keras_tensorflow"))


@pytest.mark.parametrize("file", STORED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_stored_report_names_its_version_and_adapter_and_its_laws_exist(file):
    report, system = json.loads(file.read_text("utf-8")), asked.systems()[file.parent.name]
    assert (report["asked"]["system"], report["asked"]["version"]) == (file.parent.name, file.stem)
    assert file.stem in (system.versions or (table.refreeze.__version__,))
    assert report["adapter"] == asked.shown(system).removesuffix(" --level execution")
    assert report["level"] == system.level
    known = {(check.law.id, check.law.clause, check.dialect) for check in every_check()}
    assert {(result["law"], result["clause"], result["dialect"]) for result in report["results"]} <= known


def result(verdict, requirement="must", dialect="vl3d", law="SCH-3-a", **failure):
    told = {"what": "w", "got": "g" * 999, "should_be": "s", "case": {}, "timelines": None, "replay": "refreeze …"}
    failed = told | failure if verdict in ("broken", "crashed", "known") else None
    clause = "-".join(law.split("-")[:2])
    about = {"law": law, "clause": clause, "dialect": dialect, "cases": 9, "unsupported": 2, "reason": None}
    return about | {"verdict": verdict, "requirement": requirement, "failure": failed}


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ([("holds", "must")], "holds"),
        ([("unsupported", "must"), ("holds", "must")], "holds"),
        ([("known", "must"), ("broken", "should")], "should"),
        ([("broken", "should"), ("crashed", "must"), ("holds", "must")], "must"),
    ],
)
def test_a_cell_says_the_worst_of_its_laws_the_musts_being_worst(verdicts, state):
    (cell,) = table.cells(result(*verdict) for verdict in verdicts).values()
    assert (cell["state"], cell["cases"]) == (state, 7 * len(verdicts))


def test_a_cell_has_each_dialect_and_each_failure_shortened_the_worst_first():
    some = [result("holds", dialect="nemo"), result("known"), result("broken", law="SCH-3-b"), result("holds")]
    (cell,) = table.cells(some).values()
    assert cell["dialects"] == {"nemo": "holds", "vl3d": "must"}
    assert [failure["law"] for failure in cell["failures"]] == ["SCH-3-b", "SCH-3-a"]
    assert len(cell["failures"][0]["got"]) == table.LONGEST


def test_musts_stand_before_shoulds():
    some = [result("holds", law="CFG-1-a"), result("holds")]
    stored = {"asked": {"version": "1", "date": "d", "python": "p", "beside": {}}, "refreeze": "0", "level": "schedule"}
    stored |= {"profile": "quick", "seed": 0, "fault": None, "results": some}
    found = table.table([("lighter", stored), ("lighter", stored)])
    assert [clause["id"] for clause in found["clauses"]] == ["SCH-3", "CFG-1"]
    assert [len(row["versions"]) for row in found["implementations"]] == [2]


@pytest.mark.peers
def test_a_stored_report_is_what_the_kit_says_today(tmp_path, monkeypatch):
    name, version = "badam", asked.systems()["badam"].versions[-1]
    spec = importlib.util.find_spec("badam")
    if spec is None:
        pytest.skip("badam is not installed")
    installed = Path(spec.submodule_search_locations[0]).parent
    stored = json.loads((asked.SYSTEMS / name / f"{version}.json").read_text("utf-8"))
    monkeypatch.setattr(table, "folder_of", lambda system, version: installed)
    monkeypatch.setattr(table, "report_of", lambda name, version: tmp_path / "report.json")
    table.ask(name, asked.systems()[name], version)
    today = json.loads((tmp_path / "report.json").read_text("utf-8"))
    about = ("law", "dialect", "verdict", "requirement", "cases", "unsupported")
    said, was = ([[result[key] for key in about] for result in each["results"]] for each in (today, stored))
    assert said == was


def test_a_stored_report_says_nothing_of_the_machine_that_made_it():
    text = "(/home/me/badam-1.3/badam/x.py:2) /home/me/peers/y.py"
    assert table.without(["/home/me/badam-1.3", "/home/me/"], text) == "(badam/x.py:2) peers/y.py"
    for path in STORED:
        assert not re.search(r'[ ("]/(home|root|tmp|Users|work)/', path.read_text("utf-8")), path
