"""Policies: what every combinator means, tick by tick; the algebra of union and override; what boundaries owe."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from per_tick import Says, says
from refreeze import (
    Conflict,
    InvalidSpec,
    Policy,
    State,
    always,
    constant,
    during,
    inference_mode,
    never,
    override,
    rate,
    shift,
    stages,
    union,
)
from strategies import clashes, expressions, policy_of

ONE_RATE = st.just(0.1)
TICKS = range(26)


def told(policy: Policy, tick: int) -> Says | Conflict:
    """Return the state at a tick in the form of the per-tick definition, or the conflict as a value."""
    try:
        state = policy.at(tick)
    except Conflict as conflict:
        return Says(rates=frozenset(conflict.rates))
    rates = frozenset() if state.learning_rate is None else frozenset({state.learning_rate})
    return Says(state.frozen, state.mentioned, rates, state.bn_frozen)


def same(one: Policy, other: Policy) -> bool:
    return one.names == other.names and all(told(one, tick) == told(other, tick) for tick in TICKS)


@given(expressions(ONE_RATE))
def test_a_policy_means_what_its_expression_means_at_every_tick(expression):
    policy = policy_of(expression)
    for tick in TICKS:
        assert told(policy, tick) == says(expression, tick), f"tick {tick}"


@given(clashes())
def test_SCH_6_a_tick_conflicts_exactly_if_two_rates_are_set_at_it(expression):
    policy = policy_of(expression)
    for tick in TICKS:
        if len(rates := says(expression, tick).rates) > 1:
            with pytest.raises(Conflict) as caught:
                policy.at(tick)
            assert (caught.value.tick, caught.value.rates) == (tick, tuple(sorted(rates)))
        else:
            assert policy.learning_rate_at(tick) == min(rates, default=None)


@given(expressions(ONE_RATE))
def test_frozen_names_are_mentioned_and_mentioned_names_are_declared(expression):
    policy = policy_of(expression)
    for tick in TICKS:
        assert policy.at(tick).frozen == policy.frozen_at(tick)
        assert policy.at(tick).frozen <= policy.at(tick).mentioned <= policy.names, f"tick {tick}"


@given(expressions(ONE_RATE), st.integers(0, 25))
def test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set(expression, total):
    listed = set(policy_of(expression).boundaries(total))
    for tick in range(1, total):
        before, now = says(expression, tick - 1), says(expression, tick)
        if now.rates or now._replace(rates=before.rates) != before:
            assert tick in listed, f"tick {tick}: {before} -> {now}"


@given(expressions(ONE_RATE), st.lists(st.sampled_from(TICKS)))
def test_RES_1_a_policy_answers_the_same_whatever_was_asked_before(expression, asked):
    policy = policy_of(expression)
    for tick in asked:
        assert told(policy, tick) == told(policy_of(expression), tick)


policies = expressions().map(policy_of)


@pytest.mark.parametrize("combine", [union, override])
@given(a=policies, b=policies, c=policies)
def test_union_and_override_are_associative(combine, a, b, c):
    assert same(combine(combine(a, b), c), combine(a, b, c))
    assert same(combine(a, combine(b, c)), combine(a, b, c))


@given(policies, policies)
def test_union_is_commutative(a, b):
    assert same(union(a, b), union(b, a))


@pytest.mark.parametrize("combine", [union, override])
@given(a=policies)
def test_union_and_override_are_idempotent(combine, a):
    assert same(combine(a, a), a)
    assert same(combine(a), a)


@given(expressions(ONE_RATE), expressions(ONE_RATE))
def test_frozen_at_of_a_union_is_the_union_of_frozen_at(one, other):
    a, b = policy_of(one), policy_of(other)
    for tick in TICKS:
        assert union(a, b).frozen_at(tick) == a.frozen_at(tick) | b.frozen_at(tick)


@given(policies)
def test_the_union_of_nothing_is_neutral(a):
    assert same(union(a, union()), a)
    assert same(override(override(), a), a)


def test_override_lets_the_last_that_mentions_a_name_decide():
    policy = override(always("ab"), never("bc"), during(always("c"), 3))
    assert [sorted(policy.frozen_at(tick)) for tick in (2, 3)] == [["a"], ["a", "c"]]
    assert policy.names == frozenset("abc")


def test_inference_mode_freezes_and_mentions_nothing():
    assert inference_mode(["bn"]).at(0) == State(bn_frozen=frozenset({"bn"}))
    assert inference_mode(["bn"]).names == frozenset()


def test_a_constant_policy_has_no_boundaries():
    assert list(constant(State(frozenset("a"), frozenset("a"))).boundaries(10**9)) == []


def test_SCH_6_one_rate_set_twice_is_no_conflict():
    assert union(rate(0.1), rate(0.1)).learning_rate_at(0) == 0.1


@pytest.mark.parametrize(
    ("policy", "asked", "tick"),
    [
        (union(rate(0.2), rate(0.1)), 0, 0),
        (shift(union(rate(0.2), rate(0.1)), 5), 5, 5),
        (override(rate(0.2, every=3), rate(0.1, every=2)), 6, 6),
    ],
)
def test_SCH_6_a_conflict_names_the_tick_in_the_clock_of_the_one_who_asks(policy, asked, tick):
    with pytest.raises(Conflict) as caught:
        policy.learning_rate_at(asked)
    assert str(caught.value) == f"tick {tick}: learning rates 0.1, 0.2 are set at once; one may be"


BAD_CALLS = [
    (lambda: rate(0), "learning_rate = 0 must be a finite number > 0"),
    (lambda: rate(-0.1), "learning_rate = -0.1 must be a finite number > 0"),
    (lambda: rate(math.nan), "learning_rate = nan must be a finite number > 0"),
    (lambda: rate(math.inf), "learning_rate = inf must be a finite number > 0"),
    (lambda: rate(True), "learning_rate = True must be a finite number > 0"),
    (lambda: rate("0.1"), "learning_rate = '0.1' must be a finite number > 0"),
    (lambda: rate(0.1, every=0), "every = 0 must be an integer >= 1"),
    (lambda: rate(0.1, every=True), "every = True must be an integer >= 1"),
    (lambda: shift(always("a"), -1), "by = -1 must be an integer >= 0"),
    (lambda: shift(always("a"), 1.0), "by = 1.0 must be an integer >= 0"),
    (lambda: during(always("a"), -1, 3), "start = -1 must be an integer >= 0"),
    (lambda: during(always("a"), 3, 3), "stop = 3 must be an integer >= 4"),
    (lambda: during(always("a"), 3, 2), "stop = 2 must be an integer >= 4"),
    (lambda: during(always("a"), False, 2), "start = False must be an integer >= 0"),
    (lambda: stages((0, always("a")), (0, always("b"))), "starts = [0, 0] must be strictly increasing"),
    (lambda: stages((4, always("a")), (2, always("b"))), "starts = [4, 2] must be strictly increasing"),
    (lambda: stages(("0", always("a"))), "start = '0' must be an integer >= 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_a_bad_argument_is_rejected_with_what_is_allowed(call, message):
    with pytest.raises(InvalidSpec) as caught:
        call()
    assert str(caught.value) == message
