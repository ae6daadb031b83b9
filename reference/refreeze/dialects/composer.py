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
from refreeze.dialects.common import chosen, frozen_from
from refreeze.dialects.fields import Layers, Share, exactly_share
from refreeze.policy import Policy


class ComposerConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The arguments of ``LayerFreezing``; a share is a number, taken by its decimal digits, or a string as "1/3"."""

    freeze_start: Share = 0.5
    """The share of the run before freezing begins, in [0, 1)."""
    freeze_level: Share = 1.0
    """The share of the layers, without the last one, that would be frozen at the very end of the run, in [0, 1]."""
    layers: Layers = "all"
    """The layers, input first; the last one is never frozen."""


def policy(config: ComposerConfig, names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy of a run of ``run.total`` epochs.

    During epoch e the first ``floor(level * (e / total - start) / (1 - start) * (n - 1))`` of the n layers are frozen,
    and none while ``e / total <= start``. The boundary is not strict: layer i, from 0, is frozen from the first epoch
    ``e >= total * (start + (i + 1) * (1 - start) / (level * (n - 1)))`` on, to the end.

    Raises ``InvalidSpec`` for shares out of range, and what ``layers`` can raise (NAM-1..3).

    >>> names = ["stem", "body", "head"]
    >>> third = policy(ComposerConfig(freeze_start="1/3"), names, Run(total=9))
    >>> [sorted(third.frozen_at(epoch)) for epoch in (5, 6, 8)]
    [[], ['stem'], ['stem']]
    """
    total = run.total
    start = exactly_share("freeze_start", config.freeze_start, most="1)")
    level = exactly_share("freeze_level", config.freeze_level)
    layers = chosen(config.layers, names, "layers")[:-1]
    pace = (1 - start) / (level * len(layers)) if level and layers else math.inf
    if pace == math.inf:
        return frozen_from({}, total)
    return frozen_from({name: math.ceil(total * (start + i * pace)) for i, name in enumerate(layers, start=1)}, total)


DIALECT = Dialect(
    name="composer",
    source="MosaicML Composer, LayerFreezing",
    config=ComposerConfig,
    unit="epochs",
    names="layers",
    build=policy,
)
