"""Names on a PyTorch module: of its layers, as paths with ``/``, and of its parameters, as PyTorch has them, with dots.

A layer is a module that owns parameters, or the statistics of a batch normalization, and holds no other such module
(NAM-1). A parameter that a module owns beside other layers is a layer of its own: so no layer is in another one, and a
container, any module that holds layers, stands for all that is in it (NAM-3).

A module that is shared is a layer once, under the first path on which it is met. A parameter that several modules own
(tied weights) has all the names under which it is met, and is frozen while any of them is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Literal

import torch

from refreeze.errors import Unsupported

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
_WRAPPERS = {
    "_orig_mod": "torch.compile has renamed it; call model.compile(), which keeps the names, or give the schedule the "
    "module that was compiled",
    "_fsdp_wrapped_module": "FullyShardedDataParallel cannot freeze parts of what it has flattened; use fully_shard",
}


def unwrapped(model: Any) -> Any:
    """Return the user's own module: that in a ``DistributedDataParallel``, any other as it is."""
    return model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model


def above(path: str, separator: str = "/") -> Iterator[str]:
    """Yield ``path`` and the path of every container that it is in, the outermost first; nothing for the root.

    >>> list(above("backbone/block1/conv"))
    ['backbone', 'backbone/block1', 'backbone/block1/conv']
    """
    return accumulate(path.split(separator), "{}/{}".format) if path else iter(())


def check_module(model: Any) -> None:
    """Raise ``Unsupported`` for what is no module, is wrapped so that names are lost, or has names with ``/``."""
    if not isinstance(model, torch.nn.Module):
        raise Unsupported(f"model is a {type(model).__name__}, and must be a torch.nn.Module")
    for name, _ in model.named_modules():
        for part in name.split("."):
            if part in _WRAPPERS:
                raise Unsupported(f"module {name!r}: {_WRAPPERS[part]}")
            if "/" in part:
                raise Unsupported(f"module {name!r}: a name with '/' cannot be told from a path")


def check_wrapper(model: Any) -> None:
    """Raise ``Unsupported`` for a ``DistributedDataParallel`` that waits for the gradients of what is frozen."""
    if model is not unwrapped(model) and (model.static_graph or not model.find_unused_parameters):
        raise Unsupported(
            "DistributedDataParallel waits for the gradients of frozen parameters; make it with "
            "find_unused_parameters=True and static_graph=False"
        )


def _layers(module: Any) -> tuple[dict[str, list[str]], set[str]]:
    """Return the dotted names of each layer's parameters, by path, and the dotted names of the containers."""
    owned = {
        name: [own for own, _ in part.named_parameters(name, recurse=False)]
        for name, part in module.named_modules()
        if isinstance(part, BATCH_NORMS) or next(part.parameters(recurse=False), None) is not None
    }
    holds = {"", *(name[:place] for name in owned for place, char in enumerate(name) if char == ".")}
    found: dict[str, list[str]] = {}
    for name, parameters in owned.items():
        if name in holds:
            found |= {own.replace(".", "/"): [own] for own in parameters}
        else:
            found[name.replace(".", "/")] = parameters
    return found, holds


def layer_names(model: Any) -> list[str]:
    """Return the paths of the layers of a module, in declaration order (NAM-1).

    >>> from torch import nn
    >>> layer_names(nn.ModuleDict({"stem": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "head": nn.Linear(2, 1)}))
    ['stem/0', 'head']
    """
    return list(_layers(unwrapped(model))[0])


def parameter_names(model: Any) -> list[str]:
    """Return PyTorch's names of the parameters of a module, in declaration order; of a tied one, all of them.

    >>> parameter_names(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    ['0.weight', '0.bias']
    """
    return [name for name, _ in unwrapped(model).named_parameters(remove_duplicate=False)]


def declared_names(model: Any, kind: Literal["layers", "parameters"]) -> list[str]:
    """Return all that a configuration can name: layers or parameters, as its dialect says."""
    return layer_names(model) if kind == "layers" else parameter_names(model)


class Named:
    """The parameters and batch normalizations of a module, each with every name that speaks of it."""

    def __init__(self, module: Any) -> None:
        layers, holds = _layers(module)
        self.parameters: dict[Any, set[str]] = {}
        """By parameter: its own names with dots, the path of its layer, and of every container around it."""
        self.shown: dict[Any, str] = {}
        """By parameter: the name to call it by."""
        for name, parameter in module.named_parameters(remove_duplicate=False):
            owner = name.rpartition(".")[0]
            path = name if owner in holds else owner
            self.parameters.setdefault(parameter, set()).update({name}, above(path.replace(".", "/")))
            self.shown.setdefault(parameter, name)
        self.batch_norms: dict[Any, set[str]] = {
            part: set(above(name.replace(".", "/")))
            for name, part in module.named_modules()
            if isinstance(part, BATCH_NORMS)
        }
        """By batch normalization: its path, and that of every container around it."""
        self.known = [*layers, *self.shown.values()]
        """What errors offer."""
        self.all = set(self.known).union(*self.parameters.values(), *self.batch_norms.values())
        """Every name that means something."""
