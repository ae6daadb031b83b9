"""Traces: what a compiled train step leaves behind in TensorFlow, so that one that is dropped is really freed.

While a Keras train step is traced, its custom gradients (the optimizer's all-reduce has one, activations such as silu
have others) are put into TensorFlow's global gradient registry as ``CustomGradient-…``. Each entry keeps the traced
graph alive, for ever, and nobody needs it once the trace is done: gradients are taken inside the step.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Iterator
from typing import Any

from refreeze.keras import private

_log = logging.getLogger("refreeze")
_CONTROL_FLOW = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile"})
_traces_seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def forget_gradients(train_function: Any) -> None:
    """Remove from TensorFlow's gradient registry what the traces of ``train_function``, of Keras' making, put there.

    The function stays as usable as it was, and may be traced again. Only names that the operations of its own graphs
    bear are removed, not those of functions which it calls and which others may call too. On a TensorFlow or Keras with
    other internals nothing is removed, so memory grows as it does in plain Keras; that is logged once, at DEBUG.
    """
    try:
        steps = list(private.compiled_functions(train_function))
        traces = sum(step.experimental_get_tracing_count() for step in steps)
        if traces == 0 or traces == _traces_seen.get(train_function):
            return
        registry = private.gradient_registry()
        for step in steps:
            for graph in private.graphs(step):
                for name in _gradient_names(graph):
                    registry.pop(name, None)
        _traces_seen[train_function] = traces
    except Exception as error:
        _say_once(f"{type(error).__name__}: {error}")


@functools.cache
def _say_once(error: str) -> None:
    _log.debug("gradients of dropped train steps stay registered in TensorFlow: %s", error)


def _gradient_names(graph: Any) -> Iterator[str]:
    """Yield the registered gradients of the nodes of a GraphDef and of the branches and bodies of its control flow."""
    library = {function.signature.name: function.node_def for function in graph.library.function}
    todo = list(graph.node)
    while todo:
        node = todo.pop()
        if "_gradient_op_type" in node.attr:
            yield node.attr["_gradient_op_type"].s.decode()
        if node.op in _CONTROL_FLOW:
            for value in node.attr.values():
                for function in (value.func, *value.list.func):
                    todo += library.pop(function.name, ())
