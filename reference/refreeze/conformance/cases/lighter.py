"""Lighter: freezers, in steps."""

from __future__ import annotations

from typing import Any

from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, WRONG_INTS, Cases, at, near, some
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import Request, segments_request

Freezer = dict[str, Any]
PARAMETERS = ("enc.1.w", "head.w", "enc.1.w2", "head.w2", "enc.10.w", "dec.enc.1.w")
"""Prefixes of each other, and text that occurs in the middle of others."""
PREFIXES = ("enc", "enc.1", "enc.1.", "enc.1.w", "dec", "head", "e")
UNTIL = ("until_step", "until_epoch")


def is_matched(name: str, freezer: Freezer, kind: str = "") -> bool:
    """Return whether a freezer with lists matches a parameter, for ``kind="except_"`` whether it excepts it."""
    prefixes = tuple(freezer.get(f"{kind}name_starts_with", ()))
    return name in freezer.get(f"{kind}names", ()) or name.startswith(prefixes)


def listed(freezer: Freezer) -> Freezer:
    """Return the freezer with lists in place of strings."""
    return {key: [value] if isinstance(value, str) else value for key, value in freezer.items()}


def a_freezer(draw: DrawFn, declared: list[str], when: tuple[str, ...] | None = None, entries: int = 1) -> Freezer:
    prefixes = [prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in declared)]

    def keys(kind: str, *modes: str) -> Freezer:
        mode, found = draw(c.sampled(modes)), {}
        if mode != "prefixes":
            found[f"{kind}names"] = some(draw, declared, 1, 2)
        if mode != "names":
            found[f"{kind}name_starts_with"] = some(draw, prefixes, 1, 2)
        return found

    found = keys("", *(("both",) if entries > 1 else ("names", "prefixes", "both")))
    spared = keys("except_", "names", "prefixes") if draw(c.BOOLEANS) else {}
    if any(is_matched(name, found) and not is_matched(name, spared, "except_") for name in declared):
        found |= spared
    found = {k: v[0] if len(v) == 1 and draw(c.BOOLEANS) else v for k, v in found.items()}
    if when is None:
        when = draw(c.sampled((("until_step",), ("until_epoch",), UNTIL, (), ("start_epoch",))))
        when += draw(c.sampled(((), (), ("unfreeze_every_n_epochs",))))
    for key in when:
        found[key] = draw(c.integers(1, 3) if key == "unfreeze_every_n_epochs" else c.integers(0, 6))
    return found


def asked(draw: DrawFn, config: list[Freezer], declared: list[str]) -> Request:
    per = draw(c.sampled((1, 2, 3)))
    ticks = [3]
    for freezer in config:
        ticks += [
            freezer[key] * (1 if key == "until_step" else per) for key in (*UNTIL, "start_epoch") if key in freezer
        ]
        ticks += [ticks[-1] + per * freezer.get("unfreeze_every_n_epochs", 0)]
    return segments_request("lighter", declared, config, near(draw, *ticks[1:] or ticks), steps_per_epoch=per)


@c.composite
def requests(draw: DrawFn, /, least: int = 0, most: int = 3, declare: int = 1, **bounds: Any) -> Request:
    """Return any valid request, with so many parameters declared or more."""
    declared = draw(c.permutations(PARAMETERS))[: draw(c.integers(declare, len(PARAMETERS)))]
    config = [a_freezer(draw, declared, **bounds) for _ in range(draw(c.integers(least, most)))]
    return asked(draw, config, declared)


def single(*when: str, **bounds: Any) -> SearchStrategy[Request]:
    return requests(least=1, most=1, when=when, **bounds)


@c.composite
def both_untils(draw: DrawFn) -> Request:
    """Return a freezer with both conditions, which come in either order, or with one."""
    request = draw(requests(least=1, most=1, when=draw(c.sampled((UNTIL, UNTIL, UNTIL, UNTIL[:1], UNTIL[1:])))))
    per, freezer = draw(c.integers(2, 4)), request["config"][0]
    request["steps_per_epoch"] = per
    freezer |= {key: draw(c.integers(0, 12 if key == "until_step" else 4)) for key in UNTIL if key in freezer}
    ends = [end * (1 if key == "until_step" else per) for key, end in freezer.items() if key in UNTIL]
    return request | {"total": near(draw, *ends or [3])}


@c.composite
def gradual(draw: DrawFn) -> Request:
    """Return a freezer that releases several entries one after the other."""
    every = "unfreeze_every_n_epochs"
    start = "start_epoch"
    combinations = ((start,), (start, every), (every,), (start, every, "until_epoch"), (every, "until_step"), (start,))
    when = draw(c.sampled(combinations))
    declared = list(PARAMETERS)
    freezer = a_freezer(draw, declared, when=when, entries=2)
    freezer |= {key: draw(c.integers(1, 4)) for key in UNTIL if key in freezer}
    per = draw(c.integers(1, 3))
    last = freezer.get(start, 1) + 3 * freezer.get(every, 1)
    return segments_request("lighter", declared, [freezer], last * per + draw(c.integers(0, 3)), steps_per_epoch=per)


