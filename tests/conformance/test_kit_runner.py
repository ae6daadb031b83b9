"""The runner and the command line: shrinking, seeds, replay, known failures, reports, exit codes."""

import contextlib
import functools
import io
import json
import re
import shlex
import sys
from pathlib import Path

import brute_force
import pytest
import typer
from faulty import whole
from refreeze import InvalidSpec
from refreeze.conformance import kept, known_failures, report, runner
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks, laws
from refreeze.conformance.causes import cause, same_mistake
from refreeze.conformance.cli import register
from refreeze.conformance.laws import Broken, check_case, reference_answer
from refreeze.conformance.protocol import Fault, UnsupportedRequest, segments_request
from refreeze.conformance.runner import PROFILES, Profile, replay, run, run_check
from refreeze.errors import ScheduleError
from rich.console import Console
from typer.testing import CliRunner
from wrong_ones import SOURCE, module

HERE = Path(__file__).parent
OFF_BY_ONE = ("(k * window + j) % len(units)", "(k * window + j + 1) % len(units)")
RR_1 = "RR-1-agrees_with_the_reference"


def check_of(law, dialect="vl3d"):
    return checks(dialects=[dialect], only=[law])[0]


def off_by_one():
    return load(module(*OFF_BY_ONE).respond)


def refreeze(*arguments):
    """Return exit code and output of a command line; fails if there is a traceback."""
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(found.exception, ScheduleError):  # the command line that mounts this makes one line of it
        return 2, str(found.exception)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, " ".join(found.output.split())


