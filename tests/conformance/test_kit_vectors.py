"""Vectors: their form, what they cover, who passes them, and the reference's answers to what is malformed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import brute_force
import generate_draws
import jsonschema
import msgspec
import pytest
import refreeze.conformance.reference
import vector_files
from refreeze import InvalidSpec
from refreeze.conformance import vectors
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks
from refreeze.conformance.protocol import ErrorId, segments_request
from refreeze.conformance.runner import Profile, run, run_check
from test_kit_runner import refreeze as command_line
from wrong_ones import SOURCE, WRONG, module

EXAMPLES = Path(__file__).parents[2] / "examples" / "adapters"
NODE = shutil.which("node")


def test_there_are_enough_vectors_and_most_are_worked_out_by_hand():
    generated = sum(len(f.vectors) for f in vectors.files().values() if f.generated is not msgspec.UNSET)
    assert len(vectors.vectors()) - generated >= 150
    assert len(vectors.files()) == len(list(vectors.FOLDER.rglob("*.json")))
    assert vector_files.lint(vectors.files()) == []


def test_every_error_has_a_vector():
    """Except for schedule-mismatch: the protocol has no checkpoints, so no request has that answer (RES-3)."""
    assert {v.error for v in vectors.vectors().values()} - {msgspec.UNSET} == {*get_args(ErrorId)} - {
        "schedule-mismatch"
    }


def test_every_dialect_has_vectors():
    found = [vector.request["dialect"] for vector in vectors.vectors().values()]
    assert set(found) == set(brute_force.DIALECTS)
    assert min(found.count(dialect) for dialect in brute_force.DIALECTS) >= 5


def test_files_are_written_as_they_are_printed():
    for path, file in vectors.files().items():
        assert path.read_text() == vector_files.dumps(file), f"{path.name} is not in the form of vector_files.dumps"


def test_generating_again_changes_nothing():
    assert generate_draws.PATH.read_text() == generate_draws.generate()
    generated = {path for path, file in vectors.files().items() if file.generated is not msgspec.UNSET}
    assert generated == {generate_draws.PATH}


def test_vectors_alone_catch_nearly_all_wrong_implementations():
    """All but those whose canonical form is wrong: that may be any JSON, so vectors cannot say what it is."""
    missed = []
    for wrong in WRONG:
        adapter = load(module(wrong.old, wrong.new).respond)
        found = [check for check in checks(dialects=[wrong.dialect]) if check.law.id.endswith("-vectors")]
        found.sort(key=lambda check: check.law.clause not in wrong.laws)  # those that likely break come first
        verdicts = (run_check(adapter, check, Profile(0, 0)).verdict for check in found)
        missed += [] if any(verdict in ("broken", "crashed") for verdict in verdicts) else [wrong]
    assert {wrong.old for wrong in missed} <= {"form.append([step, runs])"}, missed


def of_dialect(dialect):
    return {name: vector for name, vector in vectors.vectors().items() if vector.request["dialect"] == dialect}


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_the_javascript_adapter_obeys_every_law_and_passes_every_vector_of_its_dialect():
    source = EXAMPLES / "javascript" / "adapter.mjs"
    assert len(source.read_text().splitlines()) < 150
    adapter = load(command=f"{NODE} {source}")
    found = run(adapter, checks(dialects=["vl3d"]))
    assert found.exit_code == 0, found.as_json()
    assert {result.clause for result in found.results if result.unsupported} <= {"CFG-1", "NAM-5"}
    outcomes = vectors.check(adapter, {n: v for n, v in vectors.vectors().items() if v.request["dialect"] != "vl3d"})
    adapter.close()
    assert {outcome.verdict for outcome in outcomes} == {"unsupported"}


def compiled(folder):
    """Return the commands of the small adapters in other languages, None where what runs them is not there."""
    rustc, program = shutil.which("rustc"), folder / "gradual"
    if rustc is not None:
        subprocess.run([rustc, "-o", program, EXAMPLES / "rust" / "gradual.rs"], check=True, capture_output=True)
    return {
        "javascript/gradual.mjs": NODE and f"{NODE} {EXAMPLES / 'javascript' / 'gradual.mjs'}",
        "rust/gradual.rs": rustc and str(program),
    }


@pytest.mark.parametrize("name", ["javascript/gradual.mjs", "rust/gradual.rs"])
def test_an_adapter_of_sixty_lines_obeys_every_law_that_it_supports(name, tmp_path):
    assert len((EXAMPLES / name).read_text().splitlines()) <= 60
    command = compiled(tmp_path)[name]
    if command is None:
        pytest.skip("needs Node.js or Rust")
    adapter = load(command=command)
    found = run(adapter, checks(dialects=["gradual"]), strict=True)
    adapter.close()
    assert found.exit_code == 0, found.as_json()
    holds = {result.clause for result in found.results if result.verdict == "holds"}
    assert holds >= {"GRD-1", "RES-1", "SCH-1", "SCH-3", "SCH-4", "CFG-1"}


# Lint ----------------------------------------------------------------------------------------------------------------
def file_of(clause="RR-1", **changes):
    vector = {
        "id": "one-layer",
        "description": "One layer is frozen for ever.",
        "request": segments_request("vl3d", ["a"], [], 2),
        "expected": {"segments": [{"start": 0, "stop": 2, "frozen": []}]},
    } | changes
    return {"clause": clause, "vectors": [{key: value for key, value in vector.items() if value is not None}]}


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (file_of(clause="RR-9"), "windows.json: the clause RR-9 is none"),
        (file_of(clause="RR-2"), "windows.json: the clause RR-2 is none, or not that of the folder"),
        (file_of(error="conflict"), "needs either expected or error"),
        (file_of(expected=None), "needs either expected or error"),
        (file_of(description="It should be frozen."), "the description states a fact"),
        (file_of(description="No full stop"), "in a sentence that ends with a full stop"),
        (file_of(expected={"segments": [{"start": 0, "stop": 1, "frozen": []}]}), "not contiguous from start to total"),
        (file_of(expected={"segments": [{"start": 1, "stop": 2, "frozen": []}]}), "not contiguous from start to total"),
        (file_of(expected={"frozen": []}), "the expectation is no answer"),
        (file_of(request={"op": "segments"}), "has exactly the keys that the kit sends"),
        ({"clause": "RR-1", "vectors": file_of()["vectors"] * 2}, "RR-1/one-layer: the name is given twice"),
    ],
)
def test_lint_finds(file, problem):
    path = vectors.FOLDER / "RR-1" / "windows.json"
    found = vector_files.lint({path: msgspec.convert(file, vectors.File)})
    assert problem in "\n".join(found)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": "Not_a_slug"}, "Expected `str` matching regex"),
        ({"description": "short"}, "Expected `str` of length >= 10"),
        ({"error": "bad-window", "expected": None}, "Invalid enum value"),
        ({"note": "x"}, "unknown field `note`"),
    ],
)
def test_a_file_without_the_form_is_an_error(tmp_path, monkeypatch, changes, problem):
    (tmp_path / "RR-1").mkdir()
    (tmp_path / "RR-1" / "windows.json").write_text(json.dumps(file_of(**changes)))
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    with pytest.raises(InvalidSpec, match=r"vectors/RR-1/windows\.json") as error:
        vectors.files.__wrapped__()
    assert problem in str(error.value)


# The commands --------------------------------------------------------------------------------------------------------
def test_vectors_list_and_show():
    code, output = command_line("vectors", "list", "--clause", "RR-3")
    assert code == 0
    assert "RR-3/coprime 5 layers, window 2: in 5 spans each is frozen twice." in output
    assert "RR-1/" not in output
    code, output = command_line("vectors", "show", "RR-3/coprime")
    assert code == 0
    assert json.loads(output)["request"]["total"] == 5
    assert command_line("vectors", "show", "RR-3")[0] == 2
    assert command_line("vectors", "list", "--clause", "EXE-1")[0] == 2


def test_vectors_check(tmp_path, monkeypatch):
    code, output = command_line("vectors", "check", "brute_force:respond", "--clause", "RND-2")
    assert (code, output) == (0, "45 passed, 0 failed, 0 unsupported")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wrong_windows.py").write_text(SOURCE.replace("(k * window + j)", "(k * window + j + 1)"))
    code, output = command_line("vectors", "check", "wrong_windows:respond", "--clause", "RR-3")
    assert code == 1
    assert (
        "RR-3/common-divisor 4 layers, window 2: in 2 spans each is frozen once. got [0, 1) b c; [1, 2) a d" in output
    )
    assert "should be [0, 1) a b; [1, 2) c d" in output
    assert "0 passed, 3 failed, 0 unsupported" in output
    code, output = command_line("vectors", "check", "faulty:whole")
    assert (code, "the adapter is at fault: rubbish: not an object" in output) == (2, True)


def test_a_crash_fails_its_vector_alone_unless_it_is_the_first():
    faulty = f"{sys.executable} {Path(__file__).with_name('faulty.py')}"
    code, output = command_line("vectors", "check", "--command", f"{faulty} crashes-later", "--clause", "RND-2")
    assert (code, "got crashed: it ended with exit status 7" in output) == (1, True)
    code, output = command_line("vectors", "check", "--command", f"{faulty} crashes", "--clause", "RND-2")
    assert (code, "the adapter is at fault: crashed" in output) == (2, True)


def test_vectors_export(tmp_path):
    code, output = command_line("vectors", "export", tmp_path / "vectors")
    assert code == 0
    assert f"{len(vectors.vectors())} vectors in {len(vectors.files())} files written to" in output
    schema = json.loads((tmp_path / "vectors" / "schema.json").read_text())
    exported = sorted((tmp_path / "vectors").glob("*/*.json"))
    assert [path.read_text() for path in exported] == [path.read_text() for path in vectors.files()]
    for path in exported:
        jsonschema.validate(json.loads(path.read_text()), schema)
    assert command_line("vectors", "export", tmp_path / "vectors")[0] == 2


# The reference as an adapter -----------------------------------------------------------------------------------------
GOOD = {"refreeze": 1, "id": "c1", **segments_request("vl3d", ["a"], [], 2)}
APPLY = {"refreeze": 1, "id": "c1", "op": "apply", "dialect": "kempner", "names": ["a"], "sizes": [3], "frozen": [],
         "config": {"freeze": [{"module": "a"}]}, "tick": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (None, "must be a request of protocol 1"),
        ([], "must be a request of protocol 1"),
        ({}, "must be a request of protocol 1"),
        (GOOD | {"refreeze": 2}, "Invalid enum value 2"),
        (GOOD | {"refreeze": True}, "must be a request of protocol 1"),
        (GOOD | {"id": 1}, "Expected `str`, got `int`"),
        (GOOD | {"op": 1}, "Expected `str`, got `int`"),
        (GOOD | {"total": -1}, "Expected `int` >= 0"),
        (GOOD | {"total": True}, "Expected `int`, got `bool`"),
        (GOOD | {"steps_per_epoch": 0}, "Expected `int` >= 1"),
        (GOOD | {"start": 3}, "start = 3 must be in 0..2"),
        (GOOD | {"names": ["a", "a"]}, "names = ['a', 'a'] must be distinct names"),
        (GOOD | {"extra": 1}, "unknown field `extra`"),
        ({key: value for key, value in GOOD.items() if key != "total"}, "missing required field `total`"),
        (APPLY | {"sizes": []}, "sizes = [] must be 1 numbers, one per name"),
        (APPLY | {"frozen": ["b"]}, "frozen = ['b'] must be some of the names"),
        (APPLY | {"tick": -1}, "Expected `int` >= 0"),
    ],
)
def test_a_malformed_request_is_an_invalid_spec(request_, problem):
    answer = refreeze.conformance.reference.respond(request_)
    assert answer["error"] == "invalid-spec"
    assert problem in answer["message"]
    assert answer["id"] == (request_.get("id") if isinstance(request_, dict) else None)


def test_the_reference_supports_what_there_is():
    respond = refreeze.conformance.reference.respond
    assert respond(GOOD)["segments"] == [
        {"start": 0, "stop": 2, "frozen": [], "learning_rate": None, "bn_frozen": []},
    ]
    assert respond(APPLY) == {"id": "c1", "frozen": ["a"], "flipped": 3}
    assert respond(APPLY | {"config": {"freeze": [{"module": "b"}]}})["error"] == "empty-selection"
    for changes in ({"op": "explain"}, {"dialect": "vl4d"}, {"op": "apply"}, {"op": "canonical", "dialect": "fastai"}):
        assert respond(GOOD | changes) == {"id": "c1", "unsupported": True}
    defaults = {key: GOOD[key] for key in ("refreeze", "id", "op", "dialect", "config", "total")}
    assert respond(defaults) == respond(GOOD)
