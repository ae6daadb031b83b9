"""What no documentation promises: that this version of the frameworks has it, and that it is used in one file only."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import refreeze
import tensorflow as tf
from refreeze import Unsupported
from refreeze.keras import private
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

pytestmark = pytest.mark.engine
TORCH = "keras.src.backend.torch.optimizers"
SOURCE = Path(refreeze.__file__).parent
OWNERS: dict[str, Callable[[], Any]] = {
    "Layer": keras.layers.Layer,
    "Optimizer": lambda: built(),
    "Model": lambda: compiled(),
    "TorchParallelOptimizer": lambda: pytest.importorskip(f"{TORCH}.torch_adam").Adam,
    "BatchNormalization": keras.layers.BatchNormalization,
    "JAXTrainer": lambda: pytest.importorskip("keras.src.backend.jax.trainer").JAXTrainer,
    "Variable": lambda: keras.Variable(0.0),
    "Function": lambda: tf.function(lambda: None),
    "Context": lambda: context.context(),
    "gradient_registry": lambda: ops.gradient_registry,
}
NEEDING: dict[str, Callable[[Any], Any]] = {
    "Layer._layers": private.layers_in,
    "Layer._trainable_variables": private.made_to_train,
    "Layer._trainable": lambda layer: private.shown_as_trainable(layer).__enter__(),
    "Optimizer._iterations": private.own_variables,
    "Optimizer._learning_rate": private.rate_of,
    "Optimizer._variables": private.forget_slots,
    "Optimizer._trainable_variables": private.built_over,
    "Optimizer._trainable_variables_indices": lambda nothing: private.shown_as_built_over(
        SimpleNamespace(_trainable_variables=[]), []
    ).__enter__(),
    "Optimizer._get_variable_index": lambda optimizer: private.place_of(None, optimizer),
    "Variable._value": lambda variable: private.holding([variable], [None]).__enter__(),
    "JAXTrainer._get_jax_state": lambda model: private.within(model, "JAXTrainer._get_jax_state", None),
    "JAXTrainer.jax_state_sync": lambda model: private.within(model, "JAXTrainer.jax_state_sync", None),
    "JAXTrainer._make_function": private.repeater,
    "Function._list_all_concrete_functions": lambda function: next(private.graphs(function)),
}


def compiled() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def built() -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    optimizer.build([])
    return optimizer


@pytest.mark.parametrize("attribute", private.USED)
def test_the_frameworks_still_have(attribute: str) -> None:
    owner, _, name = attribute.partition(".")
    if "_tf_" in name and keras.backend.backend() != "tensorflow":
        pytest.skip("of TensorFlow's optimizers alone")
    assert hasattr(OWNERS[owner](), name), private.gone(attribute)


@pytest.mark.parametrize("attribute", NEEDING)
def test_without_it_the_message_says_so(attribute: str) -> None:
    with pytest.raises(Unsupported, match=rf"^Keras \S+ has no {attribute}, which {private.SEEN} have; without it \w+"):
        NEEDING[attribute](SimpleNamespace())


def test_without_them_it_goes_on() -> None:
    """No step is kept as if nothing had been compiled in between; metrics are not built ahead; see test_masked."""
    model = SimpleNamespace()
    assert private.compilation(model) is not private.compilation(model)
    assert private.metrics_builder(model) is None
    assert private.metrics_builder(compiled()) is not None
    assert private.accumulators(SimpleNamespace(_trainable_variables=[])) == []
    assert private.moments_of(SimpleNamespace()) is None
    masked = {f"Optimizer.{name}" for name in private.UPDATING} | {name for name in private.USED if "Context." in name}
    assert {*private.USED} - {*NEEDING} - masked == {
        "Optimizer._accumulated_gradients", "TorchParallelOptimizer._parallel_update_step",
        "Model._compile_config", "Model._compile_metrics", "Model._symbolic_build", "gradient_registry._registry",
        "BatchNormalization._moments",
    }  # fmt: skip


def private_uses(source: str) -> Iterator[str]:
    """Yield what a module takes from others by a name with an underscore in front."""
    tree = ast.parse(source)
    own = {"self", "cls", *(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in own):
            names = [node.attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            names = [str(getattr(node.args[1], "value", ""))]
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "").replace("tensorflow.python", "_python").replace("keras.src", "_src").split(".")
        else:
            continue
        yield from (name for name in names if name.startswith("_") and not name.endswith("__"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A:\n    def f(self): return self._a + A._b", []),
        ("layer._trainable = True", ["_trainable"]),
        ("self.model._layers", ["_layers"]),
        ("getattr(model, '_layers', ())", ["_layers"]),
        ("from tensorflow.python.framework import ops", ["_python"]),
        ("from __future__ import annotations\nlayer.__class__", []),
    ],
)
def test_what_counts_as_private(source: str, found: list[str]) -> None:
    assert list(private_uses(source)) == found


def test_only_one_file_uses_what_is_private_to_others() -> None:
    guarded = Path(private.__file__).relative_to(SOURCE)
    found = {path.relative_to(SOURCE): {*private_uses(path.read_text())} for path in SOURCE.rglob("*.py")}
    assert {path: names for path, names in found.items() if names}.keys() == {guarded}
    assert {attribute.partition(".")[2] for attribute in private.USED} | {"_python"} >= found[guarded]
