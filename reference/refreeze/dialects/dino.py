"""DINO and DINOv2: the last layer of the head is frozen for the first epochs.

Source: DINO, ``utils.cancel_gradients_last_layer``; DINOv2, ``freeze_last_layer_epochs`` of its training. Clause DIN-1.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import exactly_one, frozen_until, in_a_section, section
from refreeze.errors import EmptySelection, NeedsModel
from refreeze.policy import Policy

_NAME = "last_layer"


class DinoConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """For how many epochs, under exactly one of two names."""

    freeze_last_layer: int | None = None
    """DINO: the number of epochs; 0 or less freezes nothing."""
    freeze_last_layer_epochs: int | None = None
    """DINOv2: the same."""


def optim(config: object) -> object:
    """Return DINOv2's key of a whole configuration; anything else stays as it is.

    >>> optim({"optim": {"epochs": 100, "freeze_last_layer_epochs": 1}, "train": {}})
    {'freeze_last_layer_epochs': 1}
    """
    return section(config, "optim", ["freeze_last_layer_epochs"])


def policy(config: DinoConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs: the parameters with "last_layer" in their name are frozen in [0, F).

    Raises ``InvalidSpec`` unless exactly one key is given, ``NeedsModel`` without names, and ``EmptySelection`` if no
    name has "last_layer" in it.

    >>> late = policy(DinoConfig(freeze_last_layer=1), ["mlp.0.weight", "last_layer.weight_v"])
    >>> [sorted(late.frozen_at(epoch)) for epoch in (0, 1)]
    [['last_layer.weight_v'], []]
    """
    _, epochs = exactly_one(config, "freeze_last_layer", "freeze_last_layer_epochs")
    if names is None:
        raise NeedsModel("names", _NAME)
    last = [name for name in names if _NAME in name]
    if not last:
        raise EmptySelection("names", _NAME)
    return frozen_until(dict.fromkeys(last, max(0, epochs)))


DIALECT = Dialect(
    name="dino",
    source="DINO and DINOv2, freeze_last_layer",
    config=DinoConfig,
    unit="epochs",
    names="parameters",
    build=policy,
    unwrap=optim,
    wrapped=in_a_section("optim"),
)
