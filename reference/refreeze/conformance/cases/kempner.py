"""KempnerForge: freeze specifications and stages, in steps, their application and their canonical form."""

from __future__ import annotations

import fnmatch
from typing import Any

from hypothesis.strategies import DrawFn

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, WRONG_INTS, Cases, at, near, some
from refreeze.conformance.laws import (
    Case,
    Family,
    applied,
    equal_forms,
    equal_forms_equal_schedules,
    flips,
    idempotent,
)
from refreeze.conformance.protocol import Request, segments_request

Spec = dict[str, Any]
PARAMETERS = ("enc.1.w", "enc.1.b", "enc.2.w", "emb.w", "Enc.w", "head.w")
ALIASES = {"encoder": ["enc.*"], "inputs": ["emb.*", "enc.1.*"], "firsts": ["*.1.?", "head.*"]}
MODULES = (*ALIASES, "*.w", "enc.1.?", "[he]*", "enc.[!2].*", "head.w", "*", "E*")
"""Aliases and patterns, of which most overlap with others."""


def matches(name: str, module: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ALIASES.get(module, [module]))


def some_specs(draw: DrawFn, modules: list[str], least: int = 1, most: int = 3, repeat: bool = True) -> list[Spec]:
    """Return specifications, often of the same modules and of overlapping ones."""
    found = draw(c.lists(tuple(modules), least, most, unique=not repeat))
    return [{"module": module, "frozen": draw(c.BOOLEANS)} for module in found]


def a_config(draw: DrawFn, declared: list[str], stages: int = 3, least: int = 0, most: int = 3) -> dict[str, Any]:
    usable = [module for module in MODULES if any(matches(name, module) for name in declared)]
    if len(usable) > 4 and draw(c.integers(0, 1)):
        usable = some(draw, usable, 2, 4)
    config: dict[str, Any] = {"freeze": some_specs(draw, usable, least, most), "module_patterns": ALIASES}
    count = draw(c.sampled((2, 1, 3, 0))) if stages else 0
    starts = sorted(some(draw, range(10), min(count, stages), min(count, stages)))
    if starts or draw(c.BOOLEANS) is True:
        config["freeze_schedule"] = [{"start_step": start, "specs": some_specs(draw, usable)} for start in starts]
    if not draw(c.integers(0, 3)):
        config["valid_modules"] = draw(c.sampled((None, list(MODULES))))
    return config


def starts(config: dict[str, Any]) -> list[int]:
    return [stage["start_step"] for stage in config.get("freeze_schedule", [])]


def active(config: dict[str, Any], step: int) -> dict[str, bool]:
    """Return the active modules at ``step`` and whether each freezes."""
    lists = [config["freeze"], *(s["specs"] for s in config.get("freeze_schedule", []) if s["start_step"] <= step)]
    return {spec["module"]: spec["frozen"] for found in lists for spec in found}


@c.composite
def requests(draw: DrawFn, /, stages: int = 3, **bounds: int) -> Request:
    """Return any valid request."""
    declared = draw(c.permutations(PARAMETERS))[: draw(c.integers(1, len(PARAMETERS)))]
    config = a_config(draw, declared, stages, **bounds)
    return segments_request("kempner", declared, config, near(draw, *[start + 1 for start in starts(config)] or [2]))


@c.composite
def one_module(draw: DrawFn) -> Request:
    """Return one specification that freezes."""
    config = {"freeze": [{"module": draw(c.sampled(MODULES)), "frozen": True}], "module_patterns": ALIASES}
    return segments_request("kempner", draw(c.permutations(PARAMETERS)), config, draw(c.integers(1, 3)))


@c.composite
def overridden(draw: DrawFn) -> Request:
    """Return stages that override modules of ``freeze``, which overlap with others there: places matter."""
    declared = list(PARAMETERS)
    base = some_specs(draw, list(MODULES), least=2, most=3, repeat=False)
    start = draw(c.integers(0, 4))
    again = [spec | {"frozen": draw(c.BOOLEANS)} for spec in base if draw(c.BOOLEANS)]
    stages: list[dict[str, Any]] = [
        {"start_step": start, "specs": again or [base[0] | {"frozen": not base[0]["frozen"]}]}
    ]
    if draw(c.BOOLEANS):
        stages.append({"start_step": start + draw(c.integers(1, 3)), "specs": some_specs(draw, list(MODULES))})
    config = {"freeze": base, "freeze_schedule": stages, "module_patterns": ALIASES}
    return segments_request("kempner", declared, config, near(draw, stages[-1]["start_step"] + 1))


