"""The options of a run on Keras, checked when they are given rather than when training begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, get_origin, get_type_hints

from refreeze.choices import BatchNorm, KerasOptimizerState, SingleRates, Switch, check_choice
from refreeze.policy import check_int


class Keywords(TypedDict, total=False):
    """The fields of ``Options`` as keyword arguments, for functions that take them one by one."""

    switch: Switch
    cache_size: int
    optimizer_state: KerasOptimizerState
    batch_norm: BatchNorm
    restore: bool
    rates: SingleRates


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a schedule is run on a model; raises ``InvalidSpec`` for a value that is not allowed."""

    switch: Switch = "cached"
    """"cached" keeps the train functions used last and puts them back; "rebuild" makes a new one at every switch. The
    results are equal bit for bit (EXE-7). On TensorFlow and JAX "masked" has one train function for the whole schedule,
    told what is frozen, and "auto" makes others of it for sets that repay them, on JAX in the background: the same
    moves, and values agree to rounding."""
    cache_size: int = 16
    """How many train functions "cached" keeps, >= 1. There is no bound in MiB: the frameworks do not say what a train
    step holds, and by how much the memory of the process grows is known only afterwards, and not whose it is."""
    optimizer_state: KerasOptimizerState = "keep"
    """What a switch does to the optimizer's slots, and whose updates its correction of bias counts (EXE-4, EXE-13)."""
    batch_norm: BatchNorm = "keras"
    """What frozen batch normalizations use and move (BN-1)."""
    restore: bool = False
    """Whether the user's flags are put back at the end."""
    rates: SingleRates = "refuse"
    """What is done with a configuration that gives single names learning rates of their own, which no Keras optimizer
    can have: "refuse" it, or "ignore" those rates, say so in the log, and run the freezing alone."""

    def __post_init__(self) -> None:
        check_int("cache_size", self.cache_size, 1)
        for name, kind in get_type_hints(type(self)).items():
            if kind is bool or get_origin(kind) is Literal:
                check_choice(name, getattr(self, name), kind)
