"""FreezeOut: each layer's learning rate falls to 0 by a cosine of its own, earlier layers sooner, and then it freezes.

Source: Brock, Lim, Ritchie, Weston: FreezeOut (arXiv 1706.04983), and its code (github.com/ajbrock/FreezeOut,
densenet.py). There an epoch has 1000 iterations; here a run has ``total`` steps, whatever the epochs. The code takes
frozen layers out of the optimizer, and fractions are floats; here they are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_from, units_of
from refreeze.dialects.fields import Layers, Rate, Share, exactly_share
from refreeze.errors import InvalidSpec
from refreeze.policy import Policy
from refreeze.rates import Cosine, Rates

_POWER = {"linear": 1, "squared": 2, "cubic": 3}


class FreezeOutConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The options of FreezeOut's training script."""

    t_0: Share = 0.8
    """The share of the run after which the first layer freezes, before scaling, in (0, 1]."""
    how_scale: Literal["linear", "squared", "cubic"] = "cubic"
    """Which power of the interpolated share counts."""
    scale_lr: bool = True
    """Whether a layer that trains for a shorter time starts with a higher rate: divided by its share."""
    learning_rate: Rate = 0.1
    """The rate at step 0 of a layer that is never frozen."""
    layers: Layers = "all"
    """The layers, input first; the last unit is never frozen."""


def shares(config: FreezeOutConfig, names: Sequence[str] | None) -> dict[str, Fraction]:
    """Return the share of the run for which each layer trains: ``(t_0 + (1 - t_0) * i / (n - 1)) ** power``, exactly.

    The layers of unit i of n, from 0; that of the last one is 1.

    >>> shares(FreezeOutConfig(t_0="1/2", how_scale="squared"), ["stem", "body", "head"])
    {'stem': Fraction(1, 4), 'body': Fraction(9, 16), 'head': Fraction(1, 1)}
    """
    t_0, power = exactly_share("t_0", config.t_0, least="(0"), _POWER[config.how_scale]
    *units, last = units_of(config.layers, names, "layers")
    found = {n: (t_0 + (1 - t_0) * Fraction(i, len(units))) ** power for i, unit in enumerate(units) for n in unit}
    return found | dict.fromkeys(last, Fraction(1))


def policy(config: FreezeOutConfig, names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy of a run of ``run.total`` steps.

    The boundary is strict: a layer with the share t trains in the steps ``j <= t * total`` and is frozen from the first
    ``j > t * total`` on, to the end. Raises ``InvalidSpec`` for a share out of range, and what ``layers`` can raise.

    >>> halves = FreezeOutConfig(t_0="1/2", how_scale="linear")
    >>> [sorted(policy(halves, ["stem", "head"], Run(total=10)).frozen_at(step)) for step in (5, 6)]
    [[], ['stem']]
    """
    total = run.total
    return frozen_from({name: math.floor(t * total) + 1 for name, t in shares(config, names).items()}, total)


def rates(config: FreezeOutConfig, names: Sequence[str] | None, run: Run) -> Rates:
    """Return the learning rate of each layer, in steps: half a cosine from its peak at step 0 to 0 at step t * total.

    At step ``j <= t * total`` it is ``learning_rate / (2 t) * (1 + cos(pi * j / (t * total)))``, without ``scale_lr``
    half of ``learning_rate`` in place of the first factor; a frozen layer has none. Raises as ``policy`` does, and
    ``InvalidSpec`` for a share so small that the rate of the first layer is no number.
    """
    total, peak = run.total, Fraction(config.learning_rate)
    found = shares(config, names).items()
    try:
        curves = tuple((n, float(peak / t if config.scale_lr else peak), t * total) for n, t in found if total)
    except OverflowError:
        raise InvalidSpec("t_0", config.t_0, "a share by which learning_rate can be divided") from None
    return Cosine(curves)


DIALECT = Dialect(
    name="freezeout",
    source="FreezeOut, arXiv 1706.04983",
    config=FreezeOutConfig,
    unit="steps",
    names="layers",
    build=policy,
    rates=rates,
)
