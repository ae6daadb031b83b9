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

OptimizerState = Literal["keep", "reset", "reset_unfrozen"]


def check(model: Any, state: str, sets_rate: bool) -> None:
    """Raise unless the model is compiled with an optimizer that can go through a schedule exactly; change nothing.

    ``Unsupported`` for a model that is not compiled, for ``use_ema`` (EXE-12: Keras then writes the averages into the
    wrong variables), for a ``LearningRateSchedule`` if the schedule sets rates (EXE-5), and for an optimizer that was
    built without some of the variables. ``InvalidSpec`` for an unknown ``state``.
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
    if optimizer.built:
        known = {id(variable) for variable in inner._trainable_variables}
        if unknown := [v.path for v in trainable_by_birth(model) if id(v) not in known]:
            raise Unsupported(
                f"optimizer {inner.name!r} was built while {', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''} "
                "could not be trained, so it has no state for them; compile the model with a new optimizer"
            )


def prebuild(model: Any) -> None:
    """Build the optimizer over every variable that can be trained, so that no switch makes or loses a slot (EXE-4)."""
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(trainable_by_birth(model))


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
