"""Conditions: what in one train step, made for a whole schedule, depends on the state that the schedule is in.

A state says which variables train and in which mode each batch normalization is. A quantity that is the same in every
state of the schedule is a constant of the step; each other one has a boolean, and quantities that agree in every state
share theirs. A step that is told the booleans of a state then does what that state wants. Conditional are, on whether a
variable trains: its update with weight decay, slots and counters, its constraint, what it adds to an accumulator, its
part of a global norm and of the test for finite gradients, and its regularizer; on whether anything trains: all that
the optimizer does; on the mode of a batch normalization: what it normalizes by, and whether its statistics move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Boolean(NamedTuple):
    """One of the booleans that a step is told; no number, for 0 would equal False."""

    number: int


Condition = bool | Boolean
"""True or False in every state, or one of the booleans."""


class Conditions:
    """The conditions of a step for these states, each in the form that is handed to the tests.

    >>> conditions = Conditions([b"aa", b"ab", b"bb"])
    >>> [conditions.when(lambda state, i=i: state[i] == ord("b")) for i in (0, 1, 0)], conditions.when(len)
    ([Boolean(number=0), Boolean(number=1), Boolean(number=0)], True)
    >>> conditions.values(b"ab")
    (False, True)
    """

    def __init__(self, states: Iterable[bytes]) -> None:
        self._states = {state: number for number, state in enumerate(dict.fromkeys(states))}
        self._columns: dict[tuple[bool, ...], Boolean] = {}

    def __contains__(self, state: bytes) -> bool:
        return state in self._states

    def __len__(self) -> int:
        """Return how many booleans there are."""
        return len(self._columns)

    def when(self, test: Callable[[bytes], object]) -> Condition:
        """Return the condition that holds in the states for which ``test`` does."""
        column = tuple(bool(test(state)) for state in self._states)
        if len(set(column)) <= 1:
            return column[:1] == (True,)
        return self._columns.setdefault(column, Boolean(len(self._columns)))

    def values(self, state: bytes) -> tuple[bool, ...]:
        """Return the booleans of one of the states; raises ``KeyError`` for any other."""
        number = self._states[state]
        return tuple(column[number] for column in self._columns)
