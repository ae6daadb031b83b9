"""Segments as JSON: there and back, in any encoding; what is no schedule is rejected."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from per_tick import encode
from refreeze import InvalidSpec, Segment, canonical
from refreeze.segments_json import from_json, to_json
from strategies import encodings, runs

A, NONE = frozenset("a"), frozenset()


@given(runs(), st.data())
def test_any_encoding_arrives_as_the_canonical_segments(run, data):
    sent = data.draw(encodings(run))
    assert from_json(json.loads(json.dumps(to_json(sent)))) == encode(run.__getitem__, len(run)) == canonical(sent)


def test_the_form_is_plain_and_its_names_are_sorted():
    assert to_json([Segment(0, 3, frozenset("cab"), 0.1, frozenset("ed")), Segment(3, 4, NONE)]) == [
        {"start": 0, "stop": 3, "frozen": ["a", "b", "c"], "learning_rate": 0.1, "bn_frozen": ["d", "e"]},
        {"start": 3, "stop": 4, "frozen": [], "learning_rate": None, "bn_frozen": []},
    ]


def test_a_rate_and_inference_mode_may_be_absent_and_names_come_in_any_order():
    assert from_json(({"start": 2, "stop": 3, "frozen": ("b", "a")},)) == (Segment(2, 3, frozenset("ab")),)
    assert from_json([{"start": 0, "stop": 3, "frozen": [], "learning_rate": 1, "bn_frozen": ["a"]}]) == (
        Segment(0, 3, NONE, 1.0, A),
    )
    assert from_json([]) == ()


GOOD = {"start": 0, "stop": 2, "frozen": []}
NOT_SEGMENTS = [
    (5, "(Expected `array`, got `int`)"),
    ([5], "(Expected `object`, got `int` - at `$[0]`)"),
    ([GOOD | {"stop": 0}], "(Expected `int` >= 1 - at `$[0].stop`)"),
    ([GOOD | {"start": -1}], "(Expected `int` >= 0 - at `$[0].start`)"),
    ([GOOD | {"stop": 2.0}], "(Expected `int`, got `float` - at `$[0].stop`)"),
    ([GOOD | {"stop": True}], "(Expected `int`, got `bool` - at `$[0].stop`)"),
    ([GOOD | {"stop": np.int64(2)}], "(Expected `int`, got `numpy.int64` - at `$[0].stop`)"),
    ([GOOD | {"frozen": "ab"}], "(Expected `array`, got `str` - at `$[0].frozen`)"),
    ([GOOD | {"frozen": [1]}], "(Expected `str`, got `int` - at `$[0].frozen[0]`)"),
    ([GOOD | {"learning_rate": 0.0}], "(Expected `float` > 0.0 - at `$[0].learning_rate`)"),
    ([GOOD | {"learning_rate": math.nan}], "(Expected `float` > 0.0 - at `$[0].learning_rate`)"),
    ([GOOD | {"learning_rate": True}], "(Expected `float | null`, got `bool` - at `$[0].learning_rate`)"),
    ([GOOD | {"colour": 1}], "(Object contains unknown field `colour` - at `$[0]`)"),
    ([GOOD | {"\ud800": 1}], "('utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed)"),
    ([{"start": 0, "stop": 2}], "(Object missing required field `frozen` - at `$[0]`)"),
]


IDS = [reason.replace("\\", "") for _, reason in NOT_SEGMENTS]  # pytest finds no test by a backslash


@pytest.mark.parametrize(("data", "reason"), NOT_SEGMENTS, ids=IDS)
def test_what_is_not_segments_is_rejected_with_the_place(data, reason):
    with pytest.raises(InvalidSpec) as caught:
        from_json(data)
    assert str(caught.value) == f"segments = {data!r} must be a list of segments {reason}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([GOOD | {"frozen": ["a", "a"]}], "segments[0] = ('a', 'a') must be distinct names"),
        (
            [GOOD, GOOD | {"start": 2, "stop": 3, "bn_frozen": ["b", "b"]}],
            "segments[1] = ('b', 'b') must be distinct names",
        ),
        ([GOOD | {"learning_rate": math.inf}], "segments[0].learning_rate = inf must be finite"),
        ([GOOD | {"start": 3}], "segments[0].stop = 2 must be an integer >= 4"),
        ([GOOD, GOOD | {"start": 3, "stop": 4}], "segments[1].start = 3 must be 2, where the one before stops"),
    ],
)
def test_SCH_1_segments_that_are_no_schedule_are_rejected(data, message):
    with pytest.raises(InvalidSpec) as caught:
        from_json(data)
    assert str(caught.value) == message
