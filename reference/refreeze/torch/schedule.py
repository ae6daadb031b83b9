"""A schedule in a training loop of one's own: ``FreezeSchedule``.

What is frozen at a tick is a function of the tick alone, and the loop says which one begins. So there is nothing to
count and nothing to lose: a loop that starts in the middle has the state that a run from the beginning has there
(RES-1). Hooks on the optimizer's step look after the rest: rates of single names are written, and what would make the
run another one than the schedule says is an error before anything moves.
"""

from __future__ import annotations

import bisect
import logging
import warnings
import weakref
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Literal

from refreeze.choices import BatchNorm, OptimizerState, check_choice, check_listener
from refreeze.errors import InvalidSpec, UnknownName, Unsupported, first_few
from refreeze.plan import Plan, Unit, asked, plan
from refreeze.policy import Policy, check_int
from refreeze.schedule import Segment, check_same_past, cut
from refreeze.segments_json import from_json, to_json
from refreeze.torch import optimizer as optimizers
from refreeze.torch.batchnorm import BatchNormModes
from refreeze.torch.modules import Named, check_module, check_wrapper, declared_names, unwrapped

UserFrozen = Literal["named", "keep"]
_log = logging.getLogger("refreeze")
_running: weakref.WeakKeyDictionary[Any, weakref.ref[FreezeSchedule]] = weakref.WeakKeyDictionary()
"""The schedule that has an optimizer."""


