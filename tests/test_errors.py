"""Errors: the id, the whole message and the attributes of each class; they survive pickling; what is shortened."""

import copy
import pickle
from collections.abc import Iterator

import pytest
from refreeze import errors
from refreeze.errors import InvalidSpec, UnknownName, first_few, one_line, shown

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
        errors.ScheduleMismatch(3, ["a"], ["b"]),
        "schedule-mismatch",
        "the schedules differ at tick 3: recorded ['a'], given ['b']",
        {"tick": 3, "recorded": ["a"], "given": ["b"]},
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
def test_an_error_travels_from_process_to_process(travel, error, id_, message, attributes):
    arrived = travel(travel(error))
    assert type(arrived) is type(error)
    assert (arrived.id, str(arrived)) == (id_, message)
    assert {name: getattr(arrived, name) for name in attributes} == attributes
    assert str(type(arrived)(*arrived.args)) == message


def test_every_error_class_is_a_schedule_error_with_its_own_id_and_a_row_above():
    classes = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, Exception)]
    concrete = [found for found in classes if found is not errors.ScheduleError]
    assert all(issubclass(found, errors.ScheduleError) and issubclass(found, ValueError) for found in concrete)
    assert len({found.id for found in concrete}) == len(concrete)
    assert set(concrete) == {type(error) for error, *_ in ERRORS}


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [
        ("a" * 10, 10, "a" * 10),
        ("a" * 11, 10, "a" * 9 + "…"),
        ("a\n", 10, "a\\n"),  # a short one, too
        ("\x1b[1m\\é'\n", 20, "\\x1b[1m\\é'\\n"),  # what can be printed stays as it is
        ("a" * 9 + "\n", 10, "a" * 9 + "…"),
    ],
)
def test_a_text_is_one_line_of_what_can_be_printed(text, most, line):
    assert one_line(text, most) == line


@pytest.mark.parametrize(
    ("value", "most", "text"),
    [
        ([1, 2, 3], 9, "[1, 2, 3]"),
        ([1, 2, 3], 8, "[1, 2, …"),
        ({"a": (1,), "b": ()}, 40, "{'a': (1,), 'b': ()}"),
        ("x" * 8, 10, f"'{'x' * 8}'"),
        ("x" * 9, 10, f"'{'x' * 8}…"),
        ("x" * 9 + "'", 10, f'"{"x" * 8}…'),  # eleven characters are read, and they decide which quotes there are
        ("x" * 11 + "'", 10, f"'{'x' * 8}…"),
        ([10**5000], 10, "[<int>]"),  # Python does not write it
    ],
)
def test_a_value_is_shown_shortened(value, most, text):
    assert shown(value, most) == text


@pytest.mark.parametrize(
    ("wrap", "opening", "deeper", "closing"),
    [(lambda value: [value], "[", "[…]", "]"), (lambda value: {0: value}, "{0: ", "{…: …}", "}")],
)
def test_a_value_is_shown_to_a_depth_of_a_hundred(wrap, opening, deeper, closing):
    value = 1
    for _ in range(100):
        value = wrap(value)
    assert shown(value, 10**4) == opening * 100 + "1" + closing * 100
    assert shown(wrap(value), 10**4) == opening * 100 + deeper + closing * 100


def test_what_is_not_shown_is_not_read():
    asked = []

    class Item:
        def __repr__(self) -> str:
            asked.append(self)
            return "item"

    assert shown([Item()] * 1000, 12) == "[item, item…"
    assert len(asked) == 2

    def names() -> Iterator[str]:
        yield from "abc"
        raise AssertionError("a name too many is asked for")

    assert first_few(names(), 2) == "a, b, …"


def test_a_value_is_shortened_to_200_characters_and_is_whole_in_the_error():
    error = InvalidSpec("w" * 201, "x" * 199, "short")
    assert str(error) == f"{'w' * 199}… = '{'x' * 198}… must be short"
    assert (error.where, error.value) == ("w" * 201, "x" * 199)


def test_of_segments_that_differ_800_characters_are_shown():
    message = str(errors.ScheduleMismatch(3, "a" * 799, "b" * 799))
    assert message == f"the schedules differ at tick 3: recorded '{'a' * 798}…, given '{'b' * 798}…"


@pytest.mark.parametrize(("missing", "more"), [(8, ""), (9, " and 1 more"), (1009, " and 1,001 more")])
def test_eight_unknown_names_are_shown_and_for_three_what_they_may_mean(missing, more):
    given = [f"conv{number}x" for number in range(missing)]
    known = ["conv0", "conv1", "conv2", "conv3", "n" * 201]
    texts = [f"'{name}'" for name in given[:8]]
    for number in range(3):
        close = [f"'conv{number}'", *(f"'conv{other}'" for other in (3, 2, 1, 0) if other != number)][:3]
        texts[number] += f" (did you mean {', '.join(close)}?)"
    message = str(UnknownName("layers", given, known))
    assert message == f"layers: unknown {', '.join(texts)}{more}; known are conv0, conv1, conv2, conv3, {'n' * 199}…"


def test_close_matches_come_closest_first_and_are_three_at_most():
    error = UnknownName("layers", ["conv1"], ["conv1_bn", "conv10", "conv12", "conv11x", "dense"])
    assert error.close_matches("conv1") == ["conv12", "conv10", "conv11x"]


@pytest.mark.parametrize(("length", "found"), [(100, True), (101, False)])
def test_close_matches_are_looked_for_among_names_of_a_hundred_characters(length, found):
    name, shorter, longer = "x" * length, "x" * 99, "x" * 101
    assert UnknownName("layers", [], [shorter, longer]).close_matches(name) == ([shorter] if found else [])
    assert UnknownName("layers", [], [name]).close_matches(shorter) == ([name] if found else [])


def test_close_matches_are_found_among_many_that_come_later_in_the_alphabet():
    error = UnknownName("layers", [], ["conv1", *(f"z{number}" for number in range(60))])
    assert error.close_matches("conv2") == ["conv1"]
