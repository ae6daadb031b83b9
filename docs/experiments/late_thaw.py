"""How large is the first step of a layer that thaws late under Adam?

The stem is frozen while the head has 500 steps, then both have one. It is measured in learning rates.
"""

from __future__ import annotations

from typing import Any

import lab

RATE, STEPS = 0.001, 500


def _answer(first: float) -> tuple[str, dict[str, Any]]:
    return f"{first:.1f} times the learning rate", {"the largest change of a weight": round(first, 2)}


def keras() -> tuple[str, dict[str, Any]]:
    """Have one optimizer for both, built before anything is frozen."""
    import keras as k

    stem, head = (k.Variable(k.ops.zeros((3,)), name=name) for name in ("stem", "head"))
    optimizer, gradient = k.optimizers.Adam(RATE), k.ops.ones((3,))
    optimizer.build([stem, head])
    for _ in range(STEPS):
        optimizer.apply([gradient], [head])
    optimizer.apply([gradient, gradient], [stem, head])
    return _answer(float(abs(k.ops.convert_to_numpy(stem)).max()) / RATE)


def pytorch() -> tuple[str, dict[str, Any]]:
    import torch

    model = lab.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    model.stem.requires_grad_(False)
    for _ in range(STEPS):
        lab.torch_step(model, optimizer)
    before = model.stem.weight.detach().clone()
    model.stem.requires_grad_(True)
    lab.torch_step(model, optimizer)
    return _answer(float((model.stem.weight.detach() - before).abs().max()) / RATE)


def refreeze() -> tuple[str, dict[str, Any]]:
    import keras as k
    import numpy as np
    from refreeze import always, during
    from refreeze.keras import FreezeSchedule

    def first(state: Any) -> float:
        model, kernels = lab.keras_model(k.optimizers.Adam(RATE)), []

        def note(*_: Any, **__: Any) -> None:
            kernels.append(model.get_layer("stem").kernel.numpy())

        schedule = FreezeSchedule(during(always(["stem"]), 0, STEPS), unit="steps", optimizer_state=state)
        x = np.random.default_rng(0).normal(5, 2, size=(STEPS + 1, 3)).astype("float32")
        watch = k.callbacks.LambdaCallback(on_train_batch_end=note)
        model.fit(x, 1000 + x[:, :1], batch_size=1, shuffle=False, verbose=0, callbacks=[schedule, watch])
        return float(abs(kernels[-1] - kernels[-2]).max()) / RATE

    found = {f"`{state}`": _answer(first(state)) for state in ("keep", "per_variable")}
    words = ". ".join(f"{state}: {answer}" for state, (answer, _) in found.items())
    return words, {state: observed for state, (_, observed) in found.items()}


SAME = "its callbacks leave the optimizer to PyTorch"
EXPERIMENTS: dict[str, lab.Experiment | str] = {
    "keras": keras, "pytorch": pytorch, "lightning": SAME, "lighter": SAME, "refreeze": refreeze
}  # fmt: skip
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
