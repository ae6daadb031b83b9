"""Flags: which layers and variables of a Keras model are trainable; written, put back, nothing else touched (EXE-2).

A variable trains if its own flag and that of the whole model are true: Keras writes the flag of a layer or of a nested
model through to all that is inside. The flags of layers decide besides in custom train steps and in a batch
normalization. While a schedule runs, each layer and each variable that can be trained has one of these flags:

- false, if a name that stands for it, or for a layer that it is in, is frozen;
- true, if it is named itself, if a layer that it is in is named and the user had frozen all of that layer, or if
  something is named that is inside of it;
- else the flag from before the run: the baseline. So what the user froze in a layer that is named, such as the kernel
  under LoRA, stays frozen when the layer is released.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from refreeze.errors import UnknownName
from refreeze.keras import private
from refreeze.keras.model import ModelTree


class Flags:
    """All flags of a model under a schedule.

    ``names`` are layers (paths) or variables, mixed as you like; the baseline is what the flags are now. Raises
    ``UnknownName`` (NAM-2); changes nothing.
    """

    def __init__(self, tree: ModelTree, names: Iterable[str]) -> None:
        names = set(names)
        variables = {} if names <= tree.named.keys() else tree.named_variables
        if missing := sorted(names.difference(tree.named, variables)):
            raise UnknownName(f"model {tree.model.name!r}", missing, [*tree.named, *variables])
        # Outer layers come first, then the variables: Keras' setter writes through to all that is inside.
        self._holders = (*tree.inside, *tree.trainable)
        self._baseline = tuple(holder.trainable for holder in self._holders)
        governing: dict[int, set[str]] = {}
        for name in names.difference(tree.named):
            governing.setdefault(id(variables[name]), set()).add(name)
        released = set(governing)
        for name in names.intersection(tree.named):
            node = tree.named[name]
            held = [*map(id, node.inside), *map(id, node.variables)]
            for key in held:
                governing.setdefault(key, set()).add(name)
            released.update([id(node.layer)] if node.layer.trainable else held)
        opened: set[int] = set()
        for layer in reversed(tree.inside):
            within = [*map(id, private.layers_in(layer)), *map(id, private.made_to_train(layer))]
            if id(layer) not in governing and not opened.union(governing).isdisjoint(within):
                opened.add(id(layer))
        hidden = set() if tree.model.trainable else set(map(id, tree.trainable)).difference(governing)
        self._rules = [
            (frozenset(governing.get(key, ())), key in released | opened or (flag and key not in hidden))
            for key, flag in zip(map(id, self._holders), self._baseline, strict=True)
        ]
        self._written = self._baseline
        self.place = {id(holder): number for number, holder in enumerate(self._holders)}

    def write(self, frozen: frozenset[str]) -> list[str]:
        """Give everything the flag that it has while exactly ``frozen`` are frozen; return what ``put_back`` does."""
        changed = self._changed()
        self._put(self.while_frozen(frozen))
        return changed

    def while_frozen(self, frozen: frozenset[str]) -> tuple[bool, ...]:
        """Return all flags, each in its ``place`` (by the id of its layer or variable), while ``frozen`` are frozen."""
        return tuple(flag and found.isdisjoint(frozen) for found, flag in self._rules)

    @contextlib.contextmanager
    def shown(self, flags: tuple[bool, ...]) -> Iterator[None]:
        """Give everything these flags for a while, and then again those that it had."""
        written, before = self._written, tuple(holder.trainable for holder in self._holders)
        self._put(flags)
        try:
            yield
        finally:
            self._put(before)
            self._written = written

    def put_back(self) -> list[str]:
        """Write again what was written last; return the names of what others have changed since then."""
        changed = self._changed()
        if changed:  # on torch this is called before every step
            self._put(self._written)
        return changed

    def restore(self) -> None:
        """Put back the flags from before the run."""
        self._put(self._baseline)

    def signature(self, frozen: frozenset[str] | None = None) -> bytes:
        """Return all flags of the model, governed or not, as bytes: two equal ones mean one and the same train step.

        They are those that were written last or, without writing anything, those for ``frozen``.
        """
        return bytes(self._written if frozen is None else self.while_frozen(frozen))

    @property
    def others_train(self) -> bool:
        """Whether a variable trains that no name stands for."""
        both = zip(self._holders, self._rules, strict=True)
        return any(flag and not names for holder, (names, flag) in both if hasattr(holder, "assign"))

    def _changed(self) -> list[str]:
        both = zip(self._holders, self._written, strict=True)
        changed = [holder for holder, flag in both if holder.trainable is not flag]
        # Where layers are named, the variables in them need not be.
        return [h.name for h in changed if not hasattr(h, "assign")] or [variable.path for variable in changed]

    def _put(self, flags: tuple[bool, ...]) -> None:
        # Only differences are written: Keras' setter recurses, which costs more than all the rest of a switch.
        for holder, flag in zip(self._holders, flags, strict=True):
            if holder.trainable is not flag:
                holder.trainable = flag
        self._written = flags
