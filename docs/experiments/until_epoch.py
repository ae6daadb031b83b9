"""In which epoch, counted from 0, does what is frozen until epoch 5 train for the first time?"""

from __future__ import annotations

from typing import Any

import lab

NONE = "there is no such setting"


def _first(moved: dict[int, list[str]], part: str) -> tuple[str, dict[str, Any]]:
    first = min((epoch for epoch, names in moved.items() if part in names), default=None)
    return ("never" if first is None else f"in epoch {first}"), {"moved in epoch": moved}


def lightning() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning()
    from lightning.pytorch.callbacks import BackboneFinetuning

    module = lab.lightning_module(pl)
    lab.lightning_fit(pl, module, [BackboneFinetuning(unfreeze_backbone_at_epoch=5)], 7)
    return _first(module.moved, "backbone")


def lighter() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl)
    lab.lightning_fit(pl, module, [Freezer(name_starts_with="backbone", until_epoch=5)], 7)
    return _first(module.moved, "backbone")


def refreeze() -> tuple[str, dict[str, Any]]:
    import keras as k
    from refreeze.keras import FreezeSchedule

    model = lab.keras_model()
    kernel, moved = model.get_layer("stem").kernel, {}

    class Watch(k.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.before = k.ops.convert_to_numpy(kernel)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            moved[epoch] = ["stem"] * bool((k.ops.convert_to_numpy(kernel) != self.before).any())

    freezer = FreezeSchedule([{"name_starts_with": "stem", "until_epoch": 5}], dialect="lighter")
    lab.keras_fit(model, 7, callbacks=[freezer, Watch()])
    return _first(moved, "stem")


EXPERIMENTS = {"keras": NONE, "pytorch": NONE, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
