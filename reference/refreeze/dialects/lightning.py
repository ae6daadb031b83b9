"""Lightning: a backbone that is frozen at first and then follows with a learning rate of its own.

Source: PyTorch Lightning 2.6, callback ``BackboneFinetuning``. Differences: ``train_bn=False`` freezes the backbone's
batch normalizations for the whole run, as its documentation suggests; the callback trains them from the start whatever
``train_bn`` is. Its ``lambda_func`` is a function; here ``multiplier`` is the number that it returns. Its
``should_align`` is always on here. A resumed run of the callback freezes the backbone anew; here it does not (RES-1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, frozen_until
from refreeze.dialects.fields import EachOf, Entries, Factor, Rate, Tick
from refreeze.dialects.spans import one_set_until
from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, always, never, union
from refreeze.rates import Growing, Rates
from refreeze.schedule import Segment
from refreeze.selectors import check_apart


class LightningConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The arguments of ``BackboneFinetuning``, the layers that they are about, and the other layers' learning rate."""

    unfreeze_backbone_at_epoch: Tick = 10
    """The first epoch in which the backbone trains."""
    backbone: Entries = ("backbone",)
    """Layers, or containers of layers."""
    batch_norm: tuple[str | EachOf, ...] = ()
    """Which layers of the backbone are batch normalizations."""
    train_bn: bool = True
    """True: the batch normalizations train all the time. False: they never do."""
    learning_rate: Rate | None = None
    """The learning rate of the other layers; None: no rates are set."""
    backbone_initial_lr: Rate | None = None
    """The backbone's rate in its first epoch; None: ``learning_rate * backbone_initial_ratio_lr``."""
    backbone_initial_ratio_lr: Rate = 0.1
    """The share of ``learning_rate`` with which the backbone begins, if ``backbone_initial_lr`` is not given."""
    multiplier: Factor = 2.0
    """By what the backbone's rate grows in each epoch, until it reaches ``learning_rate``; >= 1."""


def _backbone(config: LightningConfig, names: Sequence[str] | None) -> tuple[set[str], set[str]]:
    """Return the backbone's layers without its batch normalizations, and those."""
    check_apart(names, "batch_norm", config.backbone, config.batch_norm)
    backbone = chosen(config.backbone, names, "backbone")
    known = chosen(config.batch_norm, None, "batch_norm") if names is None else config.batch_norm
    batch_norm = {*chosen(known, backbone, "batch_norm")}
    return {*backbone} - batch_norm, batch_norm


def _initial(config: LightningConfig, top: float) -> float:
    """Return the backbone's rate in its first epoch; raises ``InvalidSpec`` if it could not grow up to ``top``."""
    given = config.backbone_initial_lr
    initial = top * config.backbone_initial_ratio_lr if given is None else given
    if not 0 < initial < math.inf or top > initial * 1e300:
        raise InvalidSpec("backbone_initial_lr", initial, f"finite, > 0 and >= {top} / 1e300")
    return initial


def policy(config: LightningConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs: the backbone is frozen in [0, unfreeze_backbone_at_epoch).

    Its ``batch_norm`` layers train at all times, or never with ``train_bn=False``. All other layers keep the state that
    they had. Raises ``UnknownName`` (NAM-2), and ``InvalidSpec`` for a layer given twice.

    >>> late = policy(LightningConfig(unfreeze_backbone_at_epoch=3), ["backbone/conv1", "backbone/conv2", "head"])
    >>> [sorted(late.frozen_at(epoch)) for epoch in (2, 3)]
    [['backbone/conv1', 'backbone/conv2'], []]
    """
    if config.learning_rate is not None:
        _initial(config, config.learning_rate)
    backbone, batch_norm = _backbone(config, names)
    held = frozen_until(dict.fromkeys(backbone, config.unfreeze_backbone_at_epoch))
    return union(held, (never if config.train_bn else always)(batch_norm))


def rates(config: LightningConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Rates | None:
    """Return the backbone's learning rate, in epochs, None if ``learning_rate`` is; batch normalizations have none.

    In the k-th epoch from ``unfreeze_backbone_at_epoch`` on it is ``initial`` for k = 0, and for k >= 1
    ``min(initial * multiplier ** k, learning_rate)``; before there is none. Raises ``InvalidSpec`` for an ``initial``
    that is 0 or infinite, or less than ``learning_rate / 1e300``.

    >>> late = rates(LightningConfig(unfreeze_backbone_at_epoch=1, backbone=("stem",), learning_rate=0.5))
    >>> [dict(late.learning_rates_at(epoch)) for epoch in (0, 1, 2, 5)]
    [{}, {'stem': 0.05}, {'stem': 0.1}, {'stem': 0.5}]
    """
    backbone, _ = _backbone(config, names)
    if (top := config.learning_rate) is None:
        return None
    start, initial = config.unfreeze_backbone_at_epoch, _initial(config, top)
    return Growing(tuple(sorted(backbone)), start, initial, config.multiplier, top)


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return a backbone of what is frozen at first, until that changes."""
    backbone, epoch = one_set_until(run, names)
    return {"backbone": backbone, "unfreeze_backbone_at_epoch": epoch}


DIALECT = Dialect(
    name="lightning",
    source="PyTorch Lightning 2.6, BackboneFinetuning",
    config=LightningConfig,
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
    rates=rates,
)