@c.composite
def with_a_stage_of_nothing(draw: DrawFn) -> tuple[Request, Request]:
    request = draw(requests(stages=2))
    config = request["config"]
    step = draw(c.integers(0, 12).filter(lambda step: step not in starts(config)))
    stages = [*config.get("freeze_schedule", []), {"start_step": step, "specs": []}]
    stages.sort(key=lambda stage: stage["start_step"])
    return request, request | {"config": config | {"freeze_schedule": stages}}


@c.composite
def repeated_stage(draw: DrawFn) -> tuple[Request, Request]:
    """Return a request, and the same with another stage that says again what is active."""
    request = draw(requests(stages=2).filter(lambda r: active(r["config"], 99)))
    config = request["config"]
    step = draw(c.integers(0, 12).filter(lambda step: step not in starts(config)))
    step = step if active(config, step) else max(starts(config)) + 1
    now = active(config, step)
    specs = [{"module": module, "frozen": now[module]} for module in some(draw, now)]
    stages = [*config.get("freeze_schedule", []), {"start_step": step, "specs": specs}]
    stages.sort(key=lambda stage: stage["start_step"])
    request["total"] = max(request["total"], step + 2)
    return request, request | {"config": config | {"freeze_schedule": stages}}


@c.composite
def renamed_aliases(draw: DrawFn) -> tuple[Request, Request]:
    """Return a request, and the same with other words for its aliases, or the pattern in place of one."""
    request = draw(requests())
    words = {"encoder": draw(c.sampled(("e", "enc.*"))), "inputs": "i", "firsts": "f"}
    config = request["config"]
    renamed = config | {
        "module_patterns": {words[name]: found for name, found in ALIASES.items()},
        "freeze": [spec | {"module": words.get(spec["module"], spec["module"])} for spec in config["freeze"]],
        "freeze_schedule": [
            stage | {"specs": [s | {"module": words.get(s["module"], s["module"])} for s in stage["specs"]]}
            for stage in config.get("freeze_schedule", [])
        ],
        "valid_modules": None,
    }
    if words["encoder"] == "enc.*":
        del renamed["module_patterns"]["enc.*"]
    return request, request | {"config": renamed}


# Canonical forms ---------------------------------------------------------------------------------------------------
@c.composite
def permuted(draw: DrawFn) -> Case:
    """Return two configurations with the same specifications in another order, which may mean the same or not."""
    found = some_specs(draw, ["*.w", "encoder", "*", "inputs", "head.w"], 2, 3, repeat=False)
    found[1]["frozen"] = not found[0]["frozen"]
    orders = (found, draw(c.permutations(found)))
    if draw(c.BOOLEANS):
        configs = [{"freeze": order, "module_patterns": ALIASES} for order in orders]
    else:
        configs = [
            {"freeze_schedule": [{"start_step": 1, "specs": order}], "module_patterns": ALIASES} for order in orders
        ]
    one, other = (segments_request("kempner", list(PARAMETERS), config, 2) for config in configs)
    return {"request": one, "other": other}


@c.composite
def trivially_equal(draw: DrawFn) -> Case:
    """Return two configurations of which the second repeats a specification, or swaps two neighbours that c.agree."""
    request = draw(requests(stages=0))
    config = request["config"]
    found = some_specs(draw, list(MODULES), repeat=False)
    frozen, other = draw(c.BOOLEANS), list(found)
    if len(found) > 1 and draw(c.BOOLEANS):
        found = [found[0] | {"frozen": frozen}, found[1] | {"frozen": frozen}, *found[2:]]
        other = [found[1], found[0], *found[2:]]
    else:
        place = draw(c.integers(0, len(found) - 1))
        other = [*found[: place + 1], *found[place:]]
    return {
        "request": request | {"config": config | {"freeze": found}},
        "other": request | {"config": config | {"freeze": other}},
    }


# Applying ----------------------------------------------------------------------------------------------------------
@c.composite
def applications(draw: DrawFn, agreeing: bool = False) -> Request:
    """Return a request to apply; with ``agreeing`` no parameter is matched by active specifications that disagree."""
    request = draw(requests())
    names, config = request["names"], request["config"]
    tick = draw(c.sampled([tick for start in [*starts(config), 0] for tick in (start, max(0, start - 1))]))
    now = active(config, tick)
    if agreeing and any(len({f for m, f in now.items() if matches(name, m)}) > 1 for name in names):
        frozen = draw(c.BOOLEANS)
        for part in [config["freeze"], *(stage["specs"] for stage in config.get("freeze_schedule", []))]:
            part[:] = [spec | {"frozen": frozen} for spec in part]
    return {
        "op": "apply",
        "dialect": "kempner",
        "names": names,
        "sizes": [draw(c.sampled((3, 5, 7, 0))) for _ in names],
        "frozen": some(draw, names, 0),
        "config": config,
        "tick": tick,
    }


