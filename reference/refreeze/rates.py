"""Learning rates of single names, as pure functions of time: the twin of ``policy`` for how fast, not whether.

A policy sets one learning rate, for all that trains, at some ticks; ``Rates`` says for every tick which rate each name
has *during* it. No state here either: every tick may be asked at any time, in any order (RES-1).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction


class Rates(ABC):
    """Who learns how fast, when: a value, as a policy is."""

    @property
    @abstractmethod
    def names(self) -> frozenset[str]:
        """Every name that ever has a rate here. All others are updated with the optimizer's own rate."""

    @abstractmethod
    def learning_rates_at(self, tick: int) -> Mapping[str, float]:
        """Return the rates during ``tick >= 0``; a name that is absent has the optimizer's own, or is frozen."""

    @abstractmethod
    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        """Return, increasing, the ticks in (start, stop) where a rate can change. More ticks do no harm."""


@dataclass(frozen=True)
class Discriminative(Rates):
    """Constant rates: ``learning_rate`` for the last group, ``factor >= 1`` times less for each one before it.

    Source: ULMFiT (arXiv 1801.06146), section 3.2, with the factor 2.6.

    >>> Discriminative((("stem",), ("body",), ("head",)), 0.01, 10).learning_rates_at(7)
    {'head': 0.01, 'body': 0.001, 'stem': 0.0001}
    """

    groups: Sequence[Sequence[str]]
    learning_rate: float
    factor: float

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for group in self.groups for name in group)

    def learning_rates_at(self, tick: int) -> dict[str, float]:
        last_first = enumerate(reversed(self.groups))
        return {name: self.learning_rate * self.factor**-depth for depth, group in last_first for name in group}

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return ()


@dataclass(frozen=True)
class Cosine(Rates):
    """Rates that fall from a peak to 0 in half a cosine over the ticks [0, horizon], then end.

    ``curves`` has (name, peak, horizon) for each name. At ``tick <= horizon`` the rate is
    ``peak / 2 * (1 + cos(pi * tick / horizon))``; at ``tick > horizon`` the name has none.

    >>> falling = Cosine((("stem", 0.1, Fraction(4)),))
    >>> [round(falling.learning_rates_at(tick).get("stem", -1), 4) for tick in (0, 2, 4, 5)]
    [0.1, 0.05, 0.0, -1]
    """

    curves: tuple[tuple[str, float, Fraction], ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _, _ in self.curves)

    def learning_rates_at(self, tick: int) -> dict[str, float]:
        return {
            name: peak / 2 * (1 + math.cos(math.pi * float(tick / horizon)))
            for name, peak, horizon in self.curves
            if tick <= horizon
        }

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return range(start + 1, stop)


@dataclass(frozen=True)
class Growing(Rates):
    """One rate for several names: ``initial`` at tick ``start``, ``factor >= 1`` times more each tick, up to ``top``.

    At ``start + k`` it is ``initial`` for k = 0, and ``min(initial * factor ** k, top)`` for k >= 1; before, none.

    >>> grown = Growing(("stem",), start=1, initial=0.05, factor=2, top=0.5)
    >>> [grown.learning_rates_at(tick) for tick in (0, 1, 2, 6)]
    [{}, {'stem': 0.05}, {'stem': 0.1}, {'stem': 0.5}]
    """

    layers: tuple[str, ...]
    start: int
    initial: float
    factor: float
    top: float

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.layers)

    def learning_rates_at(self, tick: int) -> dict[str, float]:
        k = tick - self.start
        if k < 0:
            return {}
        if k == 0:
            now = self.initial
        elif k * math.log(self.factor) > math.log(self.top / self.initial) + 1:  # long since; the power could overflow
            now = self.top
        else:
            now = min(self.initial * self.factor**k, self.top)
        return dict.fromkeys(self.layers, now)

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return range(max(self.start, start + 1), stop)


@dataclass(frozen=True)
class From(Rates):
    """A constant rate for each name from a tick on: ``since`` has (name, tick, rate) for each; before it has none.

    >>> late = From((("stem", 2, 0.1),))
    >>> [late.learning_rates_at(tick) for tick in (1, 2)]
    [{}, {'stem': 0.1}]
    """

    since: tuple[tuple[str, int, float], ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for name, _, _ in self.since)

    def learning_rates_at(self, tick: int) -> dict[str, float]:
        return {name: rate for name, start, rate in self.since if tick >= start}

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return sorted({tick for _, tick, _ in self.since if start < tick < stop})
