"""What several dialects share: types of fields, exact fractions of a run, the choice of layers."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal

from msgspec import Meta

from refreeze.errors import InvalidSpec, NeedsModel
from refreeze.policy import Policy, always, never, stages, union
from refreeze.selectors import distinct, everything, under

Tick = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Names = Annotated[tuple[str, ...], Meta(min_length=1)]
Layers = Names | Literal["all"]
Rate = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
Factor = Annotated[float, Meta(ge=1, le=sys.float_info.max)]
Share = Annotated[float, Meta(ge=0, le=1)] | Annotated[str, Meta(pattern=r"^[0-9]+/[1-9][0-9]*$", max_length=99)]


def exactly_share(where: str, value: float | str, least: str = "[0", most: str = "1]") -> Fraction:
    """Return the fraction of a run that ``value`` means, without rounding.

    "1/3" is one third; a number is taken by its decimal digits, so 0.29 is 29/100. Raises ``InvalidSpec`` outside of
    [0, 1], or of (0, 1] for ``least="(0"``, or of [0, 1) for ``most="1)"``.

    >>> exactly_share("freeze_start", 0.29) * 100, exactly_share("freeze_start", "1/3")
    (Fraction(29, 1), Fraction(1, 3))
    """
    share = Fraction(str(value))
    line_feed = str(value).endswith("\n")  # before one at the end `$` matches, in Python
    if line_feed or share > 1 or (share == 0 and least == "(0") or (share == 1 and most == "1)"):
        raise InvalidSpec(where, value, f'in {least}, {most}, as a number or a string such as "1/3"')
    return share


def chosen(wanted: Iterable[str] | str, names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Return the layers that ``wanted`` means: "all" is every one of ``names``, a container all in it (NAM-1..3).

    If ``names`` is None, a list is taken as it is, if no entry lies in another. Raises ``NeedsModel``, ``UnknownName``,
    ``EmptySelection``, and ``InvalidSpec`` for a layer given twice.
    """
    if wanted == "all":
        if names is None:
            raise NeedsModel(where, wanted)
        return everything(where)(names)
    wanted = distinct(wanted, where)
    check_apart(names, where, wanted)
    return wanted if names is None else under(*wanted, where=where)(names)


def check_apart(names: Sequence[str] | None, where: str, *lists: Iterable[str]) -> None:
    """Raise ``NeedsModel`` if ``names`` is None and one of those in ``lists`` lies in another (NAM-3).

    What else is in that one is not known then.

    >>> check_apart(None, "layers", ["backbone", "head"], ["backbone2/norm"])
    """
    every = set().union(*lists) if names is None else set()
    for name in sorted(every):
        for container in itertools.accumulate(name.split("/")[:-1], "{}/{}".format):
            if container in every:
                raise NeedsModel(where, [container, name])


def frozen_from(starts: Mapping[str, int], total: int) -> Policy:
    """Return the policy that freezes each name from its tick on, to the end; starts >= ``total`` never come.

    >>> [len(frozen_from({"a": 2, "b": 5, "c": 9}, total=9).frozen_at(tick)) for tick in (1, 2, 5, 9)]
    [0, 1, 2, 2]
    """
    ticks = sorted({start for start in starts.values() if start < total})
    return stages(*((tick, always(name for name, start in starts.items() if start <= tick)) for tick in ticks))


def frozen_until(stops: Mapping[str, float]) -> Policy:
    """Return the policy that freezes each name in [0, stop), an integer or infinity, and mentions all at all times.

    >>> [len(frozen_until({"a": 0, "b": 3, "c": math.inf}).frozen_at(tick)) for tick in (0, 2, 3)]
    [2, 2, 1]
    """
    ticks = sorted({0, *(int(stop) for stop in stops.values() if stop != math.inf)})
    parts = ((tick, always(name for name, stop in stops.items() if stop > tick)) for tick in ticks)
    return union(never(stops), stages(*parts))
