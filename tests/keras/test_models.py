"""EXE-3 and EXE-7 on kinds of models: shared layers, subclasses with their own train step, attention, real networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Policy, always, stages
from refreeze.keras import execute
from refreeze.keras.model import layer_names, read

pytestmark = pytest.mark.engine

Case = tuple[keras.Model, Any, Any]
layers = keras.layers


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape, np.float32)


def shared() -> Case:
    """Two inputs that go through the same layers."""
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    encode = keras.Sequential([keras.Input((6,)), layers.Dense(5, "tanh", name="deep")], name="encode")
    one = layers.Dense(4, name="one")
    joined = layers.Concatenate()([one(encode(left)), one(encode(right))])
    model = keras.Model([left, right], layers.Dense(2, name="head")(joined))
    return model, [noise(12, 6), noise(12, 6, seed=1)], noise(12, 2)


class OwnTrainStep(keras.Model):
    """Has a train step of its own, which asks its parts for what they train."""

    def __init__(self) -> None:
        super().__init__(name="own")
        parts = [layers.Dense(5, "tanh", name="deep"), layers.BatchNormalization(name="norm")]
        self.features = keras.Sequential(parts, name="features")
        self.head = layers.Dense(2, name="head")

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.head(self.features(x, training=training))

    def train_step(self, *args: Any) -> Any:
        return getattr(self, f"on_{keras.backend.backend()}")(*args)

    def parts(self) -> list[Any]:
        return [*self.features.trainable_variables, *self.head.trainable_variables]

    def on_tensorflow(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        if parts := self.parts():
            self.optimizer.apply_gradients(zip(tape.gradient(loss, parts), parts, strict=True))
        return {"loss": loss}

    def on_jax(self, state: Any, data: Any) -> Any:
        import jax

        (weights, others, slots, metrics), (x, y) = state, data

        def loss_of(weights: Any) -> Any:
            y_pred, now = self.stateless_call(weights, others, x, training=True)
            return self.compute_loss(x, y, y_pred), now

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        weights, slots = self.optimizer.stateless_apply(slots, gradients, weights)
        return {"loss": loss}, (weights, others, slots, metrics)

    def on_torch(self, data: Any) -> Any:
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x, y, self(x, training=True))
        if parts := self.parts():
            loss.backward()
            self.optimizer.apply([part.value.grad for part in parts], parts)
        return {"loss": loss}


def own_train_step() -> Case:
    model, x = OwnTrainStep(), noise(12, 6)
    model(x[:1])
    return model, x, noise(12, 2)


def transformer() -> Case:
    start = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 8, name="embedding")(start)
    attended = layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(name="norm1")(x + attended)
    x = layers.LayerNormalization(name="norm2")(x + layers.Dense(8, "gelu", name="forward")(x))
    model = keras.Model(start, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))
    return model, (noise(12, 7) * 11).astype(int), noise(12, 2)


class Noise(keras.layers.Layer):
    """Adds noise that Keras' generator draws, whose state is a variable of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


def noisy() -> Case:
    parts = [layers.Dense(4, name="one"), Noise(), layers.Dropout(0.5, seed=3), layers.Dense(2, name="head")]
    return keras.Sequential([keras.Input((6,)), *parts]), noise(12, 6), noise(12, 2)


def compiled(make: Callable[[], Case]) -> Case:
    keras.utils.set_random_seed(0)
    model, x, y = make()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model, x, y


def values(model: keras.Model) -> list[tuple[str, int, bytes]]:
    """Return layer, id and bits of every weight."""
    return [(node.path, id(w), w.numpy().tobytes()) for node in read(model).nodes for w in node.layer.weights]


def run(make: Callable[[], Case], policy: Policy, total: int, **options: Any) -> Any:
    """Run the schedule; check after every segment what has moved; return all that it ends with."""
    model, x, y = compiled(make)
    can_train = set(map(id, read(model).trainable))
    seen = [values(model)]

    def watched(epochs: int) -> Any:
        history = model.fit(x, y, epochs=epochs, batch_size=4, shuffle=False, verbose=0)
        was, now = seen[-1], values(model)
        seen.append(now)
        moved = [path for (path, _, before), (_, _, after) in zip(was, now, strict=True) if before != after]
        trained = {path for path, weight, _ in now if weight in can_train} - policy.frozen_at(len(seen) - 2)
        assert set(moved) == trained
        return history

    history = execute(model, policy, total, watched, **options)
    ends = [bits for _, _, bits in seen[-1]], [v.numpy().tobytes() for v in model.optimizer.variables]
    return *ends, history.history


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (shared, {"encode/deep"}, {"one"}),
        (own_train_step, {"features/deep", "features/norm"}, {"head"}),
        (transformer, {"embedding", "attention"}, {"norm1", "forward"}),
        (noisy, {"one"}, {"head"}),
    ],
    ids=["shared", "own_train_step", "transformer", "noisy"],
)
def test_frozen_stays_the_rest_moves_and_cached_equals_rebuilt(make: Any, first: set[str], second: set[str]) -> None:
    policy = stages(*((epoch, always(names)) for epoch, names in enumerate([first, second, first])))
    assert policy.names <= set(layer_names(make()[0]))
    assert run(make, policy, 3) == run(make, policy, 3, switch="rebuild")


@pytest.mark.slow
@pytest.mark.parametrize("make", [keras.applications.MobileNetV2, keras.applications.EfficientNetB0])
def test_networks_of_keras_applications(make: Any) -> None:
    model = make(input_shape=(32, 32, 3), weights=None, classes=4, classifier_activation=None)
    names = layer_names(model)
    policy = stages(*((epoch, always(names[epoch % 2 :: 2])) for epoch in range(3)))
    run(lambda: (model, noise(8, 32, 32, 3), noise(8, 4)), policy, 3)
