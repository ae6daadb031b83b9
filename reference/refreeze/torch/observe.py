"""What a module and its optimizers are at one moment, seen from outside: checksums, flags, gradients; no copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import optimizer as hooks

from refreeze.audit.checksums.torch import TensorChecksums
from refreeze.torch.modules import Named, check_module, unwrapped


@dataclass(frozen=True, slots=True)
class Observation:
    """A moment; lists are in the order of the observer's ``parameters`` and ``statistics``."""

    parameters: list[str]
    """The checksum of each parameter."""
    slots: dict[str, list[str | None]]
    """By name of a slot, such as ``exp_avg``: the checksum of that of each parameter, None where it has none."""
    statistics: list[str]
    """The checksum of each statistic of a batch normalization, its count of batches among them."""
    frozen: list[int]
    """The parameters whose ``requires_grad`` is False."""
    missing: list[int]
    """The parameters that no optimizer holds."""


class Observer:
    """Looks at a module; raises ``Unsupported``, as ``FreezeSchedule`` does, if a wrapper has changed its names."""

    def __init__(self, model: Any) -> None:
        module = unwrapped(model)
        check_module(module)
        self.named = Named(module)
        self.parameters: list[Any] = list(self.named.parameters)
        self.statistics: list[tuple[Any, str]] = []
        """Each as the batch normalization and the name of its buffer, which may be replaced."""
        self.statistic_names: dict[str, list[str]] = {}
        """By what to call each: all names that speak of it, that of its own layer first."""
        for path, part in module.named_modules():
            own, others = path.replace(".", "/"), self.named.batch_norms.get(part, set())
            for name, _ in part.named_buffers(recurse=False) if part in self.named.batch_norms else ():
                self.statistics.append((part, name))
                self.statistic_names[f"{path}.{name}".lstrip(".")] = [*others & {own}, *sorted(others - {own})]
        self._index = {parameter: index for index, parameter in enumerate(self.parameters)}
        self._checksums = TensorChecksums()

    def held(self, optimizer: Any) -> set[int]:
        """Return the indices of the parameters that an optimizer holds."""
        every = (parameter for group in optimizer.param_groups for parameter in group["params"])
        return {self._index[parameter] for parameter in every if parameter in self._index}

    def look(self, optimizers: Iterable[Any]) -> Observation:
        """Return what everything is now."""
        slots: list[tuple[str, int, Any]] = []
        held: set[int] = set()
        for optimizer in optimizers:
            held |= self.held(optimizer)
            for parameter, state in optimizer.state.items():
                if parameter in self._index:
                    slots += [(name, self._index[parameter], value) for name, value in state.items()]
        tensors = [value for *_, value in slots if isinstance(value, torch.Tensor)]
        count = len(self.parameters)
        statistics = [getattr(part, name) for part, name in self.statistics]
        found = self._checksums([*self.parameters, *statistics, *tensors])
        of_slots = iter(found[count + len(statistics) :])
        by_name: dict[str, list[str | None]] = {}
        for name, index, value in slots:
            row = by_name.setdefault(name, [None] * count)
            row[index] = next(of_slots) if isinstance(value, torch.Tensor) else repr(value)[:64]
        return Observation(
            parameters=found[:count],
            slots=by_name,
            statistics=found[count : count + len(statistics)],
            frozen=[index for index, p in enumerate(self.parameters) if not p.requires_grad],
            missing=[index for index in range(count) if index not in held],
        )

    def why_still(self, index: int, optimizers: Iterable[Any]) -> str:
        """Return why a parameter has not moved in the step just made, as far as flags, rates and gradients say.

        ``frozen``: its flag is False. ``missing``: no optimizer holds it. ``rate``: its learning rate is 0. ``none``:
        it has no gradient. ``zero``: its gradient is 0 everywhere. ``small``: its largest gradient, times the rate, is
        less than half of what its largest value can change by. ``gradient``: none of these.
        """
        parameter = self.parameters[index]
        if not parameter.requires_grad:
            return "frozen"
        groups = (group for optimizer in optimizers for group in optimizer.param_groups)
        rates = [group["lr"] for group in groups if any(parameter is held for held in group["params"])]
        if not rates:
            return "missing"
        if not any(map(float, rates)):
            return "rate"
        if parameter.grad is None:
            return "none"
        gradient = parameter.grad.detach()
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        largest = float(gradient.abs().max()) if gradient.numel() else 0.0
        if largest == 0:
            return "zero"
        spacing = torch.finfo(parameter.dtype).eps * float(parameter.detach().abs().max()) / 2
        return "small" if largest * max(map(float, rates)) < spacing else "gradient"


@contextmanager
def around_steps(
    observer: Observer, before: Callable[[Any], None], after: Callable[[Any], None], only: Any = None
) -> Iterator[None]:
    """Call ``before`` and ``after`` with the optimizer around each of its steps, while the context lasts.

    That is ``only`` one optimizer, or any that holds a parameter of the module: one that is made later too.
    """

    def mine(optimizer: Any) -> bool:
        return optimizer is only or (only is None and bool(observer.held(optimizer)))

    def pre(optimizer: Any, *_: Any) -> None:
        if mine(optimizer):
            before(optimizer)

    def post(optimizer: Any, *_: Any) -> None:
        if mine(optimizer):
            after(optimizer)

    handles = [hooks.register_optimizer_step_pre_hook(pre), hooks.register_optimizer_step_post_hook(post)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
