"""Is the optimizer's state kept when a layer is frozen and thawed again?

Adam trains everything for a step, the stem is frozen for a step, then thawed: is its first moment still there?
"""

from __future__ import annotations

import itertools
from typing import Any

import lab


def keras() -> tuple[str, dict[str, Any]]:
    """Compile at each switch, with a new optimizer or with the same; the same may have been built while frozen."""
    import keras as k

    def switched(*frozen: bool, new: bool = False) -> tuple[str, list[int]]:
        model, iterations = lab.keras_model(k.optimizers.Adam(0.01)), []
        for flag in frozen:
            model.get_layer("stem").trainable = not flag
            model.compile(k.optimizers.Adam(0.01) if new else model.optimizer, "mse")
            before = _moment(model)
            try:
                lab.keras_fit(model)
            except Exception as error:
                return type(error).__name__, iterations
            iterations.append(int(model.optimizer.iterations))
            if flag and before is not None and (_moment(model) != before).any():
                return "it moves", iterations
        return "kept" if iterations == list(range(1, len(frozen) + 1)) else "lost", iterations

    answers = {
        "a new optimizer": switched(False, True, False, new=True),
        "the same one": switched(False, True, False),
        "the same one, built while frozen": switched(True, False),
    }
    words = ". ".join(f"`compile` with {what}: {answer}" for what, (answer, _) in answers.items())
    return words, {f"iterations after each step, with {what}": seen for what, (_, seen) in answers.items()}


def _moment(model: Any) -> Any:
    """Return the first moment of the stem's kernel, None if the optimizer is not built."""
    import keras as k

    optimizer = model.optimizer
    if not optimizer.built:
        return None
    try:
        place = optimizer._get_variable_index(model.get_layer("stem").kernel)
        return k.ops.convert_to_numpy(optimizer._momentums[place])
    except (KeyError, ValueError):  # built while the stem was frozen
        return None


def pytorch() -> tuple[str, dict[str, Any]]:
    import torch

    model = lab.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    lab.torch_step(model, optimizer)
    moment = optimizer.state[model.stem.weight]["exp_avg"].clone()
    model.stem.requires_grad_(False)
    lab.torch_step(model, optimizer)
    kept = optimizer.state[model.stem.weight]["exp_avg"].equal(moment)
    model.stem.requires_grad_(True)
    lab.torch_step(model, optimizer)
    steps = {name: int(optimizer.state[value]["step"]) for name, value in model.named_parameters() if "weight" in name}
    return "kept" if kept else "lost", {"first moment unchanged while frozen": kept, "steps counted": steps}


def lightning() -> tuple[str, dict[str, Any]]:
    import torch

    pl = lab.lightning()
    from lightning.pytorch.callbacks import BackboneFinetuning

    counted: dict[int, dict[str, int]] = {}

    class Count(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            state = trainer.optimizers[0].state
            counted[trainer.current_epoch] = {
                name: int(state[value]["step"]) for name, value in module.named_parameters() if value in state
            }

    module = lab.lightning_module(
        pl, lambda module: torch.optim.Adam([v for v in module.parameters() if v.requires_grad], lr=0.01)
    )
    trainer = lab.lightning_fit(pl, module, [BackboneFinetuning(unfreeze_backbone_at_epoch=1), Count()], 3)
    head = [counts["head.weight"] for counts in counted.values()]
    groups = len(trainer.optimizers[0].param_groups)
    answer = "kept" if head == [2, 4, 6] else "lost"
    observed = {"steps counted, by epoch": counted, "parameter groups at the end": groups}
    return f"that of the head: {answer}; the backbone comes as a new group", observed


def lighter() -> tuple[str, dict[str, Any]]:
    import torch

    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl, lambda module: torch.optim.Adam(module.parameters(), lr=0.01))
    trainer = lab.lightning_fit(pl, module, [Freezer(name_starts_with="backbone", until_epoch=1)], 3)
    state = trainer.optimizers[0].state
    steps = {name: int(state[value]["step"]) for name, value in module.named_parameters() if "weight" in name}
    kept = steps == {"backbone.0.weight": 4, "head.weight": 6}
    return "kept" if kept else "lost", {"steps counted": steps}


def refreeze() -> tuple[str, dict[str, Any]]:
    import keras as k
    import numpy as np
    from refreeze import always, during
    from refreeze.keras import execute

    model, moments = lab.keras_model(k.optimizers.Adam(0.01)), []

    def fit(epochs: int) -> Any:
        history = lab.keras_fit(model, epochs)
        moments.append(_moment(model))
        return history

    execute(model, during(always(["stem"]), 1, 2), 3, fit)
    equal = [bool(np.array_equal(one, other)) for one, other in itertools.pairwise(moments)]
    iterations = int(model.optimizer.iterations)
    kept = equal == [True, False] and iterations == 3
    return "kept" if kept else "lost", {"first moment unchanged over a segment": equal, "iterations": iterations}


EXPERIMENTS = {"keras": keras, "pytorch": pytorch, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
