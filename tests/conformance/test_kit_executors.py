"""Execution laws: right executors keep them, wrong ones break those that they should, and ones at fault are told so."""

import functools
import json
import os
import shlex
import sys
import time
from typing import get_args

import pytest
import refreeze.conformance.reference
import right_executor
import wrong_executors
from hypothesis import given, settings
from refreeze import InvalidSpec
from refreeze.choices import KerasOptimizerState, Switch
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks, of_framework
from refreeze.conformance.execution.cases import FAMILIES, NAMES, PARAMETERS, STAGES, WINDOWS, runs
from refreeze.conformance.protocol import Fault
from refreeze.conformance.runner import Profile, run, run_check
from test_kit_runner import refreeze as command
from wrong_executors import FIRST, MASKED, MORE, executor

pytestmark = pytest.mark.engine


class Switching:
    """The engine with one of its switches."""

    def __init__(self, switch):
        self.switch = switch

    def run(self, *args):
        return refreeze.conformance.reference.execution.run(*args, switch=self.switch)

    def resume(self, *args):
        *asked, folder = args
        options = {"switch": self.switch, "checkpoint": folder, "resume": True}
        return refreeze.conformance.reference.execution.run(*asked, **options)


RIGHT = {
    "the engine": refreeze.conformance.reference.execution,
    "the engine, auto": Switching("auto"),
    "compiling": right_executor.Compiling(),
}
CHOSEN = Profile(0, 0)
"""The cases that are always checked, and no drawn ones."""


def on_keras(**chosen):
    return of_framework(checks("execution", **chosen), "keras")


@functools.cache
def adapter_of(name):
    return load(RIGHT[name], level="execution")


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_executor_passes(name):
    found = [run_check(adapter_of(name), check, CHOSEN) for check in on_keras()]
    assert [(result.law, result.failure) for result in found if result.verdict != "holds"] == []


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["quick", "ci"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_executor_passes_in_a_profile(name, profile):
    found = run(load(RIGHT[name], level="execution"), on_keras(), profile, seed=1)
    assert found.exit_code == 0, found.as_json()
    assert {result.verdict for result in found.results} == {"holds"}


class Under:
    """The engine, under other options."""

    def __init__(self, **options):
        self.options = options

    def run(self, *asked, **more):
        return refreeze.conformance.reference.execution.run(*asked, **self.options, **more)

    def resume(self, *asked):
        return self.run(*asked[:-1], checkpoint=asked[-1], resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("state", get_args(KerasOptimizerState))
@pytest.mark.parametrize("switch", get_args(Switch))
def test_the_laws_hold_under_every_switch_and_optimizer_state(switch, state, monkeypatch):
    """What is compared with a run in which each step is made anew is compared with one of the same policy."""
    from refreeze.conformance.execution import on_keras as there

    anew = Under(switch="rebuild", optimizer_state=state)
    monkeypatch.setattr(there, "rebuilt", lambda request: there.harness.observe(
        anew, request | {"fail_at": None, "resumed": None, "meddles": False}
    ))  # fmt: skip
    adapter = load(Under(switch=switch, optimizer_state=state), level="execution")
    keeps = state in ("keep", "per_variable")
    found = [run_check(adapter, check, CHOSEN) for check in on_keras() if keeps or check.law.clause != "EXE-4"]
    assert [(result.law, result.failure) for result in found if result.verdict != "holds"] == []


def caught_by(wrong):
    """Return the checks that must catch a wrong executor."""
    found = [
        check
        for check in on_keras(dialects=[wrong.dialect])
        if any(check.law.id.startswith(law) for law in wrong.laws.split())
    ]
    for law in wrong.laws.split():
        assert any(check.law.id.startswith(law) for check in found), law
    return found


@pytest.mark.parametrize(
    "wrong",
    [*FIRST, *(pytest.param(wrong, marks=pytest.mark.slow) for wrong in MORE)],
    ids=lambda wrong: wrong.id,
)
def test_a_wrong_executor_breaks_the_laws_that_it_should(wrong):
    adapter, must = load(executor(wrong), level="execution"), caught_by(wrong)
    assert [check.id for check in must if run_check(adapter, check, CHOSEN).verdict == "broken"] == [c.id for c in must]


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(wrong, marks=() if number < 2 else pytest.mark.slow) for number, wrong in enumerate(MASKED)],
    ids=lambda wrong: wrong.id,
)
def test_a_wrong_masked_step_breaks_the_laws_that_it_should(wrong):
    adapter, must = load(wrong_executors.masked(wrong), level="execution"), caught_by(wrong)
    assert [check.id for check in must if run_check(adapter, check, CHOSEN).verdict == "broken"] == [c.id for c in must]


