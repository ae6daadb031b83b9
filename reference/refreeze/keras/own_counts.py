"""Own counts: the bias of each variable is corrected by the updates of that variable alone (EXE-13).

Keras' optimizers correct the bias of their moments by ``iterations``, the updates of all. A variable that trains for
the first time when that is large has empty moments and no correction: Adam then takes steps of several times the
learning rate. With counts, ``update_step``, which updates one variable, sees the count of that variable in the place of
``iterations``. The counts are not among what Keras saves of an optimizer, so that it loads as ever; checkpoints of a
run take them from ``counts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from refreeze.errors import Unsupported
from refreeze.keras import backends, private


def check(optimizer: Any, twin: Any, slots: set[int]) -> None:
    """Raise ``Unsupported`` if the optimizer has other state of all variables, which no count of one can stand for.

    ``twin`` is one of the same configuration, built; ``slots`` are the ids of those of its variables that belong to one
    variable.
    """
    if not isinstance(private.rate_of(optimizer), keras.Variable):
        raise Unsupported(
            f"optimizer {optimizer.name!r} computes its learning rate from the updates of all variables, with "
            f"{type(private.rate_of(optimizer)).__name__}, and 'per_variable' counts those of each; give it a number, "
            "which a LearningRateScheduler may change"
        )
    own = {id(variable) for variable in private.own_variables(twin)}
    of_all = {id(v) for v in twin.variables if v.shape == () and id(v) not in own | slots}
    if names := sorted(name.lstrip("_") for name, value in vars(twin).items() if id(value) in of_all):
        raise Unsupported(
            f"optimizer {optimizer.name!r}, a {type(optimizer).__name__}, keeps {', '.join(names)} over the updates of "
            "all variables, and 'per_variable' counts those of each; 'keep' and 'reset' do without"
        )


def counts(optimizer: Any) -> list[Any]:
    """Return the count of each variable that the optimizer was built over, in that order; nothing if it has none."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(vars(inner).get("update_step"), "counts", ()))


def beside(optimizer: Any) -> list[Any]:
    """Return all that a run changes in an optimizer: its variables, and those counts that are not among them."""
    variables = optimizer.variables
    known = {*map(id, variables)}
    return [*variables, *(count for count in counts(optimizer) if id(count) not in known)]


def begin(optimizer: Any, updates: Sequence[int]) -> None:
    """Count from now on; ``updates`` are those that each variable that the optimizer was built over has had."""
    kept = [keras.Variable(number, dtype="int", trainable=False, name="updates") for number in updates]
    plain, steps = optimizer.update_step, optimizer.gradient_accumulation_steps or 1

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        count = kept[private.place_of(variable, optimizer)]
        with private.iterations_shown_as(optimizer, count if steps == 1 else count * steps):
            plain(gradient, variable, learning_rate)
        optimizer.assign_add(count, 1)

    update_step.counts, update_step.undo = kept, backends.current().count(optimizer, kept)  # type: ignore[attr-defined]
    optimizer.update_step = update_step


def end(optimizer: Any) -> dict[int, int]:
    """Count no more; return the updates counted, by the id of the variable."""
    values = map(int, map(keras.ops.convert_to_numpy, counts(optimizer)))
    found = dict(zip(map(id, private.built_over(optimizer)), values, strict=False))
    if found:
        optimizer.update_step.undo()
        del optimizer.update_step
    return found
