"""What all benchmarks share: models, data, frozen sets, ways to run a schedule, and what is recorded of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import keras
import numpy as np
from refreeze import Segment, segments
from refreeze.choices import Switch
from refreeze.dialects import dialect
from refreeze.keras.controller import Controller
from refreeze.keras.executor import execute, merge
from refreeze.keras.model import layer_names, read
from refreeze.keras.options import Options

BATCH = 16
WINDOWS = 4
CLASSES = 4


def mlp() -> keras.Model:
    stack: list[Any] = [keras.Input((64,))]
    stack += [keras.layers.Dense(64, "relu", name=f"dense{index}") for index in range(7)]
    return keras.Sequential([*stack, keras.layers.Dense(CLASSES, name="head")])


def cnn() -> keras.Model:
    stack: list[Any] = [keras.Input((16, 16, 3))]
    for index, filters in enumerate((16, 16, 32, 32)):
        stack += [
            keras.layers.Conv2D(filters, 3, strides=1 + index % 2, padding="same", use_bias=False, name=f"conv{index}"),
            keras.layers.BatchNormalization(name=f"norm{index}"),
            keras.layers.ReLU(),
        ]
    return keras.Sequential([*stack, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(CLASSES, name="head")])


def transformer() -> keras.Model:
    layers = keras.layers
    tokens = keras.Input((16,), dtype="int32")
    x = layers.Embedding(100, 32, name="embedding")(tokens)
    for block in range(2):
        attended = layers.MultiHeadAttention(4, 8, name=f"attention{block}")(x, x)
        x = layers.LayerNormalization(name=f"norm{block}a")(x + attended)
        hidden = layers.Dense(64, "gelu", name=f"up{block}")(x)
        x = layers.LayerNormalization(name=f"norm{block}b")(x + layers.Dense(32, name=f"down{block}")(hidden))
    return keras.Model(tokens, layers.Dense(CLASSES, name="head")(layers.GlobalAveragePooling1D()(x)))


def _application(name: str, size: int) -> Callable[[], keras.Model]:
    return lambda: getattr(keras.applications, name)(
        (size, size, 3), weights=None, classes=CLASSES, classifier_activation=None
    )


BUILDERS: dict[str, Callable[[], keras.Model]] = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "mobilenetv2": _application("MobileNetV2", 96),
    "resnet50": _application("ResNet50", 64),
}
LARGE = ("mobilenetv2", "resnet50")


def compile_fresh(model: keras.Model, optimizer: Any = None) -> None:
    """Compile as everywhere here, by default with a new optimizer."""
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9) if optimizer is None else optimizer
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])


def build(name: str) -> keras.Model:
    """Return the compiled model, always with the same weights."""
    keras.utils.set_random_seed(0)
    model = BUILDERS[name]()
    compile_fresh(model)
    return model


def data(model: keras.Model, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``steps`` batches of random inputs of the model's shape, and labels."""
    generator = np.random.default_rng(0)
    shape = (steps * BATCH, *model.input_shape[1:])
    x = generator.random(shape, np.float32)
    if model.inputs[0].dtype == "int32":
        x = (x * 100).astype(np.int32)
    return x, generator.integers(0, CLASSES, steps * BATCH)


def fit(model: keras.Model, steps: int) -> Callable[[int], Any]:
    """Return a fit function of epochs of so many steps."""
    x, y = data(model, steps)
    return lambda epochs: model.fit(x, y, epochs=epochs, batch_size=BATCH, shuffle=False, verbose=0)


def windows(names: Sequence[str], epochs: int, kind: str = "round robin") -> list[dict[str, Any]]:
    """Return a configuration of vl3d that freezes a quarter of the layers at a time, another each epoch.

    Round robin has exactly ``WINDOWS`` frozen sets, for the layers beyond a multiple of it are left out; random draws
    hardly ever meet again.
    """
    quarter = len(names) // WINDOWS
    return [
        {
            "layers": names[: quarter * WINDOWS],
            "training_interval": [0, epochs],
            "strategy": {"type": kind.replace(" ", "_"), "window_size": quarter, "iterative_span": 1},
        }
    ]


