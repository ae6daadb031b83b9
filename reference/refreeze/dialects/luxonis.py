"""luxonis-train: nodes that are frozen for the first epochs, a share of them, or the whole run.

Source: luxonis-train 0.6, ``resolve_unfreeze_epoch`` and ``FreezeSchedule`` (luxonis_train/lightning/freezing.py). It
multiplies a share in floating point, so 0.29 of 100 epochs are 28 there; here they are 29. Clause LUX-1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, frozen_until, keys_of
from refreeze.dialects.fields import Rate, Tick, exactly_share
from refreeze.dialects.spans import first_stops
from refreeze.policy import Policy
from refreeze.rates import From, Rates
from refreeze.schedule import Segment


class Freezing(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whether a node is frozen at first, and until when."""

    active: bool = False
    """Whether it is; without it the other keys have no effect."""
    unfreeze_after: Tick | Annotated[float, Meta(ge=0, le=1)] | None = None
    """The epoch from which the node trains, as an integer; or the share of the run's epochs for which it is frozen, as
    a number with a point, rounded down to a whole epoch: 1 is epoch 1, and 1.0 the whole run. If not given, the end."""
    lr_after_unfreeze: Rate | None = None
    """The node's learning rate from that epoch on."""


class NodeFreezing(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One node of the model."""

    name: str
    """A layer or container."""
    freezing: Freezing = Freezing()
    """Whether it is frozen at first, until when, and how fast it learns then."""


def nodes(config: object) -> object:
    """Return the names and the freezing of the nodes of a whole configuration; anything else stays as it is.

    >>> nodes({"model": {"name": "m", "nodes": [{"name": "EfficientRep", "params": {}, "freezing": {"active": True}}]}})
    [{'name': 'EfficientRep', 'freezing': {'active': True}}]
    """
    model = config.get("model") if isinstance(config, Mapping) else None
    found = model.get("nodes") if isinstance(model, Mapping) else None
    if not isinstance(found, list | tuple):
        return config
    return [keys_of(node, ("name", "freezing")) if isinstance(node, Mapping) else node for node in found]


def _active(
    config: Sequence[NodeFreezing], names: Sequence[str] | None, run: Run
) -> list[tuple[tuple[str, ...], int, float | None]]:
    """Return the layers of each node that is frozen at first, the epoch that ends it, and the rate from then on."""
    frozen = [node for node in config if node.freezing.active]
    if frozen:
        chosen(tuple(node.name for node in frozen), names, "nodes")  # each layer once
    found = []
    for node in frozen:
        after = node.freezing.unfreeze_after
        if isinstance(after, float):
            after = math.floor(exactly_share("unfreeze_after", after) * run.total)
        stop = run.total if after is None else after
        found.append((chosen((node.name,), names, "nodes"), stop, node.freezing.lr_after_unfreeze))
    return found


def policy(config: Sequence[NodeFreezing], names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy, in epochs: an active node is frozen in [0, E).

    E is ``unfreeze_after`` if that is an integer, floor(``unfreeze_after`` * total) if it has a point, and the run's
    ``total`` if it is not given. Raises ``UnknownName``, and ``InvalidSpec`` for a layer in two nodes (NAM-2..5).

    >>> neck = NodeFreezing(name="neck", freezing=Freezing(active=True, unfreeze_after=0.29))
    >>> half = policy([neck], None, Run(total=100))
    >>> [len(half.frozen_at(epoch)) for epoch in (28, 29)]
    [1, 0]
    """
    return frozen_until({name: stop for found, stop, _ in _active(config, names, run) for name in found})


def rates(config: Sequence[NodeFreezing], names: Sequence[str] | None, run: Run) -> Rates | None:
    """Return the nodes' ``lr_after_unfreeze`` from their epoch E on, None if no active node has one."""
    found = [(name, stop, rate) for layers, stop, rate in _active(config, names, run) if rate for name in layers]
    return From(tuple(found)) if found else None


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a node for each layer that is frozen at first, until it thaws."""
    stops = {name: stop for name, stop in first_stops(run, names).items() if stop}
    end = {run[-1].stop: None}
    return [
        {"name": name, "freezing": {"active": True, "unfreeze_after": end.get(stop, stop)}}
        for name, stop in stops.items()
    ]


DIALECT = Dialect(
    name="luxonis",
    source="luxonis-train 0.6, freezing of nodes",
    config=tuple[NodeFreezing, ...],
    root="nodes",
    unit="epochs",
    names="layers",
    build=policy,
    from_segments=from_segments,
    rates=rates,
    unwrap=nodes,
    wrapped={
        "description": "A whole configuration; what else it has is left alone.",
        "type": "object",
        "properties": {"model": {"type": "object", "properties": {"nodes": {"type": "array"}}, "required": ["nodes"]}},
        "required": ["model"],
    },
)
