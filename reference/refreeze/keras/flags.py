"""Flags: which layers and variables of a Keras model are trainable; written, put back, nothing else touched (EXE-2).

A variable trains if its own flag and that of the whole model are true: Keras writes the flag of a layer or of a nested
model through to all that is inside. So a scheduled layer decides about all its variables. A container, or a layer of a
scheduled variable, that is frozen itself is opened, for its own flag decides in custom train steps and in a batch
normalization (which uses the batch then); all variables in it that no schedule mentions stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refreeze.errors import UnknownName
from refreeze.keras.model import layers_within, nodes, trainable_by_birth, variables


class Snapshot:
    """The flags of all layers and variables of a model at one moment."""

    def __init__(self, model: Any) -> None:
        self._layers = [(layer, layer.trainable) for layer in layers_within(model)]
        self._variables = [(variable, variable.trainable) for variable in trainable_by_birth(model)]

    def restore(self) -> None:
        """Put every flag back."""
        # Keras' setter recurses, so outer layers come first; then the variables, which layers' setters overwrite.
        for layer, flag in self._layers:
            if layer.trainable is not flag:
                layer.trainable = flag
        for variable, flag in self._variables:
            if variable.trainable is not flag:
                variable.trainable = flag


class Flags:
    """The flags that a schedule governs.

    ``names`` are layers (paths) or variables, mixed as you like. A variable is frozen if its own name is or its layer's
    is; one that belongs to several layers, if any of them is. Raises ``UnknownName`` (NAM-2); changes nothing.
    """

    def __init__(self, model: Any, names: Iterable[str]) -> None:
        names = sorted(names)
        by_path = {node.path: node for node in nodes(model)}
        by_name = {} if by_path.keys() >= set(names) else variables(model)
        if missing := [name for name in names if name not in by_path and name not in by_name]:
            raise UnknownName(f"model {model.name!r}", missing, [*by_path, *by_name])
        self._model = model
        self._layers = {name: by_path[name].layer for name in names if name in by_path}
        governing: dict[int, set[str]] = {}
        for name, layer in self._layers.items():
            for variable in layer.weights:
                governing.setdefault(id(variable), set()).add(name)
        for name in names:
            if name not in by_path:
                governing.setdefault(id(by_name[name]), set()).add(name)
        # A layer writes its variables; what is left are those that have more than one name here, or only their own.
        self._variables = [
            (variable, found)
            for variable in trainable_by_birth(model)
            if len(found := governing.get(id(variable), set())) > 1 or not found <= self._layers.keys()
        ]
        self._hiding = [container for name in self._layers for container in by_path[name].containers]
        for name in names:
            if name not in by_path:
                path = max((path for path in by_path if name.startswith(f"{path}/")), key=len)
                if path not in self._layers:
                    self._hiding += [*by_path[path].containers, by_path[path].layer]
        self._all = [*layers_within(model), *trainable_by_birth(model)]
        self._before: Snapshot | None = None

    def write(self, frozen: frozenset[str]) -> None:
        """Make exactly those of the governed names that are in ``frozen`` untrainable, the others trainable."""
        first = self._before is None
        if first:
            self._before = Snapshot(self._model)
            for hiding in self._hiding:
                if not hiding.trainable:
                    kept = Snapshot(hiding)
                    kept._layers[0] = (hiding, True)
                    hiding.trainable = True
                    kept.restore()
        for name, layer in self._layers.items():
            # Only differences are written: Keras' setter recurses, which costs more than all the rest of a switch.
            if layer.trainable is (name in frozen):
                layer.trainable = name not in frozen
            if first:  # Keras writes nothing through if the layer's own flag is already so
                for holder in (*layers_within(layer), *trainable_by_birth(layer)):
                    holder.trainable = name not in frozen
        for variable, found in self._variables:
            if variable.trainable is not found.isdisjoint(frozen):
                variable.trainable = found.isdisjoint(frozen)

    def signature(self) -> bytes:
        """Return all flags of the model, governed or not, as bytes: two equal ones mean one and the same train step."""
        return bytes(holder.trainable for holder in self._all)

    def restore(self) -> None:
        """Put back the flags from before the first ``write``."""
        if self._before is not None:
            self._before.restore()
            self._before = None


def frozen_layers(model: Any) -> list[str]:
    """Return the paths of the layers with weights of which none can train, in declaration order."""

    def frozen(layer: Any) -> bool:
        own = {id(variable) for part in layers_within(layer) for variable in part._trainable_variables}
        return not any(w.trainable for w in layer.weights if id(w) in own) if own else not layer.trainable

    return [node.path for node in nodes(model) if not model.trainable or frozen(node.layer)]
