"""Hours of switches and resumes in one process: a resumed run ends bit for bit as one that was not, memory is flat.

    tox -e soak                        # two hours, and until 5,000 switches and 200 resumes were made
    tox -e soak -- --minutes 5         # a trial, with as many in proportion

A round trains a small model in each way in turn: to the end; to a random tick; and from there, resumed in a new model.
The way is ``cached`` with room for 2 of 5 frozen sets, ``masked``, ``auto`` that gives each set a step of its own, and
refreeze.torch if PyTorch is there. Memory is flat if the median of the resident memory in the last quarter of the
rounds is at most 32 MiB above that in the second quarter: the first quarter is for what is made once.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib.util
import itertools
import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import keras
from refreeze import always, stages
from refreeze.keras import auto, execute
from small_models import everything, fit

sys.path.append(str(Path(__file__).parent / "pytorch"))
MOST_MEBIBYTES, EPOCHS = 32, 12
SETS = ["one"], ["two"], ["one"], [], ["one"], ["one", "two"], ["one"], ["head"]  # every second one evicts another
SPANS = [(epoch, SETS[epoch % len(SETS)]) for epoch in range(EPOCHS)]


def network() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(12, "tanh", name="one"),
         layers.Dense(12, "tanh", name="two"), layers.Dropout(0.2, seed=3),
         layers.Dense(10, "softmax", name="head")]
    )  # fmt: skip


def on_keras(switch: Any, at: int, folder: str) -> int:
    def ended(epochs: int, seed: int, **options: Any) -> Any:
        keras.utils.set_random_seed(seed)
        model = network()  # without batch normalization: with it ``auto`` promises the same values but for rounding
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
        policy = stages(*((epoch, always(names)) for epoch, names in SPANS))
        options = {"switch": switch, "cache_size": 2, "reports": reports, **options}
        return everything(model, execute(model, policy, epochs, fit(model), **options))

    reports: list[Any] = []
    through = ended(EPOCHS, 0)
    ended(at, 0, checkpoint=folder)
    if ended(EPOCHS, 1, checkpoint=folder, resume=True) != through:
        sys.exit(f"{switch}: resumed at {at}, the end is another one")
    return len(reports)


def on_torch(switch: str, at: int, folder: str) -> int:
    import torch
    from refreeze.torch import FreezeSchedule
    from small_nets import net, train, values

    def begun() -> Any:
        model = net(norm=False)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        names = {"one": "stem", "two": "body/0", "head": "head"}
        policy = stages(*((epoch, always([names[name] for name in said])) for epoch, said in SPANS))
        return model, optimizer, FreezeSchedule(policy, model, optimizer, epochs=EPOCHS)

    def trained(parts: Any, epochs: range) -> Any:
        model, optimizer, schedule = parts
        train(schedule, model, optimizer, epochs)
        return [copy.deepcopy(part.state_dict()) for part in parts]

    through, stopped = begun(), begun()
    trained(through, range(EPOCHS))
    states, resumed = trained(stopped, range(at)), begun()
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    trained(resumed, range(at, EPOCHS))
    pairs = zip(values(through[0]).values(), values(resumed[0]).values(), strict=True)
    if not all(torch.equal(one, other) for one, other in pairs):
        sys.exit(f"torch: resumed at {at}, the end is another one")
    return 2 * EPOCHS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120)
    minutes, begun = parser.parse_args().minutes, time.monotonic()
    logging.disable(logging.WARNING)
    auto.Costs.worth = lambda self, *asked: (True, "always")  # type: ignore[method-assign]
    ways = ["cached", "masked", "auto", *(["torch"] if importlib.util.find_spec("torch") else [])]
    draw, used, switches = random.Random(0), [], 0
    for resumes in itertools.count(1):
        way = ways[resumes % len(ways)]
        with tempfile.TemporaryDirectory() as folder:
            switches += (on_torch if way == "torch" else on_keras)(way, draw.randrange(1, EPOCHS), folder)
        if resumes % len(ways) == 0:
            gc.collect()
            used.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20)
            now = (time.monotonic() - begun) / 60
            print(f"{now:.1f} minutes: {switches} switches, {resumes} resumes, {used[-1]:.0f} MiB", flush=True)
            if now >= minutes and min(switches / 5_000, resumes / 200) >= minutes / 120 and len(used) >= 4:
                break
    quarter = len(used) // 4
    second, last = median(used[quarter : 2 * quarter]), median(used[-quarter:])
    print(f"second quarter {second:.0f} MiB, last quarter {last:.0f} MiB")
    sys.exit("memory is not flat" if last - second > MOST_MEBIBYTES else 0)


if __name__ == "__main__":
    main()