def test_every_execution_law_catches_a_wrong_executor():
    of_execution = {check.law.id for check in on_keras()}
    assert {check.law.id for wrong in FIRST for check in caught_by(wrong)} == of_execution
    for wrong in (*FIRST, *MORE):
        assert wrong_executors.SOURCE.count(wrong.old) == 1, wrong.old


# Cases ---------------------------------------------------------------------------------------------------------------
@given(runs())
@settings(max_examples=50, database=None)
def test_runs_are_short_and_plain_json(request):
    assert json.loads(json.dumps(request)) == request
    assert request["total"] <= 6


def test_laws_share_their_runs():
    """Else a quick run would take ten times as long."""
    counting = []

    class Nothing:
        def run(self, model, dialect, config, total, fit):
            counting.append(total)
            return {}

    adapter = load(Nothing, level="execution")
    shared = [check for check in on_keras() if check.law.clause in ("EXE-2", "EXE-3", "EXE-4", "EXE-5")]
    results = [run_check(adapter, check, Profile(0, 0, 3)) for check in shared]
    assert {result.verdict for result in results} == {"broken", "holds"}
    assert len(counting) == 3 + 3 + 1 + 2  # the chosen ones, the drawn ones, a refusal, and those with other callbacks


def test_the_layers_of_the_cases_are_those_of_the_model():
    from refreeze.conformance.execution.on_keras import new_model, state

    found = state(new_model(STAGES))
    assert list(found.trainable) == NAMES
    assert len(found.weights) == 12
    assert found.slots == {}
    for families in FAMILIES.values():
        for family in families.values():
            assert all(case["request"]["names"] in (NAMES, PARAMETERS) for case in family.always)


# Adapters ------------------------------------------------------------------------------------------------------------
class Unreadable(Exception):
    """Whatever is asked of it, it raises."""

    @property
    def history(self):
        raise RuntimeError

    def __str__(self):
        raise RuntimeError

    __repr__ = id = __str__


def doing(what):
    """Return an executor whose ``run`` is ``what``."""
    return type("Doing", (), {"run": lambda self, *args: what(*args)})


def raising(error):
    def what(model, dialect, config, total, fit):
        raise error

    return doing(what)


def verdict(found, *laws):
    return run(load(found, level="execution"), on_keras(only=laws or ["EXE-1"]))


@pytest.mark.parametrize(
    ("found", "kind", "detail"),
    [
        (raising(ZeroDivisionError("on purpose")), "crashed", "ZeroDivisionError: on purpose (" + __file__),
        (raising(SystemExit(3)), "crashed", "SystemExit: 3"),
        (raising(Unreadable()), "crashed", "Unreadable: <Unreadable> ("),
        (doing(lambda *args: Unreadable()), "malformed", "run returned <Unreadable>, which is no History"),
        (doing(lambda *args: None), "malformed", "run returned None, which is no History"),
        (doing(lambda *args: {"loss": ["low"]}), "malformed", "which is no History"),
        (doing(lambda model, *args: model.get_layer("gone")), "crashed", "ValueError: No such layer: gone"),
        (doing(lambda model, dialect, config, total, fit: fit("all")), "crashed", "TypeError"),
    ],
)
def test_an_executor_at_fault(found, kind, detail):
    report = verdict(found)
    assert report.exit_code == 2
    if kind == "crashed":  # which does not end a run
        ((verdict_, failure),) = ((result.verdict, result.failure) for result in report.results)
        assert (verdict_, failure.case["request"]["op"]) == ("crashed", "run")
        assert detail in failure.got
        assert __file__ in failure.got
    else:
        assert (report.fault.kind, report.fault.request["op"], report.results) == (kind, "run", [])
        assert detail in report.fault.detail


def test_an_executor_that_supports_nothing_has_nothing_checked():
    report = verdict(raising(NotImplementedError()), "EXE-1", "NAM-2", "RES-2")
    assert {result.verdict for result in report.results} == {"unsupported"}
    assert report.exit_code == 2


def test_an_executor_may_not_support_what_it_does_support():
    def what(model, dialect, config, total, fit):
        if total == WINDOWS["total"]:
            raise NotImplementedError
        return {}

    case = {"request": WINDOWS | {"total": 1}}
    adapter = load(doing(what), level="execution")
    with pytest.raises(Fault, match=r"lied-unsupported: it supports one request with .*optimizer sgd.*, not another"):
        [adapter.ask(request) for request in (WINDOWS, case["request"])]


