"""BAdam: one block of parameters trains at a time, for some steps, then the next.

Source: BAdam 1.4, ``BlockOptimizer`` (src/badam/block_optim.py); its paper is arXiv 2404.02827. Its random orders are
torch's, here they are drawn by RND-4 from ``seed``, which is an extension. Clauses BAD-1, BAD-2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import keys_of
from refreeze.dialects.fields import Names, Seed, Tick
from refreeze.errors import EmptySelection, InvalidSpec, NeedsModel
from refreeze.policy import Policy, always, invert, shift, union
from refreeze.windows import random_order, round_robin

_LAYER = re.compile(r".*layers.[^.]*\.")
_EMBEDDING = re.compile(r".*embed[^.]*\.")


_KEYS = {
    "badam_switch_mode": "switch_mode",
    "badam_switch_interval": "switch_block_every",
    "badam_start_block": "start_block",
}
"""The keys of LLaMA-Factory, and those here."""
_OTHERS = ("badam_verbose", "badam_update_ratio", "badam_mask_mode")
_EXTENSIONS = ("block_prefix_list", "include_embedding", "include_lm_head", "active_modules", "seed")


class BAdamConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The blocks, their order, and how long each trains."""

    block_prefix_list: Annotated[tuple[Names, ...], Meta(min_length=1)] | None = None
    """The blocks, each a list of texts: a parameter is in it whose name has one of them in it, at any place. If not
    given, each transformer layer is a block, by its name."""
    include_embedding: bool = False
    """Whether the embedding is a block too; only without ``block_prefix_list``."""
    include_lm_head: bool = False
    """Whether all other parameters together are a block too, the last; only without ``block_prefix_list``."""
    switch_block_every: int = 50
    """The steps K for which a block trains, of either sign, not 0; -1 is no way to switch it off."""
    switch_mode: Literal["random", "descending", "ascending", "fixed"] = "descending"
    """The order of the blocks."""
    start_block: Tick | None = None
    """The first block; the last one with descending and the first with ascending, if not given; not with random."""
    active_modules: tuple[str, ...] = ()
    """Texts: a parameter trains always whose name has one of them in it."""
    seed: Seed = 0
    """In [0, 2^64)."""


def own_keys(config: object) -> object:
    """Return a configuration, or a whole file, in the keys of LLaMA-Factory in those here, without BAdam's ``verbose``.

    Of a file that has ``use_badam: true`` all is left out that does not begin with ``badam_``, but for the keys here;
    ``badam_verbose``, ``badam_update_ratio`` and ``badam_mask_mode`` too. There the mode is ascending by default.

    >>> own_keys({"stage": "sft", "use_badam": True, "badam_mode": "layer", "badam_switch_interval": 50})
    {'switch_mode': 'ascending', 'switch_block_every': 50}
    """
    if not isinstance(config, Mapping):
        return config
    if config.get("use_badam") is not True:
        return {key: config[key] for key in config if key != "verbose"}
    found = {key: config[key] for key in config if str(key).startswith("badam_") and key not in _OTHERS}
    found = {_KEYS.get(key, key): value for key, value in found.items()}
    if found.get("badam_mode") == "layer":
        del found["badam_mode"]
    own = {key: value for key, value in keys_of(config, _EXTENSIONS).items() if value is not None}
    return {"switch_mode": "ascending"} | found | own


def _inferred(config: BAdamConfig, names: Sequence[str]) -> list[tuple[str, ...]]:
    blocks: list[tuple[str, ...]] = []
    others = []
    for name in names:
        if any(prefix in name for (prefix,) in blocks):
            continue
        if found := _LAYER.match(name) or (config.include_embedding and _EMBEDDING.match(name)):
            blocks.append((found[0],))
        else:
            others.append(name)
    return [*blocks, tuple(others)] if config.include_lm_head else blocks


def blocks_of(config: BAdamConfig, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the parameters of each block; raises ``EmptySelection`` for none, ``InvalidSpec`` for one in two."""
    prefixes = config.block_prefix_list or _inferred(config, names)
    blocks = [tuple(name for name in names if any(text in name for text in block)) for block in prefixes]
    if not blocks or not all(blocks):
        raise EmptySelection("block_prefix_list", [list(block) for block in prefixes])
    every = [name for block in blocks for name in block]
    if twice := [name for name in dict.fromkeys(every) if every.count(name) > 1]:
        raise InvalidSpec("block_prefix_list", twice, "parameters of one block each")
    return blocks


def policy(config: BAdamConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in steps: block number j of the order trains for the j-th time, with all others frozen.

    With K = abs(``switch_block_every``) the first block trains in [0, K - 1), the j-th in [j * K - 1, (j + 1) * K - 1):
    the first has a step less, if K > 1. The order is start, start + 1, ... (ascending), start, start - 1, ...
    (descending), both modulo the number of blocks D; start alone (fixed); or each D blocks in an order of their own
    (random, RND-4). What is in no block and not in ``active_modules`` is always frozen.

    Raises ``NeedsModel`` without names; ``InvalidSpec`` for K = 0, for a start with random, for none with fixed and for
    one out of range; and what ``blocks_of`` raises.

    >>> config = BAdamConfig(block_prefix_list=(("a",), ("b",), ("c",)), switch_block_every=3)
    >>> three = policy(config, ["a", "b", "c", "d"])
    >>> [sorted({"a", "b", "c"} - three.frozen_at(step))[0] for step in range(9)]
    ['c', 'c', 'b', 'b', 'b', 'a', 'a', 'a', 'c']
    """
    if names is None:
        raise NeedsModel("block_prefix_list", config.block_prefix_list)
    blocks, mode, span = blocks_of(config, names), config.switch_mode, abs(config.switch_block_every)
    count, start = len(blocks), config.start_block
    if span == 0:
        raise InvalidSpec("switch_block_every", 0, "an integer other than 0")
    if start is None if mode == "fixed" else start is not None and (mode == "random" or start >= count):
        raise InvalidSpec("start_block", start, f"in 0..{count - 1} with fixed, ascending or descending")
    if start is None:
        start = count - 1 if mode == "descending" else 0
    step = {"ascending": 1, "descending": -1, "fixed": 0, "random": 1}[mode]
    order = [blocks[(start + place * step) % count] for place in range(count if step else 1)]
    moving = random_order(order, span, config.seed) if mode == "random" else round_robin(order, 1, span)
    active = [name for name in names if any(text in name for text in config.active_modules)]
    return invert(union(shift(moving, -1 if span > 1 else 0), always(active)), names)


DIALECT = Dialect(
    name="badam",
    source="BAdam 1.4, BlockOptimizer",
    config=BAdamConfig,
    unit="steps",
    names="parameters",
    build=policy,
    unwrap=own_keys,
    wrapped={
        "description": "BAdam's arguments with verbose, or a whole file in the keys of LLaMA-Factory.",
        "type": "object",
        "anyOf": [{"required": ["verbose"]}, {"properties": {"use_badam": {"const": True}}, "required": ["use_badam"]}],
    },
)
