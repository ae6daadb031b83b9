"""Composer: linear progressive freezing from the input on, in fractions of a run of epochs.

Source: MosaicML Composer, algorithm ``LayerFreezing`` (composer/algorithms/layer_freezing). It computes in floats, so
that a product just below an integer loses a layer for an epoch; here fractions are exact. It removes what it freezes
from the optimizer and cannot resume; here a schedule is a function of time alone (RES-1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_from, units_of
from refreeze.dialects.fields import Layers, Share, exactly_share
from refreeze.policy import Policy


class ComposerConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The arguments of ``LayerFreezing``; a share is a number, taken by its decimal digits, or a string as "1/3"."""

    freeze_start: Share = 0.5
    """The share of the run before freezing begins, in [0, 1)."""
    freeze_level: Share = 1.0
    """The share of the units, without the last one, that would be frozen at the very end of the run, in [0, 1]."""
    layers: Layers = "all"
    """The layers, input first; the last unit is never frozen."""


def policy(config: ComposerConfig, names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy of a run of ``run.total`` epochs.

    During epoch e the first ``floor(level * (e / total - start) / (1 - start) * (n - 1))`` of the n units are frozen,
    and none while ``e / total <= start``. The boundary is not strict: unit i, from 0, is frozen from the first epoch
    ``e >= total * (start + (i + 1) * (1 - start) / (level * (n - 1)))`` on, to the end.

    Raises ``InvalidSpec`` for shares out of range, and what ``layers`` can raise (NAM-1..5).

    >>> names = ["stem", "body", "head"]
    >>> third = policy(ComposerConfig(freeze_start="1/3"), names, Run(total=9))
    >>> [sorted(third.frozen_at(epoch)) for epoch in (5, 6, 8)]
    [[], ['stem'], ['stem']]
    """
    total = run.total
    start = exactly_share("freeze_start", config.freeze_start, most="1)")
    level = exactly_share("freeze_level", config.freeze_level)
    units = units_of(config.layers, names, "layers")[:-1]
    pace = (1 - start) / (level * len(units)) if level and units else math.inf
    if pace == math.inf:
        return frozen_from({}, total)
    starts = [math.ceil(total * (start + i * pace)) for i in range(1, len(units) + 1)]
    return frozen_from({name: tick for tick, unit in zip(starts, units, strict=True) for name in unit}, total)


DIALECT = Dialect(
    name="composer",
    source="MosaicML Composer, LayerFreezing",
    config=ComposerConfig,
    unit="epochs",
    names="layers",
    build=policy,
)
