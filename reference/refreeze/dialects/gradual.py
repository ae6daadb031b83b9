"""Gradual unfreezing, and discriminative learning rates: from the last group of layers down to the first.

Source: Howard, Ruder: ULMFiT (arXiv 1801.06146), sections 3.2 and 3.3: the last layer first, one more each epoch, until
all train; each lower layer learns 2.6 times slower. Its slanted triangular rates are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import check_apart, chosen, frozen_until
from refreeze.dialects.fields import Count, Factor, Names, Rate
from refreeze.policy import Policy
from refreeze.rates import Discriminative, Rates
from refreeze.selectors import distinct


class GradualConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which groups, how fast they thaw, and how fast they learn."""

    groups: Annotated[tuple[Names, ...], Meta(min_length=1)] | None = None
    """The groups of layers, input first. If it is None, each layer is a group."""
    every: Count = 1
    """The epochs between two groups."""
    learning_rate: Rate | None = None
    """The learning rate of the last group. If it is None, no rates are set."""
    factor: Factor = 2.6
    """By what the rate of each group is divided for the one before it, >= 1."""


def _groups(config: GradualConfig, names: Sequence[str] | None) -> list[tuple[str, ...]]:
    if config.groups is None:
        return [(name,) for name in chosen("all", names, "groups")]
    check_apart(names, "groups", *config.groups)
    groups = [chosen(group, names, f"groups[{number}]") for number, group in enumerate(config.groups)]
    distinct((name for group in groups for name in group), "groups")
    return groups


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


DIALECT = Dialect(
    name="gradual",
    source="ULMFiT, arXiv 1801.06146",
    config=GradualConfig,
    unit="epochs",
    names="layers",
    build=policy,
    rates=rates,
)
