"""Composer's algorithm ``LayerFreezing``, run by Composer's own engine at the end of each epoch.

The flags are read off the layers. State, engine and clock are Composer's; the trainer, which would train between the
events, is left out. A resumed run is a new model whose state loads what the state of the first run saved.
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any

from peers import stand_in
from peers.adapter import CannotExpress, Frozen, Request, adapter, an_object

stand_in.for_torchvision()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from composer.algorithms import LayerFreezing
    from composer.core import Engine, Event, State
    from composer.devices import DeviceCPU
    from composer.loggers import Logger
    from composer.models import ComposerModel


class Model(ComposerModel):
    """Layers of one unit."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in names)
        self.names = names

    def forward(self, batch: Any) -> Any:
        """Return what comes out, for nobody."""
        return torch.nn.Sequential(*self.layers)(batch)

    def loss(self, outputs: Any, batch: Any, *_: Any, **__: Any) -> Any:
        """Return a loss, for nobody."""
        return outputs.sum()

    def frozen(self) -> list[str]:
        """Return the layers without a gradient."""
        named = zip(self.names, self.layers, strict=True)
        return [name for name, layer in named if not any(p.requires_grad for p in layer.parameters())]


def state_of(request: Request) -> State:
    """Return the state of a run that has not begun."""
    config = an_object(request["config"])
    if config.get("layers") is not None:
        raise CannotExpress
    shares = {key: float(Fraction(value)) if isinstance(value, str) else value for key, value in config.items()}
    model = Model(request["names"])
    state = State(
        model=model,
        rank_zero_seed=0,
        run_name="run",
        device=DeviceCPU(),
        max_duration=f"{request['total']}ep",
        optimizers=torch.optim.SGD(model.parameters(), lr=0.1),
        algorithms=[LayerFreezing(**shares)],
    )
    state.set_dataloader([None], "train")
    return state


def run(state: State, start: int, stop: int) -> Frozen:
    """Return what is frozen in each epoch of [start, stop)."""
    engine, found = Engine(state=state, logger=Logger(state=state)), []
    for _ in range(start, stop):
        found.append(state.model.frozen())
        state.timestamp = state.timestamp.to_next_epoch()
        engine.run_event(Event.EPOCH_END)
    engine.close()
    return found


@adapter("composer")
def respond(request: Request) -> Frozen:
    """Return what is frozen in each epoch of [start, total)."""
    start, total = request["start"], request["total"]
    state = state_of(request)
    if 0 < start < total:
        run(state, 0, start)
        saved, state = state.state_dict(), state_of(request)
        state.load_state_dict(saved, Logger(state=state))
    return run(state, start, total)
