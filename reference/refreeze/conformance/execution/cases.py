"""Runs for the laws of execution: a few schedules that every corner needs, and drawn ones; vl3d, and one of fastai.

Training takes its time, so the laws share their runs: an executor is asked once for equal requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from refreeze import segments
from refreeze.conformance import cases as c
from refreeze.conformance.cases.vl3d import a_spec
from refreeze.conformance.execution import laws as check
from refreeze.conformance.laws import Case, CheckCase, Family
from refreeze.conformance.protocol import Request
from refreeze.conformance.reference import policy_of

NAMES = ["stem", "norm", "body/a", "body/b", "head"]
"""The layers of the kit's model: ``norm`` is a batch normalization, ``body`` a container."""
RATE = 0.125
Spec = dict[str, Any]


def spec(layers: str | list[str], start: int, stop: int, **rest: Any) -> Spec:
    return {"layers": layers, "training_interval": [start, stop], **rest}


def a_run(dialect: str, config: Any, total: int, optimizer: str = "adam", off: Sequence[str] = ()) -> Request:
    """Return a ``protocol.RunRequest``, without version and id, of a run that is neither stopped nor interrupted."""
    asked = {"op": "run", "dialect": dialect, "names": NAMES, "config": config, "total": total}
    rest = {"stop_after": None, "fail_at": None, "resumed": None, "meddles": False}
    return asked | rest | {"optimizer": optimizer, "off": [*off]}


def vl3d(*config: Spec, total: int, **rest: Any) -> Request:
    return a_run("vl3d", list(config), total, **rest)


_WINDOW = {"type": "round_robin", "window_size": 2, "iterative_span": 1}
WINDOWS = vl3d(
    spec(["stem", "norm", "head"], 1, 4, strategy=_WINDOW, initial_learning_rate=RATE), total=5, optimizer="sgd"
)
"""Layers frozen in two segments on end, a batch normalization that comes and goes, a rate at each boundary but one."""
OVERLAP = vl3d(spec(["stem"], 1, 4), spec(["body"], 2, 5, initial_learning_rate=RATE),
               total=6, off=["norm"])  # fmt: skip
"""A union, a container, one rate that later segments leave alone, and a layer that the user has switched off."""
WHOLE = vl3d(spec("all", 1, 2), total=4, optimizer="adamw", off=["stem"])
"""Everything frozen between two segments in which everything trains, a layer too that was off at first."""
STAGES = vl3d(spec(["stem"], 2, 5), total=6, optimizer="sgd")
INFERENCE = a_run(
    "fastai",
    {
        "groups": [["stem"], ["norm"], ["body/a", "body/b"], ["head"]],
        "calls": [
            {"at": 0, "call": "bn_freeze", "do_freeze": True},
            {"at": 1, "call": "freeze_to", "n": 2},
            {"at": 2, "call": "unfreeze"},
        ],
        "batch_norm": ["norm"],
    },
    3,
)
"""A batch normalization in inference mode, then frozen besides, then not."""


@st.composite
def runs(draw: DrawFn) -> Request:
    """Return any run of a few short segments; all learning rates in it are equal."""
    wanted = ("some", "some", "all", ["body"])
    config = [a_spec(draw, NAMES, wanted=wanted, rates=(None, RATE), spans=2) for _ in range(draw(st.integers(1, 2)))]
    off = draw(st.sampled_from(([], ["norm"], ["head", "body/b"])))
    return vl3d(
        *config, total=draw(st.integers(2, 6)), optimizer=draw(st.sampled_from(("adam", "sgd", "adamw"))), off=off
    )


@st.composite
def stopped(draw: DrawFn) -> Request:
    request = draw(runs())
    return request | {"stop_after": draw(st.integers(1, request["total"]))}


def _calls(request: Request) -> int:
    return len(segments(policy_of(request), request["total"]))


@st.composite
def failing(draw: DrawFn) -> Request:
    request = draw(runs())
    return request | {"fail_at": draw(st.integers(0, _calls(request) - 1))}


