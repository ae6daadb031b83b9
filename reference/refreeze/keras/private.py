"""What the engine uses of Keras and TensorFlow although they do not document it. Nothing else of the kind is used.

Everything here was seen in Keras 3.15.1 and TensorFlow 2.21. ``USED`` says what happens in a version that no longer
has it: the engine refuses to begin, in plain words, or it goes on without what the attribute is for.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from refreeze.errors import Unsupported

SEEN = "Keras 3.15.1 and TensorFlow 2.21"
_REFUSES = "the engine refuses to begin"
_TRACES_TWICE = "a train step whose metrics are not built yet is traced twice"
_NOT_MASKED = "no step is masked: each set is traced"
_NOT_SPECIALISED = "the masked step is not specialised for a set"
_MEMORY_GROWS = "the memory of dropped train steps is not given back, as in Keras itself"
USED = {
    "Layer._layers": _REFUSES,
    "Layer._trainable_variables": _REFUSES,
    "Layer._trainable": _REFUSES,
    "Optimizer._iterations": _REFUSES,
    "Optimizer._learning_rate": _REFUSES,
    "Optimizer._variables": _REFUSES,
    "Optimizer._trainable_variables": _REFUSES,
    "Optimizer._trainable_variables_indices": _REFUSES,
    "Optimizer._accumulated_gradients": "on JAX the accumulated gradients of what is frozen are not emptied",
    "BatchNormalization._moments": "a masked step on JAX normalizes twice, by the batch and by the moving statistics",
    "JAXTrainer._get_jax_state": _REFUSES,
    "Optimizer._get_variable_index": f"with 'per_variable' {_REFUSES}",
    "TorchParallelOptimizer._parallel_update_step": "on torch variables are updated one by one, as elsewhere",
    "Optimizer._apply_weight_decay": _NOT_MASKED,
    "Optimizer._backend_apply_gradients": _NOT_MASKED,
    "Optimizer._backend_increment_gradient_accumulators": _NOT_MASKED,
    "Optimizer._clip_gradients": _NOT_MASKED,
    "Optimizer._distributed_tf_update_step": _NOT_MASKED,
    "JAXTrainer._make_function": _NOT_MASKED,
    "JAXTrainer.jax_state_sync": _REFUSES,
    "Variable._value": "a masked step with batch normalizations is refused",
    "Model._compile_config": "no train step is kept: each switch traces one",
    "Model._compile_metrics": _TRACES_TWICE,
    "Model._symbolic_build": _TRACES_TWICE,
    "Context.add_function_def": _NOT_SPECIALISED,
    "Context.call_function": _NOT_SPECIALISED,
    "Context.function_call_options": _NOT_SPECIALISED,
    "Context.get_function_def": _NOT_SPECIALISED,
    "Context.remove_function": _NOT_SPECIALISED,
    "Function._list_all_concrete_functions": _MEMORY_GROWS,
    "gradient_registry._registry": _MEMORY_GROWS,
}
"""By owner and name: what happens when the attribute is gone."""


def gone(attribute: str) -> str:
    """Return the sentence that says that ``attribute`` of ``USED`` is gone, and what follows."""
    return f"Keras {keras.__version__} has no {attribute}, which {SEEN} have; without it {USED[attribute]}"


def _get(holder: Any, attribute: str) -> Any:
    try:
        return getattr(holder, attribute.partition(".")[2])
    except AttributeError:
        raise Unsupported(gone(attribute)) from None


def layers_in(layer: Any) -> list[Any]:
    """Return the layers directly inside of ``layer``."""
    return list(_get(layer, "Layer._layers"))


def made_to_train(layer: Any) -> list[Any]:
    """Return the variables of ``layer`` itself that were made to be trained, whatever the flags say now."""
    return list(_get(layer, "Layer._trainable_variables"))


@contextlib.contextmanager
def shown_as_trainable(layer: Any) -> Iterator[None]:
    """Let ``layer.trainable`` be true for a while; nothing is written through to what is inside.

    Replicas are traced in turns, inside of each other's calls: only the one that found it false puts it back.
    """
    flag = _get(layer, "Layer._trainable")
    layer._trainable = True
    try:
        yield
    finally:
        layer._trainable = layer._trainable and flag


def rate_of(optimizer: Any) -> Any:
    """Return what the optimizer has as its learning rate: a variable, or what computes one."""
    return _get(optimizer, "Optimizer._learning_rate")


def own_variables(optimizer: Any) -> list[Any]:
    """Return the variables that an optimizer has before it is built: the count of steps and the learning rate."""
    own = (_get(optimizer, "Optimizer._iterations"), rate_of(optimizer))
    return [variable for variable in optimizer.variables if any(variable is other for other in own)]


def built_over(optimizer: Any) -> list[Any]:
    """Return the variables that the optimizer has been built over."""
    return list(_get(optimizer, "Optimizer._trainable_variables"))


@contextlib.contextmanager
def shown_as_built_over(optimizer: Any, variables: list[Any]) -> Iterator[None]:
    """Let ``optimizer``, built over more, be built over ``variables`` alone for a while; each keeps its own slots."""
    with contextlib.ExitStack() as stack:
        for one in {id(one): one for one in (optimizer, getattr(optimizer, "inner_optimizer", optimizer))}.values():
            before = built_over(one), _get(one, "Optimizer._trainable_variables_indices")
            stack.callback(_show, one, *before)
            _show(one, list(variables), {key: before[1][key] for key in map(id, variables)})
        yield


def _show(optimizer: Any, variables: list[Any], indices: dict[int, int]) -> None:
    # Not by setattr: Keras takes the variables in a list that is set so for the optimizer's own.
    vars(optimizer).update(_trainable_variables=variables, _trainable_variables_indices=indices)


def accumulators(optimizer: Any) -> list[tuple[Any, Any]]:
    """Return each variable that the optimizer was built over, with what accumulates its gradients, if anything does."""
    return list(zip(built_over(optimizer), getattr(optimizer, "_accumulated_gradients", ()), strict=False))


def within(model: Any, method: str, context: Callable[[], contextlib.AbstractContextManager[None]] | None) -> None:
    """Have each call of a method of ``model`` made inside of a context of its own; None undoes it."""
    plain = _get(type(model), method).__get__(model)
    name = method.partition(".")[2]
    vars(model).pop(name, None)

    def call(*args: Any, **kwargs: Any) -> Any:
        with context() if context else contextlib.nullcontext():
            return plain(*args, **kwargs)

    if context is not None:
        vars(model)[name] = call


def place_of(variable: Any, optimizer: Any) -> int:
    """Return the place of a variable among those that the optimizer has been built over."""
    place: int = _get(optimizer, "Optimizer._get_variable_index")(variable)
    return place


@contextlib.contextmanager
def iterations_shown_as(optimizer: Any, value: Any) -> Iterator[None]:
    """Let ``optimizer._iterations`` be ``value`` for a while; nothing is assigned, and nothing tracked."""
    state, before = vars(optimizer), _get(optimizer, "Optimizer._iterations")
    state["_iterations"] = value
    try:
        yield
    finally:
        state["_iterations"] = before


def update_one_by_one(optimizer: Any) -> Callable[[], None]:
    """Have ``update_step`` called for each variable where Keras updates all at once; return what undoes it."""
    if not hasattr(optimizer, "_parallel_update_step"):
        return lambda: None

    def each(gradients: list[Any], variables: list[Any], rate: Any) -> None:
        for gradient, variable in zip(gradients, variables, strict=True):
            optimizer.update_step(gradient, variable, rate)

    optimizer._parallel_update_step = each
    return lambda: delattr(optimizer, "_parallel_update_step")


def pass_as_state(optimizer: Any, more: list[Any]) -> Callable[[], None]:
    """Let ``more`` be the last of the variables of an optimizer, but not of those it saves; return what undoes it."""
    known = optimizer.variables

    def save_own_variables(store: Any) -> None:
        for place, variable in enumerate(known):
            store[str(place)] = keras.ops.convert_to_numpy(variable)

    def undo() -> None:
        del optimizer.save_own_variables
        variables[:] = [v for v in variables if not any(v is other for other in more)]

    variables = _get(optimizer, "Optimizer._variables")
    variables.extend(more)
    optimizer.save_own_variables = save_own_variables
    return undo


def forget_slots(optimizer: Any) -> None:
    """Leave an optimizer as it was before it was built, but for the values of its own variables."""
    variables = _get(optimizer, "Optimizer._variables")
    variables[:] = own_variables(optimizer)
    optimizer.built = False


UPDATING = tuple(n.partition(".")[2] for n, gone in USED.items() if gone == _NOT_MASKED and n.startswith("Optimizer."))
"""The methods of an optimizer that a masked step has called in conditionals."""
DECAY, APPLY, ACCUMULATE, CLIP, UPDATE = UPDATING


@contextlib.contextmanager
def replaced(holder: Any, attribute: str, value: Any) -> Iterator[None]:
    """Let an attribute of an object be another one for a while."""
    before = getattr(holder, attribute)
    kept = attribute in vars(holder) or isinstance(getattr(type(holder), attribute, None), property)
    setattr(holder, attribute, value)
    try:
        yield
    finally:
        setattr(holder, attribute, before) if kept else delattr(holder, attribute)


def moments_of(layer: Any) -> Callable[[Any, Any], Any] | None:
    """Return what gives a batch normalization the mean and variance of a batch; None if it may use others, or more."""
    kind = keras.layers.BatchNormalization
    plain = getattr(type(layer), "call", None) is kind.call and not getattr(layer, "renorm", False)
    return getattr(layer, "_moments", None) if plain else None


def moments_replaced(layer: Any, moments: Callable[[Any, Any], Any]) -> contextlib.AbstractContextManager[None]:
    """Let a batch normalization use another mean and variance in place of those of a batch for a while."""
    return replaced(layer, "_moments", moments)


def repeater(model: Any) -> Callable[[Any], Any]:
    """Return what makes a train function of a compiled step on JAX."""
    found: Callable[[Any], Any] = _get(model, "JAXTrainer._make_function")
    return found


def compiled_step(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the compiled step of a new train function on JAX, and ``repeater`` of the model."""
    repeat, kept, found = repeater(model), model.train_function, list[Any]()
    with replaced(model, "_make_function", found.append):
        model.make_train_function(force=True)
    model.train_function = kept
    return found[0], repeat


