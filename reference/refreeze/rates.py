"""Learning rates of single names, as pure functions of time: the twin of ``policy`` for how fast, not whether.

A policy sets one learning rate, for all that trains, at some ticks; ``Rates`` says for every tick which rate each name
has *during* it. No state here either: every tick may be asked at any time, in any order (RES-1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Rates:
    """Who learns how fast, when."""

    names: frozenset[str]
    """Every name that ever has a rate here. All others are updated with the optimizer's own rate."""
    learning_rates_at: Callable[[int], Mapping[str, float]]
    """The rate of each name during a tick >= 0; a name that is absent has the optimizer's own, or is frozen."""
    boundaries: Callable[[int], Iterable[int]]
    """From ``total``: the ticks in (0, total) where a rate can change. More ticks do no harm."""


def discriminative(groups: Sequence[Iterable[str]], learning_rate: float, factor: float) -> Rates:
    """Return constant rates: ``learning_rate`` for the last group, ``factor >= 1`` times less for each one before it.

    Source: ULMFiT (arXiv 1801.06146), section 3.2, with the factor 2.6.

    >>> discriminative([["stem"], ["body"], ["head"]], 0.01, 10).learning_rates_at(7)
    {'head': 0.01, 'body': 0.001, 'stem': 0.0001}
    """
    rates = {name: learning_rate * factor**-depth for depth, names in enumerate(reversed(groups)) for name in names}
    return Rates(frozenset(rates), lambda tick: rates, lambda total: ())


def cosine(curves: Mapping[str, tuple[float, Fraction]]) -> Rates:
    """Return rates that fall from ``peak`` to 0 in half a cosine over the ticks [0, horizon], then end.

    ``curves`` has (peak, horizon) for each name. At ``tick <= horizon`` the rate is
    ``peak / 2 * (1 + cos(pi * tick / horizon))``; at ``tick > horizon`` the name has none.

    >>> falling = cosine({"stem": (0.1, Fraction(4))})
    >>> [round(falling.learning_rates_at(tick).get("stem", -1), 4) for tick in (0, 2, 4, 5)]
    [0.1, 0.05, 0.0, -1]
    """

    def at(tick: int) -> dict[str, float]:
        return {
            name: peak / 2 * (1 + math.cos(math.pi * float(tick / horizon)))
            for name, (peak, horizon) in curves.items()
            if tick <= horizon
        }

    return Rates(frozenset(curves), at, lambda total: range(1, total))
