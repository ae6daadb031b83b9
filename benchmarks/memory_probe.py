"""``python memory_probe.py MODEL HOW SWITCHES``: print as JSON the resident MiB before and after each switch.

Each switch is to another frozen set: the first, the second, … layer alone. HOW is a switch of the engine ("cached",
…) or "compile".
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from refreeze import Segment
from refreeze.keras.model import layer_names
from workload import build, compile_fresh, controller, fit, freeze

PAGES = Path("/proc/self/statm")


def resident() -> float:
    gc.collect()
    return int(PAGES.read_text(encoding="ascii").split()[1]) * 4096 / 2**20


def main(name: str, how: str, switches: int) -> None:
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
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
