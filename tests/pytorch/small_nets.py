"""Small PyTorch networks, and a loop that trains them under a schedule and records what moves."""

from __future__ import annotations

from typing import Any

import torch
from refreeze.torch import FreezeSchedule
from torch import nn

torch.set_num_threads(1)
STEPS = 2
"""Steps in an epoch of ``train``."""


def net(norm: bool = True) -> Any:
    """Return stem, body (with a normalization) and head."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.stem = nn.Linear(4, 6)
    model.body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6) if norm else nn.Identity(), nn.ReLU())
    model.head = nn.Linear(6, 2)
    return model


def batch(number: int) -> Any:
    """Return the inputs of a step."""
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


def values(model: Any) -> dict[str, Any]:
    """Return a copy of all parameters and statistics."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the names of the values that are not the same bits."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def train(schedule: FreezeSchedule, model: Any, optimizer: Any, epochs: range, forward: Any = None) -> list[set[str]]:
    """Train in [epochs) and return what moved in each step."""
    forward, found = forward or model, []
    for epoch in epochs:
        model.train()
        for step in range(STEPS):
            schedule.begin(epoch, step)
            before = values(model)
            optimizer.zero_grad()
            forward(batch(epoch * STEPS + step)).square().mean().backward()
            optimizer.step()
            found.append(moved(before, values(model)))
    return found