def compiled_in_one_thread(lowered: Any) -> Any:
    """Return what JAX compiles of a lowered function, on a CPU without the threads that run other functions."""
    try:
        return lowered.compile(compiler_options={"xla_cpu_parallel_codegen_split_count": 1})
    except Exception:  # another XLA may not have that option
        return lowered.compile()


@contextlib.contextmanager
def holding(variables: list[Any], values: list[Any]) -> Iterator[None]:
    """Let Keras' variables hold other variables of TensorFlow, or tensors, for a while."""
    with contextlib.ExitStack() as stack:
        for variable, value in zip(variables, values, strict=True):
            _get(variable, "Variable._value")
            stack.enter_context(replaced(variable, "_value", value))
        yield


def compilation(model: Any) -> object:
    """Return an object that is another one after each ``compile``."""
    return getattr(model, "_compile_config", object())


def metrics_builder(model: Any) -> Callable[..., None] | None:
    """Return what builds the compiled metrics for batches like ``data_batch``; None if there is nothing to build."""
    metrics = getattr(model, "_compile_metrics", None)
    return None if metrics is None or metrics.built else getattr(model, "_symbolic_build", None)


def compiled_functions(train_function: Any) -> Iterator[Any]:
    """Yield the ``tf.function`` objects of a train function that Keras made; none for any other function."""
    if inspect.isfunction(train_function):
        parts = inspect.getclosurevars(train_function).nonlocals
        for part in (parts.get("multi_step_on_iterator"), getattr(parts.get("one_step_on_data"), "__wrapped__", None)):
            if hasattr(part, "experimental_get_tracing_count"):
                yield part


