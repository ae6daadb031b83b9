"""The second definition: what every tick means, from the clauses alone, looking at each tick.

It shares no code with the package but the ``Segment`` that both answer with and the ``Conflict`` that both raise, is
slow, and knows neither boundaries nor numpy. ``strategies`` draws the expressions and the specifications it reads.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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
            drawn = draw(len(layers), window, words(seed, stream, tick // span))
            return Says(frozenset().union(*(layers[place] for place in drawn)), frozenset().union(*layers))
        case ("random_order", layers, span, seed, stream):
            cycle, place = divmod(tick // span, len(layers))
            order = draw(len(layers), len(layers), words(seed, stream, cycle))
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


def vl3d(config: Sequence[dict[str, Any]], names: Sequence[str], tick: int) -> Says:
    """Return what vl3d specifications, as plain dictionaries, say about the epoch ``tick`` (RR, RND, NAM, SCH-6)."""
    frozen: set[str] = set()
    rates: set[float] = set()
    for number, spec in enumerate(config):
        start, stop = spec["training_interval"]
        if not start <= tick < stop:
            continue
        found, strategy, since = units(spec["layers"], names), spec.get("strategy"), tick - start
        if strategy is None:
            frozen.update(*found)
            begins = since == 0
        else:
            k, offset = divmod(since, strategy["iterative_span"])
            begins = offset == 0
            if strategy["type"] == "round_robin":
                frozen |= round_robin(found, strategy["window_size"], k)
            else:
                drawn = draw(len(found), strategy["window_size"], words(strategy.get("seed", 0), number, k))
                frozen.update(*(found[place] for place in drawn))
        if begins and spec.get("initial_learning_rate") is not None:
            rates.add(spec["initial_learning_rate"])
    return Says(frozenset(frozen), frozenset(), frozenset(rates))


def units(layers: list[Any] | str, names: Sequence[str]) -> list[list[str]]:
    """NAM-1, NAM-4, NAM-5, and the half of NAM-3 about containers."""
    if isinstance(layers, str):
        return [[name] for name in {"all": names, "all_reverse": reversed(names)}[layers]]
    found = []
    for entry in layers:
        each = isinstance(entry, dict)
        inside = [] if each else [name for name in names if f"{name}/".startswith(f"{entry}/")]
        parts: dict[str, list[str]] = {entry: inside} if inside else {}
        for name in () if inside else names:
            above = [name[:end] for end in range(len(name) + 1) if f"{name}/"[end] == "/"]
            if matching := [path for path in above if fnmatch.fnmatchcase(path, entry["each"] if each else entry)]:
                parts.setdefault(min(matching, key=len), []).append(name)
        found += list(parts.values()) if each else [[name for part in parts.values() for name in part]]
    return found


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Return the block of four 64-bit words of Philox4x64-10.

    Source: Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (2011), section 4.3.
    """
    a, b, c, d = counter
    k0, k1 = key
    mask = 2**64 - 1
    for _ in range(10):
        left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (right >> 64) ^ b ^ k0, right & mask, (left >> 64) ^ d ^ k1, left & mask
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [a, b, c, d]


def words(seed: int, stream: int, k: int) -> Iterator[int]:
    """RND-1: the words for span ``k`` of specification ``stream``."""
    block = 1
    while True:
        yield from philox((block, k, 0, 0), (seed, stream))
        block += 1


def draw(n: int, window: int, source: Iterator[int]) -> list[int]:
    """RND-2: the positions that the words of ``source`` choose, in the order of the draw."""
    places = list(range(n))
    for j in range(window):
        m = n - j
        r = next(source)
        while r >= 2**64 - 2**64 % m:
            r = next(source)
        places[j], places[j + r % m] = places[j + r % m], places[j]
    return places[:window]