@pytest.fixture
def wrong_module(tmp_path, monkeypatch):
    """The name of a wrong implementation that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "off_by_one.py").write_text(SOURCE.replace(*OFF_BY_ONE))
    yield "off_by_one:respond"
    sys.modules.pop("off_by_one", None)


# The runner ----------------------------------------------------------------------------------------------------------
def test_a_failing_case_is_shrunk_to_the_simplest():
    failure = run_check(off_by_one(), check_of(RR_1), PROFILES["quick"]).failure
    (spec,) = failure.case["request"]["config"]
    assert len(spec["layers"]) == 2
    assert spec["strategy"] == {"type": "round_robin", "window_size": 1, "iterative_span": 1}
    assert spec["training_interval"] == [0, 1]
    assert (failure.got, failure.should_be) == ("[0, 1) conv2", "[0, 1) stem")
    assert not failure.flaky


def test_shrinking_ends_after_so_many_calls():
    calls = []

    def respond(request):
        calls.append(request)
        return module(*OFF_BY_ONE).respond(request)

    result = run_check(load(respond), check_of(RR_1), Profile(200, 10))
    found = next(n for n, case in enumerate(calls) if case["config"] == result.failure.case["request"]["config"])
    assert result.verdict == "broken"
    assert found <= result.cases <= found + 20


def test_a_seed_decides_which_cases_are_drawn():
    def asked(seed):
        found = []

        def respond(request):
            found.append(request)
            return brute_force.respond(request)

        run(load(respond), checks(dialects=["fastai"], only=["FAI-1"]), seed=seed)
        return found

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_a_profile_tries_harder_than_the_one_before():
    quick, ci, thorough = PROFILES.values()
    assert quick.examples < ci.examples < thorough.examples
    result = run_check(load(brute_force.respond), check_of("RR-2-nothing_is_frozen_outside"), quick)
    assert result.verdict == "holds"
    assert result.cases == quick.examples
    weighted = run_check(load(brute_force.respond), check_of(RR_1), quick)
    assert weighted.cases == 2 * quick.examples


def test_what_answers_otherwise_each_time_is_broken_and_said_to_be_flaky():
    calls = []

    def respond(request):
        calls.append(request)
        return (brute_force if len(calls) % 3 else module(*OFF_BY_ONE)).respond(request)

    flaky = [run_check(load(respond), check_of(RR_1), PROFILES["quick"], seed).failure for seed in range(3)]
    assert all(flaky)
    assert any(failure.flaky for failure in flaky)


def test_checks_are_chosen_by_dialect_law_and_clause():
    assert {check.dialect for check in checks(dialects=["lisa", "fastai"])} == {"lisa", "fastai"}
    assert {check.law.clause for check in checks(only=["RR-1", RR_1])} == {"RR-1"}
    of_laws = [check for check in checks() if not check.law.id.endswith("-vectors")]
    assert len(of_laws) + len(checks("execution")) == sum(len(law.families) for law in laws().values())
    for arguments, message in [
        ({"level": "training"}, "--level = 'training' must be one of schedule, execution"),
        ({"dialects": ["vl4d"]}, "--dialect = 'vl4d' must be one of badam, "),
        ({"only": ["RR-9"]}, "--law = 'RR-9' must be one of BAD-1, "),
    ]:
        with pytest.raises(InvalidSpec) as error:
            checks(**arguments)
        assert str(error.value).startswith(message)


# The command line ----------------------------------------------------------------------------------------------------
def test_verify_exits_0_if_all_holds(wrong_module):
    code, output = refreeze("verify", wrong_module, "--dialect", "lighter", "--law", "LGT-1")
    assert code == 0, output
    assert "holds LGT-1 must: 2 holds; should: 3 holds; " in output


def test_verify_exits_1_and_says_all_about_a_failure(wrong_module):
    code, output = refreeze("verify", wrong_module, "--dialect", "vl3d", "--law", RR_1)
    assert code == 1
    for part in (
        "must RR-1 The window moves by its own size broken vl3d",
        "In span k, the ticks",
        'config [{"layers": ["stem", "conv2"], "training_interval": [0, 1], "strategy": {',
        "; total 1 got should be (# frozen, . not) epochs 0 0 stem . # conv2 # . refreeze",
        f"refreeze verify {wrong_module} --replay ",
        "must: 1 broken; ",
        "exit 1: 1 clause broken",
    ):
        assert part in output, part


@pytest.mark.parametrize("law", [RR_1, "RR-1-vectors"])
def test_the_printed_command_replays_the_failure(wrong_module, law):
    found = run(load(wrong_module), [check_of(law)])
    command = shlex.split(found.results[0].failure.replay)
    assert command[0] == "refreeze"
    assert kept.keep(found.failed())
    code, output = refreeze(*command[1:])
    assert code == 1
    assert f"got {found.results[0].failure.got[:12]}" in output
    assert f"asked {json.dumps(found.results[0].failure.case)}" in output
    command[2] = "brute_force:respond"
    assert refreeze(*command[1:])[0] == 0


def test_a_case_can_be_replayed_from_a_file(wrong_module, tmp_path):
    case = run(load(wrong_module), [check_of(RR_1)]).results[0].failure.case
    (tmp_path / "case.json").write_text(json.dumps(case))
    assert refreeze("verify", wrong_module, "--law", RR_1, "--replay", tmp_path / "case.json")[0] == 1


def test_a_replay_finds_its_case_by_id_in_the_cache_in_a_report_and_in_a_file(tmp_path, monkeypatch):
    case = kept.Kept(RR_1, {"request": {}})
    assert kept.keep([("0123456789", case)])
    results = [{"law": "x", "failure": None}, {"law": RR_1, "failure": {"id": "0123456789", "case": case.case}}]
    (tmp_path / "report.json").write_text(json.dumps({"results": results}))
    (tmp_path / "a#b.json").write_text(json.dumps(case.case))
    assert kept.find("0123456789") == kept.find(f"{tmp_path}/report.json#0123456789") == (RR_1, case.case)
    assert kept.find(f"{tmp_path}/a#b.json") == kept.find(' {"request": {}}') == (None, case.case)
    (tmp_path / "broken.json").write_text('{"results": [{"failure": {}}]}')
    for wanted, message in [
        ("9876543210", "must be the id of a case that is kept in"),
        (f"{tmp_path}/report.json#9876543210", "must be a report, and behind # the id of a case that failed in it"),
        (f"{tmp_path}/broken.json#9876543210", "must be a report of verify (Object missing required field"),
    ]:
        with pytest.raises(InvalidSpec, match=re.escape(message)):
            kept.find(wanted)
    monkeypatch.setattr(kept, "MOST_KEPT", 2)
    assert kept.keep([(f"000000000{digit}", case) for digit in range(3)])
    assert len([*kept.folder().iterdir()]) == 2


@pytest.mark.parametrize(
    ("name", "verdict", "fault"), [("supports-nothing", ["unsupported"], None), ("rubbish", [], "rubbish")]
)
def test_a_replay_may_end_without_an_answer(name, verdict, fault):
    adapter = load(command=f"{sys.executable} {HERE / 'faulty.py'} {name}")
    found = replay(adapter, [check_of(RR_1)], RIGHT_CASE)
    adapter.close()
    assert ([result.verdict for result in found.results], found.fault and found.fault.kind) == (verdict, fault)


def test_an_adapter_that_fails_after_the_run_has_no_known_failures_written(tmp_path, wrong_module, monkeypatch):
    def at_fault(*args):
        raise Fault("timeout", "no answer in 1 s")

    monkeypatch.setattr(runner, "to_be_known", at_fault)
    code, output = refreeze("verify", wrong_module, "--law", RR_1, "--write-known", tmp_path / "new.toml")
    assert (code, "timeout: no answer in 1 s" in output) == (2, True)
    assert not (tmp_path / "new.toml").exists()


def test_what_verify_needs_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "refreeze.conformance.known_failures", None)
    code, output = refreeze("verify", "brute_force:respond")
    assert (code, "verify needs Hypothesis: pip install" in output) == (2, True)


def test_where_nothing_can_be_kept_the_command_has_the_whole_case(wrong_module, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, output = refreeze("verify", wrong_module, "--law", RR_1)
    assert (code, f"refreeze verify {wrong_module} --law {RR_1} --replay '{{" in output) == (1, True)


def test_a_program_is_replayed_as_it_was_called():
    command = f"{sys.executable} '{HERE / 'faulty.py'}' right"
    adapter = load(command=command)
    failure = run_check(adapter, check_of(RR_1), PROFILES["quick"]).failure
    adapter.close()
    assert failure.replay == f"refreeze verify --command {shlex.quote(command)} --replay {failure.id}"
    kept.keep([(failure.id, kept.Kept(RR_1, failure.case))])
    assert refreeze(*shlex.split(failure.replay)[1:])[0] == 1


def test_verify_exits_2_if_the_adapter_is_at_fault():
    for arguments, message in [
        (
            ["--command", f"{sys.executable} {HERE / 'faulty.py'} rubbish"],
            "the adapter is at fault: rubbish: not a line",
        ),
        (["--command", f"{sys.executable} {HERE / 'faulty.py'} supports-nothing"], "nothing was checked"),
        (["--command", "no-such-program"], "the adapter is at fault: not-started"),
        (["faulty:whole"], "the adapter is at fault: rubbish: not an object"),
        (
            ["faulty:whole", "--law", RR_1, "--replay", '{"request": {"dialect": "vl3d"}}'],
            "must be a request of protocol 1",
        ),
        (["no_such_module:f"], "must be the name of something that exists"),
        ([], "must be either module:callable or a command"),
        (["faulty:whole", "--level", "training"], "--level = 'training' must be one of schedule, execution"),
        (
            ["faulty:whole", "--law", "RR-1", "--law", "RR-2", "--replay", "{}"],
            "--law = ['RR-1', 'RR-2'] must be the one law that the case of --replay is about",
        ),
        (["faulty:whole", "--law", RR_1, "--replay", "{,"], "must be a case in JSON"),
        (["faulty:whole", "--law", RR_1, "--replay", "no-such-file"], "must be a file that can be read (No such file"),
        (["faulty:whole", "--law", RR_1, "--replay", "/dev/zero"], "must be a regular file, not a pipe or a device"),
        (["faulty:whole", "--law", RR_1, "--replay", '{"request":' + "[" * 100_000], "must be a case in JSON (maximum"),
        (["faulty:whole", "--profile", "hard"], "Invalid value for '--profile'"),
    ]:
        only = [] if "--law" in arguments else ["--law", "RR-2"]
        code, output = refreeze("verify", "--dialect", "vl3d", *only, *arguments)
        assert code == 2, arguments
        assert message in output, (arguments, output)


RIGHT_CASE = {"request": segments_request("vl3d", ["a"], [], 3)}


@pytest.mark.parametrize(
    ("law", "changes", "wrong"),
    [
        (RR_1, {"request": RIGHT_CASE["request"] | {"dialect": "lisa"}}, "must be of a dialect that the law has"),
        (RR_1, {"request": 3}, "Expected `object`, got `int` - at `$.request`"),
        (RR_1, {"request": RIGHT_CASE["request"] | {"op": "wish"}}, "a request of protocol 1"),
        (RR_1, {"request": RIGHT_CASE["request"] | {"dialect": 3}}, "a request of protocol 1"),
        (RR_1, {"request": RIGHT_CASE["request"] | {"config": functools.reduce(lambda deep, _: [deep], range(200))}},
         "nested at most 100 levels deep"),
        (RR_1, {"names": "stem"}, "Expected `array`, got `str` - at `$.names`"),
        (RR_1, {"from": -1}, "Expected `int` >= 0 - at `$.from`"),
        (RR_1, {"wish": 1}, "Object contains unknown field `wish`"),
        ("RES-1-a_resumed_run_is_the_rest_of_the_whole", {}, "a case of RES-1-a_resumed_run_is_the_rest_of_the_whole"),
        (RR_1, {"other": []}, "Expected `object`, got `array` - at `$.other`"),
    ],
)  # fmt: skip
def test_a_case_of_wrong_parts_is_an_error(law, changes, wrong):
    with pytest.raises(InvalidSpec) as caught:
        replay(load("brute_force:respond"), checks(dialects=["vl3d"], only=[law]), RIGHT_CASE | changes)
    assert wrong in str(caught.value)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"names": {"stem"}}, "case.names = {'stem'} must be plain data, as in JSON"),
        ({"from": -1}, "case = {'from': -1} must be a case (Expected `int` >= 0 - at `$.from`)"),
    ],
)
def test_a_case_that_is_none_is_an_error_with_the_place(case, message):
    with pytest.raises(InvalidSpec) as caught:
        check_case(case)
    assert str(caught.value) == message


def test_the_report_is_json(wrong_module, tmp_path):
    arguments = ["verify", wrong_module, "--law", "RR-1", "--seed", 5, "--report", tmp_path / "report.json"]
    assert refreeze(*arguments)[0] == 1
    report = json.loads((tmp_path / "report.json").read_text())
    keys = ("adapter", "level", "profile", "seed", "strict", "exit_code", "fault", "stale")
    assert {key: report[key] for key in keys} == {
        "adapter": wrong_module, "level": "schedule", "profile": "quick", "seed": 5, "strict": False, "exit_code": 1,
        "fault": None, "stale": [],
    }  # fmt: skip
    verdicts = {
        tuple(result[key] for key in ("law", "dialect", "requirement", "verdict")) for result in report["results"]
    }
    assert verdicts == {
        (RR_1, "vl3d", "must", "broken"),
        ("RR-1-the_window_is_full", "vl3d", "must", "holds"),
        ("RR-1-vectors", "vl3d", "must", "broken"),
    }
    failure = next(result["failure"] for result in report["results"] if result["failure"])
    keys = {"case", "what", "got", "should_be", "replay", "flaky", "cause", "crashed", "id", "timelines"}
    assert failure.keys() == keys
    got, should_be = failure["timelines"]
    assert ([s["frozen"] for s in got], [s["frozen"] for s in should_be]) == ([["conv2"]], [["stem"]])
    command = shlex.split(failure["replay"])
    assert command[-1] == f"{tmp_path / 'report.json'}#{failure['id']}"
    assert refreeze(*command[1:])[0] == 1
    arguments[1:2] = ["--command", f"{sys.executable} {HERE / 'faulty.py'} rubbish"]
    assert refreeze(*arguments)[0] == 2
    assert json.loads((tmp_path / "report.json").read_text())["fault"]["kind"] == "rubbish"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dialect", "gradual", "--law", "VL3-1"], "--law = ['VL3-1'] must be laws or clauses of gradual"),
        (["--report", "nowhere/report.json"], "must be a file that can be written (No such file"),
        (["--report", HERE], f"--report = '{HERE}' must be a file that can be written (Is a directory)"),
        (
            ["--write-known", "new.toml", "--replay", "{}", "--law", "RR-1"],
            "--write-known = 'new.toml' must be left out with",
        ),
        (["--timeout", "inf"], "Input should be less than or equal to 86400"),
    ],
    ids=str,
)
def test_what_cannot_work_is_said_at_once(arguments, message, monkeypatch):
    monkeypatch.setattr("refreeze.conformance.runner.run", None)
    code, output = refreeze("verify", "brute_force:respond", *arguments)
    assert code == 2
    assert message in output.replace("│ ", "")


# Known failures ------------------------------------------------------------------------------------------------------
@pytest.fixture
def failing_case(wrong_module):
    return run(load(wrong_module), [check_of(RR_1)]).results[0].failure.case


def entry(case, **changes):
    return {"law": RR_1, "dialect": "vl3d", "reason": "counts from 1", "case": case} | changes


def verify_knowing(tmp_path, adapter, *entries, law="RR-1"):
    path = tmp_path / "known.json"
    path.write_text(json.dumps({"failures": entries}))
    return refreeze("verify", adapter, "--law", law, "--known-failures", path)


def test_a_known_failure_that_still_fails_is_no_failure(tmp_path, wrong_module, failing_case):
    code, output = verify_knowing(tmp_path, wrong_module, entry(failing_case))
    assert code == 0
    assert "must: 2 known, 1 holds" in output  # the vectors break for the same reason
    assert f"{RR_1}[vl3d] known: counts from 1" in output


def test_a_known_failure_does_not_hide_another_mistake_of_the_same_law(tmp_path, failing_case, monkeypatch):
    """The known one counts windows wrong; the other one freezes an epoch too long, or accepts what is wrong."""
    source = SOURCE.replace(*OFF_BY_ONE)
    (tmp_path / "two_mistakes.py").write_text(source.replace("not begin <= tick < end", "not begin <= tick <= end"))
    monkeypatch.syspath_prepend(tmp_path)
    code, output = verify_knowing(tmp_path, "two_mistakes:respond", entry(failing_case), law=RR_1)
    assert code == 1
    assert "must: 1 broken; " in output
    assert "epochs 0 0 " not in output  # the example of the known one
    lenient = load(lambda request: {"id": request["id"], "segments": whole(request)})
    first, *others = [case for case in check_of("CFG-1", "lisa").family.always if case["error"]]
    known = known_failures.KnownFailure(**entry(first, law="CFG-1-invalid_spec", dialect="lisa"))
    found = run_check(lenient, check_of("CFG-1", "lisa"), PROFILES["quick"], known=[known])
    assert (found.verdict, found.failure.case in others) == ("broken", True)
    assert found.stale == ()


LATE = ("not begin <= tick < end", "not begin <= tick < end + (begin == 0)")
"""The known mistake: what starts at 0 is frozen an epoch too long. It needs no strategy."""
LARGE = ('strategy["window_size"]\n', 'min(strategy["window_size"] + 1, len(units))\n')
"""Another one that also freezes more: windows are too large."""


@pytest.mark.parametrize(("mistakes", "verdict"), [([LATE], "known"), ([LATE, LARGE], "broken")])
def test_a_known_failure_does_not_hide_what_another_key_causes_with_the_same_words(mistakes, verdict):
    source = functools.reduce(lambda text, mistake: text.replace(*mistake), mistakes, SOURCE)
    assert source.count("+ (begin == 0)") == 1
    assert source.count("+ 1, len(units))\n") == len(mistakes) - 1
    respond = module(SOURCE, source).respond
    plain = segments_request("vl3d", ["a", "b"], [{"layers": ["a"], "training_interval": [0, 1]}], 2)
    known = known_failures.KnownFailure(**entry({"request": plain}))
    found = run_check(load(respond), check_of(RR_1), PROFILES["quick"], known=[known])
    assert (found.verdict, found.stale) == (verdict, ())
    if verdict == "broken":
        assert found.failure.cause == "more names are frozen"
        assert found.failure.case["request"]["config"][0]["training_interval"][0] > 0


def test_a_check_is_asked_for_known_failures_so_often_and_no_more(monkeypatch, wrong_module):
    monkeypatch.setattr(runner, "MOST_OF_A_CHECK", 1)
    adapter = load(wrong_module)
    assert len(runner.to_be_known(adapter, run(adapter, [check_of(RR_1)]))) == 1


def test_a_right_answer_is_no_cause_and_none_is_no_mistake():
    refused = segments_request("vl3d", ["a"], 1, 3)
    assert cause([(refused, reference_answer(refused))], Broken("3 of 'a'", "x", "y")) == "… of …"
    later = {"request": RIGHT_CASE["request"] | {"start": 1}}
    assert same_mistake(RIGHT_CASE, "the same", later, "the same", lambda request: UnsupportedRequest())


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_what_a_run_fails_for_can_be_written_as_known_and_is_known_then(tmp_path, wrong_module, failing_case, suffix):
    new, old = tmp_path / f"new.{suffix}", tmp_path / "old.json"
    old.write_text(json.dumps({"failures": [entry(failing_case), entry(failing_case, law="RR-9")]}))
    asked = ["verify", wrong_module, "--dialect", "vl3d", "--law", "RR-1", "--law", "RR-3", "--strict"]
    code, output = refreeze(*asked, "--known-failures", old, "--write-known", new)
    found = known_failures.read(new)
    assert code == 1  # as the run without it
    assert f"{len(found)} known failures are in {new}" in output
    assert len(found) > 1
    assert [e.reason for e in found if e.law == RR_1][:1] == ["counts from 1"]
    assert "RR-9" not in {e.law for e in found}
    assert refreeze(*asked, "--known-failures", new)[0] == 0
    before = new.read_bytes()
    code, output = refreeze(*asked, "--write-known", new)
    assert (code, "must be a new file, or --force" in output, new.read_bytes()) == (2, True, before)
    assert refreeze(*asked, "--write-known", new, "--force")[0] == 1
    assert "counts from 1" not in new.read_text()
    assert refreeze(*asked, "--known-failures", new)[0] == 0


def test_known_failures_are_written_in_toml_whatever_is_in_them(tmp_path):
    odd = known_failures.KnownFailure(law="L", dialect="d", reason='"q" \x7f é 😀\n', case={"k": "''' \x7f é 😀 \\"})
    path = tmp_path / "known.toml"
    for entries in ([odd, odd], []):
        path.write_text(known_failures.text(entries, path), encoding="utf-8")
        assert known_failures.read(path) == entries


def test_known_failures_can_be_toml(tmp_path, wrong_module, failing_case):
    path = tmp_path / "known.toml"
    entry = f"[[failures]]\nlaw = '{RR_1}'\ndialect = 'vl3d'\nreason = 'counts from 1'\n"
    path.write_text(f"{entry}case = '''{json.dumps(failing_case)}'''\n")
    assert refreeze("verify", wrong_module, "--law", RR_1, "--known-failures", path)[0] == 0


@pytest.mark.parametrize(
    ("changes", "law", "code", "said"),
    [
        ({}, "RR-1", 1, f"stale known failure {RR_1}[vl3d]: it does not fail any more; remove it"),
        ({}, "RR-2", 0, "must: 3 holds; "),  # it is about another law than those that are asked
        ({"law": "RR-1-is_right"}, "RR-1", 1, "there is no such law"),
        ({"dialect": "lisa"}, "RR-1", 1, "there is no such law"),
        ({"case": {"request": {"dialect": "vl3d"}}}, "RR-1", 2, "must be a request of protocol 1"),
    ],
)
def test_an_entry_that_does_not_fail_or_is_about_no_law_fails_the_run(tmp_path, failing_case, changes, law, code, said):
    found = verify_knowing(tmp_path, "brute_force:respond", entry(failing_case) | changes, law=law)
    assert (found[0], said in found[1]) == (code, True), found


def test_a_known_failure_that_is_not_supported_is_stale(failing_case):
    adapter = load(lambda request: {"id": request["id"], "unsupported": True})
    known_failure = known_failures.KnownFailure(**entry(failing_case))
    assert run(adapter, [check_of(RR_1)], known=[known_failure]).stale == [(known_failure, "it does not fail any more")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("known.json", "{", "must be a file of known failures ("),
        ("known.json", '{"failures": [{"law": "RR-1"}]}', "missing required field `dialect`"),
        ("known.json", '{"failures": [], "x": 1}', "unknown field `x`"),
        ("known.json", json.dumps({"failures": [entry({}, reason="")]}), "Expected `str` of length >= 1"),
        ("known.json", json.dumps({"failures": [entry("{")]}), "must be a file of known failures ("),
        ("known.toml", "[", "must be a file of known failures ("),
        ("known.json", "[" * 100_000, "must be a file of known failures (maximum recursion depth"),
        ("known.json", json.dumps({"failures": [entry("[" * 100_000)]}), "must be a file of known failures (maximum"),
        ("known.toml", "a = " + "[" * 100_000, "must be a file of known failures (maximum recursion depth"),
        ("", None, "must be a file that can be read (Is a directory)"),
        ("missing.json", None, "must be a file that can be read (No such file or directory)"),
    ],
)
def test_a_malformed_file_of_known_failures(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    code, output = refreeze("verify", "faulty:whole", "--known-failures", tmp_path / name)
    assert code == 2
    assert message in output


def test_a_run_without_a_terminal_prints_no_progress(capfd):
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        refreeze("verify", "brute_force:respond", "--law", "RR-2")
    assert stderr.getvalue() == ""


def test_what_is_not_supported_is_counted(tmp_path):
    """One case of 50 answered is not what "holds" alone would say."""
    calls = []

    def respond(request):
        calls.append(request)
        supported = "all_reverse" in str(request["config"])
        return brute_force.respond(request) if supported else {"id": request["id"], "unsupported": True}

    found = run(load(respond), checks(dialects=["vl3d"], only=["RND-1"]))
    result = found.results[0]
    assert (result.verdict, result.cases) == ("holds", 50)
    answered = result.cases - result.unsupported
    assert 0 < answered < 50
    console = Console(file=io.StringIO(), width=200)
    report.show(console, found, 1.0)
    cases = sum(r.cases for r in found.results)
    assert f"holds RND-1 ({answered} of {cases})" in " ".join(console.file.getvalue().split())


def test_what_one_mistake_breaks_is_told_once():
    """One `<=` breaks a dozen laws: two mistakes at most are told, the simplest case of each, and on one screen."""
    found = run(load(module("not begin <= tick < end", "not begin <= tick <= end").respond), checks(dialects=["vl3d"]))
    broken = [result for result in found.results if result.verdict == "broken"]
    groups = report.groups(found.results)
    assert sum(map(len, groups)) == len(broken) > 10
    assert len(groups) <= 2
    (first, *others), *_ = (
        [len(str(result.failure.case)) for result in group if not result.clause.startswith(("SCH", "RES"))]
        for group in groups
    )
    assert first <= min(others)
    console = Console(file=io.StringIO(), width=100)
    report.show(console, found, 1.0)
    shown = console.file.getvalue()
    assert shown.count("refreeze verify ") == len(groups)
    assert "broken too, perhaps for the same reason: " in shown
    assert len(shown.splitlines()) <= report.LINES


def test_nothing_frozen_is_not_right_in_general():
    """The program of the tests of faults is at fault in nothing but what it says: laws catch it."""
    adapter = load(lambda request: {"id": request["id"], "segments": whole(request)})
    found = run(adapter, checks(dialects=["vl3d", "lisa", "fastai"], only=["SCH-3"]))
    assert {result.verdict for result in found.results} == {"broken"}
    assert isinstance(found, runner.Report)
