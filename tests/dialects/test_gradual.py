"""Gradual unfreezing: groups, discriminative rates, errors."""

import brute_force
import pytest
from hypothesis import given
from refreeze import InvalidSpec, NeedsModel, UnknownName, segments
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


BAD = [
    ({"groups": []}, InvalidSpec, "groups = [] must be array of length >= 1"),
    ({"groups": [["stem"], []]}, InvalidSpec, "groups[1] = [] must be array of length >= 1"),
    ({"groups": [["body"], ["body/bn"]]}, InvalidSpec, "groups = ['body/conv1', 'body/bn', 'body/conv10', 'body/bn'] "),
    ({"groups": [["stm"]]}, UnknownName, "groups[0]: unknown 'stm' (did you mean 'stem'?)"),
    ({"every": 0}, InvalidSpec, "every = 0 must be int >= 1"),
    ({"every": True}, InvalidSpec, "every = True must be int"),
    ({"learning_rate": float("inf")}, InvalidSpec, "learning_rate = inf must be float <= 1.79"),
    ({"factor": float("inf")}, InvalidSpec, "factor = inf must be float <= 1.79"),
    ({"factor": 0.9}, InvalidSpec, "factor = 0.9 must be float >= 1.0"),
]


@pytest.mark.parametrize(("config", "kind", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed(config, kind, message):
    with pytest.raises(kind) as caught:
        DIALECT.policy(config, LAYERS, total=9)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


def test_layers_as_groups_need_names():
    with pytest.raises(NeedsModel, match="groups = 'all' can be resolved only with"):
        DIALECT.policy({}, total=9)
