"""Partial evaluation on TensorFlow: a train step for one state, made of the masked trace and not of Python (EXE-7).

The trace is a function of TensorFlow's that calls others, kept as plain data. In a copy of it every conditional whose
predicate is one of the step's booleans becomes a call of the branch that it takes; what is then unused TensorFlow
leaves out when it prepares the copy for its first run: the backward pass below the last layer that trains, too. The
operations that are left are those of a step traced for that state.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from refreeze.keras import private

Boolean = bool | Literal["asked"]
"""What a boolean of the step is, or that it is to be asked for when the step runs."""
Known = Boolean | tuple[Boolean, ...] | None
"""What is known of a tensor: a boolean of the step; all of them, or the variable that holds them; nothing."""
_BRANCHES = {
    "If": ("then_branch", "else_branch"), "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"), "StatelessWhile": ("cond", "body"),
    "PartitionedCall": ("f",), "StatefulPartitionedCall": ("f",),
}  # fmt: skip
_CALLS = {"If": "StatefulPartitionedCall", "StatelessIf": "PartitionedCall"}
_serial = itertools.count()


class Program:
    """A traced function in which booleans of a step are known, or asked for.

    A conditional that asks becomes one that TensorFlow prepares when a branch is first taken, for most never
    are. ``handle`` is what the function captures of the variable that holds the booleans.
    """

    def __init__(self, concrete: Any, handle: Any, booleans: Sequence[Boolean]) -> None:
        self._captured, self._outputs = concrete.captured_inputs, concrete.structured_outputs
        root = private.function_named(concrete.name)
        inputs = len(root.signature.input_arg) - len(self._captured)
        held = {inputs + at: tuple(booleans) for at, one in enumerate(self._captured) if one is handle}
        # What asks trains until it is known what is worth more preparation.
        self._options = private.preparation(rewritten="asked" not in booleans)
        self._made: dict[tuple[str, tuple[tuple[int, Known], ...]], str] = {}
        self._added: list[str] = []
        self._name = self._evaluated(root.signature.name, held).encode()
        weakref.finalize(self, private.remove_functions, self._added).atexit = False

    def __call__(self, iterator: Any) -> Any:
        """Do as a train function of Keras does."""
        given = tf.nest.flatten(iterator, expand_composites=True)
        flat = private.run_function(self._name, [*given, *self._captured], 1, self._options)
        optional = tf.nest.pack_sequence_as(self._outputs, flat, expand_composites=True)
        if not optional.has_value():
            raise StopIteration
        return optional.get_value()

    def _evaluated(self, name: str, known: Mapping[int, Known]) -> str:
        """Return the name of the copy of a function with some of its inputs known; its own if nothing changes in it."""
        key = name, tuple(sorted(known.items(), key=lambda item: item[0]))
        if not known or key in self._made:
            return self._made.get(key, name)
        function = private.function_named(name)
        values = _Values(function, known)
        if not sum([self._edit(node, values) for node in function.node_def if node.op in _BRANCHES]):
            return self._made.setdefault(key, name)
        function.signature.name = self._made[key] = f"{name}_refreeze_{next(_serial)}"
        private.add_function(function)
        self._added.append(function.signature.name)
        return self._made[key]

    def _edit(self, node: Any, values: _Values) -> bool:
        """Edit a node that calls functions in place, and say whether anything has changed."""
        data = [name for name in node.input if not name.startswith("^")]
        branches, changed = _BRANCHES[node.op], False
        if node.op in _CALLS and (taken := values.of(data[0])) is not None:
            if isinstance(taken, bool):
                branches = ("f",)
                node.attr["f"].CopyFrom(node.attr["then_branch" if taken else "else_branch"])
                node.op = _CALLS[node.op]
                for attribute in [name for name in node.attr if name not in ("f", "Tin", "Tout", "_class")]:
                    del node.attr[attribute]
                controls = [name for name in node.input if name.startswith("^")]
                del node.input[:]
                data = data[1:]
                node.input.extend([*data, *controls])
            else:
                node.attr["_lower_using_switch_merge"].b = False
            changed = True
        passed = data[1:] if node.op in _CALLS else data
        known = {at: value for at, name in enumerate(passed) if (value := values.of(name)) is not None}
        for branch in branches:
            function = node.attr[branch].func
            made = self._evaluated(function.name, known)
            changed, function.name = changed or made != function.name, made
        return changed


class Programs:
    """A train function: one ``Program`` of each trace of ``traced``, which is a train function that Keras made."""

    prepared = 0.0
    """The seconds that were spent on it beside the steps; None while it is being prepared."""

    def __init__(self, traced: Any, handle: Any, booleans: Sequence[Boolean]) -> None:
        self._traced, self._handle, self._booleans = traced, handle, booleans
        self._programs: dict[bytes, Program] = {}
        self._run: Any = None
        self._iterator: Any = None

    def __call__(self, iterator: Any) -> Any:
        """Do as the train function does that was traced; raises ``Unsupported`` if TensorFlow cannot be asked to."""
        self.prepare(iterator)
        return self._run(iterator)

    def prepare(self, iterator: Any) -> None:
        """Trace the step for data like these, if that is still to be done."""
        if self._iterator is None or self._iterator() is not iterator:
            self._run, self._iterator = self._for(iterator), weakref.ref(iterator)

    def _for(self, iterator: Any) -> Any:
        if not isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
            return self._traced
        concrete = next(private.compiled_functions(self._traced)).get_concrete_function(iterator)
        if concrete.name not in self._programs:
            self._programs[concrete.name] = Program(concrete, self._handle, self._booleans)
        return self._programs[concrete.name]


class _Values:
    """What is known of the tensors of a function when some of its inputs are."""

    def __init__(self, function: Any, known: Mapping[int, Known]) -> None:
        arguments = function.signature.input_arg
        self._known: dict[str, Known] = {arguments[at].name: value for at, value in known.items()}
        self._nodes = {node.name: node for node in function.node_def}

    def of(self, tensor: str) -> Known:
        """Return what is known of a tensor."""
        if tensor not in self._known:
            self._known[tensor] = None  # there are no circles, but for what is not followed
            self._known[tensor] = self._computed(tensor)
        return self._known[tensor]

    def _computed(self, tensor: str) -> Known:
        name, _, output = tensor.partition(":")
        node = self._nodes.get(name)
        if node is None:
            return None
        if node.op in _CALLS.values():
            called = private.function_named(node.attr["f"].func.name)
            inside = _Values(called, {at: self.of(given) for at, given in enumerate(node.input) if given[0] != "^"})
            return inside.of(called.ret[called.signature.output_arg[int(output.rpartition(":")[2])].name])
        if node.op not in ("Identity", "ReadVariableOp", "Unpack"):
            return None
        value = self.of(node.input[0])
        if node.op == "Unpack" and isinstance(value, tuple):
            return value[int(output.rpartition(":")[2])]
        return value
