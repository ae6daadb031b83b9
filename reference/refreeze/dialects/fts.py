"""finetuning-scheduler: all is frozen at first, and phases of parameters thaw one after another, at set epochs.

Source: finetuning-scheduler 2.14, ``FinetuningScheduler.should_transition`` and ``ScheduleParsingMixin``. A phase that
early stopping ends is no function of time: see ``recorded``. Clauses FTS-1, FTS-2.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_until
from refreeze.dialects.fields import Names, Rate
from refreeze.dialects.matching import MOST_SECONDS, matching
from refreeze.errors import EmptySelection, InvalidSpec, NeedsModel
from refreeze.policy import Policy
from refreeze.rates import From, Rates
from refreeze.selectors import distinct

Depth = Annotated[int, Meta(ge=-1)]


class Phase(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The parameters that a phase thaws, and the epoch that ends it."""

    params: Names
    """Full names, or regular expressions that the beginning of a name must match."""
    max_transition_epoch: Depth = -1
    """The epoch from which on the next phase may begin; -1 leaves that to early stopping."""
    lr: Rate | None = None
    """The rate of what it thaws; ``base_max_lr`` if not given. That of phase 0 has no effect."""
    new_optimizer: dict[str, Any] | None = None
    """Not read: it says nothing of what is frozen."""
    new_lr_scheduler: dict[str, Any] | None = None
    """Not read: it says nothing of what is frozen, and changes the phase's rates from its first epoch on."""


class FtsConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The phases, and how many of them there are to be."""

    ft_schedule: dict[str, Phase]
    """The phases, by their number from 0, with none left out."""
    max_depth: Depth = -1
    """The last phase that is to begin; -1 is the last of all."""
    epoch_transitions_only: bool = False
    """Whether early stopping never ends a phase; each must then have its epoch."""
    base_max_lr: Rate = 1e-5
    """See ``lr``."""


def schedule(config: object) -> object:
    """Return a configuration with texts for the numbers of phases; phases alone become its ``ft_schedule``.

    >>> schedule({0: {"params": ["head.weight"]}})
    {'ft_schedule': {'0': {'params': ['head.weight']}}}
    """
    if not isinstance(config, Mapping):
        return config
    whole = {"ft_schedule": config} if 0 in config or "0" in config else dict(config)
    phases = whole.get("ft_schedule")
    if isinstance(phases, Mapping):
        texts = {str(key) if type(key) is int else key: phase for key, phase in phases.items()}
        whole["ft_schedule"] = texts if len(texts) == len(phases) else list(phases.items())
    return whole


def _matched(phase: Phase, names: Sequence[str], where: str, end: float) -> tuple[str, ...]:
    """Return the parameters of a phase; the time at which it must be found is ``end``."""
    found: list[str] = []
    for text in phase.params:
        some = [text] if text in names else matching(text, names, where, end)
        if not some:
            raise EmptySelection(where, text)
        found += some
    return tuple(found)


def _phases(config: FtsConfig, names: Sequence[str] | None) -> list[tuple[tuple[str, ...], int | None, float]]:
    """Return the names, the first epoch, None if it never comes, and the rate of each phase."""
    phases = [config.ft_schedule.get(str(number)) for number in range(len(config.ft_schedule))]
    if not phases or None in phases:
        raise InvalidSpec("ft_schedule", [*config.ft_schedule], "the numbers of phases from 0, with none left out")
    if names is None:
        raise NeedsModel("ft_schedule", [*config.ft_schedule])
    last = len(phases) - 1 if config.max_depth == -1 else min(config.max_depth, len(phases) - 1)
    found, start, end = [], 0, time.monotonic() + MOST_SECONDS
    for number, phase in enumerate(filter(None, phases)):
        where = f"ft_schedule.{number}"
        params = _matched(phase, names, f"{where}.params", end)
        found.append((params, start if number <= last else None, phase.lr or config.base_max_lr))
        if phase.max_transition_epoch == -1 and (number < last or config.epoch_transitions_only):
            raise InvalidSpec(f"{where}.max_transition_epoch", -1, "an epoch; what early stopping ends is `recorded`")
        start = max(phase.max_transition_epoch, start + (number > 0))
    distinct((name for params, _, _ in found for name in params), "ft_schedule")
    return found


def policy(config: FtsConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in epochs: the parameters of phase d are frozen in [0, s(d)), all that is in none always.

    s(0) = 0, s(1) = m(0) and s(d + 1) = max(m(d), s(d) + 1), where m(d) is ``max_transition_epoch``: one phase begins
    at most at an epoch. Phases after ``max_depth`` never begin. This is what happens if early stopping never does.

    Raises ``NeedsModel`` without names, ``InvalidSpec`` for numbers left out, a phase without an epoch that must have
    one, a wrong regular expression and a parameter in two phases, ``EmptySelection`` for one that matches nothing.

    >>> phases = {"0": Phase(params=("head",), max_transition_epoch=2), "1": Phase(params=("body.*",))}
    >>> late = policy(FtsConfig(ft_schedule=phases), ["stem", "body.1", "body.2", "head"])
    >>> [sorted(late.frozen_at(epoch)) for epoch in (1, 2)]
    [['body.1', 'body.2', 'stem'], ['stem']]
    """
    stops = {name: start for params, start, _ in _phases(config, names) if start is not None for name in params}
    return frozen_until({name: stops.get(name, float("inf")) for name in names or ()})


def rates(config: FtsConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Rates | None:
    """Return the rates of the phases after 0, each from its first epoch on, None if there are none."""
    later = [(params, start, rate) for params, start, rate in _phases(config, names)[1:] if start is not None]
    return From(tuple((name, start, rate) for params, start, rate in later for name in params)) if later else None


DIALECT = Dialect(
    name="fts",
    source="finetuning-scheduler 2.14, ft_schedule",
    config=FtsConfig,
    unit="epochs",
    names="parameters",
    build=policy,
    rates=rates,
    unwrap=schedule,
    wrapped={
        "description": "The phases alone, by their number, as in a schedule's file.",
        "type": "object",
        "patternProperties": {"^[0-9]+$": {"$ref": "#/$defs/Phase"}},
        "additionalProperties": False,
        "required": ["0"],
    },
)
