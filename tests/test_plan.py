"""A plan: what a configuration or a policy does in a run, in which unit, and of which names."""

import pytest
from refreeze import InvalidSpec, always, during
from refreeze.plan import asked, configuration, plan, read

VL3D = [
    {"layers": ["b", "enc/1"], "training_interval": [0, 4], "initial_learning_rate": 0.5},
    {"layers": ["a"], "training_interval": [2, 6]},
]
RECORDED = {"unit": "epochs", "decisions": [[0, ["b"]], [2, ["a"]]]}
NAMES = ("z", "a", "enc/1", "b")


def sets(found):
    return [(segment.start, segment.stop, {*segment.frozen}) for segment in found.segments]


def test_a_plan_of_a_policy_has_its_segments_in_the_unit_that_is_said():
    policy = during(always(["b", "a"]), 1, 3)
    found = plan(policy, total=4)
    assert (found.unit, found.names, found.total, found.steps_per_epoch) == ("epochs", ("a", "b"), 4, 1)
    assert (found.policy, found.rates) == (policy, None)
    assert sets(found) == [(0, 1, set()), (1, 3, {"a", "b"}), (3, 4, set())]
    found = plan(policy, ["z", "b", "a"], total=4, steps_per_epoch=7, unit="steps")
    assert (found.unit, found.names, found.steps_per_epoch) == ("steps", ("z", "b", "a"), 7)


def test_a_plan_of_a_configuration_has_the_unit_and_the_rates_of_its_dialect():
    checked = configuration(RECORDED, "recorded")
    found = plan(checked, total=5)
    assert (found.unit, found.steps_per_epoch) == ("steps", 1)
    assert sets(found) == [(0, 2, {"b"}), (2, 5, {"a"})]
    assert found.policy == checked.policy(total=5)
    found = plan(checked, total=9, steps_per_epoch=3)
    assert sets(found) == [(0, 6, {"b"}), (6, 9, {"a"})]
    assert found.policy == checked.policy(total=9, steps_per_epoch=3)
    gradual = configuration({"learning_rate": 1.0, "factor": 2.0}, "gradual")
    assert plan(gradual, ["a", "b"], total=2).rates.learning_rates_at(0) == {"a": 0.5, "b": 1.0}


def test_without_names_a_plan_has_those_that_are_mentioned_in_that_order():
    assert plan(configuration(VL3D, "vl3d"), total=6).names == ("b", "enc/1", "a")


def test_names_that_are_given_are_all_and_in_order():
    found = plan(configuration(VL3D, "vl3d"), NAMES, total=4)
    assert found.names == NAMES
    assert (found.never_frozen, found.never_trained) == (["z"], ["enc/1", "b"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "epoch"}, "unit = 'epoch' must be 'epochs' or 'steps'"),
        ({"unit": None}, "unit = None must be 'epochs' or 'steps'"),
        ({"names": ["a", "a"]}, "names = ['a', 'a'] must be distinct names (repeated: 'a')"),
        ({"total": -1}, "total = -1 must be an integer >= 0"),
        ({"total": 1.0}, "total = 1.0 must be an integer >= 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch = 0 must be an integer >= 1"),
        ({"steps_per_epoch": True}, "steps_per_epoch = True must be an integer >= 1"),
    ],
)
def test_a_wrong_call_is_rejected(wrong, message):
    with pytest.raises(InvalidSpec) as caught:
        plan(always(["a"]), **{"total": 1} | wrong)
    assert str(caught.value) == message


def test_what_is_asked_for_is_a_policy_or_a_configuration_with_its_unit(tmp_path):
    policy, checked, path = always(["a"]), configuration(VL3D, "vl3d"), tmp_path / "a.json"
    assert asked(policy) == asked(policy, unit="epochs") == (policy, "epochs")
    assert asked(policy, unit="steps") == (policy, "steps")
    assert asked(checked) == asked(VL3D) == (checked, "epochs")
    assert asked(RECORDED, "recorded") == (configuration(RECORDED, "recorded"), "steps")
    path.write_text('{"dialect": "vl3d", "config": []}')
    assert asked(str(path)) == asked(path) == (read(path), "epochs") == (configuration([], "vl3d"), "epochs")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((always(["a"]), "vl3d", "epoch"), "unit = 'epoch' must be 'epochs' or 'steps'"),
        ((VL3D, "vl3d", "epochs"), "unit = 'epochs' must be None: the dialect says it"),
    ],
)
def test_a_unit_that_is_not_allowed_is_rejected(given, message):
    with pytest.raises(InvalidSpec) as caught:
        asked(*given)
    assert str(caught.value) == message
