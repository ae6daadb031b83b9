"""Policies: what every combinator means, tick by tick; the algebra of union and override; what boundaries owe."""

import copy
import math
import pickle
from dataclasses import dataclass
from itertools import islice

import pytest
import refreeze
from hypothesis import given
from hypothesis import strategies as st
from per_tick import Says, says
from refreeze import (
    Conflict,
    InvalidSpec,
    Policy,
    State,
    always,
    during,
    in_steps,
    inference_mode,
    invert,
    never,
    override,
    rate,
    round_robin,
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
    listed = set(policy_of(expression).boundaries(0, total))
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
    policy = override(always(["a", "b"]), never(["b", "c"]), during(always(["c"]), 3))
    assert [sorted(policy.frozen_at(tick)) for tick in (2, 3)] == [["a"], ["a", "c"]]
    assert policy.names == frozenset("abc")


def test_inference_mode_freezes_and_mentions_nothing():
    assert inference_mode(["bn"]).at(0) == State(bn_frozen=frozenset({"bn"}))
    assert inference_mode(["bn"]).names == frozenset()


@given(expressions(ONE_RATE), st.integers(0, 25), st.integers(0, 25))
def test_changes_are_the_state_at_the_start_and_at_each_boundary_in_order(expression, start, stop):
    policy = policy_of(expression)
    listed = [start, *policy.boundaries(start, stop)]
    assert listed == sorted(set(listed))
    assert all(start < tick < stop for tick in listed[1:])
    assert list(policy.changes(start, stop)) == [(tick, policy.at(tick)) for tick in listed]


@pytest.mark.parametrize("combine", [union, override])
def test_inference_mode_ends_with_the_last_policy_that_asks_for_it(combine):
    both = during(inference_mode(["a", "b"]), 1, 3)
    policy = combine(both, during(inference_mode(["b"]), 2, 4), always(["a"]))
    modes = [set(), {"a", "b"}, {"a", "b"}, {"b"}, set()]
    assert [{*state.bn_frozen} for _, state in policy.changes(0, 9)] == modes
    assert [{*policy.at(tick).bn_frozen} for tick in range(5)] == modes


@pytest.mark.parametrize(
    ("start", "stop", "listed"), [(0, 9, [2, 4]), (2, 9, [4]), (4, 9, []), (0, 2, []), (0, 4, [2]), (5, 9, [])]
)
def test_the_ends_of_a_policy_are_boundaries_between_others_alone(start, stop, listed):
    assert [*during(always(["a"]), 2, 4).boundaries(start, stop)] == listed


@given(expressions())
def test_a_policy_is_a_value_that_prints_as_the_expression_that_makes_it(expression):
    policy, twin = policy_of(expression), policy_of(expression)
    assert policy == twin
    assert hash(policy) == hash(twin)
    assert eval(repr(policy), vars(refreeze)) == policy
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy


def test_policies_that_mean_something_else_are_not_equal():
    assert len({always(["a"]), never(["a"]), inference_mode(["a"]), union(always(["a"])), override(always(["a"]))}) == 5


def test_boundaries_are_computed_only_as_far_as_they_are_asked_for():
    often = during(shift(union(rate(0.1, every=1), round_robin(["a", "b"], 1, 1)), 5), 7)
    for policy in (often, stages((0, often)), in_steps(often, 3), invert(often, ["a"]), override(often)):
        assert len(list(islice(policy.boundaries(10**18, 2 * 10**18), 3))) == 3


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


TAKE_NAMES = [always, never, inference_mode, lambda names: invert(union(), names)]
TAKE_POLICIES = [
    union,
    lambda policy: override(union(), policy),
    lambda policy: stages((0, policy)),
    lambda policy: shift(policy, 1),
    lambda policy: during(policy, 1),
    lambda policy: invert(policy, ["a"]),
    lambda policy: in_steps(policy, 2),
]
BAD_CALLS = [
    (lambda: rate(0), "learning_rate = 0 must be a finite number > 0"),
    (lambda: rate(-0.1), "learning_rate = -0.1 must be a finite number > 0"),
    (lambda: rate(math.nan), "learning_rate = nan must be a finite number > 0"),
    (lambda: rate(math.inf), "learning_rate = inf must be a finite number > 0"),
    (lambda: rate(True), "learning_rate = True must be a finite number > 0"),
    (lambda: rate("0.1"), "learning_rate = '0.1' must be a finite number > 0"),
    (lambda: rate(0.1, every=0), "every = 0 must be an integer >= 1"),
    (lambda: rate(0.1, every=True), "every = True must be an integer >= 1"),
    (lambda: shift(always(["a"]), 1.0), "by = 1.0 must be an integer"),
    (lambda: shift(always(["a"]), True), "by = True must be an integer"),
    (lambda: during(always(["a"]), -1, 3), "start = -1 must be an integer >= 0"),
    (lambda: during(always(["a"]), 3, 3), "stop = 3 must be an integer >= 4"),
    (lambda: during(always(["a"]), 3, 2), "stop = 2 must be an integer >= 4"),
    (lambda: during(always(["a"]), False, 2), "start = False must be an integer >= 0"),
    (lambda: stages((0, always(["a"])), (0, always(["b"]))), "starts = [0, 0] must be strictly increasing"),
    (lambda: stages((4, always(["a"])), (2, always(["b"]))), "starts = [4, 2] must be strictly increasing"),
    (lambda: stages(("0", always(["a"]))), "start = '0' must be an integer >= 0"),
    *[(lambda make=make: make("stem"), "names = 'stem' must be a collection of names") for make in TAKE_NAMES],
    *[(lambda make=make: make(["a", 1]), "names = ('a', 1) must be a collection of names") for make in TAKE_NAMES],
    (lambda: always(None), "names = None must be a collection of names"),
    (lambda: invert(always(["a"]), 5), "names = 5 must be a collection of names"),
    *[(lambda make=make: make(5), "policy = 5 must be a Policy") for make in TAKE_POLICIES],
]


@pytest.mark.parametrize(
    ("call", "message"), BAD_CALLS, ids=[f"{number}: {message}" for number, (_, message) in enumerate(BAD_CALLS)]
)
def test_a_bad_argument_is_rejected_with_what_is_allowed(call, message):
    with pytest.raises(InvalidSpec) as caught:
        call()
    assert str(caught.value) == message


def test_names_are_printed_in_order_and_a_policy_of_ones_own_by_its_class():
    @dataclass(frozen=True)
    class Own(Policy):
        names: frozenset[str]

        def at(self, tick):
            return refreeze.State()

        def boundaries(self, start, stop):
            return ()

        __repr__ = Policy.__repr__

    many = [f"layer{number}" for number in range(20)]
    assert repr(invert(always(["a"]), many)) == f"invert(always(['a']), {sorted(many)})"
    assert repr(Own(frozenset("a"))) == "Own(['a'])"
