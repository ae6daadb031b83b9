"""LISA: the draws, what always trains, errors."""

import brute_force
import pytest
from hypothesis import given
from refreeze import EmptySelection, InvalidSpec, NeedsModel, UnknownName, random_window, segments
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


BAD = [
    ({"n_layers": 0, "step_interval": 1}, InvalidSpec, "n_layers = 0 must be int >= 1"),
    ({"n_layers": 7, "step_interval": 1}, InvalidSpec, "n_layers = 7 must be in 1..6"),
    ({"n_layers": 1, "step_interval": 0}, InvalidSpec, "step_interval = 0 must be int >= 1"),
    ({"n_layers": 1}, InvalidSpec, "config = {'n_layers': 1} must be an object with the key 'step_interval'"),
    (CONFIG | {"seed": -1}, InvalidSpec, "seed = -1 must be int >= 0"),
    (CONFIG | {"seed": 2**64}, InvalidSpec, "seed = 18446744073709551616 must be an integer in [0, 2**64)"),
    (CONFIG | {"always_on": []}, InvalidSpec, "always_on = [] must be array of length >= 1"),
    (CONFIG | {"layers": ["h0", "head", "h1"]}, InvalidSpec, "always_on = ['head'] must be layers that are not drawn"),
    (CONFIG | {"always_on": ["hed"]}, UnknownName, "always_on: unknown 'hed' (did you mean 'head'?)"),
    (CONFIG | {"always_on": list(NAMES)}, EmptySelection, "layers = 'all' matches no name"),
]


@pytest.mark.parametrize(("config", "kind", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed(config, kind, message):
    with pytest.raises(kind) as caught:
        DIALECT.policy(config, NAMES, total=9)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


def test_all_layers_need_names():
    with pytest.raises(NeedsModel, match="layers = 'all' can be resolved only with"):
        DIALECT.policy(CONFIG, total=9)
    assert DIALECT.policy(CONFIG | {"layers": ["h0", "h1"]}, total=9).frozen_at(0) == set()
