"""Runs for the laws of execution: a few schedules that every corner needs, and drawn ones; vl3d, and one of fastai.

Training takes its time, so the laws share their runs: an executor is asked once for equal requests. The runs are the
same on Keras and on PyTorch, and so are the laws, but for what only one of them has. The dialects of installed PyTorch
implementations have a few runs of their own, on PyTorch alone.
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
from refreeze.conformance.execution.observations import STEPS
from refreeze.conformance.laws import Case, CheckCase, Family
from refreeze.conformance.protocol import Framework, Request
from refreeze.conformance.reference import policy_of

NAMES = ["stem", "norm", "body/a", "body/b", "head"]
"""The layers of the kit's model: ``norm`` is a batch normalization, ``body`` a container."""
RATE = 0.125
Spec = dict[str, Any]


def spec(layers: str | list[str], start: int, stop: int, **rest: Any) -> Spec:
    return {"layers": layers, "training_interval": [start, stop], **rest}


def a_run(
    dialect: str, config: Any, total: int, optimizer: str = "adam", off: Sequence[str] = (), **more: Any
) -> Request:
    """Return a ``protocol.RunRequest``, without version and id, of a run that is neither stopped nor interrupted."""
    asked = {"op": "run", "dialect": dialect, "names": NAMES, "config": config, "total": total, **more}
    rest = {"stop_after": None, "fail_at": None, "resumed": None, "meddles": False}
    return asked | rest | {"optimizer": optimizer, "off": [*off]}


def vl3d(*config: Spec, total: int, **rest: Any) -> Request:
    return a_run("vl3d", list(config), total, **rest)


_WINDOW = {"type": "round_robin", "window_size": 2, "iterative_span": 1}
WINDOWS = vl3d(
    spec(["stem", "norm", "head"], 1, 4, strategy=_WINDOW, initial_learning_rate=RATE), total=5, optimizer="sgd"
)
"""Layers frozen in two segments on end, a batch normalization that comes and goes, a rate at each boundary but one."""
OVERLAP = vl3d(spec(["stem"], 0, 4), spec(["body"], 2, 5, initial_learning_rate=RATE),
               total=6, off=["norm"])  # fmt: skip
"""A union, frozen from the start, a container, one rate that is left alone, a layer that the user has switched off."""
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


def trained(
    how: CheckCase, drawn: st.SearchStrategy[Request] | None, *always: Request, on: Framework | None = None
) -> Family:
    """Return the family of runs that are checked so, on one framework or on all."""
    cases = None if drawn is None else drawn.map(lambda request: {"request": request})
    return Family(how, cases, tuple({"request": request} for request in always), level="execution", framework=on)


def chosen(how: CheckCase, *always: Case, on: Framework | None = None) -> Family:
    """Return the family of these cases and no others."""
    return Family(how, None, always, level="execution", framework=on)


def _refused(request: Request, error: str | None = None, before: str | None = None) -> Case:
    return {"request": request, "error": error, "before": before}


THAWED = vl3d(spec(["stem", "norm"], 0, 2), total=4, optimizer="sgd")
_ANY = (WINDOWS, OVERLAP, WHOLE)
_MEDDLED = ({"request": WINDOWS | {"meddles": True}}, {"request": OVERLAP | {"meddles": True}})
_LAST = STAGES | {"total": 4}
"""A layer is frozen when the run ends."""
_UNKNOWN = _refused(vl3d(spec(["stem"], 1, 2), spec(["haed"], 3, 4), total=5), "unknown-name", "changed")
_RATED = _refused(vl3d(spec(["stem"], 1, 2, initial_learning_rate=RATE), total=3, optimizer="scheduled"))
_AVERAGED = _refused(STAGES | {"optimizer": "ema"}, before="trained")
_INTERRUPTED = (
    STAGES | {"fail_at": 1, "resumed": STAGES["config"]},
    THAWED | {"fail_at": 1, "resumed": THAWED["config"]},
)
_OTHER_PAST = STAGES | {"fail_at": 1, "resumed": [spec(["head"], 1, 5)]}

