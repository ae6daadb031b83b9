"""A run is resumed in epoch 3, after what was frozen had been released in epoch 2: is it frozen again?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import lab


def keras() -> tuple[str, dict[str, Any]]:
    import keras as k

    model = lab.keras_model()
    model.get_layer("stem").trainable = False
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        whole = k.models.load_model(f"{folder}/model.keras").get_layer("stem").trainable
        model.save_weights(f"{folder}/model.weights.h5")
        other = lab.keras_model()
        other.load_weights(f"{folder}/model.weights.h5")
    flags = {"trainable after load_model": whole, "trainable after load_weights": other.get_layer("stem").trainable}
    saved = "are saved with the model" if not whole else "are not saved with the model"
    return f"there is no schedule; flags {saved}, {'not ' * other.get_layer('stem').trainable}with weights", flags


def pytorch() -> tuple[str, dict[str, Any]]:
    model, other = lab.torch_model(), lab.torch_model()
    model.stem.requires_grad_(False)
    other.load_state_dict(model.state_dict())
    flag = other.stem.weight.requires_grad
    return (
        f"there is no schedule; flags are {'not ' * flag}in the `state_dict`",
        {"requires_grad after load_state_dict": flag},
    )


def _on_lightning(pl: Any, callback: Any, optimizer: Any = None) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "checkpoint.ckpt")
        first = lab.lightning_module(pl, optimizer)
        lab.lightning_fit(pl, first, [callback()], 3).save_checkpoint(path)
        resumed = lab.lightning_module(pl, optimizer)
        try:
            lab.lightning_fit(pl, resumed, [callback()], 5, resume=path)
        except Exception as error:
            return f"{type(error).__name__} on resuming", {"error": str(error)[:200], "before": first.moved}
    again = "backbone" not in resumed.moved[3]
    return "yes" if again else "no", {"moved in epoch, before": first.moved, "after": resumed.moved}


def lightning() -> tuple[str, dict[str, Any]]:
    from lightning.pytorch.callbacks import BackboneFinetuning

    return _on_lightning(lab.lightning(), lambda: BackboneFinetuning(unfreeze_backbone_at_epoch=2))


def lighter() -> tuple[str, dict[str, Any]]:
    import torch

    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    return _on_lightning(
        pl,
        lambda: Freezer(name_starts_with="backbone", until_epoch=2),
        lambda module: torch.optim.SGD(module.parameters(), lr=0.01),
    )


def refreeze() -> tuple[str, dict[str, Any]]:
    from refreeze import always, during
    from refreeze.keras import execute

    with tempfile.TemporaryDirectory() as folder:
        policy = during(always(["stem"]), 0, 2)
        model = lab.keras_model()
        execute(model, policy, 3, lambda epochs: lab.keras_fit(model, epochs), checkpoint=folder)
        new = lab.keras_model()
        moved: list[list[str]] = []

        def fit(epochs: int) -> Any:
            histories: list[Any] = []
            moved.append(lab.keras_moved(new, lambda: histories.append(lab.keras_fit(new, epochs))))
            return histories[0]

        execute(new, policy, 5, fit, checkpoint=folder, resume=True)
    return "no" if moved == [["stem", "body", "head"]] else "yes", {"moved in segment, after": moved}


EXPERIMENTS = {"keras": keras, "pytorch": pytorch, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
