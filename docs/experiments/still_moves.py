"""Does a frozen parameter still move, by momentum or weight decay, when it is frozen in the middle of a run?

Trained with momentum and weight decay first, so that both would move it; then frozen as the system has it.
"""

from __future__ import annotations

from typing import Any

import lab


def keras() -> tuple[str, dict[str, Any]]:
    import keras as k

    def optimizer() -> Any:
        return k.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.1)

    model = lab.keras_model(optimizer())
    lab.keras_fit(model)
    model.get_layer("stem").trainable = False
    model.compile(optimizer(), "mse")
    moved = lab.keras_moved(model, lambda: lab.keras_fit(model))
    return "yes" if "stem" in moved else "no, once compiled anew", {"moved": moved}


def pytorch() -> tuple[str, dict[str, Any]]:
    import torch

    moved = {}
    for to_none in (True, False):
        model = lab.torch_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
        lab.torch_step(model, optimizer)
        model.stem.requires_grad_(False)
        moved[to_none] = lab.torch_moved(model, lambda m=model, o=optimizer, t=to_none: lab.torch_step(m, o, t))
    words = [f"{'yes' if 'stem' in moved[t] else 'no'} with `zero_grad(set_to_none={t})`" for t in (True, False)]
    return ", ".join(words), {f"moved, set_to_none={t}": names for t, names in moved.items()}


def _on_lightning(pl: Any, callback: Any) -> tuple[str, dict[str, Any]]:
    import torch

    module = lab.lightning_module(
        pl, lambda module: torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    )
    lab.lightning_fit(pl, module, [callback], 2)
    return "yes" if "backbone" in module.moved[1] else "no", {"moved in epoch": module.moved}


def lightning() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning()
    from lightning.pytorch.callbacks import BaseFinetuning

    class FreezeLater(BaseFinetuning):
        def freeze_before_training(self, module: Any) -> None:
            pass

        def finetune_function(self, module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.freeze(module.backbone)

    return _on_lightning(pl, FreezeLater())


def refreeze() -> tuple[str, dict[str, Any]]:
    import keras as k
    from refreeze import always, during
    from refreeze.keras import execute

    model, moved = lab.keras_model(k.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.1)), []

    def fit(epochs: int) -> Any:
        histories: list[Any] = []
        moved.append(lab.keras_moved(model, lambda: histories.append(lab.keras_fit(model, epochs))))
        return histories[0]

    execute(model, during(always(["stem"]), 1), 2, fit)
    return "yes" if "stem" in moved[1] else "no", {"moved in segment": moved}


EXPERIMENTS = {
    "keras": keras,
    "pytorch": pytorch,
    "lightning": lightning,
    "lighter": "a Freezer freezes from the first step on, not in the middle of a run",
    "refreeze": refreeze,
}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
