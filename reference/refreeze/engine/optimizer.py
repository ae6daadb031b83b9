"""The optimizer across switches: built once over all variables; what a switch does to its state has a name (EXE-4).

``keep``: nothing. Slots of frozen variables stay as they are and continue later; ``iterations`` counts on. ``reset``:
at every change of the frozen set, all but the learning rate is as in a new optimizer. ``reset_unfrozen``: the slots of
variables that become trainable are as in a new optimizer; the others, and ``iterations``, stay.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras

from refreeze.engine.tree import trainable_by_birth
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.rates import Rates

OptimizerState = Literal["keep", "reset", "reset_unfrozen"]


def check(model: Any, state: str, sets_rate: bool) -> None:
    """Raise unless the model is compiled with an optimizer that can go through a schedule exactly; change nothing.

    ``Unsupported`` for a model that is not compiled, for ``use_ema`` (EXE-12: Keras then writes the averages into the
    wrong variables), for a ``LearningRateSchedule`` if the schedule sets rates (EXE-5).
    ``InvalidSpec`` for an unknown ``state``.
    """
    if state not in get_args(OptimizerState):
        raise InvalidSpec("optimizer_state", state, f"one of {', '.join(map(repr, get_args(OptimizerState)))}")
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        raise Unsupported(f"model {model.name!r} is not compiled with an optimizer: call compile(...) before the run")
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.use_ema:
        raise Unsupported(
            f"optimizer {inner.name!r} has use_ema=True, with which Keras writes the averages into the wrong variables "
            "as soon as one is frozen; use_ema=False is needed"
        )
    if sets_rate and not isinstance(inner._learning_rate, keras.Variable):
        raise Unsupported(
            f"the schedule sets learning rates, but optimizer {inner.name!r} computes its own, with "
            f"{type(inner._learning_rate).__name__}; give it a number, or take the rates out of the schedule"
        )


def check_single_rates(rates: Rates | None) -> None:
    """Raise ``Unsupported`` if a configuration gives single names learning rates of their own.

    A Keras optimizer has one rate. Scaling gradients instead is not the same for Adam and its kin, under clipping, or
    for weight decay; training without those rates would be another schedule.
    """
    if rates is not None:
        shown = ", ".join(sorted(rates.names)[:5]) + (", …" if len(rates.names) > 5 else "")
        raise Unsupported(
            f"the schedule has learning rates of their own for {shown}, and a Keras optimizer has one for all; "
            "compute them with refreeze.rates, or leave them out of the configuration"
        )


def prebuild(model: Any) -> None:
    """Build the optimizer over every variable that can be trained, so that no switch makes or loses a slot (EXE-4).

    One that Keras has built already, over what was trainable then, is built again; the slots that it has keep their
    values, and so do ``iterations`` and the learning rate. Train functions traced before are no longer valid then.
    """
    optimizer, variables = model.optimizer, trainable_by_birth(model)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer.built and {id(variable) for variable in variables} <= set(map(id, inner._trainable_variables)):
        return
    with model.distribute_strategy.scope():
        if optimizer.built:
            old = {variable.path: variable for variable in inner.variables}
            if len(old) != len(inner.variables):
                raise Unsupported(
                    f"optimizer {inner.name!r} has several slots of one name; compile with a new optimizer"
                )
            inner._variables[:] = [v for v in inner.variables if v is inner._iterations or v is inner._learning_rate]
            inner.built = False
            inner.build(variables)
            for variable in inner.variables:
                if variable.path in old and old[variable.path] is not variable:
                    variable.assign(old[variable.path])
            model.make_train_function(force=True)
        else:
            optimizer.build(variables)


def reset(optimizer: Any, only: set[int] | None = None) -> None:
    """Set the optimizer's state, but for the learning rate, to that of a new one of the same configuration.

    ``only``: ids of model variables, to whose slots this is limited.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    twin = type(inner).from_config(inner.get_config())
    slot_of: dict[int, int] = {}
    add = twin.add_variable_from_reference

    def remember(reference_variable: Any, *args: Any, **kwargs: Any) -> Any:
        slot = add(reference_variable, *args, **kwargs)
        slot_of[id(slot)] = id(reference_variable)
        return slot

    twin.add_variable_from_reference = remember
    twin.build(inner._trainable_variables)
    # Both were built over the same variables in the same order, so their own variables pair up.
    for fresh, used in zip(twin.variables, inner.variables, strict=True):
        if used is inner._learning_rate:
            continue
        if only is None or slot_of.get(id(fresh)) in only:
            used.assign(fresh)
