"""Records of runs that never were: three layers of one parameter each, with slots and a statistic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

NAMES = ("stem", "body", "head")
STEPS = 2
"""Steps in an epoch."""
HEADER = {
    "record": "header", "refreeze": 1, "framework": "none", "checksum": "count", "layers": list(NAMES),
    "parameters": [{"name": f"{name}.w", "names": [name, f"{name}.w"]} for name in NAMES],
    "statistics": [{"name": "body.mean", "names": ["body"]}], "epochs": 6, "steps_per_epoch": STEPS,
}  # fmt: skip


class MadeUp:
    """A run: each step says what moves in it; whatever moves has a slot, and moves that too."""

    def __init__(self, **header: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self.values, self.slots, self.mean = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, None), 0
        self.header = HEADER | header

    def start(self, epoch: int = 0, step: int = 0, **fields: Any) -> None:
        self.lines += [self.header, {"record": "start", **self._state(epoch, step), **fields}]

    def step(self, epoch: int, step: int, moved: Iterable[str], mean: bool = True, **fields: Any) -> None:
        """Write a step; the statistic moves with the body, and ``mean``."""
        moved = set(moved)
        for name in moved:
            self.values[name] += 1
            self.slots[name] = (self.slots[name] or 0) + 1
        self.mean += "body" in moved and mean
        self.lines.append({"record": "step", **self._state(epoch, step), **fields})

    def _state(self, epoch: int, step: int) -> dict[str, Any]:
        return {
            "epoch": epoch, "step": step, "parameters": [str(value) for value in self.values.values()],
            "slots": {"momentum": [None if slot is None else str(slot) for slot in self.slots.values()]},
            "statistics": [str(self.mean)], "frozen": [], "missing": [],
        }  # fmt: skip

    def train(
        self, trains: Callable[[int, int], set[str]], epochs: range = range(6), **more: Callable[..., Any]
    ) -> None:
        """Make the steps of ``epochs``: what ``trains(epoch, step)`` moves; flags say the same."""
        for epoch in epochs:
            for step in range(STEPS):
                moved = trains(epoch, step)
                fields = {"frozen": [i for i, name in enumerate(NAMES) if name not in moved]}
                self.step(epoch, step, moved, **fields, **{key: rule(epoch, step) for key, rule in more.items()})

    def write(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        return path
