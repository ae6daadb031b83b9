"""The optimizer across switches: built once over all variables; what a switch does to its state has a name (EXE-4).

``keep``: nothing. Slots of frozen variables stay as they are and continue later; ``iterations`` counts on. ``reset``:
at every change of the frozen set, all but the learning rate is as in a new optimizer, and the loss scale too.
``reset_unfrozen``: the slots of variables that become trainable are as in a new optimizer; the others, and
``iterations``, stay. ``per_variable`` and ``per_variable_reset``: as ``keep`` and ``reset_unfrozen``, and the bias of
each variable is corrected by the updates of that variable alone (EXE-13), which ``per_variable_reset`` counts anew.

Gradient accumulation: Keras empties all accumulators at the end of a window, those of frozen variables too. So a
variable that is frozen in the middle of a window is not updated by what it had gathered in it, and one that is unfrozen
there is updated by what it gathers from then on, over the whole window's length. Windows are of ``iterations``; steps
with everything frozen do not count.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import keras

from refreeze.choices import KerasOptimizerState, SingleRates
from refreeze.errors import Unsupported, first_few
from refreeze.keras import backends, own_counts, private
from refreeze.keras.model import ModelTree
from refreeze.rates import Rates

_log = logging.getLogger("refreeze")
_COUNTING = ("per_variable", "per_variable_reset")
_RESETTING = ("reset_unfrozen", "per_variable_reset")


def check(model: Any, state: KerasOptimizerState, sets_rate: bool) -> None:
    """Raise unless the model is compiled with an optimizer that can go through a schedule exactly; change nothing.

    ``Unsupported`` for a model that is not compiled, for ``use_ema`` (EXE-12: Keras then writes the averages into the
    wrong variables), for a ``LearningRateSchedule`` if the schedule sets rates (EXE-5), for a ``MultiOptimizer``, for
    a reset of what thaws with slots that cannot be told apart, and for own counts with what ``own_counts.check`` says.
    """
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        raise Unsupported(f"model {model.name!r} is not compiled with an optimizer: call compile(...) before the run")
    inner = _inner(optimizer)
    if hasattr(inner, "optimizers"):
        raise Unsupported(f"optimizer {inner.name!r} holds several optimizers; a schedule needs a single one")
    if inner.use_ema:
        raise Unsupported(
            f"optimizer {inner.name!r} has use_ema=True, with which Keras writes the averages into the wrong variables "
            "as soon as one is frozen; use_ema=False is needed"
        )
    others = [
        name
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer) and value is not optimizer and value is not inner
    ]
    if others:
        raise Unsupported(
            f"model {model.name!r} has optimizers of its own besides the one that it is compiled with: "
            f"{', '.join(sorted(others))}; a schedule needs a single one"
        )
    if sets_rate and not isinstance(private.rate_of(inner), keras.Variable):
        raise Unsupported(
            f"the schedule sets learning rates, but optimizer {inner.name!r} computes its own, with "
            f"{type(private.rate_of(inner)).__name__}; give it a number, or take the rates out of the schedule"
        )
    if state != "keep":
        twin = new_like(inner)
        slot_of = _build(twin, [keras.Variable(keras.ops.zeros((2, 3)))])
        unknown = [variable for variable in twin.variables if variable.shape != () and id(variable) not in slot_of]
        if state in _RESETTING and unknown:
            raise Unsupported(
                f"optimizer {inner.name!r} does not say which slots belong to which variable, as {state!r} "
                "needs; 'keep' and 'reset' do without"
            )
        if state in _COUNTING:
            own_counts.check(inner, twin, {*slot_of})


def check_single_rates(rates: Rates | None, how: SingleRates) -> None:
    """Raise ``Unsupported`` if single names have learning rates of their own, or log that they are ignored.

    A Keras optimizer has one rate. Scaling gradients instead is not the same for Adam and its kin, under clipping, or
    for weight decay.
    """
    if rates is None:
        return
    shown = first_few(sorted(rates.names))
    if how == "refuse":
        raise Unsupported(
            f"the schedule has learning rates of their own for {shown}, and a Keras optimizer has one for all that it "
            "trains; rates='ignore' (refreeze run --rates ignore) runs the freezing alone, and refreeze plan draws both"
        )
    _log.warning("the learning rates of %s are ignored: the optimizer's own is that of all that trains", shown)


def _inner(optimizer: Any) -> Any:
    """Return the optimizer inside a ``LossScaleOptimizer``, else ``optimizer``."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def new_like(optimizer: Any, **other: Any) -> Any:
    """Return a new optimizer of the same configuration, but for what is ``other``.

    Raises ``Unsupported`` if its class cannot make one.
    """
    try:
        return type(optimizer).from_config({**optimizer.get_config(), **other})
    except Exception as error:
        raise Unsupported(
            f"optimizer {optimizer.name!r} cannot be made anew from its configuration ({error}), as all but 'keep' need"
        ) from error


