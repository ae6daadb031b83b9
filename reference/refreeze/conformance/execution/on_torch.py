"""PyTorch modules under observation: the one that executors are tried on, and a hook on the steps of optimizers.

The module tells itself when a forward pass in training mode begins and ends, also if it is compiled, or called by a
wrapper. The hook sees the steps of all optimizers that hold its parameters, whoever has made them.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, TensorDataset

from refreeze import ScheduleError, Segment, segments
from refreeze.conformance.execution import harness
from refreeze.conformance.execution.harness import FitFailed
from refreeze.conformance.execution.observations import STEPS, Call, ModelState, TorchStep
from refreeze.conformance.protocol import Request
from refreeze.conformance.reference import policy_of
from refreeze.dialects import dialect

_BATCH = 4
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.0625, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.0625, foreach=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.0625, weight_decay=0.05, fused=True),
    "scheduled": lambda p: _scheduled(torch.optim.SGD(p, 0.0625)),
}


def _scheduled(optimizer: Any) -> Any:
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    return optimizer


class Net(nn.Module):  # type: ignore[misc]
    """The kit's module: it classifies four numbers into three classes, and every parameter has a gradient.

    ``stop_training`` is true as soon as the executor is to stop after the epoch (EXE-8).
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4, momentum=0.5)
        parts = {"a": nn.Linear(4, 4), "tanh": nn.Tanh(), "dropout": nn.Dropout(0.0), "b": nn.Linear(4, 4)}
        self.body = nn.Sequential(OrderedDict(parts))
        self.head = nn.Linear(4, 3)
        self.stop_training = False
        numbers = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) / 2 + (name == "norm.weight"))

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        if self.training:
            _told(self, "forward_begins", x)
        before = torch.tanh(self.stem(x))
        after = self.norm(before)
        logits = self.head(torch.tanh(self.body(after)))
        if self.training:
            _told(self, "forward_ends", before, after, logits)
        return logits


_watches: weakref.WeakKeyDictionary[Net, TorchWatch] = weakref.WeakKeyDictionary()
"""What watches a module; copies of it, such as averages of its weights, are not watched."""


def _tell(module: Net, what: str, *seen: Any) -> None:
    if (found := _watches.get(module)) is not None:
        with torch.no_grad():
            getattr(found, what)(*seen)


_told: Any = torch.compiler.disable(_tell)
"""Tells what watches a module, also from inside of a compiled function, which it is no part of."""


