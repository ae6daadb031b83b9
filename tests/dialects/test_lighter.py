"""Lighter: the guide's configurations as printed, the rule of release, errors."""

import pytest
import yaml
from refreeze import segments, steps_per_epoch
from refreeze.dialects import Run
from refreeze.dialects.lighter import DIALECT, Freezer, freezers, policy

PARAMETERS = ("enc.1.w", "enc.1.b", "enc.10.w", "emb.w", "dec.w", "head.w", "head.b")
MODEL = (
    "model.embedding.weight",
    "model.encoder.layer1.weight",
    "model.encoder.layer2.weight",
    "model.encoder.layer5.weight",
    "model.backbone.conv.weight",
    "model.classifier.weight",
    "model.classifier.bias",
)
ENCODER = {name for name in MODEL if name.startswith("model.encoder")}
BACKBONE = {"model.backbone.conv.weight"}


def guide(text: str, total: int = 6000, per: int = 100, names=MODEL):
    """Return the policy of a configuration that the guide prints, with 100 steps in an epoch."""
    return DIALECT.policy(yaml.safe_load(text), names, total=total, steps_per_epoch=per)


def test_the_guides_first_example():
    policy = guide("""
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer # Use the Freezer callback
      name_starts_with: ["model.encoder"] # Freeze layers starting with "model.encoder"
      until_epoch: 10 # Unfreeze after epoch 10
""")
    assert policy.frozen_at(0) == policy.frozen_at(10 * 100 - 1) == ENCODER
    assert policy.frozen_at(10 * 100) == set()


def test_the_guides_example_of_prefixes():
    policy = guide("""
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer
      name_starts_with: ["model.encoder", "model.embedding"] # Freeze encoder/embedding layers
      until_epoch: 5
""")
    assert policy.frozen_at(499) == ENCODER | {"model.embedding.weight"}
    assert policy.frozen_at(500) == set()


def test_the_guides_example_of_exact_names():
    policy = guide("""
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer
      names: ["model.classifier.weight", "model.classifier.bias"] # Freeze classifier layer weights/bias
      until_step: 1000
""")
    assert policy.frozen_at(999) == {"model.classifier.weight", "model.classifier.bias"}
    assert policy.frozen_at(1000) == set()


def test_the_guides_example_of_exceptions():
    policy = guide("""
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer
      name_starts_with: ["model.encoder"] # Freeze all encoder layers
      except_name_starts_with: ["model.encoder.layer5"] # Except "model.encoder.layer5" layers
      until_epoch: 7
""")
    assert policy.frozen_at(699) == ENCODER - {"model.encoder.layer5.weight"}
    assert policy.frozen_at(700) == set()
    assert "model.encoder.layer5.weight" not in policy.names


@pytest.mark.parametrize(("per", "released"), [(100, 500), (1000, 5000), (2000, 5000)])
def test_the_guides_example_of_both_conditions_releases_at_whichever_comes_first(per, released):
    text = """
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer
      name_starts_with: ["model.backbone"]
      until_epoch: 5 # Unfreeze after epoch 5
      until_step: 5000 # OR after step 5000
"""
    policy = guide(text, per=per)
    assert [len(policy.frozen_at(step)) for step in (released - 1, released)] == [1, 0]


def test_the_guides_gradual_unfreezing():
    """Lighter itself never built start_epoch and unfreeze_every_n_epochs, and its two freezers undo each other."""
    policy = guide("""
trainer:
  callbacks:
    - _target_: lighter.callbacks.Freezer # Freezer callback for initial freezing
      name_starts_with: ["model.backbone"] # Freeze backbone initially
      until_epoch: 5 # Unfreeze backbone after epoch 5
    - _target_: lighter.callbacks.Freezer # 2nd Freezer callback for gradual unfreezing
      name_starts_with: ["model.encoder.layer1", "model.encoder.layer2"] # Gradually unfreeze layer1/layer2
      start_epoch: 5 # Start unfreezing from epoch 5
      unfreeze_every_n_epochs: 5 # Unfreeze every 5 epochs
""")
    layer1, layer2 = {"model.encoder.layer1.weight"}, {"model.encoder.layer2.weight"}
    assert [(s.start, s.stop, s.frozen) for s in segments(policy, 2000)] == [
        (0, 500, BACKBONE | layer1 | layer2),
        (500, 1000, layer2),
        (1000, 2000, set()),
    ]


def test_without_a_condition_all_is_frozen_for_the_whole_run():
    (only,) = segments(policy([Freezer(names="head.b")], PARAMETERS, Run(total=10**6)), 10**6)
    assert (only.start, only.stop, only.frozen) == (0, 10**6, {"head.b"})


def test_a_callback_of_another_kind_is_left_out():
    other = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "every_n_epochs": 1}
    freezer = {"_target_": "lighter.callbacks.LighterFreezer", "names": "head.b"}
    config = {"system": {"_target_": "lighter.System"}, "trainer": {"max_epochs": 3, "callbacks": [other, freezer]}}
    assert DIALECT.parse(config) == DIALECT.parse([other, freezer]) == (Freezer(names="head.b"),)
    assert DIALECT.parse(DIALECT.parse(config)) == DIALECT.parse(config)
    assert freezers({"trainer": {"callbacks": []}}) == []


@pytest.mark.parametrize(
    "target", ["lighter.callbacks.Freezer", "lighter.callbacks.freezer.Freezer", "lighter.callbacks.LighterFreezer"]
)
def test_a_freezer_is_one_by_each_of_its_paths(target):
    assert DIALECT.parse([{"_target_": target, "names": "head.b"}]) == DIALECT.parse([{"names": "head.b"}])


def test_a_boundary_may_lie_inside_an_epoch_and_the_partial_batch_counts():
    per = steps_per_epoch(examples=100, batch_size=32)
    case = [Freezer(names="head.b", until_step=6), Freezer(names="head.w", until_epoch=2)]
    found = segments(policy(case, PARAMETERS, Run(total=12, steps_per_epoch=per)), 12)
    assert [(s.start, s.stop) for s in found] == [(0, 6), (6, 8), (8, 12)]


@pytest.mark.parametrize(
    ("times", "released"),
    [
        ({"start_epoch": 2}, [2, 2, 2]),
        ({"unfreeze_every_n_epochs": 3}, [3, 6, 9]),
        ({"start_epoch": 0, "unfreeze_every_n_epochs": 3}, [0, 3, 6]),
        ({"start_epoch": 1, "unfreeze_every_n_epochs": 3, "until_epoch": 5}, [1, 4, 5]),
        ({"start_epoch": 1, "unfreeze_every_n_epochs": 3, "until_step": 9}, [1, 4, 4.5]),
        ({"until_step": 0}, [0, 0, 0]),
    ],
)
def test_the_entries_are_released_one_by_one_names_first(times, released):
    freezer = Freezer(names=("emb.w", "dec.w"), name_starts_with=("enc",), **times)
    found = policy([freezer], PARAMETERS, Run(total=30, steps_per_epoch=2))
    for name, epoch in zip(("emb.w", "dec.w", "enc.1.w"), released, strict=True):
        assert [step for step in range(30) if name not in found.frozen_at(step)] == list(range(int(2 * epoch), 30))
    assert found.names == {"emb.w", "dec.w", "enc.1.w", "enc.1.b", "enc.10.w"}


def test_without_names_full_names_are_taken_as_they_are():
    freezer = Freezer(names=("a", "b"), except_names="b", until_step=3)
    assert policy([freezer], None, Run(total=9)).frozen_at(2) == {"a"}
