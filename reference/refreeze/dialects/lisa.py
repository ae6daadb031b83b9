"""LISA: every K steps a few layers are drawn, which train while the others are frozen; some always train.

Source: Pan et al.: LISA (arXiv 2403.17919), and its callbacks in LMFlow, axolotl and ms-swift. Those draw from numpy's
global random state, which they do not seed, so a resumed run draws otherwise; here the draw number k depends on the
seed and k alone (RND-1..3, with 0 for the number of the spec). Clauses LIS-1, LIS-2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, units_of
from refreeze.dialects.fields import Count, Entries, Layers, Seed
from refreeze.errors import EmptySelection, InvalidSpec
from refreeze.policy import Policy, invert, never, shift, stages, union
from refreeze.selectors import check_apart
from refreeze.windows import random_windows

_KEYS = {
    "lisa_n_layers": "n_layers",
    "lisa_activated_layers": "n_layers",
    "lisa_step_interval": "step_interval",
    "lisa_interval_steps": "step_interval",
    "lisa_layers_attribute": "layers",
}
"""The keys of axolotl, ms-swift and LMFlow, and those here."""
_WHOLE = ("base_model", "model_name_or_path", "model")
"""A file that has one of these is a whole one, of axolotl, LMFlow or ms-swift."""


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
    variant: Literal["paper", "axolotl"] = "paper"
    """When layers are drawn: at the multiples of ``step_interval`` in the paper and in LMFlow; at step 1 too in axolotl
    and ms-swift."""


def own_keys(config: Any) -> object:
    """Return a configuration in the keys of LMFlow, axolotl or ms-swift in those here; any other stays as it is.

    ``lisa_layers_attribute`` is the path of a list of layers, each of them a unit; model.layers if neither it nor
    ``layers`` is given. In LMFlow, whose key is ``lisa_interval_steps``, it begins with the model itself.
    ``lisa_step_interval`` is a key of axolotl and ms-swift, whose variant it chooses. Of a whole file all other keys
    are left out.

    >>> own_keys({"lisa_n_layers": 4, "lisa_step_interval": 20, "lisa_layers_attribute": "model.layers"})
    {'variant': 'axolotl', 'n_layers': 4, 'step_interval': 20, 'layers': [{'each': 'model/layers/*'}]}
    """
    if not isinstance(config, Mapping) or not config.keys() & _KEYS.keys():
        return config
    if not {*_WHOLE}.isdisjoint(config):
        others = ("layers", "always_on", "seed", "variant")
        kept = (key for key in config if str(key).startswith("lisa_") or key in others)
        config = {key: config[key] for key in kept if config[key] is not None}
    names: list[Any] = [_KEYS.get(key, key) for key in config]
    if len({*names}) != len(names):
        return config  # two names of one key: those that are not known here are refused
    found: dict[str, object] = {"variant": "axolotl"} if "lisa_step_interval" in config else {}
    found |= dict(zip(names, config.values(), strict=True))
    if isinstance(path := found.setdefault("layers", "model.layers"), str) and path != "all":
        if "lisa_interval_steps" in config and path.startswith("model.model."):
            path = path.removeprefix("model.")
        found["layers"] = [{"each": path.replace(".", "/") + "/*"}]
    return found


def policy(config: LisaConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in steps.

    In the steps [k * step_interval, (k + 1) * step_interval) the ``n_layers`` units of the draw number k train, of
    RND-2's positions over the units of ``layers`` in their order, and the other ``layers`` are frozen. In the variant
    "axolotl" it is draw number 0 in [0, 1), 1 in [1, step_interval), and k + 1 in the interval number k >= 1.

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
    if config.variant == "axolotl":
        drawn = stages((0, drawn), (1, shift(drawn, -config.step_interval)))
    return union(invert(drawn, layers), never(always_on))


DIALECT = Dialect(
    name="lisa",
    source="LISA, arXiv 2403.17919, LMFlow, axolotl and ms-swift",
    config=LisaConfig,
    unit="steps",
    names="layers",
    build=policy,
    unwrap=own_keys,
    wrapped={
        "description": "A configuration in the keys of LMFlow, axolotl or ms-swift.",
        "type": "object",
        "patternProperties": {"^lisa_": {}},
        "anyOf": [{"required": ["lisa_n_layers"]}, {"required": ["lisa_activated_layers"]}],
    },
)
