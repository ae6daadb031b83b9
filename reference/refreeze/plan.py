"""Plans: a configuration or a policy, computed once for one run, and used by whatever shows, runs or checks it."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from refreeze.dialects import Dialect, Run, files
from refreeze.dialects import dialect as find_dialect
from refreeze.errors import InvalidSpec
from refreeze.limits import checked_names
from refreeze.policy import Policy, check_int
from refreeze.rates import Rates
from refreeze.schedule import Segment, segments

Unit = Literal["epochs", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does: every field agrees with the others, as ``plan`` makes them together."""

    unit: Unit
    """What a tick is."""
    names: tuple[str, ...]
    """All that can be frozen, in declaration order; where that was not given, all that ever is, as it is mentioned."""
    total: int
    """The ticks of the run."""
    steps_per_epoch: int
    """The steps in an epoch; 1 for a schedule in epochs that does not depend on them."""
    policy: Policy
    """What is frozen when."""
    rates: Rates | None
    """The learning rates of single names, None if there are none."""
    segments: tuple[Segment, ...]
    """The canonical segments of the policy over the run (SCH-1..4)."""

    @property
    def visits(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        """What is frozen, and what is in inference mode, wherever one of the two changes: a train step for each."""
        sets = ((segment.frozen, segment.bn_frozen) for segment in self.segments)
        return [found for found, _ in itertools.groupby(sets)]

    @property
    def never_trained(self) -> list[str]:
        """The names that are frozen in the whole run, in order."""
        frozen = [segment.frozen for segment in self.segments]
        always = frozen[0].intersection(*frozen[1:]) if frozen else frozenset()
        return [name for name in self.names if name in always]

    @property
    def never_frozen(self) -> list[str]:
        """The names that are frozen at no tick, in order."""
        ever = frozenset().union(*(segment.frozen for segment in self.segments))
        return [name for name in self.names if name not in ever]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration in its dialect; ``read`` makes one of a file, ``configuration`` one of plain data."""

    dialect: Dialect
    """The language: what a name and a tick are."""
    config: Any
    """The configuration, checked."""

    def policy(self, names: Sequence[str] | None = None, *, total: int, steps_per_epoch: int = 1) -> Policy:
        """Return what is frozen when, as ``Dialect.policy`` does; ``plan`` has the segments too."""
        return self.dialect.policy(self.config, names, total=total, steps_per_epoch=steps_per_epoch)


def configuration(raw: object, dialect: Dialect | str) -> Configuration:
    """Return the configuration that the plain data ``raw`` are in a dialect, or in the one of that name.

    Raises ``InvalidSpec`` with what is wrong, and where.
    """
    language = dialect if isinstance(dialect, Dialect) else find_dialect(dialect)
    return Configuration(language, language.parse(raw))


def read(path: str | os.PathLike[str]) -> Configuration:
    """Return the configuration in the JSON, YAML or TOML file at ``path``.

    Raises ``InvalidSpec`` for a file that cannot be read, is malformed, or is no configuration.
    """
    dialect, raw = files.read(path)
    return configuration(raw, dialect)


def asked(spec: object, dialect: str = "vl3d", unit: Unit | None = None) -> tuple[Configuration | Policy, Unit]:
    """Return what a user gives as a schedule, and what its tick is.

    Args:
        spec: the path of a configuration file, a ``Configuration``, a ``Policy``, or a configuration as plain data.
        dialect: that of plain data.
        unit: that of a ``Policy``, "epochs" if not given; all others have that of their dialect, and it must be None.

    Raises ``InvalidSpec`` as ``read`` and ``configuration`` do, and for a ``unit`` that is not allowed.
    """
    if isinstance(spec, Policy):
        if unit not in (None, "epochs", "steps"):
            raise InvalidSpec("unit", unit, "'epochs' or 'steps'")
        return spec, unit or "epochs"
    if unit is not None:
        raise InvalidSpec("unit", unit, "None: the dialect says it")
    if isinstance(spec, str | os.PathLike):
        spec = read(spec)
    found = spec if isinstance(spec, Configuration) else configuration(spec, dialect)
    return found, found.dialect.unit


def plan(
    spec: Configuration | Policy,
    names: Sequence[str] | None = None,
    *,
    total: int,
    steps_per_epoch: int = 1,
    unit: Unit = "epochs",
) -> Plan:
    """Return the plan of a run.

    Args:
        spec: a configuration, or a policy.
        names: all that can be frozen, in declaration order, each once; None if they are not known.
        total: the ticks of the run, an integer >= 0.
        steps_per_epoch: the steps in an epoch, the last, partial batch included; an integer >= 1.
        unit: what a tick of a policy is. A configuration has the unit of its dialect.

    Raises the ``ScheduleError`` that says what is wrong with the configuration, the names or the numbers.

    >>> from refreeze import always, during
    >>> found = plan(during(always(["stem"]), 0, 2), ["stem", "head"], total=5)
    >>> [(s.start, s.stop, sorted(s.frozen)) for s in found.segments]
    [(0, 2, ['stem']), (2, 5, [])]
    """
    known = None if names is None else checked_names("names", names)
    run = Run(total=check_int("total", total), steps_per_epoch=check_int("steps_per_epoch", steps_per_epoch, 1))
    if isinstance(spec, Configuration):
        language, config, unit = spec.dialect, spec.config, spec.dialect.unit
        policy = language.build(config, known, run)
        rates = None if language.rates is None else language.rates(config, known, run)
        texts = _texts(msgspec.to_builtins(config)) if names is None else ()
        mentioned = [name for name in texts if name in policy.names]
    else:
        if unit not in ("epochs", "steps"):
            raise InvalidSpec("unit", unit, "'epochs' or 'steps'")
        policy, rates, mentioned = spec, None, []
    return Plan(
        unit=unit,
        names=tuple(dict.fromkeys([*mentioned, *sorted(policy.names)])) if known is None else known,
        total=run.total,
        steps_per_epoch=run.steps_per_epoch,
        policy=policy,
        rates=rates,
        segments=segments(policy, total),
    )


def _texts(plain: object) -> Iterator[str]:
    """Yield every text in plain data that is no key, in order."""
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict | list | tuple):
        for item in plain.values() if isinstance(plain, dict) else plain:
            yield from _texts(item)


def traces(visits: Iterable[Hashable], size: int) -> int:
    """Return how many of these visits find nothing to go back to, where the ``size >= 1`` used last are kept.

    >>> traces("abcabc", size=3), traces("abcabc", size=2), traces("ababa", size=1)
    (3, 6, 5)
    """
    kept, made = OrderedDict[Hashable, None](), 0
    for visit in visits:
        made += visit not in kept
        kept[visit] = None
        kept.move_to_end(visit)
        if len(kept) > size:
            kept.popitem(last=False)
    return made
