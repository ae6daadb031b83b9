"""Names on a Keras model: the layers that own weights and their variables, each under one path (NAM-1, NAM-3).

A nested model is a container: its layers are ``container/layer``, to any depth. Any other layer that holds layers (a
MultiHeadAttention, a Bidirectional) is one layer. A layer that is shared has the first path on which it is met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refreeze.dialects import targets
from refreeze.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Node:
    """A layer in its place."""

    path: str
    """The names of the containers and of the layer, joined by ``/``; the model itself is not part of it."""
    layer: Any
    """The Keras layer."""
    containers: tuple[Any, ...]
    """The models around it, the outermost first: the layer trains only if each of them is trainable too."""


def nodes(model: Any) -> list[Node]:
    """Return the layers of ``model`` that own weights, in declaration order.

    Raises ``Unsupported`` if the model is not built, or if two layers have one path.
    """
    if not getattr(model, "built", False):
        raise Unsupported(f"model {model.name!r} is not built: give it an Input, or call it once, before scheduling it")
    found = [Node(path, layer, (model, *around)) for path, layer, around in targets.walk(model)]
    paths = [node.path for node in found]
    if len(set(paths)) != len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise Unsupported(f"model {model.name!r} has several layers of one name: {', '.join(map(repr, twice))}")
    return found


def layer_names(model: Any) -> list[str]:
    """Return the paths of the layers that own weights, in declaration order (NAM-1); raises as ``nodes`` does."""
    return [node.path for node in nodes(model)]


def layers_within(layer: Any) -> list[Any]:
    """Return ``layer`` and every layer inside it, outer ones first."""
    return list(layer._flatten_layers(include_self=True, recursive=True))


def trainable_by_birth(model: Any) -> list[Any]:
    """Return the variables that can be trained, whatever the flags say now, in the order of ``model.variables``."""
    born = {id(variable) for layer in layers_within(model) for variable in layer._trainable_variables}
    return [variable for variable in model.variables if id(variable) in born]


def variables(model: Any) -> dict[str, Any]:
    """Return the variables that can be trained by name, ``layer path / variable path within the layer``.

    Raises ``Unsupported`` as ``nodes`` does, and if two variables have one name.
    """
    can_train = {id(variable) for variable in trainable_by_birth(model)}
    named: dict[str, Any] = {}
    for node in nodes(model):
        for variable in node.layer.weights:
            if id(variable) not in can_train:
                continue
            inside = variable.path.rpartition(f"{node.layer.name}/")[2]
            name = f"{node.path}/{inside}"
            if named.setdefault(name, variable) is not variable:
                raise Unsupported(f"model {model.name!r} has several variables of the name {name!r}")
    return named


def variable_names(model: Any) -> list[str]:
    """Return the names of the variables that can be trained, in declaration order; raises as ``variables`` does."""
    return list(variables(model))