class TorchWatch(harness.Watch):
    """Runs of the kit's module in a loop of the executor's."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        asked, schedule = dialect(request["dialect"]), self._schedule()
        self.steps_per_tick = self._per = STEPS if asked.unit == "epochs" else 1
        self._by_parameter = asked.names == "parameters"
        self._epochs = request["total"] * self._per // STEPS
        fails, tick = request["fail_at"], request.get("fail_tick")
        tick = schedule[fails].start if fails is not None else tick
        self._fails_at = None if tick is None else tick * self._per
        self._halves = any(segment.learning_rate is not None for segment in schedule)
        numbers = torch.Generator().manual_seed(0)
        self._x = torch.randn(STEPS * _BATCH, 4, generator=numbers)
        self._y = torch.randint(0, 3, (STEPS * _BATCH,), generator=numbers)

    def _schedule(self) -> Sequence[Segment]:
        try:
            return segments(policy_of(self.request), self.request["total"])
        except ScheduleError:  # the executor is to refuse it
            return ()

    # The executor's side -----------------------------------------------------------------------------------------
    def begin(self, seed: int) -> None:
        """Make a module, and a hook on the steps of optimizers."""
        super().begin(seed)
        self.module = Net(seed)
        for name in self.request["off"]:
            self.module.get_submodule(name.replace("/", ".")).requires_grad_(False)
        self._optimizers: list[Any] = []
        self._left: tuple[dict[str, bytes], tuple[float, ...]] | None = None
        _watches[self.module] = self
        self._hooks = (
            register_optimizer_step_pre_hook(self._steps),
            register_optimizer_step_post_hook(self._stepped),
        )

    def run(self, start: Callable[..., Any], config: Any, *folder: str) -> dict[str, Any]:
        """Let the executor train; what it returns says nothing."""
        data = DataLoader(TensorDataset(self._x, self._y), _BATCH)
        start(self.module, self._make_optimizer, self.request["dialect"], config, self._epochs, data, *folder)
        return {}

    def _make_optimizer(self, parameters: Any) -> Any:
        """Return an optimizer of ``parameters``, or of groups of them, as the request says."""
        self._optimizers.append(OPTIMIZERS[self.request["optimizer"]](parameters))
        return self._optimizers[-1]

    def again(self) -> None:
        """Train for a step, with the optimizer that was made last."""
        optimizer = self._optimizers[-1]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.module(self._x[:_BATCH]), self._y[:_BATCH])
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
        self._leave()

    def end(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()
        _watches.pop(self.module, None)

    # What is seen ------------------------------------------------------------------------------------------------
    def _weights(self) -> dict[str, Any]:
        """Return parameters and statistics, by layer path and name."""
        named = (*self.module.named_parameters(), *self.module.named_buffers())
        return {name.replace(".", "/"): weight for name, weight in named}

    def state(self) -> ModelState:
        """Return the state of the module, and end the step that is not at its end."""
        self._leave()
        return self._state()

    def _state(self) -> ModelState:
        weights, trainable = self._weights(), dict[str, bool]()
        for name, parameter in self.module.named_parameters():
            unit = name if self._by_parameter else name.rpartition(".")[0].replace(".", "/")
            trainable[unit] = trainable.get(unit, True) and parameter.requires_grad
        bits = {name: _bits(weight) for name, weight in weights.items()}
        return ModelState(bits, self._slots(), trainable, self._rates())

    def _slots(self) -> dict[str, bytes]:
        """Return the state of each parameter in the optimizer that was made last of those that hold it."""
        found: dict[str, dict[str, bytes]] = {}
        for optimizer in self._optimizers:
            held = _held(optimizer)
            for name, weight in self._weights().items():
                if weight in held or weight in optimizer.state:
                    slots = optimizer.state.get(weight, {})
                    found[name] = {key: _bits(value) for key, value in slots.items() if value is not None}
        return {f"{name}:{key}": bits for name, slots in found.items() for key, bits in slots.items()}

    def _rates(self) -> tuple[float, ...]:
        groups = self._optimizers[-1].param_groups if self._optimizers else ()
        return tuple(sorted({float(group["lr"]) for group in groups}))

    def forward_begins(self, x: Any) -> None:
        """Record that a step begins; raise ``FitFailed`` where that is asked for."""
        self._leave()
        number = self.start * self._per + len(self.calls)
        batch = next((i for i, known in enumerate(self._x.split(_BATCH)) if torch.equal(x.detach().cpu(), known)), -1)
        modes = {
            name: module.training
            for name, module in self.module.named_modules()
            if not isinstance(module, nn.BatchNorm1d)
        }
        self._moving = self.module.norm.running_mean.clone(), self.module.norm.running_var.clone()
        step = TorchStep(number, batch, modes)
        self.calls.append(Call(number // self._per, 1, self._state(), step=step))
        if number == self._fails_at and not self.failed:
            self.failed = True
            raise FitFailed
        if number + 1 == (self.request["stop_after"] or 0) * self._per:
            self.module.stop_training = True

    def forward_ends(self, before: Any, after: Any, logits: Any) -> None:
        """Record the loss, and the statistics that ``before`` was normalized by."""
        call, norm = self.calls[-1], self.module.norm
        assert call.step is not None
        moving = nn.functional.batch_norm(before, *self._moving, norm.weight, norm.bias, False, 0.0, norm.eps)
        call.step.normalized_by = "the moving ones" if torch.allclose(after, moving, 1e-3, 1e-3) else "the batch"
        known = call.step.batch >= 0
        wanted = self._y.split(_BATCH)[call.step.batch]
        call.history = {"loss": [float(nn.functional.cross_entropy(logits.cpu(), wanted)) if known else math.nan]}

    def _steps(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record the gradients that an optimizer is about to use, and perhaps to drop; a closure has none yet."""
        mine = not _held(optimizer).keys().isdisjoint(self.module.parameters())
        if mine and self._left is None and self.calls and self.calls[-1].history is not None:
            self._look_at_gradients(self.calls[-1].step)

    def _look_at_gradients(self, step: Any) -> None:
        before, named = step.gradients or {}, self.module.named_parameters()
        found = {name.replace(".", "/"): parameter.grad is not None for name, parameter in named}
        step.gradients = {name: has or before.get(name, False) for name, has in found.items()}

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record what an optimizer has stepped with, and what it has left."""
        held, parameters = _held(optimizer), dict(self.module.named_parameters())
        if not self.calls or (step := self.calls[-1].step) is None or held.keys().isdisjoint(parameters.values()):
            return
        if not any(optimizer is known for known in self._optimizers):
            self._optimizers.append(optimizer)
        self._look_at_gradients(step)
        groups = step.groups = step.groups or {}
        for dotted, parameter in parameters.items():
            name = dotted.replace(".", "/")
            groups[name] = groups.get(name, []) + held.get(parameter, [])
        if self._halves and step.number % STEPS == STEPS - 1:  # as schedulers of learning rates may
            for group in optimizer.param_groups:
                group["lr"] /= 2
        self._left = self._slots(), self._rates()

    def _leave(self) -> None:
        """End the step that began last, if it had a forward pass."""
        if self.calls and (call := self.calls[-1]).after is None and call.history is not None:
            now = self._state()
            slots, rates = self._left or (now.slots, call.before.learning_rates)
            call.after = dataclasses.replace(now, slots=slots, learning_rates=rates)
        self._left = None


def _bits(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        return bytes(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return repr(value).encode()


def _held(optimizer: Any) -> dict[Any, list[str]]:
    """Return the options, but for the learning rate, of each group that holds a parameter."""
    found: dict[Any, list[str]] = {}
    for group in optimizer.param_groups:
        options = {k: group[k] for k in sorted(group) if k not in ("params", "lr", "initial_lr", "param_names")}
        for parameter in group["params"]:
            found.setdefault(parameter, []).append(repr(options))
    return found
