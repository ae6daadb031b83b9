"""Overshoot: said before training, when the plan has a thaw after which steps will be too large (EXE-13)."""

from __future__ import annotations

import bisect
import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from refreeze.errors import first_few
from refreeze.keras import private
from refreeze.keras.optimizer import new_like
from refreeze.schedule import Segment

_log = logging.getLogger("refreeze")
_MANY = 10_000
"""So many updates that a correction of bias has ended."""
_TOLD = 1.5
_PROBED = 16
"""The first steps after a thaw that are looked at; Adam's largest is the twelfth."""


def warn(model: Any, schedule: Sequence[Segment], names: Iterable[str], steps: int | None, others: bool) -> None:
    """Log which names will take too large steps, if the optimizer is of that kind, which has not been used yet.

    Args:
        model: the compiled model.
        schedule: the whole run.
        names: all that it governs.
        steps: those in a tick, None if that is not known; it is then taken for large.
        others: whether something else trains at every tick.
    """
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    waited = {name: ticks * steps if steps else _MANY for name, ticks in waiting(schedule, names, others).items()}
    if not waited or int(keras.ops.convert_to_numpy(inner.iterations)):
        return

    new = functools.partial(new_like, inner, learning_rate=1.0, gradient_accumulation_steps=None)
    times = functools.cache(functools.partial(overshoot, new))
    try:
        ordered = sorted({*waited.values()})
        late = ordered[bisect.bisect_left(ordered, _TOLD, key=times) :]
        if late:
            shown = first_few(name for name, before in waited.items() if before in late)
            _log.warning(
                "%s train for the first time when others have for long, and %s corrects the bias of their empty "
                "moments by the updates of all: their first steps will be up to %.1f times as large as a new "
                "optimizer's; optimizer_state='per_variable' counts the updates of each",
                shown, type(inner).__name__, times(late[-1]),
            )  # fmt: skip
    except Exception:  # the class of somebody else's optimizer, which does without this
        _log.debug("it is not known how optimizer %r begins", inner.name, exc_info=True)


def waiting(schedule: Sequence[Segment], names: Iterable[str], others: bool = False) -> dict[str, int]:
    """Return each name that trains for the first time after others have, with the ticks that those have had by then.

    ``others``: something else trains at every tick.

    >>> a, b = frozenset("a"), frozenset("b")
    >>> waiting([Segment(0, 2, a | b), Segment(2, 5, a), Segment(5, 9, b)], ["a", "b"])
    {'a': 3}
    """
    found, left, ticks = {}, {*names}, 0
    every = frozenset(left)
    for segment in schedule:
        thawed = left - segment.frozen
        found.update({name: ticks for name in sorted(thawed) if ticks})
        left -= thawed
        ticks += segment.length if others or not segment.frozen >= every else 0
    return found


def overshoot(new: Callable[[], Any], before: int) -> float:
    """Return how many times as large as that of a new optimizer a step after a late thaw can be.

    It is the largest of the first steps of a variable that trains for the first time after ``before`` updates of
    others, under a constant gradient. ``new`` makes optimizers of one configuration.
    """
    moved: list[list[float]] = []
    for done in (0, before):
        optimizer, variable, places = new(), keras.Variable(keras.ops.zeros((1,))), [0.0]
        optimizer.build([variable])
        for step in range(_PROBED):
            with private.iterations_shown_as(optimizer, keras.ops.convert_to_tensor(done + step)):
                optimizer.update_step(keras.ops.ones((1,)), variable, keras.ops.convert_to_tensor(1.0))
            places.append(float(keras.ops.convert_to_numpy(variable)[0]))
        moved.append([abs(now - was) for was, now in itertools.pairwise(places)])
    largest: float = max(last / first for first, last in zip(*moved, strict=True) if first)
    return largest
