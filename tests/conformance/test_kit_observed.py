"""Laws of execution on what was seen of a run, without a framework: of runs that no executor of the tests makes."""

import dataclasses

import pytest
from refreeze.conformance.adapters import Executor
from refreeze.conformance.execution import laws
from refreeze.conformance.execution.observations import Call, ModelState, Ran, TorchStep
from refreeze.conformance.laws import Broken, NotSupported
from refreeze.conformance.protocol import Fault, segments_request

STATE = ModelState({"norm/moving_mean": b"1"}, {}, {"norm": False}, (0.1,))
MOVED = dataclasses.replace(STATE, weights={"norm/moving_mean": b"2"})
REQUEST = segments_request("vl3d", ["norm"], [{"layers": ["norm"], "training_interval": [0, 2]}], 2) | {"off": []}


def breaks(law, calls=(), **seen):
    """Return what a law says of a run with these calls, None if it holds."""
    found = Ran(begun=STATE, calls=calls, end=STATE, **seen)
    try:
        law(lambda request: found, {"request": REQUEST})
    except Broken as broken:
        return f"{broken.what} is {broken.got}, not {broken.should_be}"


def call(**seen):
    return Call(0, 1, STATE, **seen)


def test_a_run_that_is_refused_is_no_run():
    assert breaks(laws.one_history) is None
    assert breaks(laws.one_history, error="unknown-name") == (
        "the run is error unknown-name, not one that trains, as the configuration is right"
    )
    with pytest.raises(NotSupported):
        breaks(laws.one_history, error="unsupported")


def test_the_epochs_of_a_history_are_compared_if_it_says_them():
    calls = (call(after=STATE, history={"loss": [0.5]}), call(after=STATE, history={"loss": [0.25]}))
    for epochs, said in ((None, None), ([0, 1], None), ([0, 2], "the epochs of the history is [0, 2], not [0, 1]")):
        assert breaks(laws.one_history, calls, history={"loss": [0.5, 0.25]}, epochs=epochs) == said


def test_statistics_are_compared_until_a_step_that_did_not_end():
    moves = "statistics that move in fit(1) at epoch 0 is norm/moving_mean, not nothing"
    for calls, said in (
        ((call(after=STATE),), None),
        ((call(after=MOVED),), moves),
        ((call(), call(after=MOVED)), None),
        ((call(after=STATE), call(after=MOVED)), moves),
    ):
        assert breaks(laws.statistics, calls, steps_per_tick=2) == said
    step = TorchStep(0, 0, {}, normalized_by="the batch")
    assert breaks(laws.statistics, (call(after=STATE, step=step),), steps_per_tick=2) == (
        "the statistics used in step 0, of tick 0 is the batch, not the moving ones"
    )


def test_modes_are_compared_where_they_were_seen():
    off = TorchStep(0, 0, {"": False, "body": True})
    assert breaks(laws.modes, (call(after=STATE),)) is None
    assert breaks(laws.modes, (call(after=STATE, step=off),)) == (
        "modules in evaluation mode in step 0, of tick 0 is the module, not nothing"
    )


def test_what_an_observation_raises_is_a_fault():
    def observe(request):
        raise ZeroDivisionError("on purpose")

    with pytest.raises(Fault, match=r"^crashed: ZeroDivisionError: on purpose"):
        Executor("mine", "keras", observe).ask(REQUEST)
