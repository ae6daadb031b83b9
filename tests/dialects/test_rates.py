"""Rates: the constructors, and that they are pure functions of time."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze.rates import Cosine, Discriminative, From, Growing


def test_each_group_is_slower_than_the_next_by_the_factor():
    rates = Discriminative((("a", "b"), ("c",), ("d",)), learning_rate=0.8, factor=2)
    assert rates.learning_rates_at(0) == {"a": 0.2, "b": 0.2, "c": 0.4, "d": 0.8}
    assert rates.names == {"a", "b", "c", "d"}


def test_the_first_of_a_thousand_groups_does_not_learn_at_all():
    rates = Discriminative(tuple((str(i),) for i in range(1000)), learning_rate=0.01, factor=2.6)
    assert rates.learning_rates_at(0)["0"] == 0.0


@given(
    horizon=st.integers(1, 20).map(Fraction) | st.fractions(Fraction(1, 3), 20),
    peak=st.floats(1e-6, 10),
    ticks=st.permutations(range(25)),
)
def test_a_cosine_falls_from_its_peak_to_nothing_and_then_ends(horizon, peak, ticks):
    rates = Cosine((("a", peak, horizon),))
    at = {tick: rates.learning_rates_at(tick).get("a") for tick in ticks}  # asked in any order
    assert all((at[tick] is None) == (tick > horizon) for tick in range(25))
    trained = [at[tick] for tick in range(25) if tick <= horizon]
    assert trained[0] == peak
    assert trained == sorted(trained, reverse=True)
    assert len(set(trained)) == len(trained) or peak < 1e-5
    if horizon.denominator == 1:
        assert at[int(horizon)] == pytest.approx(0, abs=1e-12)
    if horizon % 2 == 0:
        assert at[int(horizon / 2)] == pytest.approx(peak / 2)
    assert trained == pytest.approx([peak * math.cos(math.pi * t / 2 / horizon) ** 2 for t in range(len(trained))])


@given(total=st.integers(0, 20))
def test_between_boundaries_no_rate_changes(total):
    rates = Cosine((("a", 0.1, Fraction(7, 2)), ("b", 0.2, Fraction(total + 1))))
    boundaries = {0, *rates.boundaries(0, total)}
    for tick in range(1, total):
        assert tick in boundaries or rates.learning_rates_at(tick) == rates.learning_rates_at(tick - 1)


EACH = [
    Discriminative((("a",), ("b",)), 0.5, 2),
    Cosine((("a", 0.5, Fraction(7, 2)), ("b", 1.0, Fraction(6)))),
    Growing(("a",), start=3, initial=0.1, factor=2.0, top=0.5),
    From((("a", 2, 0.1), ("b", 5, 0.2), ("a", 10, 0.3))),
]


@pytest.mark.parametrize("rates", EACH, ids=lambda rates: type(rates).__name__)
@pytest.mark.parametrize("start", range(9))
def test_rates_change_at_their_boundaries_alone_which_increase_within_the_range(rates, start):
    stop = 10
    found = [*rates.boundaries(start, stop)]
    assert found == sorted({tick for tick in found if start < tick < stop})
    changes = [t for t in range(start + 1, stop) if rates.learning_rates_at(t) != rates.learning_rates_at(t - 1)]
    assert {*changes} <= {*found}


def test_growing_starts_at_its_rate_and_grows_until_the_top():
    rates = Growing(("a", "b"), start=2, initial=0.125, factor=4.0, top=5.0)
    assert rates.names == {"a", "b"}
    assert [rates.learning_rates_at(tick).get("b") for tick in range(7)] == [None, None, 0.125, 0.5, 2.0, 5.0, 5.0]
    assert Growing(("a",), 0, 0.5, 3.0, 0.1).learning_rates_at(0) == {"a": 0.5}  # the first epoch is not cut
    assert Growing(("a",), 0, 0.5, 1e300, 1.0).learning_rates_at(10**9) == {"a": 1.0}  # its power would overflow


def test_a_rate_holds_from_its_tick_on():
    rates = From((("a", 2, 0.1),))
    assert rates.names == {"a"}
    assert [rates.learning_rates_at(tick) for tick in (1, 2, 9)] == [{}, {"a": 0.1}, {"a": 0.1}]