def _build(optimizer: Any, variables: list[Any]) -> dict[int, int]:
    """Build an optimizer; return the id of the model variable by the id of each slot that belongs to one."""
    slot_of: dict[int, int] = {}
    add = optimizer.add_variable_from_reference

    def remember(reference_variable: Any, *args: Any, **kwargs: Any) -> Any:
        slot = add(reference_variable, *args, **kwargs)
        slot_of[id(slot)] = id(reference_variable)
        return slot

    optimizer.add_variable_from_reference = remember
    try:
        optimizer.build(variables)
    finally:
        del optimizer.add_variable_from_reference
    return slot_of


@contextlib.contextmanager
def put_back_on_error(model: Any) -> Iterator[None]:
    """Make the model's optimizer and train function what they were before, if what is done meanwhile raises.

    The slots that the optimizer had are the same objects again; values that were assigned to them are not put back.
    """
    states = [vars(optimizer) for optimizer in (model.optimizer, _inner(model.optimizer))]
    before = [(dict(state), *_contents(state)) for state in states]
    train_function = model.train_function
    try:
        yield
    except BaseException:
        for state, (objects, lists, dicts) in zip(states, before, strict=True):
            state.clear()
            state.update(objects)
            # Only differences are written: Keras tracks what its lists and dictionaries are told.
            lists_now, dicts_now = _contents(state)
            for key, items in lists.items():
                if [*map(id, items)] != [*map(id, lists_now[key])]:
                    state[key].clear()
                    state[key].extend(items)
            for key, content in dicts.items():
                if [*map(id, content.values())] != [*map(id, dicts_now[key].values())]:
                    state[key].clear()
                    state[key].update(content)
        model.train_function = train_function
        raise


def _contents(state: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, dict[Any, Any]]]:
    """Return copies of the lists and of the dictionaries among the attributes ``state``."""
    lists = {key: list(value) for key, value in state.items() if isinstance(value, list)}
    return lists, {key: dict(value) for key, value in state.items() if isinstance(value, dict)}


def prepare(tree: ModelTree, state: KerasOptimizerState) -> None:
    """Build the optimizer as ``prebuild`` does, and have it count as ``state`` says (EXE-13).

    Updates that were counted in an earlier run count on. Of an optimizer that has been used without counts, each
    variable has had ``iterations`` updates, or none if its slots are as new.
    """
    inner = _inner(tree.model.optimizer)
    with put_back_on_error(tree.model), backends.current().scope(tree.model):
        counted = own_counts.end(inner)
        prebuild(tree)
        if state in _COUNTING:
            done = int(keras.ops.convert_to_numpy(inner.iterations))
            moved = _moved(inner) if done and not counted else set()
            over = private.built_over(inner)
            own_counts.begin(inner, [counted.get(id(v), done if id(v) in moved else 0) for v in over])