def schedule(names: Sequence[str], epochs: int, kind: str = "round robin") -> tuple[Segment, ...]:
    """Return the segments of ``windows``."""
    return segments(dialect("vl3d").policy(windows(names, epochs, kind), names, total=epochs), epochs)


def controller(model: keras.Model, schedule: Sequence[Segment] = (), **options: Any) -> Controller:
    """Return a controller that governs every layer; a masked step is made for the segments of its schedule."""
    return Controller(model, layer_names(model), schedule, Options(**options))


def freeze(model: keras.Model, frozen: frozenset[str]) -> None:
    """Write the flags as users do, layer by layer."""
    for node in read(model).nodes:
        node.layer.trainable = node.path not in frozen


class Refreeze:
    """The execution adapter of the engine."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    def run(self, model: Any, name: str, config: Any, total: int, fit: Callable[[int], Any]) -> Any:
        policy = dialect(name).policy(config, layer_names(model), total=total)
        return execute(model, policy, total, fit, switch=self.switch)


class CompilePerSegment:
    """The execution adapter of what users do on plain Keras: write flags and compile, at every boundary."""

    def run(self, model: Any, name: str, config: Any, total: int, fit: Callable[[int], Any]) -> Any:
        policy = dialect(name).policy(config, layer_names(model), total=total)
        parts = []
        for segment in segments(policy, total):
            freeze(model, segment.frozen)
            compile_fresh(model)
            parts.append((fit(segment.length).history, segment.length))
        history = keras.callbacks.History()
        history.history, history.epoch = merge(parts), list(range(total))
        return history


IMPLEMENTATIONS: dict[str, Any] = {
    **{f"refreeze {switch}": Refreeze(switch) for switch in get_args(Switch)},
    "keras compile per segment": CompilePerSegment(),
}


class Traces:
    """Counts the traces of a model's train step from now on, and the seconds that each takes."""

    def __init__(self, model: keras.Model) -> None:
        self.seconds: list[float] = []
        step = model.train_step

        def timed_step(batch: Any) -> Any:
            begun = time.perf_counter()
            try:
                return step(batch)
            finally:
                self.seconds.append(time.perf_counter() - begun)

        model.train_step = timed_step


def timed(function: Callable[..., Any], *args: Any) -> float:
    """Return the seconds of one call."""
    begun = time.perf_counter()
    function(*args)
    return time.perf_counter() - begun


def optimizer_bytes(model: keras.Model) -> int:
    return sum(variable.numpy().nbytes for variable in model.optimizer.variables)


def describe(benchmark: Any, question: str, subject: str, case: str, *, baseline: bool = False, **found: Any) -> None:
    """Record what was measured: benchmarks of one question and subject are one table, a case is a row of it.

    ``found`` are counts, or lists of seconds that were measured beside the benchmark's own.
    """
    if benchmark.stats is not None:
        benchmark.stats.group = f"{question}: {subject}"
    benchmark.extra_info.update({"case": case, **({"baseline": True} if baseline else {}), **found})


def stepper(model: keras.Model) -> Callable[[], float]:
    """Return a function that does one train step, as ``fit`` does but without its callbacks, and waits for the loss."""
    import tensorflow as tf

    x, y = data(model, 1)
    batches = tf.data.Dataset.from_tensors((x, y)).cache().repeat().prefetch(2)
    iterator = iter(model.distribute_strategy.experimental_distribute_dataset(batches))

    return lambda: float(model.train_function(iterator)["loss"])


def shares(names: Sequence[str], place: str, share: float) -> frozenset[str]:
    """Return the names of a part of the layers: the first ones, the last ones, or ones spread evenly."""
    number = round(len(names) * share)
    if place == "prefix":
        return frozenset(names[:number])
    if place == "suffix":
        return frozenset(names[len(names) - number :])
    return frozenset(name for i, name in enumerate(names) if (i + 1) * number // len(names) > i * number // len(names))
