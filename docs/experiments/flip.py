"""Does a change of the flag take effect, without compiling anew?

Once before the first step, once after it; and on Keras the flags of two layers of equal shapes exchanged after it.
"""

from __future__ import annotations

from typing import Any

import lab


def keras() -> tuple[str, dict[str, Any]]:
    import numpy as np

    model = lab.keras_model()
    model.get_layer("stem").trainable = False
    before = lab.keras_moved(model, lambda: lab.keras_fit(model))
    model = lab.keras_model()
    lab.keras_fit(model)
    model.get_layer("stem").trainable = False
    after = _moved_or_raised(model)
    model = lab.keras_model()
    model.get_layer("stem").trainable = False
    lab.keras_fit(model)
    model.get_layer("stem").trainable, model.get_layer("body").trainable = True, False
    right = lab.keras_model()
    right.set_weights(model.get_weights())
    right.get_layer("body").trainable = False
    lab.keras_fit(right)
    exchanged = _moved_or_raised(model)
    computes = all(np.allclose(one, other) for one, other in zip(model.get_weights(), right.get_weights(), strict=True))
    shown = {
        "frozen before the first step, moved": before,
        "frozen after it, moved": after,
        "flags of stem and body exchanged after it, moved": exchanged,
        "the weights are then those of a model compiled with these flags": computes,
    }
    return (
        f"before the first step: {_said(before, ['body', 'head'], ['stem', 'body', 'head'])}; "
        f"after it: {_said(after, ['body', 'head'], ['stem', 'body', 'head'])}; "
        f"exchanged: {_said(exchanged, ['stem', 'head'], ['body', 'head'], computes)}"
    ), shown


def _moved_or_raised(model: Any) -> list[str] | str:
    try:
        return lab.keras_moved(model, lambda: lab.keras_fit(model))
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"


def _said(moved: list[str] | str, should: list[str], old: list[str], computes: bool = True) -> str:
    if isinstance(moved, str):
        return f"{moved.partition(':')[0]}"
    if moved == should:
        return "yes" if computes else "no, silently: it computes something else"
    return "no, silently" if moved == old else f"no, silently: {', '.join(moved)} move"


def pytorch() -> tuple[str, dict[str, Any]]:
    import torch

    model = lab.torch_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    lab.torch_step(model, optimizer)
    model.stem.requires_grad_(False)
    moved = lab.torch_moved(model, lambda: lab.torch_step(model, optimizer))
    return "yes" if moved == ["head"] else "no", {"frozen after the first step, moved": moved}


def lightning() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning()

    class Flip(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            module.backbone.requires_grad_(trainer.current_epoch == 0)

    module = lab.lightning_module(pl)
    lab.lightning_fit(pl, module, [Flip()], 2)
    return "yes" if module.moved == {0: ["backbone", "head"], 1: ["head"]} else "no", {"moved in epoch": module.moved}


def lighter() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl)
    lab.lightning_fit(pl, module, [Freezer(name_starts_with="backbone", until_epoch=1)], 2)
    return "yes" if module.moved == {0: ["head"], 1: ["backbone", "head"]} else "no", {"moved in epoch": module.moved}


def refreeze() -> tuple[str, dict[str, Any]]:
    from refreeze import always, during
    from refreeze.keras import execute

    model, moved = lab.keras_model(), []

    def fit(epochs: int) -> Any:
        histories: list[Any] = []
        moved.append(lab.keras_moved(model, lambda: histories.append(lab.keras_fit(model, epochs))))
        return histories[0]

    execute(model, during(always(["stem"]), 1, 2), 3, fit)
    every = ["stem", "body", "head"]
    return "yes" if moved == [every, every[1:], every] else "no", {"moved in segment": moved}


EXPERIMENTS = {"keras": keras, "pytorch": pytorch, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
