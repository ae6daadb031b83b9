"""What does the optimizer's state do to accuracy when all thaws late? Trains, and writes late_thaw.json.

The network of ``refreeze run``, pretrained on the digits 0-4, is fine-tuned on 5-9 with Adam: the head alone for 24
epochs, then everything for 12. Each policy begins with the same weights and sees the same batches. Everything else is
frozen until then, so ``reset_unfrozen`` would do what ``keep`` does, and ``per_variable_reset`` what ``per_variable``.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

THAW, TOTAL = 24, 36
POLICIES = ("keep", "per_variable", "reset")
RATES = (0.001, 0.003, 0.01)
SEEDS = range(5)
STORED = Path(__file__).with_suffix(".json")


def trained(policy: Any, rate: float, seed: int, start: list[Any]) -> dict[str, list[float]]:
    """Return the accuracy on the test images and the loss in training, after each epoch."""
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
    history = network.fit(
        x, y, epochs=TOTAL, batch_size=32, validation_data=test, verbose=0, callbacks=[schedule]
    ).history
    return {key: [round(value, 4) for value in history[key]] for key in ("val_accuracy", "loss")}


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
                print(
                    policy,
                    rate,
                    seed,
                    found["val_accuracy"][THAW - 1 : THAW + 4],
                    found["val_accuracy"][-1],
                    flush=True,
                )
                keras.utils.clear_session()
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow-cpu")}
    STORED.write_text(json.dumps({"versions": versions, "runs": runs}) + "\n", encoding="utf-8")


def table(runs: list[dict[str, Any]]) -> str:
    """Return the table of the page: means over the seeds."""
    lines = [
        "| learning rate | policy | before the thaw | lowest, 3 epochs after | at the end | loss of the epoch after |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for rate in RATES:
        for policy in POLICIES:
            chosen = [run for run in runs if (run["policy"], run["rate"]) == (policy, rate)]
            accuracy = [run["val_accuracy"] for run in chosen]
            shares = (
                fmean(one[THAW - 1] for one in accuracy),
                fmean(min(one[THAW : THAW + 3]) for one in accuracy),
                fmean(one[-1] for one in accuracy),
            )
            loss = fmean(run["loss"][THAW] for run in chosen)
            lines.append(f"| {rate} | `{policy}` | {' | '.join(f'{share:.1%}' for share in shares)} | {loss:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "table" not in sys.argv:
        main()
    print(table(json.loads(STORED.read_text(encoding="utf-8"))["runs"]))
