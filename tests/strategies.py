"""Hypothesis strategies: policies as expressions, and per-tick states. Valid by construction, simplest first.

An expression is a nested tuple, ``("during", ("always", ("a",)), 2, 4)``: it prints as what it is, ``policy_of`` makes
a policy of it, and ``per_tick.says`` says independently what it means.
"""

from __future__ import annotations

from typing import Any

import refreeze
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from per_tick import Says
from refreeze import Policy, Segment

NAMES = ("a", "b", "c", "d")
LAYERS = ("stem", "body/conv1", "body/conv2", "neck", "body/deep/conv3", "head")
TOTALS = st.integers(1, 24)  # 0 has tests of its own
WORDS = st.integers(0, 3) | st.integers(0, 2**64 - 1)
RATES = st.sampled_from((0.1, 0.5))  # two, so that some drawn schedules have a conflict (SCH-6), but most have none


def names(min_size: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(NAMES), unique=True, min_size=min_size).map(tuple)


@st.composite
def windows(draw: st.DrawFn, kind: str) -> tuple[Any, ...]:
    layers = draw(names(min_size=1))  # one or two names a unit: a name of one letter is a unit by itself
    if len(layers) > 1 and draw(st.booleans()):
        layers = (layers[:2], *layers[2:])
    window, span = draw(st.integers(1, len(layers))), draw(st.integers(1, 5))
    drawn = (draw(WORDS), draw(WORDS)) if kind != "round_robin" else ()
    return kind, layers, *((window,) if kind != "random_order" else ()), span, *drawn


def leaves(rates: st.SearchStrategy[float] = RATES) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.one_of(
        st.tuples(st.just("always"), names()),
        st.tuples(st.just("never"), names()),
        st.tuples(st.just("rate"), rates, st.none() | st.integers(1, 6)),
        windows("round_robin"),
        windows("random_windows"),
        windows("random_order"),
        st.tuples(st.just("inference_mode"), names()),
    )


@st.composite
def _compounds(draw: st.DrawFn, parts: st.SearchStrategy[tuple[Any, ...]]) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(("union", "override", "during", "shift", "stages", "invert", "in_steps")))
    if kind in ("union", "override"):
        return kind, *draw(st.lists(parts, max_size=3))
    if kind == "stages":
        starts = sorted(draw(st.sets(st.integers(0, 12), max_size=3)))
        return kind, *((start, draw(parts)) for start in starts)
    part = draw(parts)
    if kind == "during":
        start = draw(st.integers(0, 8))
        return kind, part, start, draw(st.none() | st.integers(start + 1, start + 12))
    argument = {"shift": st.integers(-6, 8), "invert": names(), "in_steps": st.integers(1, 4)}[kind]
    return kind, part, draw(argument)


def expressions(rates: st.SearchStrategy[float] = RATES) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return policies as expressions; with ``rates=st.just(r)`` no tick has two rates."""
    return st.recursive(leaves(rates), _compounds, max_leaves=6)


def clashes() -> st.SearchStrategy[tuple[Any, ...]]:
    """Return policies of which many set two rates at one tick or another."""
    one, other = (_rated(learning_rate) for learning_rate in (0.1, 0.5))
    return st.tuples(st.sampled_from(("union", "override")), one, other, expressions(st.just(0.1)))


def _rated(learning_rate: float) -> st.SearchStrategy[tuple[Any, ...]]:
    rated = st.tuples(st.just("rate"), st.just(learning_rate), st.none() | st.integers(1, 4))
    return rated | st.tuples(st.just("shift"), rated, st.integers(0, 3))


def policy_of(expression: tuple[Any, ...]) -> Policy:
    match expression:
        case ("union" | "override" as kind, *parts):
            return getattr(refreeze, kind)(*map(policy_of, parts))
        case ("stages", *parts):
            return refreeze.stages(*((start, policy_of(part)) for start, part in parts))
        case ("during" | "shift" | "invert" | "in_steps" as kind, part, *arguments):
            return getattr(refreeze, kind)(policy_of(part), *arguments)
        case (kind, *arguments):
            return getattr(refreeze, kind)(*arguments)
    raise AssertionError(f"no policy for {expression!r}")


def states() -> st.SearchStrategy[Says]:
    """Return what is said about one tick, without a conflict."""
    few = st.frozensets(st.sampled_from(NAMES[:2]))
    return st.builds(Says, frozen=few, rates=st.just(frozenset()) | st.just(frozenset({0.1})), bn_frozen=few)


def runs(max_size: int = 10) -> st.SearchStrategy[list[Says]]:
    """Return a run, tick by tick; neighbouring ticks are often alike."""
    stretches = st.lists(st.tuples(states(), st.integers(1, 4)), max_size=max_size)
    return stretches.map(
        lambda parts: [
            state._replace(rates=frozenset()) if place else state for state, n in parts for place in range(n)
        ][:max_size]
    )


@st.composite
def encodings(draw: st.DrawFn, run: list[Says]) -> list[Segment]:
    """Return any one of the encodings of ``run``: split where it must be, and anywhere else."""
    found: list[Segment] = []
    for tick, now in enumerate(run):
        rate = min(now.rates, default=None)
        new = Segment(tick, tick + 1, now.frozen, rate, now.bn_frozen)
        must = not found or rate is not None or (found[-1].frozen, found[-1].bn_frozen) != (now.frozen, now.bn_frozen)
        if must or draw(st.booleans()):
            found.append(new)
        else:
            last = found.pop()
            found.append(Segment(last.start, tick + 1, last.frozen, last.learning_rate, last.bn_frozen))
    return found


def machine(examples: int, steps: int) -> settings:
    """Return how a state machine runs: so many times, each of so many steps, the same ones every time."""
    return settings(
        max_examples=examples, stateful_step_count=steps, derandomize=True, deadline=None, database=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
