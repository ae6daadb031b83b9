"""Chain-thaw: the new layers first, then each other layer alone from first to last, then all together.

Source: Felbo et al.: DeepMoji (arXiv 1708.00524), section 3.3, and its code (deepmoji/finetuning.py). There a stage
ends when the validation loss no longer falls; a schedule is known in advance, so here each stage has its epochs. The
code makes a new optimizer for each stage; here that is the engine's ``optimizer_state`` (EXE-4).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, units_of
from refreeze.dialects.fields import Count, Entries, Layers, Rate
from refreeze.errors import InvalidSpec, UnknownName
from refreeze.policy import Policy, always, during, invert, rate, shift, union
from refreeze.selectors import check_apart


class ChainThawConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The stages of a chain-thaw."""

    epochs: Count | Annotated[tuple[Count, ...], Meta(min_length=1)]
    """The epochs of each stage but the last, which goes on to the end: one number for all, or one for each."""
    new: Entries | None = None
    """The layers that train in the first stage; None: the last unit."""
    layers: Layers = "all"
    """The layers, input first."""
    initial_learning_rate: Rate | None = None
    """Set at the start of the first stage (DeepMoji: 0.001)."""
    learning_rate: Rate | None = None
    """Set at the start of every other stage (DeepMoji: 0.0001)."""


def policy(config: ChainThawConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs.

    With E the epochs of a stage, one number for all: in [0, E) only ``new`` trains; in [k E, (k + 1) E), k = 1, 2, …,
    only the k-th other unit, without layers of ``new``; then all train. Otherwise the stages follow each other with
    their own lengths.

    Raises ``InvalidSpec`` unless ``epochs`` has one entry per stage but the last, ``UnknownName`` for a new layer that
    is none of ``layers``, and what ``layers`` can raise (NAM-1..5).

    >>> thaw = policy(ChainThawConfig(epochs=2), ["stem", "body", "head"])
    >>> [sorted(thaw.frozen_at(epoch)) for epoch in (1, 2, 4, 6)]
    [['body', 'stem'], ['body', 'head'], ['head', 'stem'], []]
    """
    units = units_of(config.layers, names, "layers")
    layers = tuple(itertools.chain(*units))
    new = units[-1] if config.new is None else chosen(config.new, names, "new")
    check_apart(names, "new", layers, new)
    if unknown := sorted({*new}.difference(layers), key=new.index):
        raise UnknownName("new", unknown, layers)
    first = {*new}
    others = [[name for name in unit if name not in first] for unit in units]
    trained = [new, *filter(None, others), layers]
    lengths = (config.epochs,) * (len(trained) - 1) if isinstance(config.epochs, int) else config.epochs
    if len(lengths) != len(trained) - 1:
        raise InvalidSpec("epochs", list(lengths), f"one number, or {len(trained) - 1}: one per stage but the last")
    starts = list(itertools.accumulate(lengths, initial=0))
    stops = [*starts[1:], None]
    train = [during(always(t), start, stop) for t, start, stop in zip(trained, starts, stops, strict=True)]
    learning_rates = [config.initial_learning_rate, *[config.learning_rate] * (len(starts) - 1)]
    settings = [shift(rate(r), start) for r, start in zip(learning_rates, starts, strict=True) if r is not None]
    return union(invert(union(*train), layers), *settings)


DIALECT = Dialect(
    name="chain_thaw",
    source="DeepMoji, arXiv 1708.00524",
    config=ChainThawConfig,
    unit="epochs",
    names="layers",
    build=policy,
)
