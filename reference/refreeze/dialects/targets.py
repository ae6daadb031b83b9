"""What the functions of kempner and fastai write flags on: a PyTorch module, or a mapping from names.

A mapping goes from names to objects with a flag: ``Target`` here, or anything that has a settable ``trainable`` or
``requires_grad``. No framework is imported.

Of a Keras model ``refreeze.keras.model.read(model)`` has both, ``layers`` and ``variables``. A variable trains there if
its own flag and the model's are true, and Keras passes the flag of a layer on to its variables. Nothing here makes a
compiled train step take notice, as ``refreeze.keras`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refreeze.errors import InvalidSpec


@dataclass(slots=True)
class Target:
    """A layer or parameter of no framework."""

    size: int = 1
    """The number of its elements."""
    trainable: bool = True
    """The flag."""
    bn_freeze: bool = False
    """Whether it is a batch normalization that ``fastai.bn_freeze`` has put into inference mode."""


def layers(model: Any) -> Mapping[str, Any]:
    """Return the layers by name: ``model`` itself, if it is such a mapping; raises ``InvalidSpec`` if not."""
    if not isinstance(model, Mapping):
        raise InvalidSpec("model", model, "layers by name; of a Keras model, refreeze.keras.model.read(model).layers")
    return model


def parameters(model: Any) -> Mapping[str, Any]:
    """Return the parameters by name: a mapping is taken as it is, a PyTorch module asked for ``named_parameters()``.

    Raises ``InvalidSpec`` for anything else.
    """
    if hasattr(model, "named_parameters"):
        return dict(model.named_parameters())
    if not isinstance(model, Mapping):
        allowed = (
            "a PyTorch module, or parameters by name; of a Keras model, refreeze.keras.model.read(model).variables"
        )
        raise InvalidSpec("model", model, allowed)
    return model


def is_trainable(target: Any) -> bool:
    """Return the flag of ``target``."""
    return bool(target.requires_grad if hasattr(target, "requires_grad") else target.trainable)


def set_trainable(target: Any, trainable: bool) -> None:
    """Write the flag of ``target``."""
    setattr(target, "requires_grad" if hasattr(target, "requires_grad") else "trainable", trainable)


def size(target: Any) -> int:
    """Return the number of elements of ``target``: the product of its ``shape``, or else its ``size``."""
    return math.prod(target.shape) if hasattr(target, "shape") else int(target.size)
