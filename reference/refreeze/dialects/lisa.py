"""LISA: every K steps a few layers are drawn, which train while the others are frozen; some always train.

Source: Pan et al.: LISA (arXiv 2403.17919), and its callbacks in LMFlow and axolotl. Those draw from the global random
state (axolotl seeds it with the step, so a resumed run draws otherwise); here the draw for the interval number k
depends on the seed and k alone (RND-1..3, with 0 for the number of the spec).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, units_of
from refreeze.dialects.fields import Count, Entries, Layers, Seed
from refreeze.errors import EmptySelection, InvalidSpec
from refreeze.policy import Policy, invert, never, union
from refreeze.selectors import check_apart
from refreeze.windows import random_windows


class LisaConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How many units of layers train at a time, and for how long."""

    n_layers: Count
    """The units that train at a time, in 1..number of units."""
    step_interval: Count
    """The steps for which a draw holds, >= 1."""
    layers: Layers = "all"
    """The units to draw from, such as whole blocks; "all": all layers but those that always train, each a unit."""
    always_on: Entries | None = None
    """The layers that always train: the embedding and the head, in LISA."""
    seed: Seed = 0
    """In [0, 2^64)."""


def policy(config: LisaConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in steps.

    In the steps [k * step_interval, (k + 1) * step_interval) the ``n_layers`` units of the draw number k train, of
    RND-2's positions over the units of ``layers`` in their order, and the other ``layers`` are frozen.

    Raises ``InvalidSpec`` for numbers out of range and for a layer that both is drawn and always trains,
    ``EmptySelection`` if no layer is left to draw, and what ``layers`` can raise (NAM-1..5).

    >>> some = policy(LisaConfig(n_layers=1, step_interval=10, always_on=("head",), seed=4), ["a", "b", "c", "head"])
    >>> [sorted(some.frozen_at(step)) for step in (0, 9, 10)]
    [['a', 'b'], ['a', 'b'], ['b', 'c']]
    """
    always_on = () if config.always_on is None else chosen(config.always_on, names, "always_on")
    units = units_of(config.layers, names, "layers")
    check_apart(names, "always_on", *units, always_on)
    if config.layers == "all":
        units = tuple(unit for unit in units if unit[0] not in always_on)
    if not units:
        raise EmptySelection("layers", config.layers)
    layers = {name for unit in units for name in unit}
    if both := [name for name in always_on if name in layers]:
        raise InvalidSpec("always_on", both, "layers that are not drawn")
    if config.n_layers > len(units):
        raise InvalidSpec("n_layers", config.n_layers, f"in 1..{len(units)}")
    drawn = random_windows(units, config.n_layers, config.step_interval, config.seed)
    return union(invert(drawn, layers), never(always_on))


DIALECT = Dialect(
    name="lisa",
    source="LISA, arXiv 2403.17919",
    config=LisaConfig,
    unit="steps",
    names="layers",
    build=policy,
)
