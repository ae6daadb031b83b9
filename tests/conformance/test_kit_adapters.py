"""An adapter that is at fault gets a verdict of its own: never a hang, never a traceback, never "broken"."""

import contextlib
import json
import math
import os
import shlex
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from faulty import whole
from refreeze import InvalidSpec, Unsupported
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks
from refreeze.conformance.protocol import (
    Applied,
    Canonical,
    Fault,
    Rejected,
    Schedule,
    UnsupportedRequest,
    features,
    segments_request,
)
from refreeze.conformance.reference import respond as respond_rightly
from refreeze.conformance.runner import run
from refreeze.conformance.transports import ANSWER_LIMIT, STDERR_KEPT, InProcess, Subprocess

FAULTY = Path(__file__).with_name("faulty.py")
CHECKS = checks(dialects=["vl3d"], only=["SCH-1", "RR-2"])
REQUEST = segments_request("vl3d", ["a"], [], 3)


def command(name: str) -> str:
    return f"{sys.executable} {FAULTY} {name}"


def verdict(respond=None, name=None, timeout=5.0):
    adapter = load(respond, None if name is None else command(name), timeout=timeout)
    try:
        return run(adapter, CHECKS)
    finally:
        adapter.close()


@pytest.mark.parametrize(
    ("name", "kind", "detail"),
    [
        ("hangs", "timeout", "no answer in 0.5 s"),
        ("hangs-without-newline", "timeout", "no answer in 0.5 s"),
        ("crashes", "crashed", "ZeroDivisionError: on purpose"),
        ("ends", "crashed", "it ended with exit status 0"),
        ("rubbish", "rubbish", "not a line of JSON: 'loading model ... done'"),
        ("not-an-object", "rubbish", "not an object: []"),
        ("not-a-number", "rubbish", "NaN"),
        ("wrong-id", "wrong-id", "asked c1, got 'mine': the id of no request"),
        ("no-id", "wrong-id", "got 'no id'"),
        ("twice", "out-of-order", "asked c2, got 'c1': the id of an earlier request"),
        ("one-late", "out-of-order", "asked c2, got 'c1'"),
        ("unknown-error", "malformed", "bad-window"),
        ("no-answer-in-it", "malformed", "missing required field `segments`"),
        ("wrong-type", "malformed", "Expected `int`, got `str` - at `$.segments[0].start`"),
        ("unsupported-when-hard", "lied-unsupported", "it supports one request with"),
    ],
)
def test_a_program_at_fault(name, kind, detail):
    began = time.perf_counter()
    found = verdict(name=name, timeout=0.5 if "hang" in name else 5.0)
    assert found.fault is not None
    assert (found.fault.kind, found.exit_code) == (kind, 2)
    assert detail in str(found.fault)
    assert found.fault.request["op"] == "segments"
    assert time.perf_counter() - began < 30
    assert not [result for result in found.results if result.verdict == "broken"]


