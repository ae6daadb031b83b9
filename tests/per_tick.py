"""The second definition of policies: what an expression means, from the clauses alone, looking at each tick.

It shares no code with the package but the ``Segment`` that both answer with and the ``Conflict`` that both raise, is
slow, and knows neither boundaries nor numpy. ``strategies`` draws the expressions it reads. Configurations have theirs
in ``brute_force``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from brute_force import drawn
from refreeze import Conflict, Segment

NOTHING: frozenset[str] = frozenset()


class Says(NamedTuple):
    """What is said about one tick; ``rates`` are all learning rates that are set at its start."""

    frozen: frozenset[str] = NOTHING
    mentioned: frozenset[str] = NOTHING
    rates: frozenset[float] = frozenset()
    bn_frozen: frozenset[str] = NOTHING


def says(expression: tuple[Any, ...], tick: int) -> Says:
    """Return what an expression such as ``("during", ("always", ("a",)), 2, 4)`` says about ``tick``."""
    match expression:
        case ("always", names):
            return Says(frozenset(names), frozenset(names))
        case ("never", names):
            return Says(mentioned=frozenset(names))
        case ("inference_mode", names):
            return Says(bn_frozen=frozenset(names))
        case ("rate", learning_rate, every):
            return Says(rates=frozenset({learning_rate} if tick == 0 or (every and tick % every == 0) else ()))
        case ("round_robin", layers, window, span):
            return Says(round_robin(layers, window, tick // span), frozenset().union(*layers))
        case ("random_windows", layers, window, span, seed, stream):
            places = drawn(seed, stream, tick // span, len(layers), window)
            return Says(frozenset().union(*(layers[place] for place in places)), frozenset().union(*layers))
        case ("random_order", layers, span, seed, stream):
            cycle, place = divmod(tick // span, len(layers))
            order = drawn(seed, stream, cycle, len(layers), len(layers))
            return Says(frozenset(layers[order[place]]), frozenset().union(*layers))
        case ("union", *parts):
            return Says(
                *(frozenset().union(*field) for field in zip(*(says(part, tick) for part in parts), strict=True))
            )
        case ("override", *parts):
            told = [says(part, tick) for part in parts]
            decided = {name: name in one.frozen for one in told for name in one.mentioned}
            return says(("union", *parts), tick)._replace(
                frozen=frozenset(n for n, frozen in decided.items() if frozen)
            )
        case ("shift", part, by):
            return says(part, tick - by) if tick >= by else Says()
        case ("during", part, start, stop):
            return says(part, tick) if start <= tick and (stop is None or tick < stop) else Says()
        case ("stages", *parts):
            begun = [part for start, part in parts if start <= tick]
            return says(begun[-1], tick) if begun else Says()
        case ("invert", part, names):
            told = says(part, tick)
            return told._replace(frozen=frozenset(names) - told.frozen, mentioned=frozenset(names))
        case ("in_steps", part, steps_per_epoch):
            told = says(part, tick // steps_per_epoch)
            return told if tick % steps_per_epoch == 0 else told._replace(rates=frozenset())
    raise AssertionError(f"no meaning for {expression!r}")


def encode(at: Callable[[int], Says], stop: int, start: int = 0) -> tuple[Segment, ...]:
    """Return the segments of [start, stop): a new one where the answer differs or a rate is set; or ``Conflict``."""
    found: list[Segment] = []
    for tick in range(start, stop):
        now = at(tick)
        if len(now.rates) > 1:
            raise Conflict(tick, now.rates)
        (rate,) = now.rates or {None}
        if found and rate is None and (found[-1].frozen, found[-1].bn_frozen) == (now.frozen, now.bn_frozen):
            last = found.pop()
            found.append(Segment(last.start, tick + 1, last.frozen, last.learning_rate, last.bn_frozen))
        else:
            found.append(Segment(tick, tick + 1, now.frozen, rate, now.bn_frozen))
    return tuple(found)


def outcome(call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns, or the tick and the rates of the conflict that it raises (SCH-6)."""
    try:
        return call()
    except Conflict as conflict:
        return conflict.tick, conflict.rates


def round_robin(layers: Sequence[Sequence[str]], window: int, k: int) -> frozenset[str]:
    """RR-1, by walking: from the first unit of layers, ``k`` times a whole window on."""
    place = 0
    for _ in range(k * window):
        place = place + 1 if place + 1 < len(layers) else 0
    return frozenset().union(*(*layers, *layers)[place : place + window])