def without_exceptions(request: Request) -> Request:
    return request | {"config": [{k: v for k, v in f.items() if "except" not in k} for f in request["config"]]}


def split(config: list[Freezer]) -> list[Freezer]:
    """Return one freezer for each entry."""
    found = []
    for freezer in map(listed, config):
        rest = {k: v for k, v in freezer.items() if k not in ("names", "name_starts_with")}
        found += [rest | {key: [entry]} for key in ("names", "name_starts_with") for entry in freezer.get(key, ())]
    return found


def in_steps(request: Request) -> tuple[Request, Request]:
    per = request["steps_per_epoch"]
    config = [
        {k: v for k, v in freezer.items() if k != "until_epoch"} | {"until_step": freezer["until_epoch"] * per}
        for freezer in request["config"]
    ]
    return request | {"config": config}, request


# Wrong configurations ----------------------------------------------------------------------------------------------
@c.composite
def with_a_bad_entry(draw: DrawFn, *keys: str, entry: str) -> Request:
    request = draw(requests(least=1))
    number = draw(c.integers(0, len(request["config"]) - 1))
    freezer = listed(request["config"][number])
    key = draw(c.sampled(keys))
    name = draw(c.sampled(request["names"]))
    bad = {"name": (f"{name}x", name[:-1], "enc", "nowhere.w"), "prefix": (f"{name}.", "nc.1", "nowhere", "Enc")}[entry]
    found = [*freezer.get(key, []), draw(c.sampled([b for b in bad if b not in request["names"]]))]
    freezer[key] = draw(c.permutations(found))
    request["config"][number] = freezer
    return request


@c.composite
def left_with_nothing(draw: DrawFn) -> Request:
    """Return a freezer of which the exceptions leave nothing."""
    request = draw(requests(least=1))
    number = draw(c.integers(0, len(request["config"]) - 1))
    freezer = listed(request["config"][number])
    matched = [name for name in request["names"] if is_matched(name, freezer)]
    freezer = {k: v for k, v in freezer.items() if not k.startswith("except_")}
    request["config"][number] = freezer | {"except_names": matched}
    return request


_BASE = segments_request(
    "lighter",
    list(PARAMETERS),
    [
        {"names": ["head.w", "head.w2"], "until_step": 4, "until_epoch": 3},
        {"name_starts_with": ["enc.1"], "except_names": ["enc.1.w"], "start_epoch": 1, "unfreeze_every_n_epochs": 2},
        {"name_starts_with": "enc", "except_name_starts_with": "enc.10"},
    ],
    12,
    steps_per_epoch=2,
)
_TEXTS: tuple[Any, ...] = ([], 1, True, {}, [1], ["head.w", 1])
_EDITS = [
    *at((), {}, "head.w", 3, True, [3], ["head.w"], [[]], [{}], [{"until_step": 3}], [{"except_names": ["head.w"]}]),
    *((path, value) for i in (0, 1) for path, value in at((i, "until"), 3)),
    *(e for i, key in ((0, "names"), (1, "name_starts_with"), (1, "except_names")) for e in at((i, key), *_TEXTS)),
    *at((2, "except_name_starts_with"), *_TEXTS),
    *at((0, "names"), ["head.w", "head.w"], DROP),
    *at((1, "name_starts_with"), ["enc", "enc"], DROP),
    *(e for i, key in ((0, "until_step"), (0, "until_epoch"), (1, "start_epoch")) for e in at((i, key), *WRONG_INTS)),
    *at((1, "unfreeze_every_n_epochs"), 0, *WRONG_INTS),
]
_NAMES, _STARTS = ("names", "except_names"), ("name_starts_with", "except_name_starts_with")

FAMILIES: dict[str, Family] = {
    "LGT-1-agrees_with_the_reference": c.agree(
        single(declare=6),
        segments_request("lighter", ["enc.w", "Enc.w", "enccw"], [{"name_starts_with": "enc.", "until_step": 0}], 2),
    ),
    "LGT-1-unknown_name": c.reject("unknown-name", with_a_bad_entry(*_NAMES, entry="name")),
    "LGT-1-empty_selection": c.reject("empty-selection", with_a_bad_entry(*_STARTS, entry="prefix")),
    "LGT-1-nothing_left": c.reject("empty-selection", left_with_nothing()),
    "LGT-2-agrees_with_the_reference": c.agree(both_untils()),
    "LGT-2-an_epoch_is_its_steps": c.same(single("until_epoch").map(in_steps)),
    "LGT-3-agrees_with_the_reference": c.agree(gradual()),
    "LGT-4-agrees_with_the_reference": c.agree(requests(least=2)),
    "LGT-4-order_does_not_matter": c.reordered(requests(least=2)),
    "LGT-4-one_freezer_is_one_for_each_entry": c.variant(
        single("until_epoch", entries=2).map(without_exceptions), split
    ),
    "LGT-5-a_string_is_a_list_of_one": c.variant(requests(least=1), lambda config: [listed(f) for f in config]),
    "CFG-1-invalid_spec": c.invalid(_BASE, _EDITS),
}

CASES = {"lighter": Cases(requests(), FAMILIES)}
