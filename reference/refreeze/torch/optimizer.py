"""The optimizer under a schedule on PyTorch: what it must hold, groups with rates of their own, and its state (EXE-4).

It is built once, over everything, while everything is trainable. PyTorch's optimizers pass over a parameter without a
gradient: no update, no momentum, no decay, no count of its steps. So frozen is ``requires_grad`` False and ``grad``
None; state stays, and continues later. ``keep`` is that; and as every parameter has its own count of steps, so is
``per_variable``. ``reset``: at every change of the frozen set, all state is as in a new optimizer. ``reset_unfrozen``:
that of parameters that become trainable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from refreeze.errors import Unsupported, first_few


def check(optimizer: Any, trained: Mapping[Any, str], sets_rate: bool) -> None:
    """Raise ``Unsupported`` unless the optimizer can go through a schedule exactly; change nothing.

    ``trained`` are the names of the parameters that the schedule trains at some tick: it must hold each of them.
    ``LBFGS`` moves what has no gradient, and ``sets_rate`` asks what ``check_rate_is_free`` does.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise Unsupported(f"optimizer is a {type(optimizer).__name__}, and must be a torch.optim.Optimizer")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise Unsupported("LBFGS moves parameters along earlier directions, those that are frozen too")
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if missing := [parameter for parameter in trained if parameter not in held]:
        frozen = (
            "" if all(p.requires_grad for p in missing) else "; user_frozen='keep' keeps frozen what you have frozen"
        )
        raise Unsupported(
            f"the schedule trains {first_few(repr(trained[p]) for p in missing)}, which the optimizer does not hold; "
            f"build it over model.parameters(), while everything is trainable{frozen}"
        )
    if sets_rate:
        check_rate_is_free(optimizer)


def check_rate_is_free(optimizer: Any) -> None:
    """Raise ``Unsupported`` if a learning-rate scheduler would overwrite the rates of segments (EXE-5)."""
    if any("initial_lr" in group for group in optimizer.param_groups):
        raise Unsupported(
            "the schedule sets the learning rate, and a learning-rate scheduler of the optimizer would overwrite it; "
            "leave out one of them"
        )


def split(optimizer: Any, name_of: Mapping[Any, str]) -> dict[int, str]:
    """Give every name in ``name_of`` parameter groups of its own; return the name by the index of a group.

    A group is split where it has parameters of several names, or of some and of none, in their order. Each part keeps
    its options, and the state of every parameter stays. Raises ``Unsupported``, before anything is changed, if a
    learning-rate scheduler has counted the groups already.
    """
    groups: list[dict[str, Any]] = []
    found: dict[int, str] = {}
    for group in optimizer.param_groups:
        parts: dict[str | None, list[int]] = {}
        for index, parameter in enumerate(group["params"]):
            parts.setdefault(name_of.get(parameter), []).append(index)
        for name, indices in parts.items():
            part = group
            if len(parts) > 1:
                if "initial_lr" in group:
                    raise Unsupported(
                        f"{name!r} needs a parameter group of its own, and a learning-rate scheduler has counted the "
                        "groups already; make the schedule first, or give the optimizer these groups"
                    )
                along = {key: [group[key][i] for i in indices] for key in ("params", "param_names") if key in group}
                rate = group["lr"].clone() if isinstance(group["lr"], torch.Tensor) else group["lr"]
                part = {**group, **along, "lr": rate}
            if name is not None:
                found[len(groups)] = name
            groups.append(part)
    optimizer.param_groups[:] = groups
    return found


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Set the learning rate of a group, in the tensor that it may be."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def reset(optimizer: Any, parameters: Iterable[Any]) -> None:
    """Drop the state of ``parameters``: PyTorch's optimizers make that of a parameter without any at its next step."""
    for parameter in list(parameters):
        optimizer.state.pop(parameter, None)
