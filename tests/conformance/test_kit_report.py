"""Must and should, and the screen that a run shows."""

import io

import pytest
from refreeze.conformance import report
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks
from refreeze.conformance.clauses import clauses, requirement
from refreeze.conformance.known_failures import KnownFailure
from refreeze.conformance.protocol import Fault, segments_request
from refreeze.conformance.pytest_plugin import parametrize_with_laws
from refreeze.conformance.runner import Report, replay, run
from rich.console import Console
from wrong_ones import module

LENIENT = (' and strategy.get("seed", 0) < 2**64', "")
"""Takes a seed that is too large: it breaks a should alone."""
TOO_LONG = ("not begin <= tick < end", "not begin <= tick <= end")
"""Freezes an epoch too long: it breaks a dozen musts."""


def verified(*edit, strict=False, known=(), **chosen):
    """Return the report of a wrong implementation, and the lines of its screen."""
    found = run(load(module(*edit).respond), checks(**({"dialects": ["vl3d"]} | chosen)), strict=strict, known=known)
    return found, shown(found)


def shown(found):
    console = Console(file=io.StringIO(), width=100)
    report.show(console, found, 1.0)
    return console.file.getvalue().splitlines()


# Must and should -----------------------------------------------------------------------------------------------------
def test_a_clause_about_what_is_rejected_alone_is_a_should():
    assert {clause.id for clause in clauses().values() if clause.requirement == "should"} == {
        "CFG-1", "NAM-2", "KMP-6", "KMP-7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("clause", "case", "level"),
    [
        ("CFG-1", None, "should"),
        ("RR-1", None, "must"),
        ("LGT-1", {"request": {"op": "segments"}, "error": "unknown-name"}, "should"),
        ("LGT-1", {"request": {"op": "segments"}, "error": None}, "must"),
        ("RES-3", {"request": {"op": "run"}, "error": "schedule-mismatch"}, "must"),  # the run would go on wrongly
        ("NAM-2", {"request": {"op": "run"}, "error": "unknown-name"}, "should"),
    ],
)
def test_what_a_must_says_about_errors_of_configurations_is_a_should(clause, case, level):
    assert requirement(clause, case) == level


def test_of_the_vectors_of_a_clause_those_that_are_rejected_come_last():
    for check in checks():
        if check.law.id.endswith("-vectors"):
            rejects = ["error" in case for case in check.family.always]
            assert rejects == sorted(rejects), check.id


def test_a_broken_should_fails_only_a_strict_run():
    found, lines = verified(*LENIENT)
    broken = {(result.clause, result.requirement) for result in found.results if result.verdict == "broken"}
    assert (found.exit_code, broken) == (0, {("CFG-1", "should")})
    assert lines[1].startswith("should CFG-1  Wrong configurations                 broken   vl3d")
    assert lines[-1] == "exit 0: no must is broken; with --strict the shoulds count too"
    found, lines = verified(*LENIENT, strict=True, only=["CFG-1"])
    assert (found.exit_code, lines[-1]) == (1, "exit 1: 1 clause broken (--strict)")


def test_a_broken_should_is_an_xfail_unless_the_test_is_strict():
    def law(strict):
        marked = parametrize_with_laws(module(*LENIENT).respond, dialects=["vl3d"], strict=strict).args[1]
        return next(param.values[0] for param in marked if param.id == "CFG-1-invalid_spec[vl3d]")

    with pytest.raises(pytest.xfail.Exception, match="a should: CFG-1: An unknown key"):
        law(strict=False)()
    with pytest.raises(pytest.fail.Exception, match="CFG-1: An unknown key"):
        law(strict=True)()


# The screen ----------------------------------------------------------------------------------------------------------
def test_what_one_mistake_breaks_fits_a_screen_and_musts_come_first():
    found, lines = verified(*TOO_LONG)
    assert len({result.clause for result in found.results if result.verdict == "broken"}) > 12
    assert 24 <= len(lines) <= report.LINES
    assert lines[1].startswith("must   SCH-3  Meaning                              broken   vl3d")
    assert any(line.startswith("broken too    ") for line in lines)
    assert lines[-1].startswith("exit 1: ")


