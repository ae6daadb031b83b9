"""LISA: the draws, what always trains, errors."""

import brute_force
from hypothesis import given
from refreeze import random_window, segments
from refreeze.conformance.catalogue import CASES
from refreeze.dialects.lisa import DIALECT

NAMES = ("embed", "h0", "h1", "h2", "h3", "head")
CONFIG = {"n_layers": 2, "step_interval": 5, "always_on": ["embed", "head"], "seed": 7}


def test_the_drawn_layers_train_and_the_others_are_frozen():
    policy = DIALECT.policy(CONFIG, NAMES, total=100)
    for step in (0, 4, 5, 99):
        drawn = {NAMES[1:5][place] for place in random_window(4, 2, step // 5, seed=7, stream=0)}
        assert policy.frozen_at(step) == set(NAMES[1:5]) - drawn
    assert policy.names == set(NAMES)


def policy(request, total):
    return DIALECT.policy(request["config"], request["names"], total=total)


@given(CASES["lisa"].requests)
def test_as_many_layers_train_as_asked_for_and_some_always(request):
    config, names = request["config"], request["names"]
    always_on = {*brute_force.flat(brute_force.select(config.get("always_on", []), names))}
    units = [unit for unit in brute_force.layers_of(config, names) if always_on.isdisjoint(unit)]
    found = policy(request, request["total"])
    for step in range(request["total"]):
        assert not found.frozen_at(step) & always_on
        trained = found.names - found.frozen_at(step) - always_on
        assert sum(trained.issuperset(unit) for unit in units) == config["n_layers"]
        assert all(trained.issuperset(unit) or trained.isdisjoint(unit) for unit in units)


@given(CASES["lisa"].requests)
def test_a_longer_run_begins_like_a_shorter_one(request):
    """So a resumed run draws what the uninterrupted one would have drawn."""
    assert segments(policy(request, 24), 24) == segments(policy(request, 3), 24)
