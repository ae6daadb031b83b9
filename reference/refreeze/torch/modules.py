"""Names on a PyTorch module: of its layers, as paths with ``/``, and of its parameters, as PyTorch has them, with dots.

A layer is a module that owns parameters, or the statistics of a batch normalization, and holds no other such module
(NAM-1). A parameter that a module owns beside other layers is a layer of its own: so no layer is in another one, and a
container, any module that holds layers, stands for all that is in it (NAM-3).

A module that is shared is one layer, whose name is the first path on which it is met; its other paths, and the other
names of a parameter that is tied, stand for that name. A parameter that several layers own is frozen while any of them
is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

from refreeze.errors import Unsupported, first_few
from refreeze.selectors import Names, paths_to

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
_WRAPPERS = {
    "_orig_mod": "torch.compile has renamed it; call model.compile(), which keeps the names, or give the schedule the "
    "module that was compiled",
    "_fsdp_wrapped_module": "FullyShardedDataParallel cannot freeze parts of what it has flattened; use fully_shard",
}


def unwrapped(model: Any) -> Any:
    """Return the user's own module: that in a ``DistributedDataParallel``, any other as it is."""
    return model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model


def _places(name: str) -> Iterable[str]:
    """Return the path of a module, by its dotted name, and the paths of its containers; none for the root."""
    return paths_to(name.replace(".", "/")) if name else ()


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


def check_wrapper(model: Any, released: list[str]) -> None:
    """Raise ``Unsupported`` for a ``DistributedDataParallel`` that does not fit.

    That is one that waits for the gradients of what is frozen, or that was made while ``released``, parameters that the
    schedule trains, were frozen: it would not share their gradients, and the processes would part.
    """
    if model is unwrapped(model):
        return
    if model.static_graph or not model.find_unused_parameters:
        raise Unsupported(
            "DistributedDataParallel waits for the gradients of frozen parameters; make it with "
            "find_unused_parameters=True and static_graph=False"
        )
    if released:
        shown = first_few(map(repr, released))
        raise Unsupported(
            f"the schedule trains {shown}, frozen in the DistributedDataParallel, which does not share "
            "gradients of what was frozen when it was made; make it while everything is trainable"
        )


def _owners(module: Any) -> tuple[list[tuple[str, Any]], set[str]]:
    """Return the modules that own parameters or statistics, by each dotted name, and the names of the containers."""
    owners = [
        (name, part)
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, BATCH_NORMS) or next(part.parameters(recurse=False), None) is not None
    ]
    return owners, {"", *(name[:place] for name, _ in owners for place, char in enumerate(name) if char == ".")}


def layer_names(model: Any) -> Names:
    """Return the paths of the layers of a module, in declaration order (NAM-1).

    >>> from torch import nn
    >>> layer_names(nn.ModuleDict({"stem": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "head": nn.Linear(2, 1)}))
    ('stem/0', 'head')
    """
    owners, containers = _owners(unwrapped(model))
    first: dict[Any, list[str]] = {}
    aliases: dict[str, str] = {}
    for name, part in owners:
        found = [name] if name not in containers else [own for own, _ in part.named_parameters(name, recurse=False)]
        paths = [path.replace(".", "/") for path in found]
        if part in first:
            aliases |= zip(paths, first[part], strict=True)
        else:
            first[part] = paths
    return Names([path for paths in first.values() for path in paths], aliases)


def parameter_names(model: Any) -> Names:
    """Return PyTorch's names of the parameters of a module, in declaration order.

    >>> parameter_names(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    ('0.weight', '0.bias')
    """
    first: dict[Any, str] = {}
    every = unwrapped(model).named_parameters(remove_duplicate=False)
    aliases = {name: first[parameter] for name, parameter in every if first.setdefault(parameter, name) != name}
    return Names(first.values(), aliases)


def parameters_by_layer(model: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of the parameters of each layer, both in declaration order, as ``refreeze.convert`` needs them.

    A parameter that several layers share is of the first of them. A layer without parameters has none.

    >>> parameters_by_layer(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1, bias=False)))
    {'0': ('0.weight', '0.bias'), '1': ('1.weight',)}
    """
    named, layers = Named(unwrapped(model)), layer_names(model)
    found: dict[str, tuple[str, ...]] = dict.fromkeys(layers, ())
    for parameter, names in named.parameters.items():
        found[next(layer for layer in layers if layer in names)] += (named.shown[parameter],)
    return found


def declared_names(model: Any, kind: Literal["layers", "parameters"]) -> Names:
    """Return all that a configuration can name: layers or parameters, as its dialect says."""
    return layer_names(model) if kind == "layers" else parameter_names(model)


class Named:
    """The parameters and batch normalizations of a module, each with every name that speaks of it."""

    def __init__(self, module: Any) -> None:
        owners, containers = _owners(module)
        self.parameters: dict[Any, set[str]] = {}
        """By parameter: its own names with dots, the paths of its layers, and of every container around these."""
        self.shown: dict[Any, str] = {}
        """By parameter: the name to call it by."""
        for name, parameter in module.named_parameters(remove_duplicate=False):
            owner = name.rpartition(".")[0]
            path = name if owner in containers else owner
            self.parameters.setdefault(parameter, set()).update({name}, _places(path))
            self.shown.setdefault(parameter, name)
        self.batch_norms: dict[Any, set[str]] = {}
        """By batch normalization: its paths, and that of every container around them."""
        for name, part in owners:
            if isinstance(part, BATCH_NORMS):
                self.batch_norms.setdefault(part, set()).update(_places(name))
        self.known = [*layer_names(module), *self.shown.values()]
        """What errors offer."""
        self.all = set(self.known).union(*self.parameters.values(), *self.batch_norms.values())
        """Every name that means something."""