def test_what_does_not_fit_is_named():
    found = run(load(lambda request: {"id": request["id"], "error": "conflict"}), checks(only=["SCH-1"]))
    assert any(" more, of SCH-1: --report FILE has all" in line for line in shown(found))


def test_a_timeline_has_five_names():
    freezes = [{"layers": "all", "training_interval": [0, 3]}]
    case = {"request": segments_request("vl3d", list("abcdefg"), freezes, 3)}
    some = {"segments": [{"start": 0, "stop": 1, "frozen": list("abcdefg")}, {"start": 1, "stop": 3, "frozen": []}]}
    found = replay(load(lambda request: {"id": request["id"], **some}), checks(dialects=["vl3d"], only=["SCH-3"]), case)
    found.profile = "quick"  # a replay shows all in words
    assert {"  and 2 names more", "  a                    #..   ###"} <= {*shown(found)}


def test_where_an_answer_has_no_segment_nothing_is_frozen():
    case = {"request": segments_request("vl3d", ["a"], [{"layers": ["a"], "training_interval": [0, 3]}], 3)}
    late = {"segments": [{"start": 1, "stop": 3, "frozen": ["a"]}]}
    found = replay(load(lambda request: {"id": request["id"], **late}), checks(dialects=["vl3d"], only=["SCH-3"]), case)
    found.profile = "quick"
    assert "  a                    .##   ###" in shown(found)


def test_a_fault_before_the_first_request_is_told():
    found = Report("mine", "schedule", "quick", 0, fault=Fault("not-started", "no such program"))
    assert shown(found)[-1] == "the adapter is at fault: not-started: no such program"


def test_musts_are_told_before_shoulds():
    def respond(request):
        answer = module(*TOO_LONG).respond(request)
        return module(*LENIENT).respond(request) if "error" in answer else answer

    found = run(load(respond), checks(dialects=["vl3d"], only=["CFG-1", "RR-2"]))
    lines = shown(found)
    assert [line[:12] for line in lines[1:3]] == ["must   RR-2 ", "should CFG-1"]
    assert [line[:5] for line in lines if "[vl3d]" in line] == ["RR-2-", "CFG-1"]


@pytest.mark.parametrize(
    ("dialect", "edit", "law", "shown"),
    [
        ("vl3d", TOO_LONG, "RR-2-agrees",
         ["got     should be   (# frozen, . not)", "  01234   01234", "stem                 ##...   #...."]),
        ("vl3d", ("begins = tick == begin", "begins = True"), "VL3-3-agrees", ["rates     got 0.5 at 0, 0.5 at 1"]),
        ("fastai", ("batch_norm & frozen", "set()"), "FAI-4-agrees", ["(bn)"]),
        ("kempner", ('if stage["start_step"] <= step', 'if stage["start_step"] < step'), "KMP-3-agrees", ["steps  "]),
        ("lighter", ("[value] if is_text(", "list(value) if is_text("), "LGT-5", ["the other config[0]."]),
        ("vl3d", ('need(len(rates) < 2, "conflict")', "pass"), "SCH-6-conflict",
         ["should be conflict (", "got       ["]),
        ("vl3d", ("return places[:window]", "return places[5:window] or 1 // 0"), "RND-2-agrees",
         ["got       crashed: ZeroDivisionError", "should be an answer"]),
    ],
)  # fmt: skip
def test_an_example_is_shortened_to_what_differs(dialect, edit, law, shown):
    law = next(check.law.id for check in checks(dialects=[dialect]) if check.law.id.startswith(law))
    _, lines = verified(*edit, dialects=[dialect], only=[law])
    for part in shown:
        assert any(part in line for line in lines), (part, lines)


def test_a_known_failure_takes_a_line():
    found, _ = verified(*LENIENT, only=["CFG-1"])
    entries = [
        KnownFailure(law=r.law, dialect=r.dialect, reason="to be mended", case=r.failure.case) for r in found.results
    ]
    _, lines = verified(*LENIENT, only=["CFG-1"], known=entries)
    assert {line for line in lines if "known: to be mended" in line} == {
        "CFG-1-vectors[vl3d] known: to be mended"  # that of the other law has the same cause
    }
    assert lines[-1].startswith("should: 2 known; ")
