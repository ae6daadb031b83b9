"""BN-1: what the forward pass of a train step normalizes by, and what moves, under each policy."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import InvalidSpec, Segment, UnknownName, always, inference_mode, stages, union
from refreeze.dialects import fastai
from refreeze.keras import FreezeSchedule, execute
from refreeze.keras.controller import Controller
from refreeze.keras.options import Options
from small_models import build, everything, fit, said, weights

pytestmark = pytest.mark.engine

X = np.random.default_rng(0).normal(3, 2, (32, 3)).astype(np.float32)
LAYER = frozenset({"norm"})
VARIABLES = frozenset({"norm/gamma", "norm/beta"})
NOTHING: frozenset[str] = frozenset()


def norm_alone() -> keras.Model:
    """A model that is one normalization, with moving statistics unlike those of ``X``; the loss is its mean square."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(name="norm")])
    model.layers[0].moving_mean.assign([1.0, 1.0, 1.0])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def normalized_by(loss: float) -> str:
    """Say by which statistics ``X`` was normalized, from the mean square of what came out."""
    batch = np.mean((X - X.mean(0)) ** 2 / (X.var(0) + 1e-3))
    moving = np.mean((X - 1) ** 2 / (1 + 1e-3))
    (found,) = [name for name, value in (("batch", batch), ("moving", moving)) if np.isclose(loss, value, rtol=1e-4)]
    return found


def one_step(policy: str, frozen: frozenset[str], bn_frozen: frozenset[str]) -> tuple[str, bool, bool]:
    """Train one step; return what was normalized by, and whether the moving statistics and gamma and beta moved."""
    model = norm_alone()
    before = weights(model)
    segment = Segment(0, 1, frozen, None, bn_frozen)
    Controller(model, frozen, [segment], Options(batch_norm=policy)).enter(segment)
    loss = model.fit(X, np.zeros_like(X), batch_size=len(X), verbose=0).history["loss"][0]
    moved = {name.partition("/")[2] for name, now in weights(model).items() if now != before[name]}
    pairs = {"moving_mean", "moving_variance"}, {"gamma", "beta"}
    assert all(moved & pair in (set(), pair) for pair in pairs)
    return normalized_by(loss), *(pair <= moved for pair in pairs)


TRAINS, BATCH, FIXED, INFERENCE = (
    ("batch", True, True),
    ("batch", True, False),
    ("batch", False, False),
    ("moving", False, False),
)
TABLE = {
    #               trains   layer frozen  variables frozen
    "keras":       (TRAINS,  INFERENCE,    BATCH),
    "inference":   (TRAINS,  INFERENCE,    INFERENCE),
    "batch":       (TRAINS,  BATCH,        BATCH),
    "batch_fixed": (TRAINS,  FIXED,        FIXED),
}  # fmt: skip


@pytest.mark.parametrize("policy", TABLE)
def test_BN_1_policies(policy: str) -> None:
    assert tuple(one_step(policy, frozen, NOTHING) for frozen in (NOTHING, LAYER, VARIABLES)) == TABLE[policy]


@pytest.mark.parametrize("policy", TABLE)
def test_BN_1_bn_frozen_is_inference_mode_and_gamma_and_beta_train_unless_frozen(policy: str) -> None:
    assert one_step(policy, NOTHING, LAYER) == ("moving", False, True)
    assert one_step(policy, LAYER, LAYER) == INFERENCE


def test_BN_1_fastai_bn_freeze_on_trainable_layers_in_a_whole_run() -> None:
    """bn_freeze on from epoch 1, the stem unfrozen from epoch 2, bn_freeze off from epoch 3."""
    groups = [["one", "norm"], ["two", "head"]]
    calls = [
        {"at": 0, "call": "freeze_to", "n": 1},
        {"at": 1, "call": "bn_freeze", "do_freeze": True},
        {"at": 2, "call": "unfreeze"},
        {"at": 3, "call": "bn_freeze", "do_freeze": False},
    ]
    config = {"groups": groups, "calls": calls, "batch_norm": ["norm"]}
    results = []
    for switch in ("cached", "rebuild"):
        model = build()
        policy = fastai.DIALECT.policy(config, [name for group in groups for name in group], total=4)
        seen = [weights(model)]

        def watched(epochs: int, model: Any = model, seen: list[dict[str, bytes]] = seen) -> Any:
            history = fit(model)(epochs)
            seen.append(weights(model))
            return history

        history = execute(model, policy, 4, watched, switch=switch, restore=True)
        moved = [{name for name in now if now[name] != was[name]} for was, now in itertools.pairwise(seen)]
        later, first = {"two/kernel", "two/bias", "head/kernel", "head/bias"}, {"one/kernel", "one/bias"}
        affine, moving = {"norm/gamma", "norm/beta"}, {"norm/moving_mean", "norm/moving_variance"}
        # Epochs 0 and 1 are one segment: a frozen layer is in inference mode, with bn_freeze or without.
        assert moved == [later, later | first | affine, later | first | affine | moving]
        assert "call" not in vars(model.get_layer("norm"))
        results.append(everything(model, history))
    assert results[0] == results[1]


