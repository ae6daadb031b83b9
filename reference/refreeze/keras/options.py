"""The options of a run on Keras, checked when they are given rather than when training begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args, get_origin, get_type_hints

from refreeze.errors import InvalidSpec
from refreeze.plan import BatchNorm
from refreeze.policy import check_int

Switch = Literal["auto", "cached", "masked", "rebuild"]
OptimizerState = Literal["keep", "reset", "reset_unfrozen", "per_variable", "per_variable_reset"]
SingleRates = Literal["refuse", "ignore"]


class Keywords(TypedDict, total=False):
    """The fields of ``Options`` as keyword arguments, for functions that take them one by one."""

    switch: Switch
    cache_size: int
    optimizer_state: OptimizerState
    batch_norm: BatchNorm
    restore: bool


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a schedule is run on a model; raises ``InvalidSpec`` for a value that is not allowed."""

    switch: Switch = "cached"
    """"cached" keeps the train functions used last and puts them back; "rebuild" makes a new one at every switch. The
    results are equal bit for bit (EXE-7). On TensorFlow "masked" has one train function for the whole schedule, told
    what is frozen, and "auto" makes others of it for sets that repay them: the same moves, and values agree to
    rounding."""
    cache_size: int = 16
    """How many train functions "cached" keeps, >= 1. There is no bound in MiB: the frameworks do not say what a train
    step holds, and by how much the memory of the process grows is known only afterwards, and not whose it is."""
    optimizer_state: OptimizerState = "keep"
    """What a switch does to the optimizer's slots, and whose updates its correction of bias counts (EXE-4, EXE-13)."""
    batch_norm: BatchNorm = "keras"
    """What frozen batch normalizations use and move (BN-1)."""
    restore: bool = False
    """Whether the user's flags are put back at the end."""

    def __post_init__(self) -> None:
        check_int("cache_size", self.cache_size, 1)
        for name, kind in get_type_hints(type(self)).items():
            allowed = (False, True) if kind is bool else get_args(kind) if get_origin(kind) is Literal else None
            value = getattr(self, name)
            if allowed is not None and not any(type(value) is type(one) and value == one for one in allowed):
                raise InvalidSpec(name, value, f"one of {', '.join(map(repr, allowed))}")


class ScheduleKeywords(Keywords, total=False):
    """The fields of ``ScheduleOptions`` as keyword arguments."""

    rates: SingleRates


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(Options):
    """``Options``, and those of a run that reads a configuration; raises ``InvalidSpec`` as they do."""

    rates: SingleRates = "refuse"
    """What is done with a configuration that gives single names learning rates of their own, which no Keras optimizer
    can have: "refuse" it, or "ignore" those rates, say so in the log, and run the freezing alone."""


def check_listener(on_segment: object) -> None:
    """Raise ``InvalidSpec`` for an ``on_segment`` that cannot be called."""
    if on_segment is not None and not callable(on_segment):
        raise InvalidSpec("on_segment", on_segment, "callable with a Segment, or None")