def graphs(function: Any) -> Iterator[Any]:
    """Yield the GraphDef of each trace of a ``tf.function``."""
    for concrete in _get(function, "Function._list_all_concrete_functions")():
        yield concrete.graph.as_graph_def()


def _context(attribute: str) -> Any:
    from tensorflow.python.eager import context

    return _get(context.context(), f"Context.{attribute}")


def function_named(name: Any) -> Any:
    """Return a copy of the ``FunctionDef`` of one of TensorFlow's functions."""
    return _context("get_function_def")(name)


def add_function(function: Any) -> None:
    """Let TensorFlow know the function of a ``FunctionDef``."""
    _context("add_function_def")(function)


def remove_functions(names: Iterable[str]) -> None:
    """Let TensorFlow forget functions."""
    remove = _context("remove_function")
    for name in names:
        remove(name)


_AS_IT_IS = {"disable_meta_optimizer": True}
_BESIDE_ARITHMETIC = {"disable_tfg_optimizer": True, "layout_optimizer": "OFF", "memory_optimization": "NO_MEM_OPT"}


def preparation(rewritten: bool) -> Any:
    """Return options for ``run_function``: how a function is prepared for its first run.

    Rewritten, its results are to the bit those of a traced function, and on a CPU TensorFlow leaves out what changes
    none: a quarter of the work. Not rewritten, it is prepared as it is, with half of the work.
    """
    import tensorflow as tf

    if rewritten and tf.config.list_logical_devices("GPU"):
        return None  # there the layout of tensors and their memory matter
    now = _context("function_call_options")
    config = tf.compat.v1.ConfigProto.FromString(now.config_proto_serialized)
    options = config.graph_options.rewrite_options
    options.MergeFrom(type(options)(**(_BESIDE_ARITHMETIC if rewritten else _AS_IT_IS)))
    return type(now)(now.executor_type, config)


def run_function(name: bytes, inputs: list[Any], outputs: int, options: Any = None) -> list[Any]:
    """Run one of TensorFlow's functions on flat inputs and return its outputs, so many."""
    from tensorflow.python.eager import context

    held = replaced(context.context(), "function_call_options", options) if options else contextlib.nullcontext()
    with held:
        found: list[Any] = _context("call_function")(name, inputs, outputs)
    return found


def gradient_registry() -> dict[str, Any]:
    """Return TensorFlow's table of gradient functions by name, which may be changed."""
    from tensorflow.python.framework import ops

    found: dict[str, Any] = _get(ops.gradient_registry, "gradient_registry._registry")
    return found
