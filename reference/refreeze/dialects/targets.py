"""What the functions of kempner and fastai write flags on: a Keras model, a PyTorch module, or a mapping from names.

A mapping goes from names to objects with a flag: ``Target`` here, or anything that has a settable ``trainable`` or
``requires_grad``. A Keras model is read by ``refreeze.keras``, which is loaded only for one; PyTorch is not needed.

A variable of a Keras model trains if its own flag and the model's are true, and Keras passes the flag of a layer on to
its variables. Nothing here makes a compiled train step take notice, as ``refreeze.keras`` does.
"""

from __future__ import annotations

import importlib
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
    """Return the layers by name: a mapping is taken as it is; on Keras, all that own weights, by path (NAM-1).

    Raises ``InvalidSpec`` for anything else, and ``Unsupported`` for a Keras model that is not built.
    """
    if isinstance(model, Mapping):
        return model
    if not _is_keras(model):
        raise InvalidSpec("model", model, "a Keras model, or layers by name")
    found: Mapping[str, Any] = _read(model).layers
    return found


def parameters(model: Any) -> Mapping[str, Any]:
    """Return the parameters by name: a mapping is taken as it is, a PyTorch module asked for ``named_parameters()``.

    On Keras: the variables that were made trainable, so no statistics, named ``layer path / path within the layer``.
    Raises ``InvalidSpec`` for anything else, and ``Unsupported`` for a Keras model that is not built.
    """
    if hasattr(model, "named_parameters"):
        return dict(model.named_parameters())
    if isinstance(model, Mapping):
        return model
    if not _is_keras(model):
        raise InvalidSpec("model", model, "a Keras model, a PyTorch module, or parameters by name")
    found: Mapping[str, Any] = _read(model).variables
    return found


def _is_keras(model: Any) -> bool:
    return hasattr(model, "layers") and hasattr(model, "fit")


def _read(model: Any) -> Any:
    # By its name, as a dialect of a third party is: the rooms of the dialects know no framework.
    return importlib.import_module("refreeze.keras.model").read(model)


def is_trainable(target: Any) -> bool:
    """Return the flag of ``target``."""
    return bool(target.requires_grad if hasattr(target, "requires_grad") else target.trainable)


def set_trainable(target: Any, trainable: bool) -> None:
    """Write the flag of ``target``."""
    setattr(target, "requires_grad" if hasattr(target, "requires_grad") else "trainable", trainable)


def size(target: Any) -> int:
    """Return the number of elements of ``target``: the product of its ``shape``, or else its ``size``."""
    return math.prod(target.shape) if hasattr(target, "shape") else int(target.size)
