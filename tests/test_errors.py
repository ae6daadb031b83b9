"""Errors: the id, the whole message and the attributes of each class; they survive pickling."""

import copy
import pickle

import pytest
from refreeze import errors

# error -> id, message, attributes
ERRORS = [
    (
        errors.InvalidSpec("freeze_training[1].strategy.window_size", 0, "in 1..5"),
        "invalid-spec",
        "freeze_training[1].strategy.window_size = 0 must be in 1..5",
        {"where": "freeze_training[1].strategy.window_size", "value": 0, "allowed": "in 1..5"},
    ),
    (
        errors.InvalidSpec("seed", "1", "an integer"),
        "invalid-spec",
        "seed = '1' must be an integer",
        {"where": "seed", "value": "1", "allowed": "an integer"},
    ),
    (
        errors.UnknownName("layers", ["cnov1", "hed", "zzz"], ["conv1", "conv2", "head"]),
        "unknown-name",
        "layers: unknown 'cnov1' (did you mean 'conv1', 'conv2'?), 'hed' (did you mean 'head'?), 'zzz'; "
        "known are conv1, conv2, head",
        {"where": "layers", "missing": ("cnov1", "hed", "zzz"), "known": ("conv1", "conv2", "head")},
    ),
    (
        errors.UnknownName("layers", ["x"], iter("abcdefgh")),
        "unknown-name",
        "layers: unknown 'x'; known are a, b, c, d, e, f, g, h",
        {"known": tuple("abcdefgh")},
    ),
    (
        errors.UnknownName("layers", ["x"], "abcdefghi"),
        "unknown-name",
        "layers: unknown 'x'; known are a, b, c, d, e, f, g, h, …",
        {"known": tuple("abcdefghi")},
    ),
    (
        errors.UnknownName("layers", ["x"], []),
        "unknown-name",
        "layers: unknown 'x'; known are no names",
        {"known": ()},
    ),
    (
        errors.NeedsModel("freeze_training[0].layers", "all"),
        "needs-model",
        "freeze_training[0].layers = 'all' can be resolved only with a model or a list of names",
        {"where": "freeze_training[0].layers", "value": "all"},
    ),
    (
        errors.EmptySelection("prefix", "cnov"),
        "empty-selection",
        "prefix = 'cnov' matches no name",
        {"where": "prefix", "selector": "cnov"},
    ),
    (
        errors.Conflict(7, {0.2, 0.1}),
        "conflict",
        "tick 7: learning rates 0.1, 0.2 are set at once; one may be",
        {"tick": 7, "rates": (0.1, 0.2)},
    ),
    (
        errors.Inexpressible("gradual", "epoch", 4, "'a' frozen", ["a"]),
        "inexpressible",
        "gradual cannot say this schedule: at epoch 4 it has 'a' frozen",
        {"dialect": "gradual", "unit": "epoch", "tick": 4, "what": "'a' frozen", "names": ("a",)},
    ),
    (
        errors.ScheduleMismatch(3, ["a"], None),
        "schedule-mismatch",
        "the schedules differ at tick 3: recorded ['a'], given None",
        {"tick": 3, "recorded": ["a"], "given": None},
    ),
    (
        errors.CheckpointError("out/epoch-00000002.npz", "is damaged"),
        "checkpoint",
        "checkpoint out/epoch-00000002.npz is damaged",
        {"path": "out/epoch-00000002.npz", "why": "is damaged"},
    ),
    (errors.Unsupported("use_ema = True"), "unsupported", "use_ema = True", {}),
]
each = pytest.mark.parametrize(("error", "id_", "message", "attributes"), ERRORS)


@each
def test_an_error_has_an_id_a_message_and_attributes(error, id_, message, attributes):
    assert error.id == id_
    assert str(error) == message
    assert {name: getattr(error, name) for name in attributes} == attributes


@each
@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_travels_between_processes(travel, error, id_, message, attributes):
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert (arrived.id, str(arrived)) == (id_, message)
    assert {name: getattr(arrived, name) for name in attributes} == attributes


def test_every_error_class_is_a_schedule_error_with_its_own_id_and_a_row_above():
    classes = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, Exception)]
    concrete = [found for found in classes if found is not errors.ScheduleError]
    assert all(issubclass(found, errors.ScheduleError) and issubclass(found, ValueError) for found in concrete)
    assert len({found.id for found in concrete}) == len(concrete)
    assert set(concrete) == {type(error) for error, *_ in ERRORS}


@pytest.mark.parametrize(("length", "shown"), [(198, f"'{'x' * 198}'"), (199, f"'{'x' * 198}…")])
def test_a_long_value_is_shortened_to_200_characters(length, shown):
    error = errors.InvalidSpec("config", "x" * length, "short")
    assert str(error) == f"config = {shown} must be short"
    assert error.value == "x" * length


def test_close_matches_come_closest_first_and_are_three_at_most():
    error = errors.UnknownName("layers", ["conv1"], ["conv1_bn", "conv10", "conv12", "conv11x", "dense"])
    assert error.close_matches("conv1") == ["conv12", "conv10", "conv11x"]
