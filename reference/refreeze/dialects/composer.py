"""Composer: linear progressive freezing from the input on, in fractions of a run of epochs.

Source: MosaicML Composer, algorithm ``LayerFreezing`` (composer/algorithms/layer_freezing). It computes in floats, so
that a product just below an integer loses a layer for an epoch; here fractions are exact. It removes what it freezes
from the optimizer and cannot resume; here a schedule is a function of time alone (RES-1).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_from, units_of
from refreeze.dialects.fields import Layers, Share, exactly_share
from refreeze.dialects.spans import spans
from refreeze.policy import Policy
from refreeze.schedule import Segment


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


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return the layers in the order in which they freeze, and the shares of the line that their epochs lie on."""
    total = run[-1].stop
    starts = {name: ranges[0][0] if ranges else total for name, ranges in spans(run, names).items()}
    layers = sorted(names, key=starts.__getitem__)
    ticks = [starts[name] for name in layers]
    agreed, beyond, line = 0, total + 1, (Fraction(0), Fraction(0))
    while beyond - agreed > 1:  # as long a part of the run as there is a line for
        middle = (agreed + beyond) // 2
        if (found := _line(ticks, middle, total)) is None:
            beyond = middle
        else:
            agreed, line = middle, found
    start, pace = line
    if not pace:
        return {"freeze_level": 0.0, "layers": layers}
    shares = {"freeze_start": start / total, "freeze_level": (total - start) / (pace * (len(layers) - 1))}
    return {key: f"{share.numerator}/{share.denominator}" for key, share in shares.items()} | {"layers": layers}


def _line(ticks: Sequence[int], horizon: int, total: int) -> tuple[Fraction, Fraction] | None:
    """Return a start and a pace of which ``ceil(start + i * pace) == ticks[i - 1]`` in [0, horizon), None if none does.

    The last layer never freezes; a pace of 0 freezes none. For one pace, each tick bounds the start. If a lower bound
    lies above an upper one, the two say on which side of this pace every pace lies that will do.
    """
    count, last = bisect.bisect_left(ticks, horizon), len(ticks) - 1
    if count == 0:
        return Fraction(0), Fraction(0)
    if count >= last:
        return None
    upper = list(enumerate(ticks[:count], start=1))
    lower = [(0, 0, False), (last, total, False), (count + 1, horizon - 1, True)]  # True: the start lies above it
    lower += [(i, tick - 1, True) for i, tick in upper]
    least, most = Fraction(0), Fraction(ticks[0])
    left, tried = [most], set[Fraction]()
    while left and least <= most:
        pace = left[0]
        tried.add(pace)
        low, strict, i = max((tick - i * pace, strict, i) for i, tick, strict in lower)
        high, j = min((tick - i * pace, i) for i, tick in upper)
        if low < high or (low == high and not strict):
            return high, pace
        bound = (low - high) / (i - j) + pace
        least, most = (max(least, bound), most) if i > j else (least, min(most, bound))
        left = [other for other in (bound, (least + most) / 2) if other not in tried]
    return None


DIALECT = Dialect(
    name="composer",
    source="MosaicML Composer, LayerFreezing",
    config=ComposerConfig,
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
)
