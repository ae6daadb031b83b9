"""Policies: what is frozen when, as pure functions of time, and the combinators that build big ones from small ones.

Time is a *tick*, an integer from 0, in epochs or in steps; ranges are half-open, ``[start, stop)``. A policy says for
every tick which names are frozen; ``schedule.segments`` encodes that as segments, and all else is derived from them.
No policy has a counter or any other state: every tick may be asked at any time, in any order (RES-1).

A policy is a value: it prints as the expression that makes it, and can be compared, hashed, copied and pickled.
"""

from __future__ import annotations

import bisect
import heapq
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from typing import ClassVar

from refreeze.errors import Conflict, InvalidSpec

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """What a policy says about one tick."""

    frozen: frozenset[str] = NOTHING
    """The names that are frozen during the tick."""
    mentioned: frozenset[str] = NOTHING
    """The names that are decided about, frozen or trainable. Only ``override`` asks for them."""
    learning_rate: float | None = None
    """The learning rate that is set at the start of the tick, if one is."""
    bn_frozen: frozenset[str] = NOTHING
    """The batch normalizations that run in inference mode during the tick, trainable or not (BN-1)."""


SILENT = State()


class Policy(ABC):
    """What is frozen when. One of your own is a frozen dataclass with ``names``, ``at`` and ``boundaries``.

    >>> @dataclass(frozen=True)
    ... class Even(Policy):
    ...     names: frozenset
    ...     def at(self, tick): return State(self.names if tick % 2 == 0 else NOTHING, self.names)
    ...     def boundaries(self, start, stop): return range(start + 1, stop)
    >>> [sorted(Even(frozenset({"a"})).frozen_at(tick)) for tick in range(3)]
    [['a'], [], ['a']]
    """

    names: frozenset[str]
    """Every name that is ever mentioned. All other names keep the state that they had."""
    made_by: ClassVar[str | None] = None
    """The function that makes such a policy of its fields, for ``repr``; a lone tuple stands for several arguments."""

    @abstractmethod
    def at(self, tick: int) -> State:
        """Return the state at ``tick >= 0``: a pure function."""

    @abstractmethod
    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        """Return, increasing, the ticks in (start, stop) where the state can change or a rate is set.

        More ticks do no harm. They should be computed only as they are asked for: there may be 10^18 of them.
        """

    def changes(self, start: int, stop: int) -> Iterator[tuple[int, State]]:
        """Yield all that happens in [start, stop): a tick and its state, at ``start`` and at each boundary after it."""
        return ((tick, self.at(tick)) for tick in chain((start,), self.boundaries(start, stop)))

    def frozen_at(self, tick: int) -> frozenset[str]:
        """Return the names that are frozen during ``tick >= 0``."""
        return self.at(tick).frozen

    def learning_rate_at(self, tick: int) -> float | None:
        """Return the learning rate set at the start of ``tick >= 0``, or None; raises ``Conflict`` (SCH-6)."""
        return self.at(tick).learning_rate

    def __repr__(self) -> str:
        values = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        if self.made_by and len(values) == 1 and isinstance(values[0], tuple):
            values = [*values[0]]
        while values and values[-1] is None:  # an argument that was left out
            values.pop()
        shown = (repr(sorted(value) if isinstance(value, frozenset) else value) for value in values)
        return f"{self.made_by or type(self).__name__}({', '.join(shown)})"


def check_int(where: str, value: object, least: int = 0) -> int:
    """Return ``value`` if it is an integer (a bool is none) that is at least ``least``, else raise ``InvalidSpec``."""
    if type(value) is not int or value < least:
        raise InvalidSpec(where, value, f"an integer >= {least}")
    return value


def check_names(names: object, where: str = "names") -> frozenset[str]:
    """Return ``names`` as a set; raises ``InvalidSpec`` unless it is a collection of strings: one string is none."""
    found = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else None
    if found is None or not all(isinstance(name, str) for name in found):
        raise InvalidSpec(where, names if found is None else found, "a collection of names")
    return frozenset(found)


