"""Do two freezers compose: is what either of them freezes frozen?

One freezes the backbone for the whole run, the other the head; which parts move?
"""

from __future__ import annotations

from typing import Any

import lab

NONE = "there are flags, not freezers"


def _answer(moved: list[str]) -> tuple[str, dict[str, Any]]:
    return ("yes" if not moved else f"no: {' and '.join(moved)} move{'s' * (len(moved) == 1)}"), {"moved": moved}


def lightning() -> tuple[str, dict[str, Any]]:
    import torch

    pl = lab.lightning()
    from lightning.pytorch.callbacks import BaseFinetuning

    class Freeze(BaseFinetuning):
        def __init__(self, part: str) -> None:
            super().__init__()
            self.part = part

        @property
        def state_key(self) -> str:  # without it, two callbacks of one class are refused
            return self.part

        def freeze_before_training(self, module: Any) -> None:
            self.freeze(getattr(module, self.part))

        def finetune_function(self, module: Any, epoch: int, optimizer: Any) -> None:
            pass

    module = lab.lightning_module(pl, lambda module: torch.optim.SGD(module.parameters(), lr=0.01))
    lab.lightning_fit(pl, module, [Freeze("backbone"), Freeze("head")], 1)
    return _answer(module.moved[0])


def lighter() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl)
    lab.lightning_fit(pl, module, [Freezer(name_starts_with="backbone"), Freezer(name_starts_with="head")], 1)
    return _answer(module.moved[0])


def refreeze() -> tuple[str, dict[str, Any]]:
    from refreeze.keras import FreezeSchedule

    model = lab.keras_model()
    freezers = FreezeSchedule([{"name_starts_with": "stem"}, {"name_starts_with": "head"}], dialect="lighter")
    moved = lab.keras_moved(model, lambda: lab.keras_fit(model, callbacks=[freezers]))
    return _answer([name for name in moved if name != "body"])


EXPERIMENTS = {"keras": NONE, "pytorch": NONE, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
