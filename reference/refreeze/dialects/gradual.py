"""Gradual unfreezing, and discriminative learning rates: from the last group of layers down to the first.

Source: Howard, Ruder: ULMFiT (arXiv 1801.06146), sections 3.2 and 3.3: the last layer first, one more each epoch, until
all train; each lower layer learns 2.6 times slower. Its slanted triangular rates are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_until, groups_of, units_of
from refreeze.dialects.fields import Count, Factor, Groups, Rate
from refreeze.dialects.spans import first_stops, grouped
from refreeze.policy import Policy
from refreeze.rates import Discriminative, Rates
from refreeze.schedule import Segment
from refreeze.selectors import Unit


class GradualConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which groups, how fast they thaw, and how fast they learn."""

    groups: Groups | None = None
    """The groups of layers, input first; of one ``each`` alone, each match. If it is None, each layer is a group."""
    every: Count = 1
    """The epochs between two groups."""
    learning_rate: Rate | None = None
    """The learning rate of the last group. If it is None, no rates are set."""
    factor: Factor = 2.6
    """By what the rate of each group is divided for the one before it, >= 1."""


def _groups(config: GradualConfig, names: Sequence[str] | None) -> list[Unit]:
    return [*units_of("all", names, "groups")] if config.groups is None else groups_of(config.groups, names)


def policy(config: GradualConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs: during epoch e the last ``e // every + 1`` groups train, the others are frozen.

    So the group with d groups after it is frozen in [0, d * every). Raises ``InvalidSpec`` for a layer in two groups,
    ``NeedsModel`` if neither groups nor ``names`` are given, and ``UnknownName`` (NAM-2).

    >>> thaw = policy(GradualConfig(every=2), ["stem", "body", "head"])
    >>> [sorted(thaw.frozen_at(epoch)) for epoch in (1, 2, 3, 4)]
    [['body', 'stem'], ['stem'], ['stem'], []]
    """
    groups = reversed(_groups(config, names))
    return frozen_until({name: d * config.every for d, group in enumerate(groups) for name in group})


def rates(config: GradualConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Rates | None:
    """Return ``learning_rate / factor ** d`` for the group with d groups after it, always; None without a rate."""
    if config.learning_rate is None:
        return None
    return Discriminative(tuple(_groups(config, names)), config.learning_rate, config.factor)


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return a group for each epoch at which layers thaw that are frozen at first; the first such is ``every``."""
    stops = first_stops(run, names)
    every = min(filter(None, stops.values()), default=1)
    groups = grouped({name: -(-stop // every) for name, stop in stops.items()})
    return {"groups": [groups[depth] for depth in sorted(groups, reverse=True)], "every": every}


DIALECT = Dialect(
    name="gradual",
    source="ULMFiT, arXiv 1801.06146",
    config=GradualConfig,
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
    rates=rates,
)