_SHARED: dict[str, tuple[CheckCase, Framework | None]] = {
    "EXE-1-every_batch_is_trained_once": (check.every_batch_once, "torch"),
    "EXE-2-flags_are_the_segments": (check.flags, None),
    "EXE-3-what_moves_is_what_is_not_frozen": (check.effects, None),
    "EXE-4-slots_and_iterations_go_on": (check.slots, None),
    "PYT-1-gradients_are_there_or_none": (check.gradients, "torch"),
    "PYT-2-what_trains_is_in_one_group": (check.groups, "torch"),
    "PYT-3-nothing_else_is_in_evaluation_mode": (check.modes, "torch"),
}
"""Laws about any whole run, and the framework that alone has what they are about."""
_GOES_ON: dict[str, CheckCase] = {
    "RES-1-a_resumed_run_trains_the_rest": check.goes_on,
    "RES-2-a_resumed_run_ends_alike": check.resumes,
}
"""Laws about any run that is interrupted and resumed."""
FAMILIES: dict[str, dict[str, Family]] = {
    "vl3d": {
        "NAM-2-nothing_is_trained_before": Family(check.refused, unknown(), (_UNKNOWN,), level="execution"),
        **{name: trained(how, runs(), *_ANY, on=on) for name, (how, on) in _SHARED.items()},
        "EXE-1-one_call_per_segment": trained(check.one_call_per_segment, runs(), *_ANY, on="keras"),
        "EXE-3-whatever_callbacks_do_to_flags": chosen(check.effects, *_MEDDLED, on="keras"),
        "EXE-5-a_rate_is_set_once": trained(check.rates, runs(), *_ANY),
        "EXE-5-a_schedule_object_is_refused": chosen(check.refused, _RATED),
        "EXE-6-one_history": trained(check.one_history, runs(), *_ANY, on="keras"),
        "EXE-7-equals_rebuilding": trained(check.equals_rebuilding, runs(), *_ANY, on="keras"),
        "EXE-8-stopping_ends_the_run": trained(
            check.stops, stopped(), STAGES | {"stop_after": 3}, STAGES | {"stop_after": 2}
        ),
        "EXE-9-a_failure_comes_out": trained(check.fails, failing(), STAGES | {"fail_at": 1}),
        "EXE-10-everything_frozen": trained(check.nothing_trains, runs(), WHOLE),
        "EXE-11-flags_stay_after_the_last_segment": trained(check.flags_stay, runs(), *_ANY, _LAST),
        "EXE-12-moving_averages_are_refused": chosen(check.refused, _AVERAGED, on="keras"),
        **{name: trained(how, interrupted(), *_INTERRUPTED) for name, how in _GOES_ON.items()},
        "RES-3-another_past_is_refused": chosen(check.refused, _refused(_OTHER_PAST, "schedule-mismatch", "trained")),
        "BN-1-frozen_statistics_are_used_and_kept": trained(check.statistics, runs(), *_ANY),
    },
    "fastai": {"BN-1-inference_mode_keeps_the_statistics": chosen(check.effects, {"request": INFERENCE})},
}
"""By dialect: which laws of execution there are, and the runs that they look at."""


# The dialects of installed implementations ----------------------------------------------------------------------------
PARAMETERS = [f"{layer.replace('/', '.')}.{name}" for layer in NAMES for name in ("weight", "bias")]


def in_steps(dialect: str, config: Any, total: int, **rest: Any) -> Request:
    return a_run(dialect, config, total, steps_per_epoch=STEPS, **rest)


_PHASES = {
    "0": {"params": ["head.weight", "head.bias"], "max_transition_epoch": 1},
    "1": {"params": ["body.*"], "max_transition_epoch": 3},
    "2": {"params": ["norm.*", "stem.*"]},
}
_BLOCKS = {"block_prefix_list": [["stem."], ["norm."], ["body."], ["head."]], "switch_block_every": 3}
_DRAWN = {"n_layers": 1, "step_interval": 2, "layers": ["body/a", "body/b"], "variant": "axolotl"}
PEERS = {
    "lightning": a_run("lightning", {"backbone": ["stem", "norm", "body"], "batch_norm": ["norm"],
                                     "unfreeze_backbone_at_epoch": 2}, 4),
    "composer": a_run("composer", {"freeze_start": 0.5, "freeze_level": 1.0}, 8),
    "fts": a_run("fts", {"ft_schedule": _PHASES}, 5) | {"names": PARAMETERS},
    "lighter": in_steps("lighter", [{"name_starts_with": ["stem", "norm"], "until_step": 4}], 8)
    | {"names": PARAMETERS},
    "lisa": in_steps("lisa", _DRAWN, 8),
    "badam": in_steps("badam", _BLOCKS | {"switch_mode": "ascending"}, 8) | {"names": PARAMETERS},
}  # fmt: skip
"""A run of each: what thaws or freezes does so in the middle of it. It is interrupted before its last epoch."""
for _name, _run in PEERS.items():
    _cut = _run | {"fail_tick": _run["total"] - _run.get("steps_per_epoch", 1), "resumed": _run["config"]}
    FAMILIES[_name] = {
        **{law: trained(how, None, _run, on="torch") for law, (how, _) in _SHARED.items()},
        **{law: trained(how, None, _cut, on="torch") for law, how in _GOES_ON.items()},
    }
