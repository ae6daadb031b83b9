"""A second executor of PyTorch modules, written from the clauses alone: it puts the module right at every epoch.

Nothing is shared with ``refreeze.torch``; the schedule is that of ``brute_force``. ``wrong_torch_executors`` makes the
wrong ones out of its text.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "conformance"))
import brute_force


class Refused(Exception):
    def __init__(self, error):
        super().__init__(error)
        self.id = error


def layers_of(module, path=""):
    """Return the modules that own parameters, by path."""
    found = {path: module} if next(module.parameters(recurse=False), None) is not None else {}
    for name, part in module.named_children():
        found |= layers_of(part, f"{path}/{name}" if path else name)
    return found


def scheduled(dialect, config, names):
    """Return the names that the configuration mentions."""
    if dialect == "fastai":
        return {name for group in config["groups"] for name in group}
    return {name for spec in config for unit in brute_force.layers_of(spec, names) for name in unit}


class Looping:
    framework = "torch"

    def resume(self, *asked):
        self.run(*asked[:-1], Path(asked[-1], "newest"))

    def run(self, module, make_optimizer, dialect, config, epochs, loader, file=None):
        if dialect not in ("vl3d", "fastai"):
            raise NotImplementedError
        layers = layers_of(module)
        request = {"dialect": dialect, "names": [*layers], "config": config, "total": epochs}
        try:
            ticks = brute_force.segments(request | {"steps_per_epoch": 1, "start": 0})
        except brute_force.Wrong as wrong:
            raise Refused(str(wrong)) from None
        optimizer, governed = make_optimizer(module.parameters()), scheduled(dialect, config, [*layers])
        if "initial_lr" in optimizer.param_groups[0] and any(tick["learning_rate"] for tick in ticks):
            raise Refused("unsupported")
        done = 0
        if file is not None and file.exists():
            done, past, weights, slots = torch.load(file)
            if past != ticks[:done]:
                raise Refused("schedule-mismatch")
            module.load_state_dict(weights)
            optimizer.load_state_dict(slots)
        for tick in ticks[done:]:
            module.train()
            for name in governed:
                on, layer = name not in tick["frozen"], layers[name]
                for parameter in layer.parameters():
                    parameter.requires_grad = on
                    parameter.grad = None
                if isinstance(layer, torch.nn.BatchNorm1d):
                    layer.train(on and name not in tick["bn_frozen"])
            if tick["learning_rate"] is not None:
                for group in optimizer.param_groups:
                    group["lr"] = tick["learning_rate"]
            for x, y in loader:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(module(x), y)
                if loss.requires_grad:
                    loss.backward()
                    optimizer.step()
            done += 1
            if file is not None:
                torch.save((done, ticks[:done], module.state_dict(), optimizer.state_dict()), file)
            if module.stop_training:
                break
