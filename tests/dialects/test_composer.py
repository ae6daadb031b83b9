"""Composer: exact fractions, the boundary, errors."""

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from refreeze import segments
from refreeze.dialects.composer import DIALECT
from refreeze.dialects.fields import exactly_share

TEN = [f"layer{i}" for i in range(11)]
SHARES = st.one_of(
    st.integers(0, 1),
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.integers(1, 9).flatmap(lambda q: st.integers(0, q).map(lambda p: f"{p}/{q}")),
)


def counts(total, names=TEN, **config):
    policy = DIALECT.policy(config, names, total=total)
    return [len(policy.frozen_at(epoch)) for epoch in range(total)]


def test_by_default_the_layers_freeze_one_by_one_in_the_second_half():
    policy = DIALECT.policy({}, TEN, total=20)
    found = [(s.start, len(s.frozen)) for s in segments(policy, 20)]
    assert found == [(0, 0), *((10 + k, k) for k in range(1, 10))]
    assert policy.frozen_at(13) == {"layer0", "layer1", "layer2"}


def test_the_last_layer_is_never_frozen_and_never_mentioned():
    policy = DIALECT.policy({"freeze_start": 0}, TEN, total=1000)
    assert policy.frozen_at(999) == set(TEN[:9])
    assert TEN[10] not in policy.names


def test_floats_are_taken_by_their_digits_where_binary_fractions_lose_a_layer():
    """0.29 * 100 is 28.999999999999996 in floats, so int() of it is 28; 0.58 * 50 likewise."""
    names = [f"layer{i}" for i in range(101)]
    assert counts(100, names, freeze_start=0, freeze_level=0.29)[50] == 14
    policy = DIALECT.policy({"freeze_start": 0.29}, names=["a", "b", "c"], total=100)
    assert [len(policy.frozen_at(epoch)) for epoch in (64, 65)] == [0, 1], "29 + 71 / 2 = 64.5"
    assert counts(50, ["a", "b", "c"], freeze_start=0.58).index(1) == 40, "29 + 21 / 2 = 39.5"


def test_the_boundary_is_not_strict():
    """Half of the layers at half of the time, exactly: epoch 5 of 10."""
    assert counts(10, ["a", "b", "c"], freeze_start=0) == [0] * 5 + [1] * 5


def test_a_third_can_be_written_as_one():
    assert counts(9, ["a", "b"], freeze_start="1/3", freeze_level=1) == [0] * 9
    assert counts(9, TEN, freeze_start="1/3") == [0, 0, 0, 0, 1, 3, 5, 6, 8]


@given(total=st.integers(0, 60), start=SHARES, level=SHARES, n=st.integers(1, 12))
def test_what_is_frozen_stays_frozen_from_the_input_on(total, start, level, n):
    if Fraction(str(start)) == 1:
        return
    names = TEN[:n]
    policy = DIALECT.policy({"freeze_start": start, "freeze_level": level}, names, total=total)
    found = [policy.frozen_at(epoch) for epoch in range(total)]
    assert all(before <= after for before, after in itertools.pairwise(found))
    assert all(frozen == set(names[: len(frozen)]) for frozen in found)
    assert all(len(frozen) <= Fraction(str(level)) * (n - 1) for frozen in found)


@given(value=SHARES)
def test_a_share_is_exact(value):
    share = exactly_share("x", value)
    expected = Fraction(*map(int, value.split("/"))) if isinstance(value, str) else Fraction(round(value * 100), 100)
    assert share == expected
