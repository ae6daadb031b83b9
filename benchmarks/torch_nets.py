"""Networks of PyTorch, and a loop that trains one, by hand or under a schedule; to import where torch is installed."""

from __future__ import annotations

from typing import Any

import torch
from refreeze import Policy
from refreeze.torch import FreezeSchedule, layer_names
from torch import nn
from workload import BATCH, CLASSES


def mlp() -> Any:
    return nn.Sequential(
        nn.Flatten(), *(m for i in range(8) for m in (nn.Linear(192 if i == 0 else 64, 64), nn.ReLU()))
    )


class Inverted(nn.Sequential):
    """A block of MobileNetV2."""

    def __init__(self, inside: int, outside: int, stride: int, expand: int) -> None:
        hidden = inside * expand
        convolutions = [] if expand == 1 else [nn.Conv2d(inside, hidden, 1, bias=False)]
        convolutions.append(nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False))
        parts = [part for c in convolutions for part in (c, nn.BatchNorm2d(hidden), nn.ReLU6())]
        super().__init__(*parts, nn.Conv2d(hidden, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Any) -> Any:
        return x + super().forward(x) if self.residual else super().forward(x)


def mobilenetv2() -> Any:
    parts: list[Any] = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    before = 32
    for expand, channels, times, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for number in range(times):
            parts.append(Inverted(before, channels, stride if number == 0 else 1, expand))
            before = channels
    parts += [nn.Conv2d(before, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(1280, CLASSES))


NETWORKS = {"mlp": (mlp, 8), "mobilenetv2": (mobilenetv2, 96)}


class Loop:
    """A network with what trains it, by a plain loop or under a schedule."""

    def __init__(self, network: str) -> None:
        make, size = NETWORKS[network]
        torch.manual_seed(0)
        self.module = make()
        self.optimizer = torch.optim.SGD(self.module.parameters(), 0.01, momentum=0.9)
        self.names = layer_names(self.module)
        self.layers = {name: self.module.get_submodule(name.replace("/", ".")) for name in self.names}
        self.x = torch.rand(BATCH, 3, size, size)

    def freeze(self, frozen: frozenset[str]) -> None:
        """Write flags as users do."""
        for name, layer in self.layers.items():
            for parameter in layer.parameters():
                parameter.requires_grad_(name not in frozen)
                parameter.grad = None

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.module(self.x).square().mean().backward()
        self.optimizer.step()

    def schedule(self, policy: Policy, steps: int, **options: Any) -> FreezeSchedule:
        return FreezeSchedule(
            policy, self.module, self.optimizer, epochs=1, steps_per_epoch=steps, unit="steps", **options
        )
