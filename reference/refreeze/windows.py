"""Windows of layers that move with time: round robin (RR-1..3), random (RND-1..3), in random order (RND-4).

All divide time from tick 0 into spans and freeze ``window`` of the layers, or one, in each. What moves are
*units*: an entry of ``layers`` is a name, or several names that freeze and thaw together, such as those of a block.
The draw for a span is keyed by (seed, stream, number of the span) alone: it is the same in every process, on every
machine and in every language that has Philox, and no generator has a state that a resumed run could lose.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, State, check_int, check_names, multiples

Units = Sequence[str | Sequence[str]]

_WORDS = 2**64


def round_robin_window(n: int, window: int, k: int) -> tuple[int, ...]:
    """Return the positions that are frozen in span ``k``: ``(k * window + j) mod n`` for j in [0, window) (RR-1).

    Raises ``InvalidSpec`` unless 1 <= window <= n and k >= 0.

    >>> [round_robin_window(5, 2, k) for k in range(3)]
    [(0, 1), (2, 3), (4, 0)]
    """
    _check_window(window, n)
    check_int("k", k)
    return tuple((k * window + j) % n for j in range(window))


def _check_window(window: int, n: int) -> None:
    if check_int("window", window, 1) > check_int("n", n, 1):
        raise InvalidSpec("window", window, f"in 1..{n}")


def _check_words(**values: int) -> None:
    for where, value in values.items():
        if check_int(where, value) >= _WORDS:
            raise InvalidSpec(where, value, "an integer in [0, 2**64)")


def _words(seed: int, stream: int, k: int) -> Iterator[int]:
    """Yield 64-bit words of Philox4x64-10 with key (seed, stream), from the blocks at (1,k,0,0), (2,k,0,0), …"""
    import numpy as np  # here, because it takes most of the time of `import refreeze` and few schedules draw

    # numpy counts the block up before it fills it: a counter of 0 begins with block 1.
    key, counter = np.array([seed, stream], np.uint64), np.array([0, k, 0, 0], np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    while True:
        yield int(generator.random_raw())


def random_window(n: int, window: int, k: int, seed: int, stream: int) -> tuple[int, ...]:
    """Return the ``window`` of ``n`` positions drawn for span ``k``, in the order of the draw (RND-1, RND-2).

    A partial Fisher-Yates shuffle of 0..n-1: for j in [0, window) places j and j + u(n - j) change, where u(m) is the
    next word r mod m, after rejecting words r >= 2^64 - (2^64 mod m). Raises ``InvalidSpec`` unless 1 <= window <= n
    and ``k``, ``seed`` and ``stream`` are integers in [0, 2^64).

    >>> random_window(n=10, window=4, k=5, seed=7, stream=2)
    (5, 1, 0, 9)
    """
    _check_window(window, n)
    _check_words(k=k, seed=seed, stream=stream)
    words = _words(seed, stream, k)
    places = list(range(n))
    for j in range(window):
        m = n - j
        word = next(word for word in words if word < _WORDS - _WORDS % m)
        other = j + word % m
        places[j], places[other] = places[other], places[j]
    return tuple(places[:window])


class _Moving(Policy):
    layers: Units
    window: int
    span: int

    def __post_init__(self) -> None:
        listed = isinstance(self.layers, Sequence) and not isinstance(self.layers, str)
        if not listed or not all(isinstance(unit, Collection) for unit in self.layers):
            raise InvalidSpec("layers", self.layers, "a list of names, or of lists of names")
        units = tuple(unit if isinstance(unit, str) else tuple(unit) for unit in self.layers)
        object.__setattr__(self, "layers", units)
        if not units or not all(self._units) or len(self.names) != sum(map(len, self._units)):
            raise InvalidSpec("layers", units, "one or more names, each once")
        _check_window(self.window, len(units))
        check_int("span", self.span, 1)

    @cached_property
    def _units(self) -> list[frozenset[str]]:
        return [check_names([unit] if isinstance(unit, str) else unit, "layers") for unit in self.layers]

    @cached_property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*self._units)

    @abstractmethod
    def positions(self, k: int) -> tuple[int, ...]:
        """Return the positions that are frozen in span ``k``."""

    def at(self, tick: int) -> State:
        found = (self._units[position] for position in self.positions(tick // self.span))
        return State(frozenset().union(*found), self.names)

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return multiples(self.span, start, stop)


@dataclass(frozen=True, repr=False)
class _RoundRobin(_Moving):
    layers: Units
    window: int
    span: int
    made_by = "round_robin"

    def positions(self, k: int) -> tuple[int, ...]:
        return round_robin_window(len(self.layers), self.window, k)


def round_robin(layers: Units, window: int, span: int) -> Policy:
    """Return the policy that freezes ``round_robin_window(len(layers), window, k)`` in [k * span, (k + 1) * span).

    ``layers`` are the units, in order: each is a name or a list of names. RR-1. Raises ``InvalidSpec`` unless no name
    is given twice, 1 <= window <= len(layers), and span >= 1 tick.

    >>> sorted(round_robin(["a", "b", "c"], window=2, span=5).frozen_at(5))
    ['a', 'c']
    >>> [sorted(round_robin([["b1/norm", "b1/q"], "head"], 1, span=5).frozen_at(tick)) for tick in (0, 5)]
    [['b1/norm', 'b1/q'], ['head']]
    """
    return _RoundRobin(layers, window, span)


@dataclass(frozen=True, repr=False)
class _RandomWindows(_Moving):
    layers: Units
    window: int
    span: int
    seed: int
    stream: int
    made_by = "random_windows"

    def positions(self, k: int) -> tuple[int, ...]:
        return random_window(len(self.layers), self.window, k, self.seed, self.stream)


def random_windows(layers: Units, window: int, span: int, seed: int = 0, stream: int = 0) -> Policy:
    """Return the policy that freezes ``random_window(len(layers), window, k, ...)`` in [k * span, (k + 1) * span).

    ``layers`` are the units, as in ``round_robin``. ``seed`` and ``stream`` are integers in [0, 2^64); the stream tells
    draws with one seed apart (vl3d: the number of the spec). Raises ``InvalidSpec`` as ``round_robin`` does (RND-1..3).

    >>> sorted(random_windows(["a", "b", "c", "d", "e"], window=2, span=1).frozen_at(0))
    ['d', 'e']
    """
    _check_words(seed=seed, stream=stream)
    return _RandomWindows(layers, window, span, seed, stream)


_order = functools.lru_cache(maxsize=16)(random_window)  # each span of a cycle asks for the order of the same cycle


@dataclass(frozen=True, repr=False)
class _RandomOrder(_Moving):
    layers: Units
    span: int
    seed: int
    stream: int
    window = 1
    made_by = "random_order"

    def positions(self, k: int) -> tuple[int, ...]:
        n = len(self.layers)
        return (_order(n, n, k // n, self.seed, self.stream)[k % n],)


def random_order(layers: Units, span: int, seed: int = 0, stream: int = 0) -> Policy:
    """Return the policy that freezes one unit at a time, all in turn, in an order drawn anew for each cycle.

    With n units, in [k * span, (k + 1) * span) it freezes the unit at the position number ``k % n`` of
    ``random_window(n, n, k // n, seed, stream)`` (RND-4). The arguments and errors are those of ``random_windows``.

    >>> [sorted(random_order(["a", "b", "c"], span=2, seed=1).frozen_at(tick))[0] for tick in range(0, 12, 2)]
    ['c', 'a', 'b', 'b', 'a', 'c']
    """
    _check_words(seed=seed, stream=stream)
    return _RandomOrder(layers, span, seed, stream)
