"""``python memory_probe.py MODEL HOW SWITCHES [STEPS]``: print as JSON the resident MiB before and after each switch.

Each switch is to another frozen set: the first, the second, … layer alone. HOW is a switch of the engine ("cached",
…) or "compile". With STEPS there is one fit, of random windows of half of the layers, with so many steps each: printed
is what is resident before it, after plain training, and after it.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from refreeze import Segment, random_windows
from refreeze.keras import FreezeSchedule
from refreeze.keras.model import layer_names
from workload import build, compile_fresh, controller, data, fit, freeze

PAGES = Path("/proc/self/statm")


def resident() -> float:
    gc.collect()
    return int(PAGES.read_text(encoding="ascii").split()[1]) * 4096 / 2**20


def windows(name: str, how: str, switches: int, steps: int) -> list[float]:
    import tensorflow as tf

    found, batches = [], tf.data.Dataset.from_tensors(data(build(name), 1)).repeat(switches * steps)
    for callbacks in (False, True):
        model = build(name)
        policy = random_windows(layer_names(model), len(layer_names(model)) // 2, steps)
        schedule = [FreezeSchedule(policy, unit="steps", switch=how)] if callbacks else []
        model.fit(batches, shuffle=False, verbose=0, callbacks=schedule)
        found.append(resident())
    return found


def one_by_one(name: str, how: str, switches: int) -> list[float]:
    model = build(name)
    train = fit(model, 1)
    train(1)
    layers = ["", *layer_names(model)][: switches + 1]
    schedule = [Segment(index, index + 1, frozenset({layer} - {""})) for index, layer in enumerate(layers)]
    control = None if how == "compile" else controller(model, schedule, switch=how, cache_size=switches + 1)
    found = []
    for segment in schedule:
        if control is None:
            freeze(model, segment.frozen)
            compile_fresh(model)
        else:
            control.enter(segment)
        train(1)
        found.append(resident())
    return found


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[3:]]
    print(json.dumps((windows if len(numbers) > 1 else one_by_one)(*sys.argv[1:3], *numbers)))
