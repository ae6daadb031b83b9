"""NAM-4 and NAM-5 on real models: whole blocks move, as seen by their weights, and patterns find their layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from refreeze.dialects import dialect
from refreeze.dialects.vl3d import resolve_layers
from refreeze.keras import FreezeSchedule, FreezeTrainingExecutor
from refreeze.keras.model import layer_names, read

pytestmark = pytest.mark.engine

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
TOKENS, WIDTH, STEPS = 6, 8, 80
layers = keras.layers


class Positions(layers.Layer):
    """Adds a vector for each place."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x: Any) -> Any:
        return x + self.table


def block(number: int) -> keras.Model:
    x = start = keras.Input((TOKENS, WIDTH))
    x = layers.LayerNormalization(name="norm_1")(x + layers.MultiHeadAttention(2, 4, name="attention")(x, x))
    y = layers.Dense(WIDTH, name="shrink")(layers.Dense(2 * WIDTH, "relu", name="expand")(x))
    return keras.Model(start, layers.LayerNormalization(name="norm_2")(x + y), name=f"block_{number}")


def transformer() -> keras.Model:
    start = keras.Input((TOKENS,), dtype="int32")
    x = Positions(name="positions")(layers.Embedding(16, WIDTH, name="tokens")(start))
    for number in range(1, 5):
        x = block(number)(x)
    return keras.Model(start, layers.Dense(2, name="head")(layers.Flatten()(x)), name="transformer")


class Moved(keras.callbacks.Callback):
    """Which layers' weights moved in each stretch of so many steps."""

    def __init__(self, stretch: int) -> None:
        super().__init__()
        self.stretch, self.moved = stretch, []

    def bits(self) -> dict[str, list[bytes]]:
        return {node.path: [w.numpy().tobytes() for w in node.variables] for node in read(self.model).nodes}

    def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        if step % self.stretch == 0:
            self.before = self.bits()

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        if (step + 1) % self.stretch == 0:
            self.moved.append({path for path, found in self.bits().items() if found != self.before[path]})


def test_LIS_1_a_transformer_trains_one_whole_block_at_a_time() -> None:
    """Under the five lines of the gallery; the embeddings and the head, which it does not name, always train."""
    model, file = transformer(), GALLERY / "specs" / "lisa.yaml"
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1 + 5  # a comment, and five lines
    names = layer_names(model)
    assert json.loads((GALLERY / "names.json").read_text(encoding="utf-8"))["lisa"]["names"] == list(names)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    seen, schedule = Moved(20), FreezeSchedule(file)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 16, (2 * STEPS, TOKENS)), rng.random((2 * STEPS, 2), np.float32)
    model.fit(x, y, batch_size=2, verbose=0, callbacks=[schedule, seen])
    blocks = [{name for name in names if name.startswith(f"block_{number}/")} for number in range(1, 5)]
    drawn = [[block <= moved for block in blocks].index(True) for moved in seen.moved]
    assert seen.moved == [blocks[number] | {"tokens", "positions", "head"} for number in drawn]
    assert len(seen.moved) == STEPS // 20
    assert len(set(drawn)) > 1


@pytest.fixture(scope="module", params=["EfficientNetV2B0", "MobileNetV3Small"])
def backbone(request: pytest.FixtureRequest) -> keras.Model:
    made = getattr(keras.applications, request.param)
    inner = made(input_shape=(64, 64, 3), weights=None, include_top=False, pooling="avg")
    start = keras.Input((64, 64, 3))
    return keras.Model(start, layers.Dense(2, name="head")(inner(start)))


def test_NAM_5_patterns_find_the_layers_of_a_nested_backbone(backbone: keras.Model) -> None:
    names = layer_names(backbone)
    inside = [name for name in names if "/" in name]
    container = inside[0].partition("/")[0]
    part = "block6" if "block6a_expand_conv" in "".join(inside) else "expanded_conv_6_"
    expected = [name for name in inside if name.startswith(f"{container}/{part}")]
    assert 5 < len(expected) < len(inside)
    assert resolve_layers([f"{container}/{part}*"], 0, names) == expected
    norms = [name for name in inside if name.endswith("_bn")]
    assert len(norms) > 20
    assert resolve_layers([{"each": "*_bn"}], 0, names) == norms
    assert resolve_layers([{"each": f"{container}/*"}], 0, names) == inside
    assert resolve_layers(["*"], 0, names) == list(names)


def test_RR_1_a_window_freezes_a_whole_unit_of_a_nested_backbone(backbone: keras.Model) -> None:
    container = layer_names(backbone)[0].partition("/")[0]
    parts = ["block1", "block2", "block3"] if "eff" in container else [f"expanded_conv_{n}_" for n in (1, 2, 3)]
    units = [[name for name in layer_names(backbone) if name.startswith(f"{container}/{part}")] for part in parts]
    assert all(len(unit) > 1 for unit in units)
    window = {"type": "round_robin", "window_size": 1, "iterative_span": 1}
    wanted = [f"{container}/{part}*" for part in parts]
    seen = []

    def fit(epochs: int) -> Any:
        seen.append(read(backbone).frozen_layers())
        history = keras.callbacks.History()
        history.epoch = [0]
        return history

    backbone.compile(keras.optimizers.SGD(0.1), "mse")
    executor = FreezeTrainingExecutor([{"layers": wanted, "training_interval": [0, 3], "strategy": window}])
    executor.run(backbone, 3, fit)
    assert seen == units
    each = dialect("vl3d").policy(
        [{"layers": [{"each": "*"}], "training_interval": [0, 2], "strategy": window}], layer_names(backbone), total=2
    )
    assert [len(each.frozen_at(epoch)) for epoch in (0, 1)] == [len(layer_names(backbone)) - 1, 1]