@st.composite
def interrupted(draw: DrawFn) -> Request:
    request = draw(runs().filter(lambda request: _calls(request) > 1))
    return request | {"fail_at": draw(st.integers(1, _calls(request) - 1)), "resumed": request["config"]}


@st.composite
def unknown(draw: DrawFn) -> Case:
    request = draw(runs())
    gone = spec([c.misspelt(draw, [*NAMES, "body"])], draw(st.integers(0, 4)), 9)
    return {"request": request | {"config": [*request["config"], gone]}, "error": "unknown-name", "before": "changed"}


def trained(how: CheckCase, drawn: st.SearchStrategy[Request], *always: Request) -> Family:
    """Return the family of runs that are checked so."""
    cases = tuple({"request": request} for request in always)
    return Family(how, drawn.map(lambda request: {"request": request}), cases, level="execution")


def chosen(how: CheckCase, *always: Case) -> Family:
    """Return the family of these cases and no others."""
    return Family(how, None, always, level="execution")


def _refused(request: Request, error: str | None = None, before: str | None = None) -> Case:
    return {"request": request, "error": error, "before": before}


_ANY = (WINDOWS, OVERLAP, WHOLE)
_MEDDLED = ({"request": WINDOWS | {"meddles": True}}, {"request": OVERLAP | {"meddles": True}})
_LAST = STAGES | {"total": 4}
"""A layer is frozen when the run ends."""
_UNKNOWN = _refused(vl3d(spec(["stem"], 1, 2), spec(["haed"], 3, 4), total=5), "unknown-name", "changed")
_RATED = _refused(vl3d(spec(["stem"], 1, 2, initial_learning_rate=RATE), total=3, optimizer="scheduled"))
_AVERAGED = _refused(STAGES | {"optimizer": "ema"}, before="trained")
_OTHER_PAST = STAGES | {"fail_at": 1, "resumed": [spec(["head"], 1, 5)]}

FAMILIES: dict[str, dict[str, Family]] = {
    "vl3d": {
        "NAM-2-nothing_is_trained_before": Family(check.refused, unknown(), (_UNKNOWN,), level="execution"),
        "EXE-1-one_call_per_segment": trained(check.one_call_per_segment, runs(), *_ANY),
        "EXE-2-flags_are_the_segments": trained(check.flags, runs(), *_ANY),
        "EXE-3-what_moves_is_what_is_not_frozen": trained(check.effects, runs(), *_ANY),
        "EXE-3-whatever_callbacks_do_to_flags": chosen(check.effects, *_MEDDLED),
        "EXE-4-slots_and_iterations_go_on": trained(check.slots, runs(), *_ANY),
        "EXE-5-a_rate_is_set_once": trained(check.rates, runs(), *_ANY),
        "EXE-5-a_schedule_object_is_refused": chosen(check.refused, _RATED),
        "EXE-6-one_history": trained(check.one_history, runs(), *_ANY),
        "EXE-7-equals_rebuilding": trained(check.equals_rebuilding, runs(), *_ANY),
        "EXE-8-stopping_ends_the_run": trained(
            check.stops, stopped(), STAGES | {"stop_after": 3}, STAGES | {"stop_after": 2}
        ),
        "EXE-9-a_failure_comes_out": trained(check.fails, failing(), STAGES | {"fail_at": 1}),
        "EXE-10-everything_frozen": trained(check.nothing_trains, runs(), WHOLE),
        "EXE-11-flags_stay_after_the_last_segment": trained(check.flags_stay, runs(), *_ANY, _LAST),
        "EXE-12-moving_averages_are_refused": chosen(check.refused, _AVERAGED),
        "RES-2-a_resumed_run_ends_alike": trained(
            check.resumes, interrupted(), STAGES | {"fail_at": 1, "resumed": STAGES["config"]}
        ),
        "RES-3-another_past_is_refused": chosen(check.refused, _refused(_OTHER_PAST, "schedule-mismatch", "trained")),
        "BN-1-frozen_statistics_are_used_and_kept": trained(check.statistics, runs(), *_ANY),
    },
    "fastai": {"BN-1-inference_mode_keeps_the_statistics": chosen(check.effects, {"request": INFERENCE})},
}
