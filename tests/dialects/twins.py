"""Each dialect a second time: what every tick means, looking at one tick, and a strategy for its configurations.

A twin shares no code with the package but ``Segment``, and is written as the source system works: by flags that are
set, by a counter that runs. Strategies are valid by construction and give plain data.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import per_tick
from hypothesis import strategies as st
from per_tick import Says

LAYERS = ("stem", "body/conv1", "body/bn", "body/conv10", "neck", "head")
PARAMETERS = ("enc.1.w", "enc.1.b", "enc.10.w", "emb.w", "dec.w", "head.w", "head.b")


@dataclass(frozen=True)
class Case:
    """A configuration and the run that it is for."""

    config: Any
    names: tuple[str, ...]
    total: int
    steps_per_epoch: int = 1


@dataclass(frozen=True)
class Twin:
    """A dialect's second definition: what a case says at a tick, and cases."""

    says: Callable[[Case, int], Says]
    cases: st.SearchStrategy[Case]


def some(names: tuple[str, ...], **bounds: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, **bounds)


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


SHARES = st.one_of(
    st.integers(0, 1),
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.integers(1, 9).flatmap(lambda q: st.integers(0, q).map(lambda p: f"{p}/{q}")),
)
TOTALS = st.integers(0, 24)


# Lighter -------------------------------------------------------------------------------------------------------------
def _many(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _freezer_entries(freezer: dict[str, Any]) -> list[Callable[[str], bool]]:
    return [
        *(lambda name, full=full: name == full for full in _many(freezer.get("names"))),
        *(lambda name, start=start: name[: len(start)] == start for start in _many(freezer.get("name_starts_with"))),
    ]


def _freezer_spares(freezer: dict[str, Any], name: str) -> bool:
    spared = {"names": freezer.get("except_names"), "name_starts_with": freezer.get("except_name_starts_with")}
    return any(entry(name) for entry in _freezer_entries(spared))


def lighter(case: Case, step: int) -> Says:
    epoch = step // case.steps_per_epoch
    frozen, mentioned = set(), set()
    for freezer in case.config:
        for j, matches in enumerate(_freezer_entries(freezer)):
            n, start = freezer.get("unfreeze_every_n_epochs"), freezer.get("start_epoch")
            ends = [
                "until_step" in freezer and step >= freezer["until_step"],
                "until_epoch" in freezer and epoch >= freezer["until_epoch"],
                n is not None and epoch >= (n if start is None else start) + j * n,
                n is None and start is not None and epoch >= start,
            ]
            found = {name for name in case.names if matches(name) and not _freezer_spares(freezer, name)}
            mentioned |= found
            frozen |= set() if any(ends) else found
    return Says(frozenset(frozen), frozenset(mentioned))


PREFIXES = ("enc", "enc.1", "enc.1.", "e", "head", "dec.w", "")
STRING_OR_LIST = {
    "names": some(PARAMETERS, min_size=1, max_size=3) | st.sampled_from(PARAMETERS),
    "name_starts_with": some(PREFIXES, min_size=1, max_size=3) | st.sampled_from(PREFIXES),
}


@st.composite
def freezers(draw: st.DrawFn) -> dict[str, Any]:
    found = draw(optional(**STRING_OR_LIST).filter(bool))
    spared = draw(optional(**{f"except_{key}": strategy for key, strategy in STRING_OR_LIST.items()}))
    matched = [name for name in PARAMETERS if any(entry(name) for entry in _freezer_entries(found))]
    if any(not _freezer_spares(spared, name) for name in matched):
        found |= spared
    return found | draw(
        optional(
            until_step=st.integers(0, 20),
            until_epoch=st.integers(0, 6),
            start_epoch=st.integers(0, 5),
            unfreeze_every_n_epochs=st.integers(1, 3),
        )
    )


lighter_cases = st.builds(
    Case, st.lists(freezers(), max_size=3), st.permutations(PARAMETERS).map(tuple), TOTALS, st.integers(1, 5)
)

# KempnerForge --------------------------------------------------------------------------------------------------------
PATTERNS = {"encoder": ["enc.*", "emb.*"], "ones": ["enc.1*", "nothing"], "tail": ["head.*", "dec.*"]}
MODULES = (*PATTERNS, "*.w", "enc.1.?", "[eh]*", "enc.*", "head.b")


def active(case: Case, step: int) -> list[list[Any]]:
    """Return [module, frozen] in the order in which each module came first, with the value that came last."""
    found: list[list[Any]] = []
    stages = [{"start_step": 0, "specs": case.config.get("freeze", [])}, *case.config.get("freeze_schedule", [])]
    for stage in stages:
        for spec in stage["specs"] if stage["start_step"] <= step else ():
            known = [entry for entry in found if entry[0] == spec["module"]]
            if known:
                known[0][1] = spec.get("frozen", True)
            else:
                found.append([spec["module"], spec.get("frozen", True)])
    return found


def kempner_matches(case: Case, module: str, name: str) -> bool:
    patterns = case.config.get("module_patterns", {}).get(module, [module])
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def kempner(case: Case, step: int) -> Says:
    frozen = set()
    for name in case.names:
        decisions = [value for module, value in active(case, step) if kempner_matches(case, module, name)]
        if decisions and decisions[-1]:
            frozen.add(name)
    modules = {module for module, _ in active(case, 10**9)}
    mentioned = {name for name in case.names if any(kempner_matches(case, module, name) for module in modules)}
    return Says(frozenset(frozen), frozenset(mentioned))


SPECS = st.fixed_dictionaries({"module": st.sampled_from(MODULES)}, optional={"frozen": st.booleans()})


@st.composite
def kempner_configs(draw: st.DrawFn) -> dict[str, Any]:
    starts = sorted(draw(st.sets(st.integers(0, 26), max_size=4)))
    stages = [{"start_step": start, "specs": draw(st.lists(SPECS, max_size=3))} for start in starts]
    return {
        "freeze": draw(st.lists(SPECS, max_size=4)),
        "freeze_schedule": stages,
        "module_patterns": PATTERNS,
        "valid_modules": draw(st.none() | st.just(list(MODULES))),
    }


kempner_cases = st.builds(Case, kempner_configs(), st.permutations(PARAMETERS).map(tuple), TOTALS)


# fastai --------------------------------------------------------------------------------------------------------------
def expanded(wanted: list[Any], names: tuple[str, ...]) -> list[str]:
    """Return the layers that are meant: a container or a pattern stands for those in it."""
    return [name for unit in per_tick.units(wanted, names) for name in unit]


def grouped(groups: list[Any], names: tuple[str, ...]) -> list[list[str]]:
    """Return the groups: one for a list, one for each match of an ``each`` alone."""
    parts = [per_tick.units([g], names) if isinstance(g, dict) else [expanded(g, names)] for g in groups]
    return [group for part in parts for group in part]


def fastai(case: Case, epoch: int) -> Says:
    """As ``freeze_to`` and ``set_train_mode`` work: by flags of layers, and of batch normalizations."""
    groups = grouped(case.config["groups"], case.names)
    batch_norm = expanded(case.config.get("batch_norm", []), case.names)
    trainable = {name: True for group in groups for name in group}
    marked = False
    for tick in range(epoch + 1):
        for call in case.config.get("calls", []):
            if call["at"] != tick:
                continue
            if call["call"] == "bn_freeze":
                marked = call["do_freeze"]
                continue
            n = {"freeze_to": call.get("n"), "freeze": -1, "unfreeze": 0}[call["call"]]
            for group in groups:
                trainable |= dict.fromkeys(group, False)
            for group in groups[n:]:
                trainable |= dict.fromkeys(group, True)
    evaluating = {name for name in batch_norm if marked or not trainable.get(name, True)}
    return Says(
        frozenset(name for name, trains in trainable.items() if not trains),
        frozenset(trainable),
        bn_frozen=frozenset(evaluating),
    )


CALLS = st.one_of(
    st.fixed_dictionaries({"call": st.just("freeze_to"), "at": st.integers(0, 8), "n": st.integers(-5, 5)}),
    st.fixed_dictionaries({"call": st.sampled_from(["freeze", "unfreeze"]), "at": st.integers(0, 8)}),
    st.fixed_dictionaries({"call": st.just("bn_freeze"), "at": st.integers(0, 8), "do_freeze": st.booleans()}),
)
GROUPS = st.sampled_from(
    [
        [[name] for name in LAYERS],
        [["stem"], ["body"], ["neck", "head"]],
        [["head"]],
        [["stem", "body/bn"], ["head"]],
        [{"each": "body/conv*"}, ["*e*"]],
        [["neck"], {"each": "[sb]*"}],
    ]
)
fastai_cases = st.builds(
    Case,
    st.fixed_dictionaries(
        {"groups": GROUPS, "calls": st.lists(CALLS, max_size=6)},
        optional={"batch_norm": st.sampled_from([[], ["body/bn"], ["*/bn", "neck"]])},
    ),
    st.just(LAYERS),
    TOTALS,
)


# The literature ------------------------------------------------------------------------------------------------------
def meant(case: Case) -> list[list[str]]:
    return per_tick.units(case.config.get("layers", "all"), case.names)


def every(units: list[list[str]]) -> frozenset[str]:
    return frozenset(name for unit in units for name in unit)


def composer(case: Case, epoch: int) -> Says:
    start, level = (Fraction(str(case.config.get(key, d))) for key, d in (("freeze_start", 0.5), ("freeze_level", 1)))
    elapsed, units = Fraction(epoch, case.total), meant(case)
    share = level * (elapsed - start) / (1 - start) if elapsed > start else Fraction(0)
    return Says(every(units[: int(share * (len(units) - 1))]), every(units))


PICKED = st.sampled_from(
    [["neck"], ["stem", {"each": "body/*"}], ["body", "head"], ["neck", "stem", "body/bn", "head"], ["*e*", "b*"]]
)
picks = {"layers": st.just("all") | PICKED}
composer_cases = st.builds(
    Case,
    optional(freeze_start=SHARES.filter(lambda s: Fraction(str(s)) < 1), freeze_level=SHARES, **picks),
    st.just(LAYERS),
    TOTALS,
)


def freezeout(case: Case, step: int) -> Says:
    """As the script works: an iteration counter j, and layers that are active until j passes their end."""
    t_0, power = Fraction(str(case.config.get("t_0", 0.8))), case.config.get("how_scale", "cubic")
    units = meant(case)
    active = dict.fromkeys(every(units), True)
    for j in range(step + 1):
        for i, unit in enumerate(units):
            t = t_0 + (1 - t_0) * Fraction(i, max(1, len(units) - 1))
            ends = {"linear": t, "squared": t * t, "cubic": t * t * t}[power] * case.total
            if j > ends and unit is not units[-1]:
                active |= dict.fromkeys(unit, False)
    return Says(frozenset(name for name in active if not active[name]), frozenset(active))


freezeout_cases = st.builds(
    Case,
    optional(
        t_0=SHARES.filter(lambda s: Fraction(str(s)) > 0),
        how_scale=st.sampled_from(["linear", "squared", "cubic"]),
        scale_lr=st.booleans(),
        **picks,
    ),
    st.just(LAYERS),
    TOTALS,
)


def gradual(case: Case, epoch: int) -> Says:
    groups = case.config.get("groups") or [[name] for name in case.names]
    groups = grouped(groups, case.names)
    training = min(len(groups), epoch // case.config.get("every", 1) + 1)
    frozen = {name for group in groups[: len(groups) - training] for name in group}
    return Says(frozenset(frozen), frozenset(name for group in groups for name in group))


gradual_cases = st.builds(Case, optional(groups=st.none() | GROUPS, every=st.integers(1, 4)), st.just(LAYERS), TOTALS)


def chain_thaw(case: Case, epoch: int) -> Says:
    """As DeepMoji works: a list of what trains, the last layer brought to its front, all layers at its end."""
    layers = every(meant(case))
    new = expanded(case.config.get("new") or meant(case)[-1], case.names)
    rest = [[name for name in unit if name not in new] for unit in meant(case)]
    order = [new, *(unit for unit in rest if unit)]
    lengths = case.config["epochs"]
    lengths = [lengths] * len(order) if isinstance(lengths, int) else lengths
    trains, rates, since = layers, {case.config.get("learning_rate")}, epoch - sum(lengths)
    for number, (stage, length) in enumerate(zip(order, lengths, strict=True)):
        if sum(lengths[:number]) <= epoch < sum(lengths[:number]) + length:
            trains, since = stage, epoch - sum(lengths[:number])
            rates = {case.config.get("learning_rate" if number else "initial_learning_rate")}
    rates = frozenset(rates - {None} if since == 0 else ())
    return Says(layers - frozenset(trains), layers, rates)


@st.composite
def chain_thaw_configs(draw: st.DrawFn) -> dict[str, Any]:
    config = draw(optional(initial_learning_rate=st.just(1e-3), learning_rate=st.sampled_from([1e-3, 1e-4])))
    layers = draw(st.just("all") | PICKED)
    units = per_tick.units(layers, LAYERS)
    new = draw(st.none() | some(tuple(name for unit in units for name in unit), min_size=1, max_size=3))
    count = 1 + sum(any(name not in (new or units[-1]) for name in unit) for unit in units)
    epochs = draw(st.integers(1, 4) | st.lists(st.integers(1, 4), min_size=count, max_size=count))
    return config | {"layers": layers, "new": new, "epochs": epochs}


chain_thaw_cases = st.builds(Case, chain_thaw_configs(), st.just(LAYERS), TOTALS)


def lisa(case: Case, step: int) -> Says:
    always_on = expanded(case.config.get("always_on") or [], case.names)
    units = [unit for unit in meant(case) if unit[0] not in always_on]
    words = per_tick.words(case.config.get("seed", 0), 0, step // case.config["step_interval"])
    trains = [units[place] for place in per_tick.draw(len(units), case.config["n_layers"], words)]
    return Says(every(units) - every(trains), every(units) | frozenset(always_on))


@st.composite
def lisa_configs(draw: st.DrawFn) -> dict[str, Any]:
    always_on = draw(st.none() | st.sampled_from([["stem"], ["stem", "head"], ["body"]]))
    free = [name for name in LAYERS if name not in expanded(always_on or [], LAYERS)]
    forms = [] if always_on else [["body", "head"], [{"each": "*"}], ["b*", {"each": "*e*"}]]
    layers = draw(st.sampled_from(["all", *forms]) | some(tuple(free), min_size=1))
    count = len(free if layers == "all" else per_tick.units(layers, LAYERS))
    seeds = st.integers(0, 3) | st.integers(0, 2**64 - 1)
    numbers = {"n_layers": draw(st.integers(1, count)), "step_interval": draw(st.integers(1, 6))}
    return {"always_on": always_on, "layers": layers, **numbers} | draw(optional(seed=seeds))


lisa_cases = st.builds(Case, lisa_configs(), st.just(LAYERS), TOTALS)


def lightning(case: Case, epoch: int) -> Says:
    backbone = expanded(case.config.get("backbone", ["backbone"]), case.names)
    batch_norm = expanded(case.config.get("batch_norm", []), case.names)
    frozen = set(backbone) if epoch < case.config.get("unfreeze_backbone_at_epoch", 10) else set()
    frozen = frozen - set(batch_norm) if case.config.get("train_bn", True) else frozen | set(batch_norm)
    return Says(frozenset(frozen), frozenset(backbone))


lightning_cases = st.builds(
    Case,
    st.fixed_dictionaries(
        {"backbone": st.sampled_from([["body"], ["stem", "body"], ["body/bn"], ["*o*"]])},
        optional={
            "unfreeze_backbone_at_epoch": st.integers(0, 12),
            "batch_norm": st.sampled_from([[], ["body/bn"]]),
            "train_bn": st.booleans(),
        },
    ),
    st.just(LAYERS),
    TOTALS,
)

TWINS = {
    "lighter": Twin(lighter, lighter_cases),
    "kempner": Twin(kempner, kempner_cases),
    "fastai": Twin(fastai, fastai_cases),
    "composer": Twin(composer, composer_cases),
    "freezeout": Twin(freezeout, freezeout_cases),
    "gradual": Twin(gradual, gradual_cases),
    "chain_thaw": Twin(chain_thaw, chain_thaw_cases),
    "lisa": Twin(lisa, lisa_cases),
    "lightning": Twin(lightning, lightning_cases),
}
