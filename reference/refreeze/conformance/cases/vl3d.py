"""VL3D: specifications with intervals, and round-robin or random windows."""

from __future__ import annotations

import copy
import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, LAYERS, WRONG_INTS, Cases, at, entries, layers, meant, near, some, units
from refreeze.conformance.laws import Case, Family, coincide, counts, fair, together
from refreeze.conformance.protocol import Request, segments_request

Spec = dict[str, Any]
KINDS = ("plain", "round_robin", "random")


@c.made_once
def window_of(n: int) -> SearchStrategy[int]:
    uneven = [window for window in range(1, n) if n % window] or [n]
    return c.integers(1, n) | c.sampled((*uneven, n))


def a_spec(
    draw: DrawFn,
    declared: list[str],
    kinds: tuple[str, ...] = KINDS,
    wanted: tuple[Any, ...] = ("some", "some", "all", "all_reverse", ["body"], "entries"),
    rates: tuple[float | None, ...] = (None,),
    spans: int = 6,
) -> Spec:
    chosen: Any = draw(c.sampled(wanted))
    if chosen == "entries":
        chosen = entries(draw, declared)
    elif chosen == "some" or not meant(chosen, declared):
        chosen = some(draw, declared)
    n = len(units(chosen, declared))
    start, span, kind = draw(c.integers(0, 4)), draw(c.integers(1, 3)), draw(c.sampled(kinds))
    stop = start + draw(c.integers(1, spans * span))
    found: Spec = {"layers": chosen, "training_interval": [start, stop]}
    if kind != "plain":
        window = draw(window_of(n))
        found["strategy"] = {"type": kind, "window_size": window, "iterative_span": span}
        if kind == "random" and draw(c.integers(0, 3)):
            found["strategy"]["seed"] = draw(c.SEEDS)
    elif draw(c.BOOLEANS):
        found["strategy"] = None
    rate = draw(c.sampled(rates))
    return found if rate is None else found | {"initial_learning_rate": rate}


def asked(draw: DrawFn, config: list[Spec], names: list[str] | None) -> Request:
    ticks = [tick for spec in config for tick in spec["training_interval"][1:]]
    return segments_request("vl3d", names, config, near(draw, *ticks or [3]))


@c.composite
def requests(draw: DrawFn, /, least: int = 0, most: int = 3, **bounds: Any) -> Request:
    """Return any valid request; all learning rates in it are equal, so that they do not conflict (SCH-6)."""
    declared = layers(draw)
    bounds.setdefault("rates", draw(c.sampled(((None,), (None, 0.5)))))
    config = [a_spec(draw, declared, **bounds) for _ in range(draw(c.integers(least, most)))]
    plain = all(entry in declared for spec in config for entry in spec["layers"])  # neither a word nor a pattern
    known = not plain or draw(c.integers(0, 5)) > 0
    return asked(draw, config, declared if known else None)


def single(*kinds: str, **bounds: Any) -> SearchStrategy[Request]:
    return requests(least=1, most=1, kinds=kinds, **bounds)


# Round robin and intervals -----------------------------------------------------------------------------------------
@c.composite
def windows(
    draw: DrawFn, *kinds: str, most: int = 6, spans: int = 8, of_units: bool = False, patterns: bool = False
) -> Request:
    """Return a round robin or random windows over several units for several spans, that all happen."""
    declared = [f"layer{number}" for number in range(8, 0, -1)] if most > 6 else list(LAYERS)
    whole = of_units or patterns
    chosen = entries(draw, declared, 2, patterns) if whole else some(draw, declared, 2, most)
    start, span = draw(c.integers(0, 3)), draw(c.integers(1, 3))
    stop = start + span * draw(c.integers(1, spans)) + draw(c.integers(0, span - 1))
    strategy = {
        "type": draw(c.sampled(kinds)),
        "window_size": draw(c.integers(1, len(units(chosen, declared)))),
        "iterative_span": span,
    }
    if strategy["type"] == "random":
        strategy["seed"] = draw(c.SEEDS)
    config = [{"layers": chosen, "training_interval": [start, stop], "strategy": strategy}]
    return segments_request("vl3d", declared, config, stop + draw(c.integers(0, 1)))


