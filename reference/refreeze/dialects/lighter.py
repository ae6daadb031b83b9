"""Lighter: freezers, on parameters and in steps.

Source: Lighter, callback ``Freezer`` and its guide "Freezers" (docs/how-to/freezers.md). Lighter differs in this: its
freezers set every parameter that they do not match to trainable, so two of them undo each other, where here the union
is frozen; it refuses ``until_step`` and ``until_epoch`` together, which the guide allows; ``start_epoch`` and
``unfreeze_every_n_epochs`` are in the guide alone; a selector that matches nothing is no error there.
Clauses NAM-2, NAM-3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, to_builtins

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import frozen_until
from refreeze.dialects.fields import Count, Names, Tick
from refreeze.dialects.spans import first_stops, grouped
from refreeze.errors import EmptySelection, InvalidSpec, NeedsModel
from refreeze.policy import Policy, union
from refreeze.schedule import Segment
from refreeze.selectors import Exactly, Prefix, distinct

TARGETS = ("lighter.callbacks.Freezer", "lighter.callbacks.freezer.Freezer", "lighter.callbacks.LighterFreezer")


class Freezer(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """One freezer: which parameters, until when. A key for names takes a string or a list."""

    names: str | Names | None = None
    """Full names of parameters, each of which must exist."""
    name_starts_with: str | Names | None = None
    """Prefixes, as plain text, of names of parameters; each must match one at least."""
    except_names: str | Names | None = None
    """Full names that are not frozen, whatever matches them; each must exist."""
    except_name_starts_with: str | Names | None = None
    """Prefixes of names that are not frozen, whatever matches them; each must match one at least."""
    until_step: Tick | None = None
    """All is released at this step: the last frozen one is the step before."""
    until_epoch: Tick | None = None
    """All is released at the first step of this epoch, if ``until_step`` did not come earlier."""
    start_epoch: Tick | None = None
    """The epoch S at which the first entry is released; without ``unfreeze_every_n_epochs``, all entries."""
    unfreeze_every_n_epochs: Count | None = None
    """The epochs N between two entries: entry j, from 0, is released at epoch S + j * N; S is N if not given."""


def freezers(config: object) -> object:
    """Return the freezers of a whole Lighter configuration, or of its list of callbacks, as plain data.

    From ``{"trainer": {"callbacks": [...]}, ...}``, or such a list alone, the callbacks whose ``_target_`` is
    one of ``TARGETS`` are taken, in order, without that key; other callbacks are left out. A list of plain freezers
    stays as it is. Raises ``InvalidSpec`` if there are callbacks and none is a freezer, and for a ``_target_``
    that has "freez" in it and is none of ``TARGETS``.

    >>> freezers({"trainer": {"callbacks": [{"_target_": "lighter.callbacks.Freezer", "names": "head.bias"}]}})
    [{'names': 'head.bias'}]
    """
    if isinstance(config, Mapping) and "trainer" in config:
        trainer = config["trainer"]
        config = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
        if not isinstance(config, list | tuple):
            raise InvalidSpec("trainer", trainer, "an object with a list of callbacks")
    if not isinstance(config, list | tuple):
        return config
    for number, item in enumerate(config):
        target = item.get("_target_") if isinstance(item, Mapping) else None
        if isinstance(item, Mapping) and "_target_" in item and not isinstance(target, str):
            raise InvalidSpec(f"callbacks[{number}]._target_", target, "a string")
        if isinstance(target, str) and "freez" in target.lower() and target not in TARGETS:
            raise InvalidSpec(f"callbacks[{number}]._target_", target, f"one of {', '.join(map(repr, TARGETS))}")
    found = [
        {key: value for key, value in item.items() if key != "_target_"} if isinstance(item, Mapping) else item
        for item in config
        if not isinstance(item, Mapping) or item.get("_target_", TARGETS[0]) in TARGETS
    ]
    if config and not found:
        targets = [item["_target_"] for item in config]
        raise InvalidSpec("callbacks", targets, f"callbacks of which one at least is a {TARGETS[0]}")
    return found


def _listed(freezer: Freezer, key: str, where: str) -> tuple[str, ...]:
    value = getattr(freezer, key)
    return (value,) if isinstance(value, str) else distinct(value or (), f"{where}.{key}")


def _release(freezer: Freezer, entry: int, steps_per_epoch: int) -> float:
    """Return the step at which the entry number ``entry``, from 0, is released; infinity if never."""
    every, start = freezer.unfreeze_every_n_epochs, freezer.start_epoch
    epochs = [] if freezer.until_epoch is None else [freezer.until_epoch]
    if every is not None or start is not None:
        epochs.append((start if start is not None else every or 0) + entry * (every or 0))
    steps = [] if freezer.until_step is None else [freezer.until_step]
    return min((*steps, *(epoch * steps_per_epoch for epoch in epochs)), default=math.inf)


def _freezer_policy(freezer: Freezer, where: str, names: Sequence[str] | None, steps_per_epoch: int) -> Policy:
    exact, starts, except_exact, except_starts = (
        _listed(freezer, key, where) for key in ("names", "name_starts_with", "except_names", "except_name_starts_with")
    )
    if not exact and not starts:
        raise InvalidSpec(where, to_builtins(freezer), "an object with names or name_starts_with")
    if names is None and (starts or except_starts):
        raise NeedsModel(where, (*starts, *except_starts))
    known = (*exact, *except_exact) if names is None else names
    entries: list[tuple[str, ...]] = [(name,) for name in Exactly(exact)(known, f"{where}.names")]
    entries += [Prefix(start)(known, f"{where}.name_starts_with") for start in starts]
    dropped = {*Exactly(except_exact)(known, f"{where}.except_names")}
    dropped.update(*(Prefix(start)(known, f"{where}.except_name_starts_with") for start in except_starts))
    stops: dict[str, float] = {}
    for number, entry in enumerate(entries):  # none is released before the one before it
        stop = _release(freezer, number, steps_per_epoch)
        stops |= {name: stop for name in entry if name not in dropped}
    if not stops:
        raise EmptySelection(where, to_builtins(freezer))
    return frozen_until(stops)


def policy(config: Iterable[Freezer], names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy that the freezers mean, in steps: the union of what each freezes.

    A freezer matches a parameter by full name or prefix, if no exception does. It is frozen in the steps [0, stop) of
    its entry, where ``stop`` is the earliest of ``until_step``, ``until_epoch * E`` and ``(S + j * N) * E``, with
    ``E = run.steps_per_epoch``, or there is no end. If several entries match it, it is frozen while one says so.
    All other parameters keep the state that they had.

    ``names`` are the parameters; if None, prefixes raise ``NeedsModel`` and full names are taken as they are. Raises
    ``UnknownName``, ``InvalidSpec``, and ``EmptySelection`` if a prefix matches nothing or nothing is left to freeze.

    >>> run = Run(total=40, steps_per_epoch=10)
    >>> slow = policy([Freezer(names=("b", "a"), start_epoch=1, unfreeze_every_n_epochs=2)], None, run)
    >>> [sorted(slow.frozen_at(step)) for step in (9, 10, 29, 30)]
    [['a', 'b'], ['a'], ['a'], []]
    """
    return union(*(_freezer_policy(f, f"freezers[{i}]", names, run.steps_per_epoch) for i, f in enumerate(config)))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a freezer for each step at which parameters thaw that are frozen at first; one without for the others."""
    stops = {name: stop for name, stop in first_stops(run, names).items() if stop}
    never = run[-1].stop
    return [{"names": found} | ({"until_step": stop} if stop < never else {}) for stop, found in grouped(stops).items()]


DIALECT = Dialect(
    name="lighter",
    source="Lighter 0.1.0, callback Freezer, and its guide",
    config=tuple[Freezer, ...],
    root="freezers",
    unit="steps",
    names="parameters",
    build=policy,
    from_segments=from_segments,
    unwrap=freezers,
    wrapped={
        "description": "A whole Lighter configuration; what else it has is left alone.",
        "type": "object",
        "properties": {
            "trainer": {
                "type": "object",
                "properties": {"callbacks": {"type": "array", "items": {"type": "object", "required": ["_target_"]}}},
                "required": ["callbacks"],
            }
        },
        "required": ["trainer"],
    },
)