def test_modes_are_part_of_what_a_train_step_depends_on() -> None:
    """The flags are the same in all segments; only the mode differs, and comes back."""
    model = build(optimizer="sgd")
    reports: list[Any] = []
    policy = stages((0, union()), (1, inference_mode(["norm"])), (2, union()))
    execute(model, policy, 3, fit(model), reports=reports)
    assert [report.new_step for report in reports] == [True, True, False]


def test_only_train_steps_are_changed_and_restore_undoes_it() -> None:
    model = norm_alone()
    plain = model.layers[0].call
    segment = Segment(0, 1, LAYER, None, NOTHING)
    controller = Controller(model, LAYER, [segment], Options(batch_norm="batch"))
    controller.enter(segment)
    assert normalized_by(model.evaluate(X, np.zeros_like(X), batch_size=len(X), verbose=0)) == "moving"
    assert not model.layers[0].trainable
    controller.restore()
    assert model.layers[0].call == plain
    history = model.fit(X, np.zeros_like(X), batch_size=len(X), verbose=0).history
    assert normalized_by(history["loss"][0]) == "batch"


def test_another_schedule_on_the_same_model_takes_over() -> None:
    model = norm_alone()
    for policy, expected in (
        ("batch_fixed", "batch"),
        ("inference", "moving"),
        ("batch", "batch"),
        ("keras", "moving"),
    ):
        segment = Segment(0, 1, LAYER, None, NOTHING)
        Controller(model, LAYER, [segment], Options(batch_norm=policy)).enter(segment)
        model.layers[0].moving_mean.assign([1.0, 1.0, 1.0])
        model.layers[0].moving_variance.assign([1.0, 1.0, 1.0])
        loss = model.fit(X, np.zeros_like(X), batch_size=len(X), verbose=0).history["loss"][0]
        assert normalized_by(loss) == expected


def test_a_normalization_inside_a_model_or_a_layer() -> None:
    model = build("nested", "sgd")
    before = weights(model)
    execute(model, inference_mode(["backbone/inner/norm"]), 1, fit(model))
    after = weights(model)
    assert {name for name in after if after[name] == before[name]} == {
        "backbone/inner/norm/moving_mean",
        "backbone/inner/norm/moving_variance",
    }


@pytest.mark.parametrize(
    ("bn_frozen", "error", "message"),
    [
        (frozenset({"two"}), InvalidSpec, "bn_frozen = 'two' must be a BatchNormalization"),
        (frozenset({"norn"}), UnknownName, r"unknown 'norn' \(did you mean 'norm'\?\)"),
    ],
)
def test_refusals(bn_frozen: frozenset[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Controller(build(), [], [Segment(0, 1, NOTHING, None, bn_frozen)])


def test_always_frozen_statistics_stay_whatever_else_trains() -> None:
    """EXE-3 under the default policy, with the layer before the normalization trained, so that its input changes."""
    model = build(optimizer="adam")
    before = weights(model)
    execute(model, always(["norm"]), 2, fit(model))
    after = weights(model)
    assert {name for name in after if after[name] == before[name]} == {
        f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }


@pytest.mark.parametrize(
    ("dialect", "config"),
    [
        ("lighter", [{"name_starts_with": "norm/"}]),
        ("kempner", {"freeze": [{"module": "norm/*"}]}),
        ("vl3d", [{"layers": ["norm"], "training_interval": [0, 1]}]),
        ("lighter", [{"names": "norm/gamma"}]),
    ],
)
@pytest.mark.parametrize("policy", ["keras", "inference"])
def test_that_statistics_of_frozen_parameters_move_is_said_once(
    dialect: str, config: Any, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(optimizer="sgd")
    fit(model, callbacks=[FreezeSchedule(config, dialect=dialect, batch_norm=policy)])(2)
    warned = said(caplog, logging.WARNING)
    told = policy == "keras" and "norm/" in str(config).replace("norm/gamma", "")
    assert len(warned) == told
    assert all("flag of the layer: norm; batch_norm='inference' stops them" in message for message in warned)