def check_policies(*policies: object) -> tuple[Policy, ...]:
    """Return ``policies``; raises ``InvalidSpec`` for one that is none."""
    for policy in policies:
        if not isinstance(policy, Policy):
            raise InvalidSpec("policy", policy, "a Policy")
    return policies  # type: ignore[return-value]


def multiples(span: int, start: int, stop: int) -> range:
    """Return the multiples of ``span`` in (start, stop)."""
    return range(start - start % span + span, stop, span)


@dataclass(frozen=True, repr=False)
class _Constant(Policy):
    function: str
    state: State

    @property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return self.state.mentioned

    def at(self, tick: int) -> State:
        return self.state

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return ()

    def __repr__(self) -> str:
        return f"{self.function}({sorted(self.state.mentioned | self.state.bn_frozen)})"


def always(names: Iterable[str]) -> Policy:
    """Return the policy under which ``names`` are frozen at every tick.

    >>> always(["b", "a"]), sorted(always(["b", "a"]).frozen_at(7))
    (always(['a', 'b']), ['a', 'b'])
    """
    frozen = check_names(names)
    return _Constant("always", State(frozen, frozen))


def never(names: Iterable[str]) -> Policy:
    """Return the policy under which ``names`` are mentioned, and trainable, at every tick.

    >>> override(always(["a", "b"]), never(["b"])).frozen_at(0)
    frozenset({'a'})
    """
    return _Constant("never", State(mentioned=check_names(names)))


def inference_mode(names: Iterable[str]) -> Policy:
    """Return the policy under which the batch normalizations ``names`` run in inference mode; it freezes nothing."""
    return _Constant("inference_mode", State(bn_frozen=check_names(names)))


@dataclass(frozen=True, repr=False)
class _Rate(Policy):
    learning_rate: float
    every: int | None
    made_by = "rate"

    @property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return NOTHING

    def at(self, tick: int) -> State:
        sets = tick == 0 or (self.every is not None and tick % self.every == 0)
        return State(learning_rate=self.learning_rate) if sets else SILENT

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return () if self.every is None else multiples(self.every, start, stop)


def rate(learning_rate: float, every: int | None = None) -> Policy:
    """Return the policy that sets a learning rate at tick 0 and, with ``every``, at each multiple; it freezes nothing.

    Raises ``InvalidSpec`` unless the rate is finite and > 0, and ``every`` an integer >= 1 or None.

    >>> [rate(0.1, every=2).learning_rate_at(tick) for tick in range(4)]
    [0.1, None, 0.1, None]
    """
    if type(learning_rate) not in (int, float) or not 0 < learning_rate < math.inf:
        raise InvalidSpec("learning_rate", learning_rate, "a finite number > 0")
    return _Rate(learning_rate, None if every is None else check_int("every", every, 1))


