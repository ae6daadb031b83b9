"""Chain-thaw: the order of the stages, their lengths and rates, errors."""

from refreeze import segments
from refreeze.dialects.chain_thaw import DIALECT

LAYERS = ["stem", "body/conv1", "body/bn", "body/conv10", "neck", "head"]
FOUR = ["embed", "lstm1", "lstm2", "softmax"]


def stages(config, names=FOUR, total=100):
    found = segments(DIALECT.policy(config, names, total=total), total)
    return [(s.start, sorted(set(names) - s.frozen), s.learning_rate) for s in found]


def test_the_last_layer_first_then_each_from_the_first_on_then_all():
    config = {"epochs": 5, "initial_learning_rate": 0.001, "learning_rate": 0.0001}
    assert stages(config) == [
        (0, ["softmax"], 0.001),
        (5, ["embed"], 0.0001),
        (10, ["lstm1"], 0.0001),
        (15, ["lstm2"], 0.0001),
        (20, FOUR, 0.0001),
    ]


def test_new_layers_train_together_first_wherever_they_are():
    config = {"epochs": [1, 2, 3], "new": ["softmax", "embed"]}
    assert stages(config) == [
        (0, ["embed", "softmax"], None),
        (1, ["lstm1"], None),
        (3, ["lstm2"], None),
        (6, FOUR, None),
    ]


def test_a_run_that_is_too_short_ends_in_the_middle():
    assert [start for start, *_ in stages({"epochs": 5}, total=11)] == [0, 5, 10]


def test_containers_and_a_part_of_the_layers():
    config = {"epochs": 1, "layers": ["body", "head"], "new": ["body/bn"]}
    policy = DIALECT.policy(config, LAYERS, total=9)
    assert policy.names == {"body/conv1", "body/bn", "body/conv10", "head"}
    assert policy.names - policy.frozen_at(0) == {"body/bn"}
    assert policy.names - policy.frozen_at(1) == {"body/conv1", "body/conv10"}  # the rest of a unit (NAM-4)
    assert policy.names - policy.frozen_at(2) == {"head"}
