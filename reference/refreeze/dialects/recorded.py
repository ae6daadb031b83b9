"""Decisions that were recorded in a run, and are replayed: for what depends on metrics and is no function of time.

Source: none; a form for early stopping in finetuning-scheduler, AutoFreeze, Egeria and the like. Clause REC-1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.fields import Tick
from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, always, never, stages, union
from refreeze.schedule import Segment
from refreeze.selectors import Exactly, distinct


class RecordedConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What was frozen when."""

    decisions: Annotated[tuple[tuple[Tick, tuple[str, ...]], ...], Meta(min_length=1)]
    """Pairs of a tick and the full names of all layers that are frozen from it on, until the next pair; the ticks
    begin with 0 and increase."""
    unit: Literal["steps", "epochs"] = "steps"
    """What the ticks are."""


def policy(config: RecordedConfig, names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy, in steps: what the last decision at or before a step says is frozen.

    Every layer that some decision names is mentioned at all times. An epoch e begins at step e * steps_per_epoch.

    Raises ``InvalidSpec`` for ticks that do not begin with 0 or do not increase, and for a layer twice in a decision,
    and ``UnknownName`` (NAM-2).

    >>> trace = RecordedConfig(decisions=((0, ("stem", "body")), (2, ("stem",))), unit="epochs")
    >>> [sorted(policy(trace, None, Run(total=20, steps_per_epoch=5)).frozen_at(step)) for step in (9, 10)]
    [['body', 'stem'], ['stem']]
    """
    ticks = [tick for tick, _ in config.decisions]
    if ticks[0] != 0 or any(after <= before for before, after in itertools.pairwise(ticks)):
        raise InvalidSpec("decisions", ticks, "ticks that begin with 0 and increase strictly")
    for number, (_, frozen) in enumerate(config.decisions):
        distinct(frozen, f"decisions[{number}]")
    every = tuple(dict.fromkeys(name for _, frozen in config.decisions for name in frozen))
    Exactly(every)(every if names is None else names, "decisions")
    per = run.steps_per_epoch if config.unit == "epochs" else 1
    return union(never(every), stages(*((tick * per, always(frozen)) for tick, frozen in config.decisions)))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return a decision for each segment."""
    return {"decisions": [[segment.start, [name for name in names if name in segment.frozen]] for segment in run]}


DIALECT = Dialect(
    name="recorded",
    source="decisions that a run has recorded",
    config=RecordedConfig,
    unit="steps",
    names="layers",
    build=policy,
    from_segments=from_segments,
)
