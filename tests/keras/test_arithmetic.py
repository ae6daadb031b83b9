"""What of the engine is plain arithmetic: what a masked step is told, when ``auto`` specialises, who thaws late."""

import pytest

pytest.importorskip("keras")
from hypothesis import given
from hypothesis import strategies as st
from per_tick import Says, encode
from refreeze.keras import auto
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


@given(st.lists(st.frozensets(st.sampled_from("abc")), max_size=12), st.booleans())
def test_a_layer_waits_for_the_ticks_in_which_others_train(ticks, others):
    expected = {}
    for name in "abc":
        first = next((tick for tick, frozen in enumerate(ticks) if name not in frozen), None)
        if first is not None and (before := sum(others or frozen != {*"abc"} for frozen in ticks[:first])):
            expected[name] = before
    found = waiting(encode(lambda tick: Says(ticks[tick]), len(ticks)), "abc", others)
    assert found == expected
    assert [*found] == sorted(found, key=lambda name: (found[name], name))


def test_the_rule_of_auto():
    """A step of its own where it saves more than it takes; first by what the masked step took, then as measured."""
    costs = auto.Costs()
    assert (costs.first, costs.masked, costs.preparing, costs.saved) == (0, [], [], [])
    costs.first, costs.masked = 2.5, [9.0, 1.0, 0.9]
    assert costs.worth(24, 0.25) == (False, "24 calls to come save 4.32 s, preparing takes 6 s")
    assert [costs.worth(34, spared)[0] for spared in (0.0, 0.24, 0.25, 1.0)] == [False, False, True, True]
    # Of a millisecond half is no arithmetic, which no set saves; of 0.4 ms a tenth is taken to be arithmetic.
    tiny = auto.Costs()
    tiny.first, tiny.masked = 0.05, [0.001]
    assert [tiny.worth(calls, 0.75)[0] for calls in (390, 410)] == [False, True]
    tiny.masked = [0.0004]
    assert [tiny.worth(calls, 0.75)[0] for calls in (4900, 5100)] == [False, True]
    costs.preparing, costs.saved = [1.8], [1.0]
    assert [costs.worth(calls, 0.5)[0] for calls in (4, 5)] == [False, True]
    # In the background two calls are over before it is there, and save nothing.
    behind = auto.Costs(behind=True)
    behind.masked, behind.preparing, behind.saved = costs.masked, costs.preparing, costs.saved
    assert [behind.worth(calls, 0.5)[0] for calls in (6, 7)] == [False, True]
    # Before it is measured it is taken to be prepared there as fast as the masked step, and no call to cost anything.
    guessed = auto.Costs(behind=True)
    guessed.first, guessed.masked = 0.05, [0.001]
    assert guessed.worth(49, 0.75) == (False, "49 calls to come save 0 s, preparing takes 0.05 s")
    assert [guessed.worth(calls, 0.75)[0] for calls in (133, 134)] == [False, True]