def running(group):
    """Return the processes of a group that still run; one that was killed may wait for somebody to take note of it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            found += [path.parent.name] if its_group == str(group) and state not in "ZX" else []
    return found


BIG = segments_request("vl3d", ["a" * 1000] * 100, [], 3)
"""A request that no pipe holds: a program has to read it."""


@pytest.mark.parametrize(
    ("script", "request_", "said"),
    [
        ("sleep 77 & exec cat", REQUEST, "malformed: answer = "),  # a child keeps the program's stdout
        ("sleep 77 & exit 3", REQUEST, ("timeout: no answer in 0.5 s", "crashed: it ended with exit status 3")),
        ("sleep 77", BIG, "timeout: no answer in 0.5 s, nor was the request read"),
        ("exec 0<&-; sleep 77", BIG, "crashed: it closed its input"),
        ("exec 1>&-; sleep 77", REQUEST, "crashed: it closed its output"),
        ("trap '' TERM HUP INT; sleep 77; sleep 77", REQUEST, "timeout: no answer in 0.5 s"),
        ("echo started >&2; exec sleep 77", REQUEST, "timeout: no answer in 0.5 s, after: started"),
        ("while :; do echo log >&2; done", REQUEST, "timeout: no answer in 0.5 s, after: log | log | log | log | log"),
        ("exec cat /dev/zero", REQUEST, "too-long: a line of more than 16 MiB"),
        ("exec yes", REQUEST, "rubbish: not a line of JSON: 'y'"),
        (f"exec {sys.executable} -c \"print('[' * 200_000)\"", REQUEST, "rubbish: nested more than 100 levels"),
        (f"exec {sys.executable} -c \"print('[' * 120 + ']' * 120)\"", REQUEST, "rubbish: nested more than 100 levels"),
        (f"exec {sys.executable} -c \"print('9' * 5_000)\"", REQUEST, "rubbish: not a line of JSON: '999"),
        ("read line; printf 'no line feed'", REQUEST, "rubbish: not a line of JSON: 'no line feed'"),
    ],
)  # fmt: skip
def test_a_program_cannot_hold_up_the_kit_nor_fill_its_memory(script, request_, said):
    began = time.perf_counter()
    adapter = load(command=f"sh -c {shlex.quote(script)}", timeout=0.5 if "timeout" in str(said) else 20)
    with pytest.raises(Fault) as caught:
        adapter.ask(request_)
    assert str(caught.value).startswith(said)
    if caught.value.kind in ("timeout", "too-long"):
        with pytest.raises(Fault) as again:
            adapter.ask(request_)
        assert again.value is caught.value
    adapter.close()
    assert time.perf_counter() - began < 30
    assert len(adapter._transport._said) <= STDERR_KEPT
    while running(adapter._transport._process.pid):  # what was killed ends when the system gets round to it
        assert time.perf_counter() - began < 60


def test_what_a_program_has_not_read_yet_comes_before_the_next_request():
    program = (
        "import sys, time; print('1', flush=True); time.sleep(0.3); [print(len(l), flush=True) for l in sys.stdin]"
    )
    asked = Subprocess([sys.executable, "-c", program])
    assert asked.send(b"x" * 10**6, 20) == b"1"
    assert asked.send(b"y", 20) == b"1000001"
    assert asked.send(b"z", 20) == b"2"
    asked.close()


def test_a_pipe_that_is_full_after_all_is_tried_again(monkeypatch):
    asked = Subprocess(["cat"])
    write, refused = os.write, []

    def full(file, data):
        if file == asked._stdin and not refused:
            refused.append(data)
            raise BlockingIOError
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    assert asked.send(b"a", 20) == b"a"
    assert refused == [b"a\n"]
    asked.close()


def test_a_function_that_hangs_is_not_asked_again():
    asked = InProcess(lambda request: time.sleep(2))
    with pytest.raises(Fault, match=r"^timeout: no answer in 0\.1 s$") as first:
        asked.send(b"{}", 0.1)
    with pytest.raises(Fault) as again:
        asked.send(b"{}", 20)
    assert again.value is first.value


def test_a_line_of_the_longest_size_is_read():
    program = f"input(); print(' ' * {ANSWER_LIMIT - 2} + '[]'); input(); print(' ' * {ANSWER_LIMIT - 1} + '[]')"
    adapter = load(command=f"{sys.executable} -c {shlex.quote(program)}")
    for said in ("rubbish: not an object", "too-long: a line of more than 16 MiB"):
        with pytest.raises(Fault, match=said):
            adapter.ask(REQUEST)
    adapter.close()


def test_a_program_that_crashes_is_started_anew_and_the_run_goes_on():
    """It ends at its sixth request, so that each law that asks more often ends in a crash."""
    adapter = load(command=command("crashes-later"))
    for _ in range(2):
        answers = [str(adapter.ask(REQUEST)) for _ in range(5)]
        assert answers == ["[0, 3) -"] * 5
        with pytest.raises(Fault, match="it ended with exit status 7, after: last words"):
            adapter.ask(REQUEST)
    found = run(adapter, CHECKS)
    adapter.close()
    assert found.fault is None
    assert [result.law for result in found.results] == [check.law.id for check in CHECKS]
    assert {result.verdict for result in found.results} == {"crashed", "broken"}


def test_a_crash_is_the_verdict_of_its_law_and_shows_the_users_own_frame():
    def respond(request):
        if request["start"]:
            return json.loads("{")  # raises in the standard library
        return respond_rightly(request)

    found = run(load(respond), checks(dialects=["lisa"], only=["RES-1", "LIS-1", "SCH-1"]))
    verdicts = {result.law: result.verdict for result in found.results if not result.law.endswith("-vectors")}
    assert verdicts.pop("RES-1-a_resumed_run_is_the_rest_of_the_whole") == "crashed"
    assert {*verdicts.values()} == {"holds"}
    assert found.exit_code == 1
    failure = next(result.failure for result in found.results if result.verdict == "crashed")
    assert failure.got.startswith("crashed: JSONDecodeError: Expecting property name")
    assert f"({__file__}:" in failure.got
    assert {"n_layers": 1, "step_interval": 1}.items() <= failure.case["request"]["config"].items()  # simplest numbers


def test_a_program_that_cannot_be_started():
    with pytest.raises(Fault, match=r"not-started: 'no-such-program --x': .*No such file"):
        load(command="no-such-program --x")
    for nothing, why in (("", "it names no program"), ("'", "No closing quotation")):
        with pytest.raises(Fault, match=f"not-started: .*: {why}"):
            load(command=nothing)


def hangs(request):
    time.sleep(60)


def ends_the_process(request):
    sys.exit(3)


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError


def raises_without_words(request):
    raise SilentError


def rate(value):
    return answering(segments=[{"start": 0, "stop": 1, "frozen": [], "learning_rate": value}])


def answering(**answer):
    return lambda request: {"id": request["id"], **answer}


@pytest.mark.parametrize(
    ("respond", "kind", "detail"),
    [
        (hangs, "timeout", "no answer in 0.3 s"),
        (lambda request: 1 // 0, "crashed", "ZeroDivisionError: integer division or modulo by zero (" + __file__),
        (ends_the_process, "crashed", "SystemExit: 3"),
        (lambda request: None, "rubbish", "not an object: null"),
        (answering(segments=[{1: {object()}}]), "malformed", "the answer is not JSON"),
        (answering(segments=None), "malformed", "Expected `array`, got `null`"),
        (answering(unsupported=False), "malformed", "Invalid enum value"),
        (lambda request: {"id": 1, "segments": []}, "wrong-id", "got 1"),
        (lambda request: {"id": request["id"], "canonical": "x" * 2**24}, "too-long", "more than 16 MiB"),
        (raises_without_words, "crashed", "SilentError: <SilentError> ("),
        (rate(math.nan), "malformed", "the answer is not JSON: Out of range float values are not JSON compliant"),
        (rate(-math.inf), "malformed", "the answer is not JSON"),
        (rate(10**400), "malformed", "Number out of range"),
        (answering(segments=[{"start": 0, "stop": 1, "frozen": ["a", "a"]}]), "malformed", "must be distinct names"),
        (answering(segments=[{"start": 0, "stop": 1, "frozen": [], "bn_frozen": ["a", "a"]}]), "malformed", "distinct"),
    ],
)
def test_a_callable_at_fault(respond, kind, detail):
    found = verdict(respond, timeout=0.3 if respond is hangs else 20)
    assert (found.fault.kind, found.exit_code) == (kind, 2)
    assert detail in found.fault.detail


def test_a_name_twice_in_a_state_is_no_answer():
    adapter = load(answering(frozen=["a", "a"], flipped=0))
    with pytest.raises(Fault, match=r"malformed: frozen = \['a', 'a'\] must be distinct names"):
        adapter.ask({"op": "apply", "dialect": "kempner", "names": ["a"], "config": {}})


def test_what_can_be_loaded():
    for reference, what in [
        ("no_such_module:f", "the name of something that exists"),
        ("math:tau", "a callable from request to answer"),
        ("math", "of the form module:name"),
    ]:
        with pytest.raises(InvalidSpec, match=what):
            load(reference)
    with pytest.raises(InvalidSpec, match="either module:callable or a command"):
        load()
    with pytest.raises(InvalidSpec, match="either module:callable or a command"):
        load("math:sin", "cat")
    with pytest.raises(InvalidSpec, match="timeout = -1 must be some seconds, at most a day"):
        load("math:sin", timeout=-1)
    assert load("math:sin").name == "math:sin"
    assert load(math.sin).name == "math:sin"


@pytest.mark.parametrize(
    ("framework", "said"), [("keras", "executors need Keras: pip"), ("torch", "executors of PyTorch")]
)
def test_what_executors_need_is_said(framework, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "refreeze.keras", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    executor = SimpleNamespace(framework=framework, run=lambda *args: {})
    with pytest.raises(Unsupported, match=said):
        load(executor, level="execution")


def test_a_module_that_fails_to_import_is_at_fault(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('on import')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Fault, match="not-started: breaks_on_import:f: RuntimeError: on import"):
        load("breaks_on_import:f")


def test_the_request_that_an_adapter_gets_is_its_own():
    """It may change it; and it has the version and an id, never the same again."""
    seen = []

    def respond(request):
        seen.append((request["refreeze"], request["id"]))
        answer = {"id": request["id"], "segments": whole(request)}
        request.clear()
        return answer

    adapter, request = load(respond), dict(REQUEST)
    for _ in range(2):
        adapter.ask(request)
    assert request == REQUEST
    assert seen == [(1, "c1"), (1, "c2")]


@pytest.mark.parametrize(
    ("dialect", "config", "found"),
    [
        ("lisa", {"layers": ["b1"]}, {"containers"}),
        ("lisa", {"layers": ["b?"]}, {"patterns"}),
        ("lisa", {"layers": [{"each": "b?"}]}, {"patterns", "each"}),
        ("lisa", {"layers": ["w[1]", "stem"]}, set()),  # the name of a layer
        ("kempner", {"freeze": [{"module": "b?"}]}, set()),  # what KempnerForge itself has
    ],
)
def test_NAM_5_the_features_of_a_request_tell_of_patterns(dialect, config, found):
    request = segments_request(dialect, ["stem", "b1/q", "w[1]"], config, 3)
    assert features(request) & {"patterns", "each", "containers"} == found


def test_unsupported_may_depend_on_features_and_on_nothing_else():
    def supports(true):
        return lambda request: {"id": request["id"], **({"segments": []} if true(request) else {"unsupported": True})}

    def spec(**strategy):
        return {"layers": ["a"], "training_interval": [0, 9], **({"strategy": strategy} if strategy else {})}

    round_robin = spec(type="round_robin", window_size=1, iterative_span=1)
    requests = [
        segments_request("vl3d", ["a"], config, 0, start=start)
        for config in ([], [spec()], [round_robin], [spec(), spec()])
        for start in (0, 1)
    ]
    honest = load(supports(lambda request: "round_robin" not in str(request["config"])))
    answers = [honest.ask(request) for request in requests]
    assert [isinstance(answer, UnsupportedRequest) for answer in answers] == [False] * 4 + [True] * 2 + [False] * 2
    assert len(honest.unsupported) == 2
    for lie in (lambda request: request["total"] == 0, lambda request: request["id"] == "c1"):
        adapter = load(supports(lie))
        adapter.ask(segments_request("vl3d", ["a"], [round_robin], 0))
        with pytest.raises(
            Fault, match=r"lied-unsupported: it supports one request with 'round_robin', .*, not another"
        ):
            adapter.ask(segments_request("vl3d", ["a"], [round_robin], 1))


def test_answers_show_what_they_are():
    adapter = load(
        lambda request: {
            "id": request["id"],
            "segments": [{"start": 0, "stop": 3, "frozen": ["b", "a"], "learning_rate": 0.5, "bn_frozen": ["c"]}],
        }
    )
    assert str(adapter.ask(REQUEST)) == "[0, 3) a b bn: c rate: 0.5"
    assert str(Schedule(())) == "no segments"
    assert str(Rejected("conflict", "two rates")) == "error conflict (two rates)"
    assert str(Applied(frozenset(), 3)) == "frozen -, 3 flipped"
    assert str(Canonical([1, None])) == "[1,null]"
    assert str(UnsupportedRequest()) == "unsupported"
