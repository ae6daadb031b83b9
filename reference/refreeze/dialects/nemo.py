"""NeMo: modules that are frozen for the first steps, between two steps, or always.

Source: NeMo, ``ModelPT.on_train_batch_start`` (nemo/core/classes/modelPT.py) and its guide. Clause NEM-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, in_a_section, section
from refreeze.dialects.spans import spans
from refreeze.policy import Policy, always, during, never, union
from refreeze.schedule import Segment


class FreezeUpdates(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which modules are frozen in which steps."""

    modules: dict[str, int | tuple[int, int]]
    """For each module, the number of steps N for which it is frozen, -1 for all; or the steps [a, b], counted from 1
    and both included, where b = -1 is the end."""
    enabled: bool = False
    """Whether anything is frozen."""


class NemoConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The part of a model's configuration that freezes."""

    freeze_updates: FreezeUpdates
    """What is frozen, and in which updates."""


def freeze_updates(config: object) -> object:
    """Return the key ``freeze_updates`` of a whole configuration, as plain data; anything else stays as it is.

    >>> freeze_updates({"name": "asr", "model": {"freeze_updates": {"modules": {}}, "encoder": {}}})
    {'freeze_updates': {'modules': {}}}
    """
    return section(config, "model", ["freeze_updates"])


def _frozen(names: Sequence[str], said: int | tuple[int, int]) -> Policy:
    first, last = said if isinstance(said, tuple) else (0, said)
    start, stop = max(first - 1, 0), None if last == -1 else last
    if stop is not None and stop <= start:
        return never(names)
    return union(never(names), during(always(names), start, stop))


def policy(config: NemoConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in steps from 0.

    With N a module is frozen in [0, N), with -1 always, with less never; with [a, b] in [max(a - 1, 0), b), with
    [a, -1] from max(a - 1, 0) on. If ``enabled`` is false nothing is frozen.

    Raises ``UnknownName``, and ``InvalidSpec`` for a layer that two modules have (NAM-2..5).

    >>> asr = NemoConfig(freeze_updates=FreezeUpdates(enabled=True, modules={"encoder": 2, "joint": (3, 4)}))
    >>> [sorted(policy(asr).frozen_at(step)) for step in range(5)]
    [['encoder'], ['encoder'], ['joint'], ['joint'], []]
    """
    found = config.freeze_updates
    chosen(tuple(found.modules), names, "freeze_updates.modules")  # each layer once
    said = found.modules.items() if found.enabled else ()
    return union(*(_frozen(chosen((name,), names, "freeze_updates.modules"), when) for name, when in said))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return for each layer the first range in which it is frozen; -1 for one that ends with the run."""
    modules: dict[str, Any] = {}
    for name, ranges in spans(run, names).items():
        for start, stop in ranges[:1]:
            last = -1 if stop == run[-1].stop else stop
            modules[name] = [start + 1, last] if start else last
    return {"freeze_updates": {"enabled": True, "modules": modules}}


DIALECT = Dialect(
    name="nemo",
    source="NeMo 3.0, freeze_updates",
    config=NemoConfig,
    unit="steps",
    names="layers",
    build=policy,
    from_segments=from_segments,
    unwrap=freeze_updates,
    wrapped=in_a_section("model"),
)
