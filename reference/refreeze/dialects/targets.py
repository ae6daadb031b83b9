"""What the functions of kempner and fastai write flags on: a Keras model, a PyTorch module, or a plain mapping.

A plain mapping goes from names to objects with a flag: ``Target`` here, or anything that has a settable ``trainable``
or ``requires_grad``. Nothing of Keras or PyTorch is imported.

On Keras the flag of a variable is one of several: it trains if its own flag, its layer's and those of all models around
are true. The functions of kempner write the variables' own flags, those of fastai the layers', which Keras passes on
to their variables; nothing here makes a compiled train step take notice, as ``refreeze.keras`` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from refreeze.errors import Unsupported


@dataclass(slots=True)
class Target:
    """A layer or parameter of no framework."""

    size: int = 1
    """The number of its elements."""
    trainable: bool = True
    """The flag."""
    bn_freeze: bool = False
    """Whether it is a batch normalization that ``fastai.bn_freeze`` has put into inference mode."""


def walk(
    container: Any, prefix: str = "", around: tuple[Any, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Yield path, layer and the models around it of each Keras layer that owns weights; one that is shared once."""
    seen = set() if seen is None else seen
    for layer in container.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if hasattr(layer, "layers") and hasattr(layer, "compile"):
            yield from walk(layer, f"{prefix}{layer.name}/", (*around, layer), seen)
        elif layer.weights:
            yield f"{prefix}{layer.name}", layer, around


def layers(model: Any) -> Mapping[str, Any]:
    """Return the layers by name: a mapping is taken as it is; on Keras, all that own weights, by path (NAM-1).

    Raises ``Unsupported`` for a Keras model that is not built.
    """
    if isinstance(model, Mapping):
        return model
    if not model.built:
        raise Unsupported(f"model {model.name!r} is not built: give it an Input, or call it once")
    return {path: layer for path, layer, _ in walk(model)}


def parameters(model: Any) -> Mapping[str, Any]:
    """Return the parameters by name: a mapping is taken as it is, a PyTorch module asked for ``named_parameters()``.

    On Keras: the variables that were made trainable, so no statistics, named ``layer path / path within the layer``.
    """
    if hasattr(model, "named_parameters"):
        return dict(model.named_parameters())
    if isinstance(model, Mapping):
        return model
    return {
        f"{path}/{variable.path.rpartition(f'{layer.name}/')[2]}": variable
        for path, layer in layers(model).items()
        for part in layer._flatten_layers()
        for variable in part._trainable_variables
    }


def is_trainable(target: Any) -> bool:
    """Return the flag of ``target``."""
    return bool(target.requires_grad if hasattr(target, "requires_grad") else target.trainable)


def set_trainable(target: Any, trainable: bool) -> None:
    """Write the flag of ``target``."""
    setattr(target, "requires_grad" if hasattr(target, "requires_grad") else "trainable", trainable)


def size(target: Any) -> int:
    """Return the number of elements of ``target``: the product of its ``shape``, or else its ``size``."""
    return math.prod(target.shape) if hasattr(target, "shape") else int(target.size)
