"""Policies: what is frozen when, as pure functions of time, and the combinators that build big ones from small ones.

Time is a *tick*, an integer from 0, in epochs or in steps; ranges are half-open, ``[start, stop)``. A policy says for
every tick which names are frozen; ``schedule.segments`` encodes that as segments, and all else is derived from them.
No policy has a counter or any other state: every tick may be asked at any time, in any order (RES-1).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from refreeze.errors import Conflict, InvalidSpec

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """What a policy says about one tick."""

    frozen: frozenset[str] = NOTHING
    """The names that are frozen during the tick."""
    mentioned: frozenset[str] = NOTHING
    """The names decided about, frozen or trainable: ``frozen`` and more. Only ``override`` tells the difference."""
    learning_rate: float | None = None
    """The learning rate that is set at the start of the tick, if one is."""
    bn_frozen: frozenset[str] = NOTHING
    """The batch normalizations that run in inference mode during the tick, trainable or not (BN-1)."""


SILENT = State()


@dataclass(frozen=True, slots=True)
class Policy:
    """What is frozen when. One made by hand needs these three; ``frozen_at`` is the meaning.

    >>> even = Policy(frozenset({"a"}), lambda tick: State(frozenset("a" * (tick % 2 == 0)), frozenset({"a"})), range)
    >>> [sorted(even.frozen_at(tick)) for tick in range(3)]
    [['a'], [], ['a']]
    """

    names: frozenset[str]
    """Every name that is ever mentioned. All other names keep the state that they had."""
    at: Callable[[int], State]
    """The state at a tick >= 0: a pure function."""
    boundaries: Callable[[int], Iterable[int]]
    """From ``total``: the ticks in (0, total) where the state can change or a rate is set. More ticks do no harm."""

    def frozen_at(self, tick: int) -> frozenset[str]:
        """Return the names that are frozen during ``tick >= 0``."""
        return self.at(tick).frozen

    def learning_rate_at(self, tick: int) -> float | None:
        """Return the learning rate set at the start of ``tick >= 0``, or None; raises ``Conflict`` (SCH-6)."""
        return self.at(tick).learning_rate


def check_int(where: str, value: object, least: int = 0) -> int:
    """Return ``value`` if it is an integer (a bool is none) that is at least ``least``, else raise ``InvalidSpec``."""
    if type(value) is not int or value < least:
        raise InvalidSpec(where, value, f"an integer >= {least}")
    return value


def constant(state: State) -> Policy:
    """Return the policy that says the same at every tick."""
    return Policy(state.mentioned, lambda tick: state, lambda total: ())


def always(names: Iterable[str]) -> Policy:
    """Return the policy under which ``names`` are frozen at every tick.

    >>> sorted(always(["a", "b"]).frozen_at(7))
    ['a', 'b']
    """
    names = frozenset(names)
    return constant(State(names, names))


def never(names: Iterable[str]) -> Policy:
    """Return the policy under which ``names`` are mentioned, and trainable, at every tick.

    >>> override(always(["a", "b"]), never(["b"])).frozen_at(0)
    frozenset({'a'})
    """
    return constant(State(mentioned=frozenset(names)))


def inference_mode(names: Iterable[str]) -> Policy:
    """Return the policy under which the batch normalizations ``names`` run in inference mode; it freezes nothing."""
    return constant(State(bn_frozen=frozenset(names)))


def rate(learning_rate: float, every: int | None = None) -> Policy:
    """Return the policy that sets a learning rate at tick 0 and, with ``every``, at each multiple; it freezes nothing.

    Raises ``InvalidSpec`` unless the rate is finite and > 0, and ``every`` an integer >= 1 or None.

    >>> [rate(0.1, every=2).learning_rate_at(tick) for tick in range(4)]
    [0.1, None, 0.1, None]
    """
    if type(learning_rate) not in (int, float) or not 0 < learning_rate < math.inf:
        raise InvalidSpec("learning_rate", learning_rate, "a finite number > 0")
    span = None if every is None else check_int("every", every, 1)
    setting = State(learning_rate=learning_rate)
    return Policy(
        NOTHING,
        lambda tick: setting if tick == 0 or (span and tick % span == 0) else SILENT,
        lambda total: range(0, total, span) if span else (),
    )


def _together(policies: tuple[Policy, ...], later_wins: bool) -> Policy:
    def at(tick: int) -> State:
        frozen, mentioned, bn_frozen, rates = set[str](), set[str](), set[str](), set[float]()
        for state in (policy.at(tick) for policy in policies):
            frozen -= state.mentioned if later_wins else NOTHING
            frozen |= state.frozen
            mentioned |= state.mentioned
            bn_frozen |= state.bn_frozen
            rates |= set() if state.learning_rate is None else {state.learning_rate}
        if len(rates) > 1:
            raise Conflict(tick, rates)
        rate = rates.pop() if rates else None
        return State(frozenset(frozen), frozenset(mentioned), rate, frozenset(bn_frozen))

    names = NOTHING.union(*(policy.names for policy in policies))
    return Policy(names, at, lambda total: {tick for policy in policies for tick in policy.boundaries(total)})


def union(*policies: Policy) -> Policy:
    """Return the policy under which a name is frozen if any of ``policies`` says so.

    Associative, commutative, idempotent. Asking a tick at which two different learning rates are set raises
    ``Conflict`` (SCH-6).

    >>> union(always(["a"]), during(always(["b"]), 0, 5)).frozen_at(5)
    frozenset({'a'})
    """
    return _together(policies, later_wins=False)


def override(*policies: Policy) -> Policy:
    """Return the policy under which the last of ``policies`` that mentions a name decides about it.

    Associative and idempotent. Learning rates and inference mode combine as in ``union``: two different rates at one
    tick are a ``Conflict``, never last-one-wins (SCH-6).
    """
    return _together(policies, later_wins=True)


def on_another_clock(policy: Policy, its_tick: int, tick: int) -> State:
    """Return ``policy.at(its_tick)``, which is what happens at ``tick``: there a conflict is reported (SCH-6)."""
    try:
        return policy.at(its_tick)
    except Conflict as conflict:
        raise Conflict(tick, conflict.rates) from None


def shift(policy: Policy, by: int) -> Policy:
    """Return ``policy`` started ``by >= 0`` ticks later: it says nothing in [0, by), then begins with its tick 0.

    >>> [len(shift(always(["a"]), 3).frozen_at(tick)) for tick in (2, 3)]
    [0, 1]
    """
    check_int("by", by)
    return Policy(
        policy.names,
        lambda tick: on_another_clock(policy, tick - by, tick) if tick >= by else SILENT,
        lambda total: (by, *(by + tick for tick in policy.boundaries(max(0, total - by)))),
    )


def stages(*parts: tuple[int, Policy]) -> Policy:
    """Return the policy that is ``parts[i][1]`` from tick ``parts[i][0]`` until the next part begins.

    It says nothing in ``[0, parts[0][0])``. The parts see absolute time: ``shift`` one to start its clock with its
    stage. Raises ``InvalidSpec`` unless the starts increase strictly.

    >>> policy = stages((0, always("ab")), (2, always("a")), (5, never("a")))
    >>> [len(policy.frozen_at(tick)) for tick in (0, 1, 2, 4, 5)]
    [2, 2, 1, 1, 0]
    """
    starts = [check_int("start", start) for start, _ in parts]
    if starts != sorted(set(starts)):
        raise InvalidSpec("starts", starts, "strictly increasing")

    def at(tick: int) -> State:
        index = bisect.bisect_right(starts, tick) - 1
        return parts[index][1].at(tick) if index >= 0 else SILENT

    def boundaries(total: int) -> Iterable[int]:
        yield from starts
        for (start, policy), stop in zip(parts, [*starts[1:], total], strict=bool(parts)):
            yield from (tick for tick in policy.boundaries(min(stop, total)) if tick > start)

    return Policy(NOTHING.union(*(policy.names for _, policy in parts)), at, boundaries)


def during(policy: Policy, start: int, stop: int | None = None) -> Policy:
    """Return the policy that is ``policy`` in [start, stop) and says nothing outside; without ``stop``, for ever.

    ``policy`` sees absolute time. Raises ``InvalidSpec`` unless 0 <= start < stop.

    >>> [len(during(always(["a"]), 2, 4).frozen_at(tick)) for tick in range(5)]
    [0, 0, 1, 1, 0]
    """
    check_int("start", start)
    end = [] if stop is None else [(check_int("stop", stop, start + 1), constant(SILENT))]
    return stages((start, policy), *end)


def invert(policy: Policy, names: Iterable[str]) -> Policy:
    """Return the policy that freezes, at every tick, exactly those of ``names`` that ``policy`` does not.

    It mentions ``names`` alone, always; learning rates and inference mode stay.

    >>> invert(always(["a"]), ["a", "b"]).frozen_at(0)
    frozenset({'b'})
    """
    names = frozenset(names)

    def at(tick: int) -> State:
        state = policy.at(tick)
        return State(names - state.frozen, names, state.learning_rate, state.bn_frozen)

    return Policy(names, at, policy.boundaries)