def test_nested_layers_are_a_capability():
    class Flat:
        def run(self, model, dialect, config, total, fit):
            if any(layers == "all" or {"body", "body/a"} & {*layers} for layers in (spec["layers"] for spec in config)):
                raise NotImplementedError
            return {}

    adapter = load(Flat, level="execution")
    nested = WINDOWS | {"config": [WINDOWS["config"][0] | {"layers": ["stem", "norm", "body/a"]}]}
    assert [adapter.ask(request).error for request in (WINDOWS, nested)] == [None, "unsupported"]


def test_checkpoints_are_a_capability():
    report = verdict(right_executor_without_checkpoints(), "RES-2", "RES-3")
    assert {result.verdict for result in report.results} == {"unsupported"}


def right_executor_without_checkpoints():
    class Without:
        run = right_executor.Compiling.run

    return Without


def test_what_can_be_loaded():
    assert load(raising(None), level="execution").level == "execution"
    with pytest.raises(InvalidSpec, match=r"adapter = .* must be an object with run\(model, dialect, config, total"):
        load("brute_force:respond", level="execution")
    with pytest.raises(InvalidSpec, match="--command = 'cat' must be left out: executors are objects in Python"):
        load(command="cat", level="execution")
    for found in ("test_kit_executors:Breaks", Breaks):
        with pytest.raises(Fault, match="not-started: test_kit_executors:Breaks: ZeroDivisionError"):
            load(found, level="execution")


class Breaks:
    def __init__(self):
        raise ZeroDivisionError


class Hangs:
    def run(self, model, dialect, config, total, fit):
        print("what is printed is no answer")
        time.sleep(60)


class Dies:
    def run(self, model, dialect, config, total, fit):
        fit(2)
        sys.stdin.read()  # has nothing of the kit's
        os._exit(7)


@pytest.mark.parametrize(
    ("name", "seconds", "said"),
    [
        ("Hangs", 5, ("timeout: no answer in 5 s, after: ", "what is printed is no answer")),
        ("Dies", 120, ("crashed: it ended with exit status 7, after: ", "call 0 of fit: 2 epochs")),
    ],
)
def test_an_executor_that_the_command_line_names_can_be_ended(name, seconds, said):
    adapter = load(f"test_kit_executors:{name}", level="execution", timeout=seconds)
    began = time.perf_counter()
    for _ in range(2):
        with pytest.raises(Fault) as caught:
            adapter.ask(STAGES)
    assert str(caught.value).startswith(said[0])
    assert str(caught.value).endswith(said[1])
    assert caught.value.request == STAGES
    assert time.perf_counter() - began < 50
    adapter.close()


def test_a_run_in_another_process_is_seen_as_it_is_in_this_one():
    adapter = load("right_executor:Compiling", level="execution")
    assert adapter.name == "right_executor:Compiling"
    here = load(right_executor.Compiling, level="execution")
    assert repr(adapter.ask(STAGES)) == repr(here.ask(STAGES))
    adapter.close()


class Idle:
    """Trains nothing, so that all is quick."""

    def run(self, model, dialect, config, total, fit):
        return {}


def test_a_run_that_trains_nothing_is_no_resumed_one():
    lazy = type("Lazy", (right_executor.Compiling,), {"resume": lambda self, *args: {}})
    assert {result.verdict for result in verdict(lazy, "RES-3").results} == {"broken"}


def test_an_executor_that_spoils_the_model_has_crashed():
    (result,) = verdict(doing(lambda model, *args: vars(model).clear() or {})).results
    assert result.verdict == "crashed"


def test_the_command_line_replays_what_it_prints():
    arguments = ["verify", "test_kit_executors:Idle", "--level", "execution", "--law"]
    code, output = command(*arguments, "EXE-1")
    assert code == 1
    assert "EXE-1 One fit per segment broken vl3d" in output
    assert "the epochs of the calls of fit" in output
    failure = verdict(Idle, "EXE-1").results[0].failure
    replay = shlex.split(failure.replay)
    assert replay[3:6] == ["--level", "execution", "--replay"]
    replay[2] = "test_kit_executors:Idle"
    code, output = command(*replay[1:])
    assert code == 1
    assert "got []" in output
    code, output = command(*arguments, "RR-1")
    assert code == 2
    assert "--law = 'RR-1' must be one of BN-1, " in output