@dataclass(frozen=True, repr=False)
class _Together(Policy):
    policies: tuple[Policy, ...]
    later_wins: ClassVar[bool]

    @cached_property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return NOTHING.union(*(policy.names for policy in self.policies))

    def at(self, tick: int) -> State:
        frozen, mentioned, bn_frozen, rates = set[str](), set[str](), set[str](), set[float]()
        for state in (policy.at(tick) for policy in self.policies):
            frozen -= state.mentioned if self.later_wins else NOTHING
            frozen |= state.frozen
            mentioned |= state.mentioned
            bn_frozen |= state.bn_frozen
            rates |= set() if state.learning_rate is None else {state.learning_rate}
        return State(frozenset(frozen), frozenset(mentioned), _only(rates, tick), frozenset(bn_frozen))

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        every = heapq.merge(*(policy.boundaries(start, stop) for policy in self.policies))
        return (tick for tick, _ in groupby(every))

    def changes(self, start: int, stop: int) -> Iterator[tuple[int, State]]:
        # The same as ``at``, but only what changes at a tick is asked and combined there: a schedule of thousands of
        # policies costs what they say, not their number times their boundaries.
        states = [SILENT] * len(self.policies)
        said = dict[str, dict[int, bool]]()  # name -> number of a policy that mentions it -> whether that freezes it
        frozen, freezing, inferring = set[str](), Counter[str](), Counter[str]()
        if not self.policies:
            yield start, SILENT
        for tick, now in groupby(heapq.merge(*self._numbered(start, stop)), itemgetter(0)):
            rates = set[float]()
            for _, number, state in now:
                before, states[number] = states[number], state
                for name in (before.mentioned ^ state.mentioned) | (before.frozen ^ state.frozen):
                    voices = said.setdefault(name, {})
                    voices.pop(number, None)
                    if name in state.mentioned:
                        voices[number] = name in state.frozen
                    freezing[name] += (name in state.frozen) - (name in before.frozen)
                    decided = voices.get(max(voices, default=-1)) if self.later_wins else freezing[name]
                    (frozen.add if decided else frozen.discard)(name)
                    if not voices:
                        del said[name]
                if before.bn_frozen != state.bn_frozen:
                    inferring = (inferring - Counter(before.bn_frozen)) + Counter(state.bn_frozen)
                rates |= set() if state.learning_rate is None else {state.learning_rate}
            yield tick, State(frozenset(frozen), frozenset(said), _only(rates, tick), frozenset(inferring))

    def _numbered(self, start: int, stop: int) -> Iterator[Iterator[tuple[int, int, State]]]:
        def numbered(number: int, policy: Policy) -> Iterator[tuple[int, int, State]]:
            return ((tick, number, state) for tick, state in policy.changes(start, stop))

        return (numbered(number, policy) for number, policy in enumerate(self.policies))


def _only(rates: set[float], tick: int) -> float | None:
    if len(rates) > 1:
        raise Conflict(tick, rates)
    return next(iter(rates), None)


class _Union(_Together):
    made_by = "union"
    later_wins = False


class _Override(_Together):
    made_by = "override"
    later_wins = True


def union(*policies: Policy) -> Policy:
    """Return the policy under which a name is frozen if any of ``policies`` says so.

    Associative, commutative, idempotent. Asking a tick at which two different learning rates are set raises
    ``Conflict`` (SCH-6).

    >>> union(always(["a"]), during(always(["b"]), 0, 5)).frozen_at(5)
    frozenset({'a'})
    """
    return _Union(check_policies(*policies))


def override(*policies: Policy) -> Policy:
    """Return the policy under which the last of ``policies`` that mentions a name decides about it.

    Associative and idempotent. Learning rates and inference mode combine as in ``union``: two different rates at one
    tick are a ``Conflict``, never last-one-wins (SCH-6).
    """
    return _Override(check_policies(*policies))


def on_another_clock(policy: Policy, its_tick: int, tick: int) -> State:
    """Return ``policy.at(its_tick)``, which is what happens at ``tick``: there a conflict is reported (SCH-6)."""
    try:
        return policy.at(its_tick)
    except Conflict as conflict:
        raise Conflict(tick, conflict.rates) from None


class _Wrapper(Policy):
    policy: Policy

    @property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return self.policy.names


@dataclass(frozen=True, repr=False)
class _Shift(_Wrapper):
    policy: Policy
    by: int
    made_by = "shift"

    def at(self, tick: int) -> State:
        return on_another_clock(self.policy, tick - self.by, tick) if tick >= self.by else SILENT

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        yield from [self.by] if start < self.by < stop else []
        if stop > self.by:
            yield from (tick + self.by for tick in self.policy.boundaries(max(0, start - self.by), stop - self.by))


def shift(policy: Policy, by: int) -> Policy:
    """Return ``policy`` started ``by`` ticks later: it says nothing in [0, by), then begins with its tick 0.

    With ``by < 0`` its first ``-by`` ticks are left out: tick 0 is its tick ``-by``.

    >>> [len(shift(during(always(["a"]), 0, 3), by).frozen_at(1)) for by in (2, 1, 0, -1, -2)]
    [0, 1, 1, 1, 0]
    """
    check_policies(policy)
    if type(by) is not int:
        raise InvalidSpec("by", by, "an integer")
    return _Shift(policy, by)


