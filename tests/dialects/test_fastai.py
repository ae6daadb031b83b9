"""fastai: freeze_to by slices, the calls as functions and as a schedule, inference mode, errors."""

import brute_force
import pytest
from hypothesis import given
from refreeze import InvalidSpec, UnknownName, segments
from refreeze.conformance.catalogue import CASES
from refreeze.dialects.fastai import (
    DIALECT,
    bn_freeze,
    freeze,
    freeze_to,
    in_inference_mode,
    layer_groups,
    unfreeze,
)
from refreeze.dialects.targets import Target

LAYERS = ("stem", "body/conv1", "body/bn", "body/conv10", "neck", "head")
GROUPS = [["stem"], ["body/conv1", "body/bn", "body/conv10"], ["neck", "head"]]


def learner():
    return {name: Target() for name in LAYERS}


def frozen_of(model):
    return {name for name, layer in model.items() if not layer.trainable}


@pytest.mark.parametrize("n", range(-10, 11))
def test_freeze_to_follows_pythons_rules_for_slices_within_and_beyond_the_ends(n):
    trains = {name for group in GROUPS[n:] for name in group}
    model = learner()
    freeze_to(model, n, GROUPS)
    policy = DIALECT.policy({"groups": GROUPS, "calls": [{"at": 0, "call": "freeze_to", "n": n}]}, LAYERS, total=1)
    assert frozen_of(model) == policy.frozen_at(0) == set(LAYERS) - trains


@pytest.mark.parametrize("n", range(-4, 5))
def test_freeze_to_forgets_what_was_before(n):
    once, after_others = learner(), learner()
    freeze_to(once, n, GROUPS)
    for call in (lambda m: freeze(m, GROUPS), lambda m: unfreeze(m, GROUPS), lambda m: freeze_to(m, n, GROUPS)):
        call(after_others)
    assert frozen_of(once) == frozen_of(after_others)


def test_freeze_trains_the_last_group_and_unfreeze_all():
    model = learner()
    freeze(model, GROUPS)
    assert frozen_of(model) == {*GROUPS[0], *GROUPS[1]}
    unfreeze(model, GROUPS)
    assert frozen_of(model) == set()


def test_unfreeze_and_bn_freeze_false_are_not_the_same():
    """The question of the forum thread: one is about which layers train, the other about how batch norms run."""
    model = learner()
    freeze_to(model, 3, GROUPS)
    bn_freeze(model, True, ["body/bn"])
    bn_freeze(model, False, ["body/bn"])
    assert frozen_of(model) == set(LAYERS)
    assert in_inference_mode(model, ["body/bn"]) == {"body/bn"}, "it is frozen"
    unfreeze(model, GROUPS)
    assert in_inference_mode(model, ["body/bn"]) == set()
    bn_freeze(model, True, ["body/bn"])
    assert frozen_of(model) == set(), "gamma and beta still train"
    assert in_inference_mode(model, ["body/bn"]) == {"body/bn"}


@given(CASES["fastai"].requests)
def test_the_schedule_is_what_the_calls_do_one_after_the_other(request):
    config, names = request["config"], request["names"]
    groups, governed = brute_force.groups_of(config["groups"], names)
    norms = brute_force.flat(brute_force.select(config.get("batch_norm", []), names))
    policy = DIALECT.policy(config, names, total=request["total"])
    model = {name: Target() for name in names}
    for epoch in range(request["total"]):
        for call in config["calls"]:
            match call:
                case {"at": at, "call": "bn_freeze", "do_freeze": flag} if at == epoch:
                    bn_freeze(model, flag, norms)
                case {"at": at, "call": "freeze_to", "n": n} if at == epoch:
                    freeze_to(model, n, groups)
                case {"at": at, "call": "freeze" | "unfreeze" as name} if at == epoch:
                    {"freeze": freeze, "unfreeze": unfreeze}[name](model, groups)
        assert policy.frozen_at(epoch) == frozen_of(model) & governed
        assert policy.at(epoch).bn_frozen == in_inference_mode(model, norms)


def test_before_the_first_call_all_train():
    config = {"groups": [["a"], ["b"]], "calls": [{"at": 2, "call": "freeze"}]}
    found = segments(DIALECT.policy(config, total=3), 3)
    assert [(s.start, s.frozen) for s in found] == [(0, set()), (2, {"a"})]


def test_a_layer_in_no_group_keeps_its_state():
    model = {"a": Target(), "b": Target(trainable=False), "c": Target()}
    freeze_to(model, 0, [["a"], ["c"]])
    assert frozen_of(model) == {"b"}


def test_layer_groups_cut_the_layers_at_the_given_ones():
    assert layer_groups(LAYERS, ["neck", "body/conv1"]) == GROUPS
    assert layer_groups(learner(), ["neck", "body/conv1"]) == GROUPS
    assert layer_groups(["a", "b"], []) == [["a", "b"]]
    with pytest.raises(UnknownName, match=r"starts: unknown 'nek' \(did you mean 'neck'\?\)"):
        layer_groups(LAYERS, ["nek"])
    with pytest.raises(InvalidSpec, match="starts = 'stem' must be a layer after the first one"):
        layer_groups(LAYERS, ["stem", "neck"])


def test_groups_are_of_names_in_a_list():
    with pytest.raises(InvalidSpec) as caught:
        layer_groups(["a", 1], ["a"])
    assert str(caught.value) == "layers = ['a', 1] must be a list of names"
    with pytest.raises(InvalidSpec) as caught:
        layer_groups(["a", "b"], "b")
    assert str(caught.value) == "starts = 'b' must be a list of names"


class Norm:
    """A batch normalization by its looks, which nothing has marked."""

    def __init__(self, statistics):
        setattr(self, statistics, 0.0)
        self.trainable = True


@pytest.mark.parametrize("statistics", ["moving_mean", "running_mean"])
def test_batch_normalizations_are_found_by_their_statistics(statistics):
    model = {"conv": Target(), "bn": Norm(statistics)}
    assert in_inference_mode(model) == set()
    bn_freeze(model, True)
    assert model["bn"].bn_freeze is True
    assert model["conv"].bn_freeze is False
    assert in_inference_mode(model) == {"bn"}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: freeze_to(m, True, GROUPS), InvalidSpec, "n = True must be an integer"),
        (lambda m: freeze_to(m, 1.0, GROUPS), InvalidSpec, r"n = 1\.0 must be an integer"),
        (lambda m: freeze_to(m, 0, [["stem"], ["hed"]]), UnknownName, r"groups\[1\]: unknown 'hed'"),
        (lambda m: freeze_to(m, 0, ["stem"]), InvalidSpec, r"groups\[0\] = 'stem' must be a list of names"),
        (lambda m: bn_freeze(m, True, "bn"), InvalidSpec, "batch_norm = 'bn' must be a list of names"),
        (lambda m: bn_freeze(m, "no", []), InvalidSpec, "do_freeze = 'no' must be True or False"),
        (lambda m: bn_freeze(m, True, ["nb"]), UnknownName, "batch_norm: unknown 'nb'"),
    ],
)
def test_a_bad_call_is_rejected_and_changes_nothing(call, kind, message):
    model = learner()
    freeze(model, GROUPS)
    before = dict(model)
    with pytest.raises(kind, match=message):
        call(model)
    assert model == before


TWO = [["stem"], ["head"]]
