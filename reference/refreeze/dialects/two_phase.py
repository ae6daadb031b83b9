"""Two phases, as in many Keras projects: the backbone is frozen in the first, all trains in the second.

Source: bubbliiiing/yolov4-tf2, ``train.py``, and its siblings. Clause TWO-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen
from refreeze.dialects.fields import Count, Entries, Tick
from refreeze.dialects.spans import one_set_until
from refreeze.errors import InvalidSpec, NeedsModel
from refreeze.policy import Policy, always, during, never, union
from refreeze.schedule import Segment

_OTHERS = (
    "Freeze_batch_size", "Unfreeze_batch_size", "Init_lr", "Min_lr", "optimizer_type", "momentum", "weight_decay",
    "lr_decay_type",
)  # fmt: skip


class TwoPhaseConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which layers are frozen first, and until when."""

    freeze_layers: Count | Entries = ("backbone",)
    """The number of layers, the first ones of all that own weights; or these layers or containers."""
    Freeze_Train: bool = True
    """Whether there is a first phase."""
    Init_Epoch: Tick = 0
    """The first epoch of the run, later than 0 if it goes on from a checkpoint."""
    Freeze_Epoch: Tick = 50
    """The first epoch of the second phase."""
    UnFreeze_Epoch: Tick = 100
    """The end of the run; nothing depends on it but that it may not lie before ``Freeze_Epoch``."""


def own_keys(config: object) -> object:
    """Return a configuration without the settings of batches, optimizer and rates that stand beside the epochs.

    >>> own_keys({"Freeze_Epoch": 50, "optimizer_type": "adam", "Init_lr": 0.001})
    {'Freeze_Epoch': 50}
    """
    return {key: config[key] for key in config if key not in _OTHERS} if isinstance(config, Mapping) else config


def policy(config: TwoPhaseConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs: with ``Freeze_Train`` the layers are frozen in [Init_Epoch, Freeze_Epoch).

    That is no epoch at all if ``Init_Epoch >= Freeze_Epoch``. Raises ``NeedsModel`` for a number without names,
    ``InvalidSpec`` for more layers than there are and for an end before ``Freeze_Epoch``, and what names of layers can
    raise (NAM-2..5).

    >>> halves = policy(TwoPhaseConfig(freeze_layers=2, Freeze_Epoch=3), ["stem", "body", "head"])
    >>> [sorted(halves.frozen_at(epoch)) for epoch in (2, 3)]
    [['body', 'stem'], []]
    """
    if config.UnFreeze_Epoch < config.Freeze_Epoch:
        raise InvalidSpec("UnFreeze_Epoch", config.UnFreeze_Epoch, f">= Freeze_Epoch, {config.Freeze_Epoch}")
    wanted = config.freeze_layers
    if not isinstance(wanted, int):
        found = chosen(wanted, names, "freeze_layers")
    elif names is None:
        raise NeedsModel("freeze_layers", wanted)
    elif wanted > len(names):
        raise InvalidSpec("freeze_layers", wanted, f"in 1..{len(names)}")
    else:
        found = tuple(names[:wanted])
    if not config.Freeze_Train or config.Init_Epoch >= config.Freeze_Epoch:
        return never(found)
    return union(never(found), during(always(found), config.Init_Epoch, config.Freeze_Epoch))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return two phases: what is frozen at first, until that changes, in a run from epoch 0 on."""
    layers, epoch = one_set_until(run, names)
    return {"freeze_layers": layers, "Freeze_Train": epoch > 0, "Freeze_Epoch": epoch, "UnFreeze_Epoch": run[-1].stop}


DIALECT = Dialect(
    name="two_phase",
    source="bubbliiiing/yolov4-tf2, train.py",
    config=TwoPhaseConfig,
    unit="epochs",
    names="layers",
    build=policy,
    unwrap=own_keys,
    wrapped={
        "description": "A configuration with the other settings of train.py.",
        "type": "object",
        "anyOf": [{"required": [key]} for key in _OTHERS],
    },
    from_segments=from_segments,
)
