"""What users choose of a run by a word, for every engine, the audit and the command line; what is no such word."""

from __future__ import annotations

from typing import Any, Literal, get_args

from refreeze.errors import InvalidSpec

BatchNorm = Literal["keras", "batch", "batch_fixed", "inference"]
"""What frozen batch normalizations use and move (BN-1)."""
OptimizerState = Literal["keep", "per_variable", "reset", "reset_unfrozen"]
"""What a switch does to the optimizer's state (EXE-4)."""
KerasOptimizerState = Literal["keep", "reset", "reset_unfrozen", "per_variable", "per_variable_reset"]
"""The same on Keras, where it is also chosen whose updates the correction of bias counts (EXE-4, EXE-13)."""
SingleRates = Literal["refuse", "ignore"]
"""What is done with learning rates of single names, where they cannot be had."""
Switch = Literal["auto", "cached", "masked", "rebuild"]
"""How Keras gets another train step."""


def check_choice(where: str, value: object, kind: Any) -> None:
    """Raise ``InvalidSpec`` for a value that is none of those of ``kind``, a ``Literal`` or ``bool``; True is not 1."""
    allowed = (False, True) if kind is bool else get_args(kind)
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise InvalidSpec(where, value, f"one of {', '.join(map(repr, allowed))}")


def check_listener(on_segment: object) -> None:
    """Raise ``InvalidSpec`` for an ``on_segment`` that cannot be called."""
    if on_segment is not None and not callable(on_segment):
        raise InvalidSpec("on_segment", on_segment, "callable with a Segment, or None")