@c.composite
def full_cycles(draw: DrawFn) -> Case:
    request = draw(windows("round_robin", of_units=draw(c.BOOLEANS)))
    (spec,) = request["config"]
    found = units(spec["layers"], request["names"])
    n, window, span = len(found), spec["strategy"]["window_size"], spec["strategy"]["iterative_span"]
    start, cycle = spec["training_interval"][0], n // math.gcd(n, window)
    spec["training_interval"][1] = request["total"] = start + cycle * span
    ticks = [start + k * span for k in range(cycle)]
    every = [name for unit in found for name in unit]
    return {"request": request, "layers": every, "ticks": ticks, "times": window // math.gcd(n, window)}


@c.composite
def outside(draw: DrawFn) -> Case:
    request = draw(requests(least=1, most=1))
    start, stop = request["config"][0]["training_interval"]
    after = stop < request["total"] and (start == 0 or draw(c.BOOLEANS))
    begin, end = (stop, request["total"]) if after else (0, min(start, request["total"]))
    return {"request": request, "from": begin, "to": end, "frozen": 0}


def inside(kind: str) -> SearchStrategy[Case]:
    def case(request: Request) -> Case:
        start, stop = request["config"][0]["training_interval"]
        size = request["config"][0]["strategy"]["window_size"]
        return {"request": request, "from": start, "to": stop, "frozen": size}

    return windows(kind).map(case)


# Random ------------------------------------------------------------------------------------------------------------
@c.composite
def several_draws(draw: DrawFn) -> Request:
    """Return several specifications, random ones among them, with equal and different seeds: which number is whose?"""
    declared = list(LAYERS)
    seeds = draw(c.sampled((st.just(0), c.SEEDS)))
    config = []
    for _ in range(draw(c.integers(2, 3))):
        spec = a_spec(draw, declared, kinds=("random", "random", "random", "random", "plain"), spans=8)
        if (spec.get("strategy") or {}).get("type") == "random":
            spec["strategy"]["seed"] = draw(seeds)
        config.append(spec)
    return asked(draw, config, declared)


@c.composite
def longer(draw: DrawFn) -> Case:
    request = draw(single("random"))
    start, stop = request["config"][0]["training_interval"]
    other = request["config"][0] | {"training_interval": [start, stop + draw(c.integers(1, 6))]}
    request["total"] = stop + draw(c.integers(0, 2))
    return {"request": request, "other": request | {"config": [other]}, "stop": stop}


@c.composite
def with_later_spec(draw: DrawFn) -> Case:
    declared = layers(draw, least=2)
    cut = draw(c.integers(1, len(declared) - 1))
    mine, others = declared[:cut], declared[cut:]
    kinds = ("random", "random", "plain", "round_robin")
    config = [a_spec(draw, mine, kinds=("random",), wanted=("some",))]
    config += [a_spec(draw, mine, kinds=kinds, wanted=("some",)) for _ in range(draw(c.integers(0, 1)))]
    later = a_spec(draw, others, kinds=kinds, wanted=("some",))
    request = asked(draw, config, declared)
    return {"request": request, "other": request | {"config": [*config, later]}, "names": mine}


def seeded(request: Request, **seed: int) -> Request:
    """Return the request with this seed in every strategy, or with none."""
    strategies = [{k: v for k, v in spec["strategy"].items() if k != "seed"} | seed for spec in request["config"]]
    config = [spec | {"strategy": how} for spec, how in zip(request["config"], strategies, strict=True)]
    return request | {"config": config}


# Names, unions, rates ----------------------------------------------------------------------------------------------
@c.composite
def all_layers(draw: DrawFn) -> tuple[Request, Request]:
    request = draw(windows("round_robin", "random"))
    spec, names = request["config"][0], request["names"]
    wanted = draw(c.sampled(("all", "all_reverse")))
    spec["strategy"]["window_size"] = draw(c.integers(1, len(names)))
    listed, word = ([spec | {"layers": value}] for value in (meant(wanted, names), wanted))
    return request | {"config": listed}, request | {"config": word}


@c.composite
def opened(draw: DrawFn) -> tuple[Request, Request]:
    """Return a specification that freezes containers and the like without a strategy: by layers, and as it is."""
    request = draw(single("plain", wanted=(["body"], "entries")).filter(lambda request: request["names"]))
    (spec,) = request["config"]
    return request | {"config": [spec | {"layers": meant(spec["layers"], request["names"])}]}, request


def with_units(request: Request) -> Case:
    return {"request": request, "units": units(request["config"][0]["layers"], request["names"])}


def each_spelt_out(request: Request) -> tuple[Request, Request]:
    (spec,) = request["config"]
    return request | {"config": [spec | {"layers": c.spelt_out(spec["layers"], request["names"])}]}, request


@c.composite
def with_a_pattern_in_vain(draw: DrawFn) -> Request:
    request = draw(windows("round_robin", "random", patterns=True))
    spec = request["config"][0]
    spec["layers"].insert(draw(c.integers(0, len(spec["layers"]))), c.without_match(draw, request["names"]))
    return request


@c.composite
def overlapping(draw: DrawFn) -> Request:
    """Return two or three specifications about the same layers at the same time."""
    declared = layers(draw, least=2)
    config = [a_spec(draw, declared, wanted=("some", "all")) for _ in range(draw(c.integers(2, 3)))]
    for spec in config[1:]:
        spec["training_interval"][0] = min(spec["training_interval"][0], config[0]["training_interval"][0])
    return asked(draw, config, declared)


@c.composite
def full_windows(draw: DrawFn) -> tuple[Request, Request]:
    request = draw(requests(least=1, most=1, kinds=("plain",), rates=(None,)))
    (spec,) = request["config"]
    n = len(units(spec["layers"], request["names"] or LAYERS))
    strategy = {"type": draw(c.sampled(KINDS[1:])), "window_size": n, "iterative_span": draw(c.integers(1, 9))}
    return request | {"config": [spec | {"strategy": strategy}]}, request


def rate_ticks(spec: Spec) -> range:
    start, stop = spec["training_interval"]
    return range(start, stop, (spec.get("strategy") or {"iterative_span": stop - start})["iterative_span"])


@c.composite
def two_rates(draw: DrawFn, conflict: bool) -> Request:
    """Return two specifications whose different rates are set at one tick in the run, or after it, or never."""
    declared = layers(draw)
    one, other = (a_spec(draw, declared, rates=(rate,)) for rate in draw(c.permutations(c.RATES)))
    if conflict or draw(c.BOOLEANS):
        tick = draw(c.sampled(rate_ticks(one)))
        span = draw(c.sampled([step for step in (1, 2, 3) if step <= tick] or [0]))
        start, stop = other["training_interval"]
        other["training_interval"] = [tick - span, max(tick + 1, tick - span + stop - start)]
        if other.get("strategy"):
            other["strategy"]["iterative_span"] = span or 1
        else:
            other["training_interval"][0] = tick
    common = sorted({*rate_ticks(one)} & {*rate_ticks(other)})
    more = [copy.deepcopy(one) for _ in range(draw(c.integers(0, 2)))]  # equal rates are no conflict: the third may be
    config = draw(c.permutations([one, other, *more]))
    if conflict:
        return segments_request("vl3d", declared, config, common[0] + draw(c.integers(1, 4)))
    if common:
        return segments_request("vl3d", declared, config, draw(c.integers(max(0, common[0] - 2), common[0])))
    return asked(draw, config, declared)


# Wrong configurations ----------------------------------------------------------------------------------------------
@c.composite
def with_unknown_layer(draw: DrawFn) -> Request:
    request = draw(requests(least=1))
    request["names"] = request["names"] or list(LAYERS)
    spec = draw(c.sampled(request["config"]))
    if isinstance(spec["layers"], str) or draw(c.BOOLEANS):
        spec["layers"] = some(draw, request["names"], most=3)
    extra = {c.misspelt(draw, request["names"]), *draw(c.sampled(((), ("gone",))))}
    spec["layers"] = draw(c.permutations([*spec["layers"], *sorted(extra)]))
    if spec.get("strategy"):
        spec["strategy"]["window_size"] = 1
    return request


@c.composite
def without_names(draw: DrawFn) -> Request:
    request = draw(requests(least=1, wanted=("some",)))
    request["names"] = None
    spec = draw(c.sampled(request["config"]))
    spec["layers"] = draw(c.sampled(("all", "all_reverse")))
    return request


@c.composite
def without_layers(draw: DrawFn) -> Request:
    spec = a_spec(draw, ["stem"], kinds=("plain",), wanted=("all", "all_reverse"))
    return asked(draw, [spec], [])


def spec_of(*names: str) -> Spec:
    return {"layers": [*names], "training_interval": [0, 2]}


_TWO = segments_request(
    "vl3d",
    list(LAYERS),
    [
        {
            "layers": ["stem", "head"],
            "training_interval": [1, 5],
            "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 2},
            "initial_learning_rate": 0.5,
        },
        {
            "layers": "all",
            "training_interval": [0, 3],
            "strategy": {"type": "random", "window_size": 6, "iterative_span": 1, "seed": 3},
        },
    ],
    6,
)
_EDITS = [
    *at((), {}, "all", 3, True, [3], ["stem"], [[]]),
    *(
        ((i, *path), value)
        for i in (0, 1)
        for path, value in [
            *at(("layers",), [], {}, 3, True, "stem", "ALL", "all_reversed", [1], ["stem", 1], ["stem", "stem"], DROP),
            *at(("layers",), *c.WRONG_EACH),
            *at(("training_interval",), [], [1], [1, 5, 7], [5, 1], [3, 3], [-1, 3], "1-5", 5, {"start": 1}, DROP),
            *at(("training_interval",), [True, 5], ["1", 5], [1.5, 5], [0, 2.5], [0, "5"]),
            *at(("strategy",), [], "round_robin", 3, True, {}, {"type": "spiral"}),
            *at(("strategy", "type"), "random_windows", "Round_Robin", 1, DROP),
            *at(("strategy", "window_size"), 0, 7, *WRONG_INTS, DROP),
            *at(("strategy", "iterative_span"), 0, *WRONG_INTS, DROP),
            *at(("initial_learning_rate",), 0, -0.5, True, "0.5", [0.5]),
            *at(("strategy", "sede"), 1),
            *at(("layer",), ["stem"]),
        ]
    ),
    *at((0, "strategy", "window_size"), 3),
    *at((1, "strategy", "seed"), 2**64, 2**70, *WRONG_INTS),
]

_DRAWN = {"type": "random", "window_size": 3, "iterative_span": 1, "seed": c.NO_DOUBLE}
_NO_DOUBLE = segments_request(
    "vl3d", list(LAYERS), [{"layers": "all", "training_interval": [0, 6], "strategy": _DRAWN}], 6
)

FAMILIES: dict[str, Family] = {
    "RES-1-a_resumed_run_is_the_rest_of_the_whole": c.resume(requests() | requests(least=1, rates=(0.5,))),
    "RES-1-what_was_asked_before_does_not_matter": c.alternating(windows("random", "random", "round_robin")),
    "RR-1-agrees_with_the_reference": c.agree(windows("round_robin")),
    "RR-1-the_window_is_full": Family(counts, inside("round_robin")),
    "RR-2-agrees_with_the_reference": c.agree(single(*KINDS)),
    "RR-2-nothing_is_frozen_outside": Family(counts, outside()),
    "RR-3-every_layer_gets_its_share": Family(fair, full_cycles()),
    "RND-1-agrees_with_the_reference": c.agree(several_draws()),
    "RND-2-agrees_with_the_reference": c.agree(windows("random", most=8), _NO_DOUBLE),
    "RND-2-the_window_is_full": Family(counts, inside("random")),
    "RND-3-a_longer_interval_keeps_the_draws": Family(coincide, longer()),
    "RND-3-a_later_spec_keeps_the_draws": Family(coincide, with_later_spec()),
    "RND-3-no_seed_is_seed_0": c.same(
        requests(least=1, kinds=("random",)).map(lambda request: (seeded(request), seeded(request, seed=0)))
    ),
    "NAM-1-all_is_every_layer_in_order": c.same(all_layers()),
    "NAM-1-needs_model": c.reject("needs-model", without_names()),
    "NAM-2-unknown_name": c.reject("unknown-name", with_unknown_layer()),
    "NAM-3-a_container_is_its_layers": c.same(opened()),
    "NAM-3-needs_model": c.container_and_layer(
        "vl3d", lambda one, other: [spec_of(one, "stem", other)], lambda one, other: [spec_of(one), spec_of(other)]
    ),
    "NAM-3-empty_selection": c.reject("empty-selection", without_layers()),
    "NAM-4-agrees_with_the_reference": c.agree(windows("round_robin", "random", of_units=True)),
    "NAM-4-a_unit_moves_as_a_whole": Family(together, windows("round_robin", "random", of_units=True).map(with_units)),
    "NAM-5-agrees_with_the_reference": c.agree(windows(*KINDS[1:], patterns=True)),
    "NAM-5-each_is_the_list_of_its_matches": c.same(windows(*KINDS[1:], patterns=True).map(each_spelt_out)),
    "NAM-5-empty_selection": c.reject("empty-selection", with_a_pattern_in_vain()),
    "SCH-6-conflict": c.reject("conflict", two_rates(conflict=True)),
    "SCH-6-agrees_with_the_reference": c.agree(two_rates(conflict=False)),
    "CFG-1-invalid_spec": c.invalid(_TWO, _EDITS),
    "VL3-1-agrees_with_the_reference": c.agree(overlapping()),
    "VL3-1-order_does_not_matter": c.reordered(requests(least=2, kinds=("plain", "round_robin"))),
    "VL3-2-a_full_window_is_no_strategy": c.same(full_windows()),
    "VL3-3-agrees_with_the_reference": c.agree(requests(least=1, rates=(0.5, 0.5, None))),
}

CASES = {"vl3d": Cases(requests(), FAMILIES)}
