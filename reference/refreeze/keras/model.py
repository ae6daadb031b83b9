"""A Keras model, read once: its layers, containers and variables by name (NAM-1, NAM-3), for all parts of the engine.

A nested model is a container: its layers are ``container/layer``, to any depth. Any other layer that holds layers (a
MultiHeadAttention, a Bidirectional) is one layer. So is a layer that is shared: its name is the first path on which it
is met, and its other paths, its aliases, stand for that name. So each container stands for all layers that it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import keras

from refreeze.errors import Unsupported
from refreeze.keras import private
from refreeze.selectors import Names, paths_to


@dataclass(frozen=True, slots=True)
class Node:
    """A layer that owns weights, in its place."""

    path: str
    """The names of the containers and of the layer, joined by ``/``; the model itself is not part of it."""
    layer: Any
    """The Keras layer."""
    inside: tuple[Any, ...]
    """The layer and every layer inside it, outer ones first."""
    variables: tuple[Any, ...]
    """Those of its weights that can be trained, whatever the flags say now."""

    def name_of(self, weight: Any) -> str:
        """Return the name of a weight of the layer: ``layer path / path within the layer``."""
        return f"{self.path}/{weight.path.rpartition(f'{self.layer.name}/')[2]}"

    @property
    def batch_norms(self) -> list[Any]:
        """The batch normalizations in it: the layer itself, or some inside it."""
        return [part for part in self.inside if isinstance(part, keras.layers.BatchNormalization)]

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it can train, by the flags of its variables, or its own if it has none."""
        return not any(holder.trainable for holder in self.variables or [self.layer])


@dataclass(frozen=True)
class ModelTree:
    """What the engine knows of a model; flags are not part of it."""

    model: Any
    """The Keras model."""
    nodes: tuple[Node, ...]
    """The layers that own weights, in declaration order."""
    aliases: Mapping[str, str]
    """The path of each shared layer by each of its other paths."""
    inside: tuple[Any, ...]
    """The model, its containers and all layers, outer ones first."""
    trainable: tuple[Any, ...]
    """The variables that can be trained, whatever the flags say now, in the order of ``model.variables``."""

    @cached_property
    def batch_norms(self) -> list[Any]:
        """All batch normalizations."""
        return [part for part in self.inside if isinstance(part, keras.layers.BatchNormalization)]

    @cached_property
    def layers(self) -> dict[str, Any]:
        """The layers that own weights, by path."""
        return {node.path: node.layer for node in self.nodes}

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The variables that can be trained, by name; raises ``Unsupported`` if two have one name."""
        named: dict[str, Any] = {}
        for node in self.nodes:
            for variable in node.variables:
                if named.setdefault(name := node.name_of(variable), variable) is not variable:
                    raise Unsupported(f"model {self.model.name!r} has several variables of the name {name!r}")
        return named

    @property
    def layer_names(self) -> Names:
        """The paths of the layers that own weights, in declaration order, and their aliases (NAM-1)."""
        return Names(self.layers, self.aliases)

    @cached_property
    def variable_names(self) -> Names:
        """The names of the variables that can be trained, in declaration order, and their aliases."""
        aliases = {
            alias + name.removeprefix(path): name
            for alias, path in self.aliases.items()
            for variable in self.named[path].variables
            for name in [self.named[path].name_of(variable)]
        }
        return Names(self.variables, aliases)

    def declared(self, kind: Literal["layers", "parameters"]) -> Names:
        """Return what names of that kind a schedule may have for the model; raises as ``variables`` does."""
        return self.layer_names if kind == "layers" else self.variable_names

    @cached_property
    def named(self) -> dict[str, Node]:
        """The layers that own weights, by path and by alias."""
        nodes = {node.path: node for node in self.nodes}
        return nodes | {alias: nodes[path] for alias, path in self.aliases.items()}

    @cached_property
    def named_variables(self) -> dict[str, Any]:
        """The variables that can be trained, by name and by alias; raises as ``variables`` does."""
        return self.variables | {alias: self.variables[name] for alias, name in self.variable_names.aliases.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """The parameters in each layer and container by path, in declaration order; a layer counts once in each."""
        inside: dict[str, dict[int, int]] = {}
        for path, layer in _walk(self.model):
            for start in paths_to(path):
                inside.setdefault(start, {})[id(layer)] = layer.count_params()
        return {path: sum(layers.values()) for path, layers in inside.items()}

    def frozen_layers(self) -> list[str]:
        """Return the paths of the layers of which nothing can train now, in declaration order."""
        return [node.path for node in self.nodes if not self.model.trainable or node.is_frozen]

    def parameter_counts(self) -> tuple[int, int]:
        """Return how many scalars are frozen now and how many trainable, of those that can be trained."""
        every = sum(math.prod(variable.shape) for variable in self.trainable)
        trainable = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        return every - trainable, trainable


def read(model: Any) -> ModelTree:
    """Return what the engine knows of ``model``; one that has been read already is returned as it is.

    Raises ``Unsupported`` if the model is not built, or if two layers have one path, be it an alias.
    """
    if isinstance(model, ModelTree):
        return model
    if not getattr(model, "built", False):
        raise Unsupported(f"model {model.name!r} is not built: give it an Input, or call it once, before scheduling it")
    every = layers_within(model)
    can_train = {id(variable) for layer in every for variable in private.made_to_train(layer)}
    nodes: dict[int, Node] = {}
    found: dict[str, Any] = {}
    twice = {path for path, layer in _walk(model) if found.setdefault(path, layer) is not layer}
    if twice:
        raise Unsupported(f"model {model.name!r} has several layers of one name: {', '.join(map(repr, sorted(twice)))}")
    for path, layer in found.items():
        if id(layer) not in nodes:
            variables = tuple(weight for weight in layer.weights if id(weight) in can_train)
            nodes[id(layer)] = Node(path, layer, tuple(layers_within(layer)), variables)
    aliases = {path: nodes[id(layer)].path for path, layer in found.items() if path != nodes[id(layer)].path}
    trainable = tuple(variable for variable in model.variables if id(variable) in can_train)
    return ModelTree(model, tuple(nodes.values()), aliases, tuple(every), trainable)


def _walk(container: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and layer of all that own weights; one that is shared on each of its paths."""
    for layer in container.layers:
        if isinstance(layer, keras.Model):
            yield from _walk(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            yield f"{prefix}{layer.name}", layer


def layers_within(layer: Any) -> list[Any]:
    """Return ``layer`` and every layer inside it, each behind all those that it is in."""
    found: dict[int, Any] = {}

    def visit(layer: Any) -> None:
        if id(layer) not in found:
            for part in private.layers_in(layer):
                visit(part)
            found[id(layer)] = layer

    visit(layer)
    return list(found.values())[::-1]


def layer_names(model: Any) -> Names:
    """Return the paths of the layers that own weights, in declaration order (NAM-1); raises as ``read`` does."""
    return read(model).layer_names
