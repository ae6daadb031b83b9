"""What several dialects share: the choice of layers, and policies that freeze from a tick on or until one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from refreeze.errors import NeedsModel
from refreeze.policy import Policy, always, never, stages, union
from refreeze.selectors import distinct, everything, under


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
