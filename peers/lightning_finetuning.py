"""PyTorch Lightning's callback ``BackboneFinetuning``, its hooks called in the trainer's order.

The flags are read off the layers. The trainer is a stand-in with what the hooks read; a test has the real one beside
it. A resumed run is a new model with a new callback that gets the state of the one that ran up to there. Which layers
there are, which of them are the backbone and which batch normalizations, is how the model is built, so the adapter
sees to those names itself; all other keys go to the callback as they are, and ``learning_rate`` to the optimizer.
"""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning
from refreeze.dialects import lightning
from refreeze.dialects.common import chosen

from peers.adapter import Frozen, Request, adapter, an_object

for package in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(package).setLevel("ERROR")


class Module(LightningModule):
    """Layers of one unit, those of the backbone together in the attribute that the callback knows."""

    def __init__(self, names: list[str], backbone: tuple[str, ...], batch_norm: tuple[str, ...], rate: Any) -> None:
        super().__init__()
        self.rate = rate
        self.named = {name: torch.nn.BatchNorm1d(1) if name in batch_norm else torch.nn.Linear(1, 1) for name in names}
        self.backbone = torch.nn.ModuleList(self.named[name] for name in backbone)
        self.rest = torch.nn.ModuleList(layer for name, layer in self.named.items() if name not in backbone)
        self.head = torch.nn.Linear(1, 1)  # so that the optimizer always has something

    def training_step(self, batch: Any, index: int) -> Any:
        """Train all layers, one after the other."""
        x = batch[0]
        for layer in (*self.named.values(), self.head):
            x = layer(x)
        return ((x - 1) ** 2).mean()

    def configure_optimizers(self) -> Any:
        """Return an optimizer of what trains, as the documentation of the callback says."""
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.rate)

    def frozen(self) -> list[str]:
        """Return the layers that no parameter of has a gradient."""
        return [name for name, layer in self.named.items() if not any(p.requires_grad for p in layer.parameters())]


def module_and_callback(request: Request) -> tuple[Module, BackboneFinetuning]:
    """Return the model of a request, and its callback."""
    config = an_object(request["config"])
    ours = lightning.DIALECT.parse({key: config.pop(key) for key in ("backbone", "batch_norm") if key in config})
    backbone = chosen(ours.backbone, request["names"], "backbone")
    batch_norm = chosen(ours.batch_norm, backbone, "batch_norm")
    rate, multiplier = config.pop("learning_rate", 0.01), config.pop("multiplier", 2.0)
    callback = BackboneFinetuning(lambda_func=lambda epoch: multiplier, **config)
    return Module(request["names"], backbone, batch_norm, rate), callback


def run(request: Request, start: int, stop: int, state: Any = None) -> tuple[Frozen, Any]:
    """Return what is frozen in each epoch of [start, stop), and the callback's state then; it loads ``state``."""
    module, callback = module_and_callback(request)
    trainer = SimpleNamespace(strategy=None, optimizers=[], current_epoch=start)
    callback.setup(trainer, module, "fit")
    if state is not None:
        callback.load_state_dict(state)
    trainer.optimizers.append(module.configure_optimizers())
    callback.on_fit_start(trainer, module)
    found = []
    for trainer.current_epoch in range(start, stop):
        callback.on_train_epoch_start(trainer, module)
        found.append(module.frozen())
    return found, copy.deepcopy(callback.state_dict())


@adapter("lightning")
def respond(request: Request) -> Frozen:
    """Return what is frozen in each epoch of [start, total)."""
    start, state = request["start"], None
    if start:
        _, state = run(request, 0, start)
    return run(request, start, request["total"], state)[0]
