"""fastai's ``Learner``: the calls ``freeze_to``, ``freeze`` and ``unfreeze``, made at the start of their epochs.

The flags are read off the layers. The dialect is that of fastai 0.7, where the normalizations of a frozen group are
frozen too, so the learner has ``train_bn`` false; there is no ``bn_freeze`` any more. A learner saves no flags: what
a resumed program calls is up to the program.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from refreeze.dialects import common, fastai

from peers import stand_in
from peers.adapter import CannotExpress, Frozen, Request, adapter

stand_in.for_torchvision()
import torch  # noqa: E402
from fastai.learner import Learner  # noqa: E402
from fastai.optimizer import SGD  # noqa: E402


@adapter("fastai")
def respond(request: Request) -> Frozen:
    """Return what is frozen in each epoch."""
    config = request["config"]
    said = isinstance(config, dict) and (config.get("batch_norm"), *config.get("calls", ()))
    if request["start"] or (said and (said[0] is not None or any(c.get("call") == "bn_freeze" for c in said[1:]))):
        raise CannotExpress
    read, names = fastai.DIALECT.parse(config), request["names"]
    layers = {name: torch.nn.Linear(1, 1, bias=False) for name in names}
    groups = [[layers[name].weight for name in group] for group in common.groups_of(read.groups, names)]
    data = SimpleNamespace(path=Path(), device=torch.device("cpu"))
    learner = Learner(
        data, torch.nn.ModuleList(layers.values()), loss_func=torch.nn.MSELoss(), opt_func=SGD,
        splitter=lambda model: groups, train_bn=False, default_cbs=False,
    )  # fmt: skip
    found = []
    for epoch in range(request["total"]):
        for call in config.get("calls", ()):
            if call["at"] == epoch:
                getattr(learner, call["call"])(**{key: call[key] for key in ("n",) if key in call})
        found.append([name for name in names if not layers[name].weight.requires_grad])
    return found