@dataclass(frozen=True, repr=False)
class _Stages(Policy):
    parts: tuple[tuple[int, Policy], ...]
    made_by = "stages"

    @cached_property
    def names(self) -> frozenset[str]:  # type: ignore[override]
        return NOTHING.union(*(policy.names for _, policy in self.parts))

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _ in self.parts]

    def at(self, tick: int) -> State:
        index = bisect.bisect_right(self._starts, tick) - 1
        return self.parts[index][1].at(tick) if index >= 0 else SILENT

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        for (begin, policy), end in zip(self.parts, [*self._starts[1:], stop], strict=bool(self.parts)):
            yield from [begin] if start < begin < stop else []
            yield from policy.boundaries(max(start, begin), min(stop, end)) if begin < stop and end > start else ()


def stages(*parts: tuple[int, Policy]) -> Policy:
    """Return the policy that is ``parts[i][1]`` from tick ``parts[i][0]`` until the next part begins.

    It says nothing in ``[0, parts[0][0])``. The parts see absolute time: ``shift`` one to start its clock with its
    stage. Raises ``InvalidSpec`` unless the starts increase strictly.

    >>> policy = stages((0, always(["a", "b"])), (2, always(["a"])), (5, never(["a"])))
    >>> [len(policy.frozen_at(tick)) for tick in (0, 1, 2, 4, 5)]
    [2, 2, 1, 1, 0]
    """
    check_policies(*(policy for _, policy in parts))
    starts = [check_int("start", start) for start, _ in parts]
    if starts != sorted(set(starts)):
        raise InvalidSpec("starts", starts, "strictly increasing")
    return _Stages(tuple((start, policy) for start, policy in parts))


@dataclass(frozen=True, repr=False)
class _During(_Wrapper):
    policy: Policy
    start: int
    stop: int | None
    made_by = "during"

    def at(self, tick: int) -> State:
        return self.policy.at(tick) if self.start <= tick < (math.inf if self.stop is None else self.stop) else SILENT

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        end = stop if self.stop is None else min(stop, self.stop)
        yield from [self.start] if start < self.start < stop else []
        yield from self.policy.boundaries(max(start, self.start), end) if max(start, self.start) < end else ()
        yield from [end] if start < end < stop else []


def during(policy: Policy, start: int, stop: int | None = None) -> Policy:
    """Return the policy that is ``policy`` in [start, stop) and says nothing outside; without ``stop``, for ever.

    ``policy`` sees absolute time. Raises ``InvalidSpec`` unless 0 <= start < stop.

    >>> [len(during(always(["a"]), 2, 4).frozen_at(tick)) for tick in range(5)]
    [0, 0, 1, 1, 0]
    """
    check_policies(policy)
    return _During(policy, check_int("start", start), None if stop is None else check_int("stop", stop, start + 1))


@dataclass(frozen=True, repr=False)
class _Invert(Policy):
    policy: Policy
    names: frozenset[str]
    made_by = "invert"

    def at(self, tick: int) -> State:
        state = self.policy.at(tick)
        return State(self.names - state.frozen, self.names, state.learning_rate, state.bn_frozen)

    def boundaries(self, start: int, stop: int) -> Iterable[int]:
        return self.policy.boundaries(start, stop)


def invert(policy: Policy, names: Iterable[str]) -> Policy:
    """Return the policy that freezes, at every tick, exactly those of ``names`` that ``policy`` does not.

    It mentions ``names`` alone, always; learning rates and inference mode stay.

    >>> invert(always(["a"]), ["a", "b"]).frozen_at(0)
    frozenset({'b'})
    """
    check_policies(policy)
    return _Invert(policy, check_names(names))
