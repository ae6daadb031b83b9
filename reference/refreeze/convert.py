"""A configuration, said in another dialect: exactly, or not at all.

A dialect that can be a target has ``from_segments``, which says for as long as it can what a schedule does. Nothing
depends on that being right: what comes out is planned again, and compared at every boundary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from refreeze.choices import SingleRates
from refreeze.dialects import Dialect, dialect, dialects
from refreeze.errors import Inexpressible, InvalidSpec, NeedsModel, UnknownName, first_few
from refreeze.plan import Configuration, configuration, plan
from refreeze.policy import NOTHING, check_int
from refreeze.rates import Rates
from refreeze.schedule import Segment, canonical, cut
from refreeze.selectors import distinct

Frozen = frozenset[str]
_Difference = tuple[int, str, tuple[str, ...]]
"""A tick, what is different there, and whose."""


def targets() -> list[str]:
    """Return the names of the dialects that a configuration can be converted to."""
    return [name for name, found in dialects().items() if found.from_segments is not None]


def writer(to: Dialect) -> Callable[[Sequence[Segment], Sequence[str]], Any]:
    """Return the function that writes configurations of the dialect ``to``; raises ``InvalidSpec`` if it has none."""
    if to.from_segments is None:
        raise InvalidSpec("to", to.name, f"a dialect that can be written: {', '.join(targets())}")
    return to.from_segments


def convert(
    spec: Configuration,
    to: Dialect | str,
    names: Sequence[str] | None = None,
    *,
    total: int,
    steps_per_epoch: int = 1,
    parameters: Mapping[str, Sequence[str]] | None = None,
    rates: SingleRates = "refuse",
) -> Any:
    """Return a configuration in the dialect ``to``, as plain data, that means the same in one run, tick by tick.

    Args:
        spec: the configuration.
        to: the other dialect, or its name.
        names: all that can be frozen, as ``spec`` calls it; None if that is not known.
        total: the ticks of the run, in the unit of ``spec``; an integer >= 1.
        steps_per_epoch: the steps in an epoch; an epoch is so many steps where one of the two counts steps.
        parameters: the parameters of each layer, in order, each of one layer; needed if one of the two dialects
            names layers and the other one parameters.
        rates: whether learning rates of single names, which no target has, are refused or left out.

    Raises ``Inexpressible``, with the first tick that the other dialect cannot say, ``NeedsModel`` where names or
    parameters are needed, and what is wrong with the configuration, the names or the numbers.

    >>> from refreeze.plan import configuration
    >>> halves = configuration({"freeze_layers": ["stem"], "Freeze_Epoch": 3}, "two_phase")
    >>> convert(halves, "vl3d", total=9)
    [{'layers': ['stem'], 'training_interval': [0, 3]}]
    """
    target = dialect(to) if isinstance(to, str) else to
    write = writer(target)
    if rates not in ("refuse", "ignore"):
        raise InvalidSpec("rates", rates, "'refuse' or 'ignore'")
    source = plan(spec, names, total=check_int("total", total, 1), steps_per_epoch=steps_per_epoch)
    known, there, back = _renaming(source.names, spec.dialect, target, parameters)
    if not known:
        raise NeedsModel("names", [])
    to_steps, to_epochs = source.unit < target.unit, source.unit > target.unit
    wanted = source.segments
    asked = canonical(replace(s, frozen=there(s.frozen)) for s in wanted)
    if to_steps:
        wanted, asked = _in_steps(wanted, steps_per_epoch), _in_steps(asked, steps_per_epoch)
    elif to_epochs:
        asked = _at_epochs(asked, steps_per_epoch)
    found = write(asked, known)
    said = plan(configuration(found, target), known, total=asked[-1].stop, steps_per_epoch=steps_per_epoch).segments
    if to_epochs:
        said = cut(_in_steps(said, steps_per_epoch), 0, total)
    odd = [_first_difference(wanted, canonical(replace(s, frozen=back(s.frozen)) for s in said))]
    if source.rates is not None and rates == "refuse":
        odd.append(_first_rate(source.rates, source.total, steps_per_epoch if to_steps else 1))
    if differences := [difference for difference in odd if difference is not None]:
        tick, what, which = min(differences)
        unit = "epoch" if source.unit == target.unit == "epochs" else "step"
        raise Inexpressible(target.name, unit, tick, what, which)
    return found


def _renaming(
    names: Sequence[str], source: Dialect, target: Dialect, parameters: Mapping[str, Sequence[str]] | None
) -> tuple[tuple[str, ...], Callable[[Frozen], Frozen], Callable[[Frozen], Frozen]]:
    """Return the names in the other dialect, and what is frozen there if something is here, and the other way round."""
    if source.names == target.names:
        return tuple(names), lambda frozen: frozen, lambda frozen: frozen
    if parameters is None:
        allowed = f"given: {source.name} names {source.names}, and {target.name} {target.names}"
        raise InvalidSpec("parameters", None, allowed)
    owned = {layer: tuple(found) for layer, found in parameters.items()}
    every = distinct(tuple(chain(*owned.values())), "parameters")
    if missing := [name for name in names if name not in (owned if source.names == "layers" else every)]:
        raise UnknownName("parameters", missing, owned if source.names == "layers" else every)
    opened = functools.cache(lambda frozen: NOTHING.union(*(owned[layer] for layer in frozen)))
    closed = functools.cache(
        lambda frozen: frozenset(layer for layer, own in owned.items() if own and frozen.issuperset(own))
    )
    if source.names == "layers":
        return tuple(chain(*(owned[layer] for layer in names))), opened, closed
    return tuple(layer for layer, own in owned.items() if not {*own}.isdisjoint(names)), closed, opened


def _in_steps(run: Iterable[Segment], per: int) -> tuple[Segment, ...]:
    return tuple(replace(s, start=s.start * per, stop=s.stop * per) for s in run)


def _at_epochs(run: Iterable[Segment], per: int) -> tuple[Segment, ...]:
    """Return, in epochs, what holds at the first step of each: what changes within one, an epoch cannot say."""
    rounded = (
        replace(
            s,
            start=-(-s.start // per),
            stop=-(-s.stop // per),
            learning_rate=None if s.start % per else s.learning_rate,
        )
        for s in run
    )
    return canonical(s for s in rounded if s.start < s.stop)


def _first_difference(wanted: Sequence[Segment], said: Sequence[Segment]) -> _Difference | None:
    """Return the first tick at which two runs differ, and what the first one has there; None if they are equal."""
    for index, (right, other) in enumerate(zip(wanted, said, strict=False)):
        if right == other:
            continue
        tick = right.start
        if replace(right, stop=other.stop) == other:  # the one ends where the other one goes on
            tick = min(right.stop, other.stop)
            right, other = (run[index + (run[index].stop == tick)] for run in (wanted, said))
        sets = {
            "frozen": right.frozen - other.frozen,
            "trainable": other.frozen - right.frozen,
            "in inference mode": right.bn_frozen - other.bn_frozen,
            "out of inference mode": other.bn_frozen - right.bn_frozen,
        }
        what = [f"{first_few(map(repr, sorted(names)))} {how}" for how, names in sets.items() if names]
        rate = right.learning_rate if right.start == tick else None
        what += [] if rate is None else [f"the learning rate set to {rate:g}"]
        return tick, " and ".join(what), tuple(sorted(NOTHING.union(*sets.values())))
    return None


def _first_rate(rates: Rates, total: int, per: int) -> _Difference | None:
    """Return the first tick at which a single name has a learning rate of its own, and who has; None if none does."""
    for tick in chain((0,), rates.boundaries(0, total)):
        if found := rates.learning_rates_at(tick):
            return tick * per, "learning rates of single names", tuple(sorted(found))
    return None