# Wrong configurations ----------------------------------------------------------------------------------------------
@c.composite
def with_another_module(draw: DrawFn, *wrong: str, valid: bool) -> Request:
    """Return a configuration with one module more, in ``freeze`` or in a stage that the run reaches."""
    request = draw(requests())
    config = request["config"]
    config.pop("valid_modules", None)
    if valid:
        config["valid_modules"] = list(MODULES)
    spec = {"module": draw(c.sampled(wrong)), "frozen": draw(c.BOOLEANS)}
    stages = config.get("freeze_schedule") or [{"specs": config["freeze"], "start_step": 0}]
    target = draw(c.sampled([config["freeze"], *(stage["specs"] for stage in stages)]))
    target.insert(draw(c.integers(0, len(target))), spec)
    return request | {"names": list(PARAMETERS), "total": max(starts(config) or [0]) + 1}


_BASE = segments_request(
    "kempner",
    list(PARAMETERS),
    {
        "freeze": [{"module": "encoder", "frozen": True}, {"module": "head.w", "frozen": False}],
        "freeze_schedule": [
            {"start_step": 2, "specs": [{"module": "encoder", "frozen": False}]},
            {"start_step": 4, "specs": [{"module": "*.w", "frozen": True}]},
        ],
        "module_patterns": {"encoder": ["enc.*"], "unused": ["emb.*"]},
        "valid_modules": ["encoder", "head.w", "*.w"],
    },
    6,
)
_SPEC = [
    *at(("module",), 1, True, ["encoder"], DROP),
    *at(("frozen",), 1, 0, "true", "no"),
    *at(("name",), "encoder"),
]
_EDITS = [
    *at((), [], "encoder", 3, True),
    *(((*place, *path), v) for place in (("freeze", 1), ("freeze_schedule", 1, "specs", 0)) for path, v in _SPEC),
    *at(("freeze",), {}, "encoder", 3, ["encoder"], [["encoder", True]]),
    *at(("freeze_schedule",), {}, 3, [2], [[2, []]]),
    *at(("freeze_schedule", 1, "start_step"), *WRONG_INTS, DROP),
    *at(("freeze_schedule", 1, "specs"), {}, "encoder", 3, DROP),
    *at(("freeze_schedule", 1, "step"), 3),
    *at(("module_patterns",), [], "enc.*", 3),
    *at(("module_patterns", "encoder"), [], "enc.*", 3, [1]),
    *at(("module_patterns", "unused"), [], [1]),
    *at(("valid_modules",), {}, "encoder", 3, [1]),
    *at(("freezes",), []),
]
_ORDER = [*at(("freeze_schedule", 1, "start_step"), 2, 1, 0), *at(("freeze_schedule", 0, "start_step"), 4, 5)]

FAMILIES: dict[str, Family] = {
    "KMP-2-equal_forms_mean_equal_schedules": Family(equal_forms_equal_schedules, permuted()),
    "KMP-2-repeats_and_neighbours_do_not_matter": Family(equal_forms, trivially_equal()),
    "KMP-3-agrees_with_the_reference": c.agree(overridden()),
    "KMP-3-a_stage_of_nothing_overrides_nothing": c.same(with_a_stage_of_nothing()),
    "KMP-3-saying_it_again_changes_nothing": c.same(repeated_stage()),
    "KMP-4-agrees_with_the_reference": c.agree(requests(stages=0, least=2, most=4)),
    "KMP-5-agrees_with_the_reference": c.agree(one_module()),
    "KMP-5-an_alias_is_its_patterns": c.same(renamed_aliases()),
    "KMP-5-empty_selection": c.reject(
        "empty-selection", with_another_module("nowhere", "enc", "head", "HEAD.w", "enc.?", "[!a-zA-Z]*", valid=False)
    ),
    "KMP-6-invalid_spec": c.invalid(_BASE, _ORDER, integers=False),
    "KMP-7-unknown_name": c.reject("unknown-name", with_another_module("enc.*", "emb.w", "enc.2.w", valid=True)),
    "KMP-8-agrees_with_the_reference": c.family(applied, applications()),
    "KMP-8-flipped_is_what_changed": c.family(flips, applications(agreeing=True)),
    "SCH-5-applying_again_changes_nothing": c.family(idempotent, applications(agreeing=True)),
    "CFG-1-invalid_spec": c.invalid(_BASE, _EDITS),
}

CASES = {"kempner": Cases(requests(), FAMILIES)}
