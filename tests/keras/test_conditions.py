"""What a step for a whole schedule is told, and how late each layer thaws: plain data, against what they mean."""

import pytest

pytest.importorskip("keras")
from hypothesis import given
from hypothesis import strategies as st
from refreeze import Segment
from refreeze.keras.conditions import Boolean, Conditions
from refreeze.keras.overshoot import waiting

pytestmark = pytest.mark.engine
STATES = st.lists(st.text("ab", min_size=4, max_size=4).map(str.encode), max_size=6)


@given(STATES, st.lists(st.integers(0, 3), max_size=6))
def test_in_each_state_the_booleans_say_what_holds_there_and_equal_ones_are_shared(states, places):
    def holds(state, place):
        return state[place : place + 1] == b"b"

    conditions = Conditions(states)
    found = {place: conditions.when(lambda state, place=place: [1] * holds(state, place)) for place in places}
    for state in states:
        told = conditions.values(state)
        assert len(told) == len(conditions)
        assert state in conditions
        for place, condition in found.items():
            assert (told[condition.number] if isinstance(condition, Boolean) else condition) is holds(state, place)
    columns = {place: tuple(holds(state, place) for state in states) for place in places}
    changing = {place for place, column in columns.items() if len({*column}) > 1}
    assert {place for place, condition in found.items() if isinstance(condition, Boolean)} == changing
    assert len(conditions) == len({columns[place] for place in changing})
    assert b"cccc" not in conditions
    with pytest.raises(KeyError):
        conditions.values(b"cccc")


@given(st.lists(st.tuples(st.integers(1, 3), st.frozensets(st.sampled_from("abc"))), max_size=6), st.booleans())
def test_a_layer_waits_for_the_ticks_in_which_others_train(parts, others):
    segments, at = [], 0
    for length, frozen in parts:
        segments.append(Segment(at, at + length, frozen))
        at += length
    ticks = [segment.frozen for segment in segments for _ in range(segment.length)]
    expected = {}
    for name in "abc":
        first = next((tick for tick, frozen in enumerate(ticks) if name not in frozen), None)
        if first is not None and (before := sum(others or frozen != {*"abc"} for frozen in ticks[:first])):
            expected[name] = before
    found = waiting(segments, "abc", others)
    assert found == expected
    assert [*found] == sorted(found, key=lambda name: (found[name], name))
