"""Lightning: the backbone, its batch normalizations, its learning rate, errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import UnknownName, segments
from refreeze.dialects.lightning import DIALECT

NAMES = ("backbone/conv1", "backbone/bn", "backbone/conv2", "head")


def stages(config, names=NAMES, total=20):
    return [(s.start, sorted(s.frozen)) for s in segments(DIALECT.policy(config, names, total=total), total)]


def test_by_default_the_container_backbone_is_frozen_for_ten_epochs():
    assert stages({}) == [(0, ["backbone/bn", "backbone/conv1", "backbone/conv2"]), (10, [])]
    assert "head" not in DIALECT.policy({}, NAMES, total=20).names


@pytest.mark.parametrize(
    ("train_bn", "expected"),
    [
        (True, [(0, ["backbone/conv1", "backbone/conv2"]), (3, [])]),
        (False, [(0, ["backbone/bn", "backbone/conv1", "backbone/conv2"]), (3, ["backbone/bn"])]),
    ],
)
def test_batch_normalizations_train_all_the_time_or_never(train_bn, expected):
    config = {"unfreeze_backbone_at_epoch": 3, "batch_norm": ["backbone/bn"], "train_bn": train_bn}
    assert stages(config) == expected
    assert DIALECT.policy(config, NAMES, total=20).names == set(NAMES) - {"head"}


def test_epoch_0_never_freezes():
    policy = DIALECT.policy({"unfreeze_backbone_at_epoch": 0}, NAMES, total=9)
    assert policy.frozen_at(0) == set()
    assert policy.names == set(NAMES) - {"head"}


def callback(epochs, until, lr, ratio, initial, multiplier):
    """As the callback works: the backbone's rate of each epoch from the one before, aligned with the others'."""
    previous = None
    for epoch in range(epochs):
        if epoch == until:
            previous = lr * ratio if initial is None else initial
        elif epoch > until:
            previous = min(multiplier * previous, lr)
        yield previous


positive = st.floats(1e-6, 1.0)


@given(
    until=st.integers(0, 5),
    lr=positive,
    ratio=positive,
    initial=st.none() | positive,
    multiplier=st.sampled_from([1.0, 1.5, 2.0, 10.0]),
)
def test_the_backbones_rate_is_that_of_the_callback(until, lr, ratio, initial, multiplier):
    config = {
        "unfreeze_backbone_at_epoch": until,
        "learning_rate": lr,
        "backbone_initial_ratio_lr": ratio,
        "multiplier": multiplier,
        "batch_norm": ["backbone/bn"],
    } | ({} if initial is None else {"backbone_initial_lr": initial})
    rates = DIALECT.learning_rates(config, NAMES, total=40)
    assert rates.names == {"backbone/conv1", "backbone/conv2"}
    boundaries = {0, *rates.boundaries(0, 40)}
    before = None
    for epoch, expected in enumerate(callback(40, until, lr, ratio, initial, multiplier)):
        found = rates.learning_rates_at(epoch)
        assert found.keys() == (set() if expected is None else rates.names)
        assert all(value == pytest.approx(expected, rel=1e-12) for value in found.values())
        assert epoch in boundaries or found == before
        before = found


def test_a_rate_that_has_long_reached_the_others_does_not_overflow():
    rates = DIALECT.learning_rates({"learning_rate": 0.1}, NAMES, total=10**7)
    assert rates.learning_rates_at(10**7)["backbone/conv1"] == 0.1


def test_the_smallest_first_rate_does_not_overflow_on_its_way_up():
    config = {"learning_rate": 1e100, "backbone_initial_lr": 1e-200, "multiplier": 1e150}
    found = DIALECT.learning_rates(config, NAMES, total=20)
    assert [found.learning_rates_at(epoch)["backbone/conv1"] for epoch in (10, 11, 12, 13)] == pytest.approx(
        [1e-200, 1e-50, 1e100, 1e100]
    )


def test_without_a_rate_there_are_no_rates():
    assert DIALECT.learning_rates({}, NAMES, total=9) is None


def test_a_model_without_a_backbone_is_an_error():
    with pytest.raises(UnknownName, match="backbone: unknown 'backbone'"):
        DIALECT.policy({}, ["stem", "head"], total=9)