def _moved(optimizer: Any) -> set[int]:
    """Return the ids of the variables whose slots are not those of a new optimizer; all, if that cannot be known."""
    twin, over = new_like(optimizer), private.built_over(optimizer)
    slot_of = _build(twin, over)
    pairs = [(slot_of.get(id(new)), new, used) for new, used in zip(twin.variables, optimizer.variables, strict=True)]
    known = {owner for owner, _, _ in pairs}
    same = {id(new): bool(keras.ops.all(keras.ops.equal(new, used))) for owner, new, used in pairs if owner}
    return {id(v) for v in over if id(v) not in known} | {
        owner for owner, new, _ in pairs if owner and not same[id(new)]
    }


def prebuild(tree: ModelTree) -> None:
    """Build the optimizer over every variable that can be trained, so that no switch makes or loses a slot (EXE-4).

    One that Keras has built already, over what was trainable then, is built again; the slots that it has keep their
    values, and so do ``iterations`` and the learning rate. Train functions traced before are no longer valid then.
    Raises ``Unsupported`` if it cannot be known which slot is which; then nothing has changed.
    """
    model, variables = tree.model, list(tree.trainable)
    optimizer, inner = model.optimizer, _inner(model.optimizer)
    if optimizer.built and {*map(id, variables)}.issubset(map(id, private.built_over(inner))):
        return
    with put_back_on_error(model), backends.current().scope(model):
        if not optimizer.built:
            optimizer.build(variables)
            return
        own = private.own_variables(inner)
        old = [v for v in inner.variables if not any(v is other for other in own)]
        private.forget_slots(inner)
        slot_of = _build(inner, variables)
        slots = {v.path: v for v in inner.variables if id(v) in slot_of}
        # What is no slot has no telling path, but there is as much of it as before, in the same order.
        rest = [v for v in inner.variables[len(own) :] if id(v) not in slot_of]
        old_rest = [v for v in old if v.path not in slots]
        if len({v.path for v in old}) < len(old) or [v.shape for v in rest] != [v.shape for v in old_rest]:
            raise Unsupported(
                f"optimizer {inner.name!r} was built while some variables could not be trained, and it cannot be known "
                "which of its slots are whose; compile the model with a new optimizer"
            )
        for was in old:
            (slots[was.path] if was.path in slots else rest.pop(0)).assign(was)
        model.make_train_function(force=True)


def owners(optimizer: Any) -> dict[int, int]:
    """Return the id of the model variable by the id of each slot and count that belongs to one.

    Raises ``Unsupported`` as ``new_like`` does.
    """
    inner = _inner(optimizer)
    twin, over = new_like(inner), private.built_over(inner)
    slot_of = _build(twin, over)
    # Both were built over the same variables in the same order, so their own variables pair up.
    both = zip(twin.variables, inner.variables, strict=False)  # behind them counts may come
    found = {id(used): slot_of[id(fresh)] for fresh, used in both if id(fresh) in slot_of}
    return found | dict(zip(map(id, own_counts.counts(inner)), map(id, over), strict=False))


def reset(optimizer: Any, only: set[int] | None = None) -> None:
    """Set the optimizer's state, but for the learning rate, to that of a new one of the same configuration.

    ``only``: ids of model variables, to whose slots this is limited.
    """
    inner = _inner(optimizer)
    twin = new_like(inner)
    slot_of = _build(twin, private.built_over(inner))
    # Both were built over the same variables in the same order, so their own variables pair up.
    for fresh, used in zip(twin.variables, inner.variables, strict=False):  # behind them counts may come
        if used is not private.rate_of(inner) and (only is None or slot_of.get(id(fresh)) in only):
            used.assign(fresh)
    for variable, count in zip(private.built_over(inner), own_counts.counts(inner), strict=False):
        if only is None or id(variable) in only:
            count.assign(0)
    if inner is not optimizer and only is None:
        optimizer.step_counter.assign(0)
        optimizer.dynamic_scale.assign(optimizer.initial_scale)
