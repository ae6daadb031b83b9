"""What a switch costs on one backend of Keras and its device: the engine and plain Keras in turn, in one process.

    KERAS_BACKEND=jax python benchmarks/backends.py OUT.json [small|mobilenet] [compiled]

Prints a row of a table and writes the figures: medians, of a switch with its first step unless they say otherwise.
The device is the one that the backend finds. ``compiled`` means ``jit_compile=True``, which is not torch's default.
Before each first visit plain Keras is compiled anew for the same set, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
from refreeze import Segment, always, stages
from refreeze.keras import execute
from refreeze.keras.backends import Backend, current
from refreeze.keras.model import layer_names, read

SIZE = {"small": ((16,), 32, 9), "mobilenet": ((96, 96, 3), 16, 4)}
"""The shape of an example, examples of a batch, steps of a visit."""


def network(kind: str) -> keras.Model:
    """Return the model, not compiled."""
    keras.utils.set_random_seed(0)
    if kind == "mobilenet":
        return keras.applications.MobileNetV2(SIZE[kind][0], weights=None, classes=5)
    dense = [keras.layers.Dense(64, "relu", name=f"dense{number}") for number in range(8)]
    return keras.Sequential([keras.Input(SIZE[kind][0]), *dense, keras.layers.Dense(5, name="head")])


def compiled(model: keras.Model, how: str) -> keras.Model:
    """Compile the model anew, as plain Keras needs at each boundary, and return it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    jit = True if how == "compiled" else "auto"
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=jit)
    return model


def device() -> str:
    """Return the name of what the backend computes on."""
    name = keras.backend.backend()
    if name == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    if name == "jax":
        import jax

        return jax.devices()[0].device_kind
    import tensorflow as tf

    found = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return found[0].get("device_name", "GPU") if found else "CPU"


def mebibytes() -> float:
    """Return what the process holds in memory; on a device of its own there is more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def clocked(model: keras.Model) -> list[float]:
    """Have each call of the train function that the model has now waited for; return the list that gets the seconds."""
    model.make_train_function()
    plain, seconds = model.train_function, list[float]()

    def timed(*args: Any) -> Any:
        begun = time.perf_counter()
        logs = plain(*args)
        current().wait(logs)
        seconds.append(time.perf_counter() - begun)
        return logs

    model.train_function = timed
    return seconds


def measure(kind: str = "small", how: str = "as usual", sets: int = 4, visits: int = 3) -> dict[str, Any]:
    """Return the figures of one backend."""
    shape, batch, steps_each = SIZE[kind]
    x = np.random.default_rng(0).random((batch * steps_each, *shape), np.float32)
    y = np.arange(len(x)) % 5
    plain, total = compiled(network(kind), how), sets * (visits + 1)
    names = layer_names(plain)
    frozen = [names[: len(names) * number // sets] for number in range(sets)]
    seconds: list[float] = []
    steps: list[float] = []
    memory: list[tuple[float, float]] = []

    def fit(model: keras.Model, epochs: int = 1) -> Any:
        return model.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0)

    def recompiling(segment: Segment) -> None:
        if segment.start >= sets:
            return
        before = mebibytes()
        begun = time.perf_counter()
        for node in read(plain).nodes:
            node.layer.trainable = node.path not in frozen[segment.start]
        compiled(plain, how)
        current().settle(plain)
        clock = clocked(plain)
        spent = time.perf_counter() - begun
        fit(plain)
        seconds.append(spent + clock[0])
        steps.append(median(clock[1:]))
        memory.append((before, mebibytes()))

    def run(switch: Any, on_segment: Callable[[Segment], None] | None = None) -> list[Any]:
        model, reports = compiled(network(kind), how), list[Any]()
        policy = stages(*((at, always(frozen[at % sets])) for at in range(total)))
        execute(model, policy, total, lambda n: fit(model, n), reports=reports, on_segment=on_segment, switch=switch)
        return reports

    reports = run("cached", recompiling)
    has_masked = type(current()).masked is not Backend.masked and how != "compiled"
    masked = run("masked") if has_masked else []
    first = lambda found: median(r.switch_seconds + r.first_step_seconds for r in found)  # noqa: E731
    own = [later[0] - earlier[1] for earlier, later in itertools.pairwise(memory)]
    found = {
        "backend": keras.backend.backend(), "keras": keras.__version__, "device": device(), "model": kind, "how": how,
        "sets": sets, "steps_made": sum(r.new_step for r in reports), "compile": median(seconds),
        "first_visit": first(reports[:sets]), "revisit": first(reports[sets:]),
        "revisit_switch": median(r.switch_seconds for r in reports[sets:]),
        "step": median(r.step_seconds for r in reports[sets:]),
        "step_to_plain": median(r.step_seconds / s for r, s in zip(reports[:sets], steps, strict=True)),
        "mib_per_set": median(own), "mib_per_compile": median(after - before for before, after in memory[1:]),
    }  # fmt: skip
    if masked and all(r.decision == "masked" for r in masked):
        found |= {
            "masked_first": first(masked[:1]), "masked_revisit": first(masked[sets:]),
            "masked_step": median(r.step_seconds for r in masked[sets:]),
            "masked_made": sum(r.new_step for r in masked),
        }  # fmt: skip
    return found


if __name__ == "__main__":
    found = measure(*sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
    columns = ("compile", "first_visit", "revisit", "revisit_switch", "step")
    print(f"| {found['backend']} |", " | ".join(f"{found[column] * 1e3:,.2f} ms" for column in columns), "|")