class FreezeSchedule:
    """Runs a freeze schedule in a training loop: ``begin(epoch, step)`` before each step, and nothing else.

    The run has the epochs [0, epochs). The tick of a schedule in epochs is the epoch; that of one in steps is ``epoch *
    steps_per_epoch + step``. A step is one ``optimizer.step()``, of however many batches. While a parameter is frozen
    its ``requires_grad`` is False and its ``grad`` None.

    Args:
        spec: the path of a configuration file, a ``Configuration``, plain data of the dialect ``dialect``, or a
            ``Policy`` with ticks of ``unit``, "epochs" (the default) or "steps". Names of layers are paths,
            ``backbone/conv1``, or containers, ``backbone``; names of parameters are PyTorch's, ``backbone.conv1.bias``.
        model: the module; or a ``DistributedDataParallel``, made with ``find_unused_parameters=True`` while all that
            the schedule names was trainable.
        optimizer: the one optimizer of the loop, which holds every parameter that the schedule ever trains.
        epochs: the epochs of the whole run, an integer >= 0.
        steps_per_epoch: an integer >= 1; needed for a schedule in steps. Where it is given, more steps than it says
            are an error, as ``begin`` was forgotten then.
        batch_norm: what frozen batch normalizations use and move (BN-1).
        optimizer_state: what a switch does to the optimizer's state (EXE-4).
        user_frozen: when a parameter that you have frozen yourself is released: "named", if the schedule names it, or
            a layer or container all of which you have frozen (EXE-2); "keep", never.
        on_segment: called with each segment that has begun.

    Nothing is changed but that a group of the optimizer is split where its parameters have learning rates of their own,
    each part with the options of the group: so make the schedule before a learning-rate scheduler, and before the
    optimizer's state is loaded.

    Raises a ``ScheduleError`` for whatever is wrong with the configuration, the names or the numbers; ``Unsupported``
    for a model or an optimizer that cannot go through the schedule exactly.

    >>> import torch
    >>> from refreeze import always, during
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> schedule = FreezeSchedule(during(always(["0"]), 0, 2), model, optimizer, epochs=3)
    >>> for epoch in range(3):
    ...     schedule.begin(epoch)
    ...     print(epoch, [name for name, parameter in model.named_parameters() if not parameter.requires_grad])
    0 ['0.weight', '0.bias']
    1 ['0.weight', '0.bias']
    2 []
    """

    plan: Plan
    """The schedule, computed for this run."""
    tick: int | None = None
    """The tick that began last, None before the first."""

    def __init__(
        self,
        spec: Any,
        model: Any,
        optimizer: Any,
        *,
        epochs: int,
        steps_per_epoch: int | None = None,
        dialect: str = "vl3d",
        unit: Unit | None = None,
        batch_norm: BatchNorm = "keras",
        optimizer_state: OptimizerState = "keep",
        user_frozen: UserFrozen = "named",
        on_segment: Callable[[Segment], None] | None = None,
    ) -> None:
        check_choice("batch_norm", batch_norm, BatchNorm)
        check_choice("optimizer_state", optimizer_state, OptimizerState)
        check_choice("user_frozen", user_frozen, UserFrozen)
        check_listener(on_segment)
        found, unit = asked(spec, dialect, unit)
        check_int("epochs", epochs)
        if steps_per_epoch is not None or unit == "steps":
            check_int("steps_per_epoch", steps_per_epoch, 1)
        module = unwrapped(model)
        check_module(module)
        names = None if isinstance(found, Policy) else declared_names(module, found.dialect.names)
        ticks = epochs * (steps_per_epoch or 1) if unit == "steps" else epochs
        self.plan = plan(found, names, total=ticks, steps_per_epoch=steps_per_epoch or 1, unit=unit)
        self._per_epoch = steps_per_epoch if unit == "steps" else None
        self._optimizer, self._optimizer_state, self._on_segment = optimizer, optimizer_state, on_segment

        named, run = Named(module), self.plan.segments
        spoken = self.plan.policy.names
        rated = frozenset() if self.plan.rates is None else self.plan.rates.names
        bn_names = frozenset[str]().union(*{segment.bn_frozen for segment in run})
        if missing := sorted((spoken | rated | bn_names) - named.all):
            raise UnknownName(f"model {type(module).__name__}", missing, named.known)
        self._batch_norms = BatchNormModes(named, batch_norm, spoken, bn_names)
        held = {name for parameter, names in named.parameters.items() if parameter.requires_grad for name in names}
        free = spoken - held if user_frozen == "named" else frozenset[str]()  # all in it was frozen by the user
        governed = {
            p: names & spoken for p, names in named.parameters.items() if names & (spoken if p.requires_grad else free)
        }
        sets = {segment.frozen for segment in run}
        trained = {p: named.shown[p] for p, names in governed.items() if any(map(names.isdisjoint, sets))}
        if governed:
            check_wrapper(model, [name for parameter, name in trained.items() if not parameter.requires_grad])
        self._sets_rate = any(segment.learning_rate is not None for segment in run)
        optimizers.check(optimizer, trained, self._sets_rate)
        if (other := _running.get(optimizer)) is not None and other() is not None:
            raise Unsupported("another schedule runs on this optimizer; call its end() or restore() first")

        self._shown = named.shown
        self._governed = list(governed.items())
        self._baseline = [parameter.requires_grad for parameter in governed]
        self._segment: Segment | None = None
        self._frozen: tuple[Any, ...] = ()
        self._thawed: tuple[Any, ...] = ()
        self._most = 1 if unit == "steps" else steps_per_epoch
        self._steps = self._until = 0
        self._next: int | None = None  # the tick that only goes on with the segment
        self._rated = optimizers.split(optimizer, _single(named, rated))
        self._own = [float(group["lr"]) for group in optimizer.param_groups]
        self._rates: Mapping[str, float] = {}
        self._hook = optimizer.register_step_pre_hook(self._before_step)
        _running[optimizer] = weakref.ref(self)

    # The loop ----------------------------------------------------------------------------------------------------
    def begin(self, epoch: int, step: int = 0) -> None:
        """Put the model into the state of a step: call it before the first forward pass of each.

        A schedule in epochs needs it once an epoch; saying the same tick again changes nothing. What a parameter that
        freezes has gathered of a gradient is dropped; one that thaws gathers from now on.

        Args:
            epoch: the epoch, from 0.
            step: the step within it, from 0.

        Raises ``InvalidSpec`` for a tick that is not in the run, and for one that is neither that of the call before
        nor the next; after ``load_state_dict``, that call is the one that was saved last.
        """
        per = self._per_epoch
        tick = epoch if per is None else epoch * per + step
        if tick == self._next and type(epoch) is type(step) is int and 0 <= step < (per or 1):  # the usual step
            self.tick, self._steps = tick, 0
            self._next = tick + 1 if tick + 1 < self._until else None
        elif tick != self.tick or self._segment is None or type(tick) is not int:  # True == 1
            self._enter(check_int("epoch", epoch), check_int("step", step), tick)

    def _enter(self, epoch: int, step: int, tick: int) -> None:
        per, total, last = self._per_epoch, self.plan.total, self.tick
        if per is not None and step >= per:
            raise InvalidSpec("step", step, f"an integer in 0..{per - 1}, as steps_per_epoch is {per}")
        if tick >= total:
            raise InvalidSpec("epoch", epoch, f"an integer < {total // (per or 1)}, the epochs of the run")
        if last is not None and tick not in (last, last + 1):
            raise InvalidSpec(
                "(epoch, step)", (epoch, step), f"that of tick {last}, which began last, or of {last + 1}, in "
                f"{self.plan.unit}{'' if per is None else f' with {per} in an epoch'}",
            )  # fmt: skip
        if self._hook is None:
            raise Unsupported("the schedule is over: end() or restore() was called")
        before, now = self._segment, self._segment_at(tick)
        if before is None:
            if self._sets_rate:
                optimizers.check_rate_is_free(self._optimizer)
            # What was trainable before is a function of the tick, too.
            began = tick - 1 if last is None else last
            before = self._segment_at(began) if began >= 0 else None
            self._switch(before, now)
        elif now is not before:
            self._switch(before, now)
        self.tick, self._steps, self._until = tick, 0, now.stop
        self._next = tick + 1 if tick + 1 < now.stop and self.plan.rates is None else None
        if self.plan.rates is not None:
            past, self._rates = self._rates, self.plan.rates.learning_rates_at(tick)
            for index, name in self._rated.items():
                if name in self._rates or name in past:
                    group = self._optimizer.param_groups[index]  # loading the optimizer's state makes new groups
                    optimizers.set_rate(group, self._rates.get(name, self._own[index]))

    def _segment_at(self, tick: int) -> Segment:
        run = self.plan.segments
        return run[bisect.bisect_right(run, tick, key=attrgetter("start")) - 1]

    def _switch(self, before: Segment | None, now: Segment) -> None:
        frozen, thawed, held = now.frozen, [], []
        for parameter, names in self._governed:
            if names.isdisjoint(frozen):
                if not parameter.requires_grad:
                    parameter.requires_grad = True
                    thawed.append(parameter)
            else:
                parameter.requires_grad = False
                parameter.grad = None  # momentum and decay would go on with an old one, of zeros too
                held.append(parameter)
        self._frozen, self._thawed, self._segment = tuple(held), tuple(thawed), now
        self._batch_norms.write(frozen, now.bn_frozen)
        if before is not None and before.frozen != frozen:
            if self._optimizer_state == "reset":
                optimizers.reset(self._optimizer, self._optimizer.state)
            elif self._optimizer_state == "reset_unfrozen":
                was = before.frozen
                new = [p for p, names in self._governed if names.isdisjoint(frozen) and not names.isdisjoint(was)]
                optimizers.reset(self._optimizer, new)
        if before is not now and now.learning_rate is not None:
            for group in self._optimizer.param_groups:
                optimizers.set_rate(group, now.learning_rate)
            self._own = [now.learning_rate] * len(self._own)
        rate = "" if now.learning_rate is None else f", learning rate set to {now.learning_rate:g}"
        _log.info("%s [%d, %d): %d names frozen%s", self.plan.unit, now.start, now.stop, len(frozen), rate)
        if self._on_segment is not None:
            self._on_segment(now)

    # The optimizer's step ----------------------------------------------------------------------------------------
    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._segment is None:
            raise Unsupported("optimizer.step() was called before begin(epoch, step) of the schedule")
        if self._steps == self._most:
            ticks = f"{self._most} in {self.plan.unit[:-1]} {self.tick}"
            raise Unsupported(f"one optimizer.step() more than {ticks}: begin(epoch, step) was not called before it")
        self._steps += 1
        for index, name in self._rated.items():
            if name in self._rates:
                optimizers.set_rate(optimizer.param_groups[index], self._rates[name])
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._watch()
            return None

        def watched() -> Any:  # gradients come to be in it
            loss = closure()
            self._watch()
            return loss

        return args[:1], {**kwargs, "closure": watched}

    def _watch(self) -> None:
        """Look at gradients rather than at flags: a compiled frame may have read the flags of another segment."""
        for parameter in self._frozen:
            if parameter.grad is not None:
                raise Unsupported(
                    f"{self._shown[parameter]!r} is frozen at tick {self.tick} and has a gradient, which something "
                    "else than loss.backward() has written; nothing was updated"
                )
        if self._thawed:
            thawed, self._thawed = self._thawed, ()
            if none := [self._shown[parameter] for parameter in thawed if parameter.grad is None]:
                shown = first_few(map(repr, none))
                warnings.warn(
                    f"{shown}: trainable from tick {self.tick} on, and without a gradient in the first step; "
                    "the loss does not use it, or a compiled function or a reentrant checkpoint missed the switch",
                    stacklevel=2,
                )

    # The end, and the state --------------------------------------------------------------------------------------
    def end(self) -> None:
        """End the run: the flags stay as they are (EXE-11), and the optimizer is watched no more."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = self._next = None
            _running.pop(self._optimizer, None)
            _log.info("%d of %d scheduled parameters remain frozen", len(self._frozen), len(self._governed))

    def restore(self) -> None:
        """End the run, and put back the flags that you gave and the modes of batch normalizations."""
        self.end()
        for (parameter, _), flag in zip(self._governed, self._baseline, strict=True):
            parameter.requires_grad = flag
        self._batch_norms.restore()

    def check_never_idle(self) -> None:
        """Raise ``Unsupported`` for a segment in which nothing of the optimizer trains.

        Such a segment means something (EXE-10), but ``loss.backward()`` raises in it: a loop must ask
        ``loss.requires_grad`` first, and many trainers do not.
        """
        scheduled = dict(self._governed)
        held = (p for group in self._optimizer.param_groups for p in group["params"])
        names = [scheduled.get(p, frozenset[str]()) for p in held if p.requires_grad or p in scheduled]
        for segment in {segment.frozen: segment for segment in reversed(self.plan.segments)}.values():
            if not any(found.isdisjoint(segment.frozen) for found in names):
                ticks = f"{self.plan.unit} [{segment.start}, {segment.stop})"
                raise Unsupported(
                    f"in {ticks} everything is frozen, and this trainer cannot do a step without gradients"
                )

    def state_dict(self) -> dict[str, Any]:
        """Return the tick that began last and the schedule up to it, as plain data for a checkpoint (RES-3)."""
        past = () if self.tick is None else cut(self.plan.segments, 0, self.tick + 1)
        return {"unit": self.plan.unit, "tick": self.tick, "segments": to_json(past)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: the next ``begin`` is of the tick that began last in it, or of the next one.

        Raises ``ScheduleMismatch``, with the first tick that differs, for the state of a schedule with another past
        (RES-3), and ``InvalidSpec`` for what is no state.
        """
        if not isinstance(state, Mapping) or set(state) != {"unit", "tick", "segments"}:
            raise InvalidSpec("state", state, "what state_dict() has returned")
        if state["unit"] != self.plan.unit:
            raise InvalidSpec("state['unit']", state["unit"], f"{self.plan.unit!r}, as in this schedule")
        tick, past = state["tick"], from_json(state["segments"])
        if tick is not None:
            check_int("state['tick']", tick)
            check_same_past(past, self.plan.segments, tick + 1)
        self.tick, self._segment, self._next = tick, None, None


def _single(named: Named, rated: frozenset[str]) -> dict[Any, str]:
    """Return the one name by which each parameter has a rate; raises ``Unsupported`` for several."""
    found = {parameter: sorted(names & rated) for parameter, names in named.parameters.items() if names & rated}
    if several := [(named.shown[parameter], names) for parameter, names in found.items() if len(names) > 1]:
        shown, names = several[0]
        raise Unsupported(f"{shown!r} has learning rates by several names: {first_few(map(repr, names))}")
    return {parameter: names[0] for parameter, names in found.items()}
