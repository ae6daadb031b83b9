"""Flags: which layers and variables of a Keras model are trainable; written, put back, nothing else touched (EXE-2).

A variable trains if its own flag, that of its layer and those of all the models around are true. Scheduled layers and
variables have their own flag written. A container, or a layer of a scheduled variable, that is frozen itself would
hide them: it is opened, and all in it that no schedule mentions stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refreeze.engine.tree import layers_within, nodes, trainable_by_birth, variables
from refreeze.errors import UnknownName


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

    ``names`` are layers (paths) or variables, mixed as you like: a frozen layer freezes all its variables; a variable
    of a trainable layer follows its own name, if that is scheduled. Raises ``UnknownName`` (NAM-2); changes nothing.
    """

    def __init__(self, model: Any, names: Iterable[str]) -> None:
        names = sorted(names)
        by_path = {node.path: node for node in nodes(model)}
        by_name = variables(model)
        if missing := [name for name in names if name not in by_path and name not in by_name]:
            raise UnknownName(f"model {model.name!r}", missing, [*by_path, *by_name])
        self._model = model
        self._layers = {name: by_path[name].layer for name in names if name in by_path}
        self._variables = {name: by_name[name] for name in names if name not in by_path}
        self._hiding = [container for name in self._layers for container in by_path[name].containers]
        for name in self._variables:
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
            if first or layer.trainable is (name in frozen):
                layer.trainable = name not in frozen
        for name, variable in self._variables.items():
            if variable.trainable is (name in frozen):
                variable.trainable = name not in frozen

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
    return [
        node.path
        for node in nodes(model)
        if not all(layer.trainable for layer in (*node.containers, node.layer)) or not node.layer.trainable_weights
    ]
