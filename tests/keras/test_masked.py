"""The masked step: one trace for a schedule; frozen stays bitwise as it is, whatever the optimizer does (EXE-3, 7)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from refreeze import Policy, always, inference_mode, stages, union
from refreeze.keras import execute
from refreeze.keras.model import layer_names
from refreeze.keras.own_counts import beside
from small_models import BACKEND, MODELS, X, build, count_traces, fit, named_weights, rewriting, said, weights

pytestmark = [pytest.mark.engine, pytest.mark.only_on("tensorflow", "jax")]
ON_TENSORFLOW = pytest.mark.only_on("tensorflow")
LAYERS = ["one", "two", "head"]
SETS = [["one"], ["two"], [], ["one", "two"], ["one"], LAYERS, ["head"]]
POLICY = stages(*((epoch, always(names)) for epoch, names in enumerate(SETS)))
SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam


@keras.saving.register_keras_serializable("refreeze-tests")
class Poison(keras.layers.Layer):
    """Passes values on, and NaN as the gradient of what is before it."""

    def call(self, x: Any) -> Any:
        return keras.ops.custom_gradient(lambda x: (1 * x, lambda dy: dy * float("nan")))(x)


@keras.saving.register_keras_serializable("refreeze-tests")
class Looking(keras.layers.Layer):
    """Does something else when it is frozen."""

    def call(self, x: Any) -> Any:
        return x if self.trainable else 2 * x


def network(*between: keras.layers.Layer, **first: Any) -> keras.Model:
    """Return a stack whose first layer has these options, with other layers behind it."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    one = layers.Dense(12, "tanh", name="one", **first)
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), one, *between, layers.Dense(12, "tanh", name="two"),
         layers.Dropout(0.2, seed=3), layers.Dense(10, name="head")]
    )  # fmt: skip


def trained(
    make: Callable[[], Any],
    optimizer: Callable[[], Any],
    policy: Policy,
    switch: Any,
    state: Any = "keep",
    batch_norm: Any = "keras",
    **compiled: Any,
) -> Any:
    """Return, for each segment, weights, slots and losses after it; and the traces."""
    model, seen = make(), []
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss, metrics=["accuracy"], **compiled)
    traces = count_traces(model)

    def watched(epochs: int) -> Any:
        history = fit(model)(epochs)
        state = [variable.numpy().tobytes() for variable in beside(model.optimizer)]
        seen.append((weights(model), state, repr(history.history)))
        return history

    execute(model, policy, len(SETS), watched, switch=switch, optimizer_state=state, batch_norm=batch_norm)
    return seen, traces[0]


def compare(make: Callable[[], Any], optimizer: Callable[[], Any], rewritten: bool = False, **compiled: Any) -> None:
    """Compare a masked run with one that traces each set, after every segment: what moves, and all bits.

    Where TensorFlow rewrites arithmetic, and on JAX, the values agree to rounding.
    """
    rewritten |= BACKEND == "jax"
    with rewriting(rewritten):
        (masked, traces), (cached, _) = (trained(make, optimizer, POLICY, s, **compiled) for s in ("masked", "cached"))
    assert traces == 1
    if not rewritten:
        assert masked == cached
    assert moves(masked) == moves(cached)
    for (now, slots, _), (then, others, _) in zip(masked, cached, strict=True):
        for one, other in [*zip(now.values(), then.values(), strict=True), *zip(slots, others, strict=True)]:
            np.testing.assert_allclose(np.frombuffer(one, np.float32), np.frombuffer(other, np.float32), 1e-4, 1e-7)


def moves(seen: Any) -> list[list[bool]]:
    """Return, for each segment but the first, of which weights and slots a bit has changed in it."""
    states = [[*weights.values(), *slots] for weights, slots, _ in seen]
    return [[a != b for a, b in zip(*two, strict=True)] for two in itertools.pairwise(states)]


