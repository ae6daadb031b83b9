"""What a switch costs on one backend of Keras: first visit, revisit, and compile per segment, in one run.

    KERAS_BACKEND=jax python benchmarks/backends.py OUT.json [mobilenet]

Prints a row of a table and writes the figures: medians over visits, of a switch with its first step, and of the
switch alone. ``compile`` is measured between visits of the engine, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
from refreeze import always, stages
from refreeze.keras import execute
from refreeze.keras.backends import current
from refreeze.keras.model import layer_names, read

SIZE = {"small": ((16,), 32), "mobilenet": ((96, 96, 3), 16)}


def network(kind: str) -> keras.Model:
    """Return the model, not compiled."""
    keras.utils.set_random_seed(0)
    if kind == "mobilenet":
        return keras.applications.MobileNetV2(SIZE[kind][0], weights=None, classes=5)
    dense = [keras.layers.Dense(64, "relu", name=f"dense{number}") for number in range(8)]
    return keras.Sequential([keras.Input(SIZE[kind][0]), *dense, keras.layers.Dense(5, name="head")])


def compiled(model: keras.Model) -> keras.Model:
    """Compile the model anew, as plain Keras needs at each boundary, and return it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    return model


def measure(kind: str, sets: int = 4, visits: int = 3) -> dict[str, Any]:
    """Return the figures of one backend."""
    shape, batch = SIZE[kind]
    x = np.random.default_rng(0).random((batch * 4, *shape), np.float32)
    y = np.arange(len(x)) % 5
    engine, plain = compiled(network(kind)), compiled(network(kind))
    names = layer_names(engine)
    frozen = [names[: len(names) * number // sets] for number in range(sets)]
    seconds: list[float] = []

    def recompiling(held: list[str]) -> None:
        begun = time.perf_counter()
        for node in read(plain).nodes:
            node.layer.trainable = node.path not in held
        compiled(plain)
        current().settle(plain)
        plain.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)
        seconds.append(time.perf_counter() - begun)

    def fit(epochs: int) -> Any:
        return engine.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0)

    policy = stages(*((at, always(frozen[at % sets])) for at in range(sets * (visits + 1))))
    reports: list[Any] = []
    count = iter(range(sets * (visits + 1)))
    execute(
        engine, policy, sets * (visits + 1), fit, reports=reports,
        on_segment=lambda segment: recompiling(frozen[at]) if (at := next(count)) < sets else None,
    )  # fmt: skip
    new, again = [r for r in reports if r.new_step], [r for r in reports if not r.new_step]
    first = lambda found: median(r.switch_seconds + r.first_step_seconds for r in found)  # noqa: E731
    return {
        "backend": keras.backend.backend(), "keras": keras.__version__, "model": kind, "sets": sets,
        "steps_made": len(new), "compile": median(seconds), "first_visit": first(new), "revisit": first(again),
        "revisit_switch": median(r.switch_seconds for r in again), "step": median(r.step_seconds for r in again),
    }  # fmt: skip


if __name__ == "__main__":
    found = measure(*(sys.argv[2:] or ["small"]))
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
    columns = ("compile", "first_visit", "revisit", "revisit_switch", "step")
    print(f"| {found['backend']} |", " | ".join(f"{found[column] * 1e3:,.2f} ms" for column in columns), "|")
