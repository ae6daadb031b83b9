"""What does the optimizer's state do to accuracy when all thaws late? Trains, and writes late_thaw.json and .md.

The network of ``refreeze run``, pretrained on the digits 0-4, is fine-tuned on 5-9 with Adam: the head alone for 24
epochs, then everything for 12. Each policy begins with the same weights and sees the same batches. Everything else is
frozen until then, so ``reset_unfrozen`` would do what ``keep`` does, and ``per_variable_reset`` what ``per_variable``.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
from pathlib import Path
from statistics import fmean
from typing import Any

THAW, TOTAL = 24, 36
POLICIES = ("keep", "per_variable", "reset")
RATES = (0.001, 0.003, 0.01)
SEEDS = range(4)
STORED, TABLE = (Path(__file__).with_suffix(suffix) for suffix in (".json", ".md"))


def trained(policy: Any, rate: float, seed: int, start: list[Any]) -> dict[str, list[float]]:
    """Return the accuracy on the test images after the epoch before the thaw and four after it, and at the end."""
    import keras
    from refreeze import always, during
    from refreeze.job import digits
    from refreeze.keras import FreezeSchedule

    keras.utils.set_random_seed(seed)
    network = digits.model()
    network.set_weights(start)
    network.optimizer.learning_rate = rate
    rest = [layer.name for layer in network.layers if layer.weights and layer.name != "head"]
    schedule = FreezeSchedule(during(always(rest), 0, THAW), optimizer_state=policy)
    (x, y), test = digits.data(first=5)
    history = network.fit(x, y, epochs=TOTAL, batch_size=32, validation_data=test, verbose=0, callbacks=[schedule])
    accuracy = [round(value, 4) for value in history.history["val_accuracy"]]
    return {"around": accuracy[THAW - 1 : THAW + 4], "end": accuracy[-1:]}


def main() -> None:
    """Train with every policy, rate and seed."""
    import keras
    from refreeze.job import digits

    logging.getLogger("refreeze").setLevel("ERROR")
    runs = []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        network = digits.model()
        digits.pretrain(network)
        for rate in RATES:
            for policy in POLICIES:
                found = trained(policy, rate, seed, network.get_weights())
                runs.append({"policy": policy, "rate": rate, "seed": seed, **found})
                print(policy, rate, seed, found, flush=True)
                keras.utils.clear_session()
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow-cpu")}
    STORED.write_text(json.dumps({"versions": versions, "runs": runs}) + "\n", encoding="utf-8")


def table(runs: list[dict[str, Any]]) -> str:
    """Return the table of the page: means over the seeds."""
    lines = [
        "| learning rate | policy | before the thaw | lowest of 3 epochs after | at the end |",
        "|---|---|---|---|---|",
    ]
    for rate, policy in itertools.product(RATES, POLICIES):
        chosen = [run for run in runs if (run["policy"], run["rate"]) == (policy, rate)]
        before, lowest = fmean(run["around"][0] for run in chosen), fmean(min(run["around"][1:4]) for run in chosen)
        end = fmean(run["end"][0] for run in chosen)
        lines.append(f"| {rate} | `{policy}` | {before:.1%} | {lowest:.1%} | {end:.1%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
    TABLE.write_text(table(json.loads(STORED.read_text(encoding="utf-8"))["runs"]), encoding="utf-8")