@pytest.mark.parametrize(
    "options",
    [
        {"clipvalue": 0.01, "weight_decay": 0.01},
        {"clipnorm": 0.1, "gradient_accumulation_steps": 2},
        {"global_clipnorm": 0.1},
        {"global_clipnorm": 0.1, "gradient_accumulation_steps": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("rewritten", [pytest.param(False, marks=ON_TENSORFLOW), True])
def test_EXE_7_what_a_traced_step_does(options: dict[str, Any], rewritten: bool) -> None:
    """Constraint, regularizer, momentum, and everything frozen in one segment; the options touch all gradients."""
    first = {"kernel_constraint": keras.constraints.UnitNorm(), "kernel_regularizer": keras.regularizers.L2(0.1)}
    compare(lambda: network(**first), lambda: SGD(0.05, momentum=0.9, **options), rewritten)


@pytest.mark.parametrize("name", ["Nadam", "Muon"])
def test_EXE_7_optimizers_that_update_in_their_own_way(name: str) -> None:
    """A product for all variables; two kinds of update and of decay."""
    compare(network, lambda: getattr(keras.optimizers, name)(0.01, weight_decay=0.01))


def test_EXE_13_counts_of_frozen_variables_stand_still() -> None:
    compare(network, lambda: ADAM(0.01), state="per_variable")


@pytest.mark.parametrize(
    "compiled", [{"steps_per_execution": 3}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)], ids=str
)
def test_EXE_7_ways_to_compile(compiled: dict[str, Any]) -> None:
    compare(network, lambda: ADAM(0.01, weight_decay=0.01), **compiled)


@pytest.mark.parametrize(
    ("options", "scaled"), [({"global_clipnorm": 9.0}, False), ({"gradient_accumulation_steps": 2}, True)], ids=str
)
def test_EXE_3_a_gradient_of_nan_does_not_leave_a_frozen_layer(options: dict[str, Any], scaled: bool) -> None:
    """Under loss scaling a NaN that counted would skip the update of everything, and halve the scale."""

    def optimizer() -> Any:
        inner = SGD(0.05, momentum=0.9, **options)
        return keras.optimizers.LossScaleOptimizer(inner, 8.0, 4) if scaled else inner

    frozen = stages((0, always(["one"])), (3, always(["one", "two"])), (6, always(["one"])))
    seen, _ = trained(lambda: network(Poison()), optimizer, frozen, "masked")
    assert not any(np.isnan(np.frombuffer(bits, np.float32)).any() for bits in seen[-1][0].values())
    first, last = seen[0][0], seen[-1][0]
    moved = {name.partition("/")[0] for name in last if last[name] != first[name]}
    assert moved == {"two", "head"}


def test_EXE_7_mixed_precision() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        compare(network, lambda: ADAM(0.01))
    finally:
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize(
    ("kind", "batch_norm"), [("cnn", "keras"), ("cnn", "batch_fixed"), ("nested", "inference"), ("nested", "batch")]
)
def test_with_batch_normalization_the_same_moves_and_values_agree_to_rounding(kind: str, batch_norm: Any) -> None:
    """Three states of the layer: it trains, it is frozen, and it is in inference mode while its parameters train."""
    names = layer_names(MODELS[kind]())
    norm = next(name for name in names if "norm" in name)
    policy = stages(
        (0, always([names[0]])), (1, always([norm])), (2, union()), (3, inference_mode([norm])), (4, always(names))
    )
    seen: dict[str, Any] = {}
    for switch in ("masked", "cached"):
        model, seen[switch] = build(kind, "sgd"), []
        traces = count_traces(model)

        def watched(epochs: int, model: Any = model, seen: list[Any] = seen[switch]) -> Any:
            before = weights(model)
            history = fit(model)(epochs)
            after = weights(model)
            values = {name: weight.numpy() for name, weight in named_weights(model).items()}
            seen.append(({name for name in after if after[name] != before[name]}, values, history.history["loss"]))
            return history

        execute(model, policy, 5, watched, switch=switch, batch_norm=batch_norm)
        assert traces == [1 if switch == "masked" else 5]
    for (moved, values, losses), (should_move, should_be, its_losses) in zip(*seen.values(), strict=True):
        assert moved == should_move
        np.testing.assert_allclose(losses, its_losses, rtol=1e-5)
        for name, value in values.items():
            np.testing.assert_allclose(value, should_be[name], rtol=1e-4, atol=1e-6, err_msg=name)


class OwnStep(keras.Sequential):
    def train_step(self, *what: Any) -> Any:
        return super().train_step(*what)


class OwnClipping(SGD):
    def _clip_gradients(self, grads: Any) -> Any:
        return grads


@pytest.mark.parametrize(
    ("make", "optimizer", "compiled", "what"),
    [
        (lambda: network(Looking(name="look")), SGD, {}, "layer 'look', which looks at flags itself"),
        (
            lambda: OwnStep([keras.Input((8, 8, 1)), *network().layers], name="mine"),
            SGD,
            {},
            "the train_step of model 'mine'",
        ),
        (network, lambda: OwnClipping(name="ours"), {}, "_clip_gradients of optimizer 'ours'"),
        (network, SGD, {"run_eagerly": True}, "run_eagerly=True"),
    ],
)
def test_what_cannot_be_masked_is_cached_and_said(
    make: Any, optimizer: Any, compiled: Any, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen, _ = trained(make, optimizer, stages((0, always(["one"])), (1, always([]))), "masked", **compiled)
    assert len({state["one/kernel"] for state, _, _ in seen}) == len(seen) == 2
    assert said(caplog, logging.WARNING) == [f"{what} cannot be masked: each frozen set is traced and kept instead"]


def test_a_compile_in_between_is_noticed_and_data_of_another_shape_are_traced() -> None:
    model = build("dense", "sgd")
    traces, moved = count_traces(model), []

    def compiling(epochs: int) -> Any:
        if len(moved) == 2:
            model.compile(SGD(0.1), model.loss, metrics=["accuracy"])
        before = weights(model)
        size = 8 if len(moved) == 3 else 16
        data = tf.data.Dataset.from_tensors((X[:size], np.zeros(size))).repeat(2)
        history = model.fit(data, shuffle=False, verbose=0)
        moved.append({name.partition("/")[0] for name, now in weights(model).items() if now != before[name]})
        return history

    execute(model, POLICY, 5, compiling, switch="masked")
    assert moved == [{*LAYERS} - {*names} for names in SETS[:5]]
    assert traces[0] <= 5  # two compilations, two shapes
