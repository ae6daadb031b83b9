"""Gradual unfreezing: groups, discriminative rates, errors."""

import brute_force
import pytest
from hypothesis import given
from refreeze import segments
from refreeze.conformance.catalogue import CASES
from refreeze.dialects.gradual import DIALECT

LAYERS = ("stem", "body/conv1", "body/bn", "body/conv10", "neck", "head")
GROUPS = [["stem"], ["body"], ["neck", "head"]]


def test_one_more_group_thaws_at_a_time_the_last_one_first():
    policy = DIALECT.policy({"groups": GROUPS, "every": 3}, LAYERS, total=20)
    body = {"body/conv1", "body/bn", "body/conv10"}
    assert [(s.start, s.frozen) for s in segments(policy, 20)] == [(0, {"stem"} | body), (3, {"stem"}), (6, set())]
    assert policy.names == set(LAYERS), "the last group is mentioned: it trains, whatever it did before"


def test_without_groups_each_layer_is_one():
    policy = DIALECT.policy({}, ["a", "b", "c"], total=9)
    assert [sorted(policy.frozen_at(epoch)) for epoch in range(3)] == [["a", "b"], ["a"], []]


def test_a_single_group_is_never_frozen():
    assert DIALECT.policy({"groups": [["a"]]}, total=9).frozen_at(0) == set()


@given(CASES["gradual"].requests)
def test_each_group_learns_by_the_factor_slower_than_the_one_after_it(request):
    config, names, total = request["config"], request["names"], request["total"]
    rates = DIALECT.learning_rates(config | {"learning_rate": 0.01, "factor": 2.6}, names, total=total)
    groups = brute_force.groups_of(config.get("groups") or [[name] for name in names], names)[0]
    assert rates.names == DIALECT.policy(config, names, total=total).names
    assert list(rates.boundaries(0, 100)) == []
    at = rates.learning_rates_at(17)
    for depth, group in enumerate(reversed(groups)):
        for name in group:
            assert at[name] == pytest.approx(0.01 * 2.6**-depth, rel=1e-12)


def test_without_a_rate_there_are_no_rates_and_the_factor_is_ulmfits():
    assert DIALECT.learning_rates({"groups": GROUPS}, LAYERS, total=9) is None
    rates = DIALECT.learning_rates({"learning_rate": 2.6}, ["a", "b"], total=9)
    assert rates.learning_rates_at(0) == {"a": 1.0, "b": 2.6}
