"""The schedules of the literature: Composer, FreezeOut, gradual unfreezing, chain-thaw, LISA, BackboneFinetuning.

Learning rates of single layers, which some of them have, are no part of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, LAYERS, WRONG_INTS, Cases, Edit, at, entries, layers, meant, some, units
from refreeze.conformance.cases.fastai import some_groups, with_each_alone, with_layer_in_two_groups, with_unknown_layer
from refreeze.conformance.cases.fastai import with_a_pattern_in_vain as with_a_group_in_vain
from refreeze.conformance.laws import Case, Family, counts, together
from refreeze.conformance.protocol import Request, segments_request

SHARES: SearchStrategy[Any] = c.sampled((0.5, 0.1, 0.7, "1/3", "2/3", 0.25, 0.29, 0, 1))
NOT_ALL, NOT_NONE = (
    SHARES.filter(lambda share: Fraction(str(share)) < 1),
    SHARES.filter(lambda share: Fraction(str(share)) > 0),
)
WRONG_SHARES = ("half", "1/0", "-1/2", "1.5/2", "3/2", -0.5, 1.5, True, [0.5])
WRONG_RATES = (0, -1, True, "0.5")
WRONG_LAYERS: tuple[Any, ...] = ([], {}, 3, True, "ALL", "stem", [1], ["stem", 1], ["stem", "stem"], *c.WRONG_EACH)
Pair = tuple[Request, Request]


def picked(draw: DrawFn, declared: list[str]) -> dict[str, Any]:
    """Return the key ``layers``: none, "all", or some of the declared layers, perhaps as a container."""
    wanted = draw(c.sampled(("none", "none", "some", "some", "all", "entries")))
    if wanted in ("none", "all"):
        return {} if wanted == "none" else {"layers": "all"}
    return {"layers": some(draw, declared) if wanted == "some" else entries(draw, declared, 2)}


def with_units(request: Request) -> Case:
    """Return the case of a request and its units; those of chain-thaw without the layers that are new."""
    found = units(request["config"].get("layers", "all"), request["names"])
    new = request["config"].get("new", ())
    return {"request": request, "units": [[name for name in unit if name not in new] for unit in found]}


def with_large_units(case: Case) -> bool:
    return any(len(unit) > 1 for unit in case["units"])


def with_layers(request: Request) -> bool:
    return isinstance(request["config"].get("layers"), list)


@c.composite
def with_entries(draw: DrawFn, requests: SearchStrategy[Request], patterns: bool = False) -> Request:
    """Return the request with entries in ``layers``, and without what would have to agree with them."""
    request = draw(requests)
    config = {key: value for key, value in request["config"].items() if key not in ("new", "always_on")}
    config |= {"layers": entries(draw, request["names"], 2, patterns)}
    config |= {key: 1 for key in ("n_layers", "epochs") if key in config}
    return request | {"config": config}


def each_spelt_out(request: Request) -> Pair:
    config = request["config"]
    return request | {"config": config | {"layers": c.spelt_out(config["layers"], request["names"])}}, request


@c.composite
def with_a_pattern_in_vain(draw: DrawFn, requests: SearchStrategy[Request], key: str) -> Request:
    request = draw(requests)
    config = request["config"]
    found = [*config.get(key, ())]
    found.insert(draw(c.integers(0, len(found))), c.without_match(draw, request["names"]))
    return request | {"config": config | {key: found}}


def without_names(request: Request) -> Request:
    config = {key: value for key, value in request["config"].items() if key not in ("layers", "new", "always_on")}
    return request | {"config": config, "names": None}


@c.composite
def with_unknown(draw: DrawFn, requests: SearchStrategy[Request], key: str, default: Any = "all") -> Request:
    """Return a request with a name at ``key`` that is not there."""
    request = draw(requests)
    found = request["config"].get(key, default)
    found = meant(found, request["names"]) if isinstance(found, str) else found
    found = draw(c.permutations([*found, c.misspelt(draw, request["names"])]))
    return request | {"config": request["config"] | {key: found}}


def two_lists(needed: dict[str, Any], key: str) -> Callable[[str, str], Any]:
    return lambda one, other: needed | {"layers": [one, "stem"], key: [other]}


def of_layers(
    dialect: str, requests: SearchStrategy[Request], base: dict[str, Any], edits: Iterable[Edit]
) -> dict[str, Family]:
    """Return the families of what goes wrong with a dialect that has ``layers``."""
    base_request = segments_request(dialect, list(LAYERS), base, 8)
    common = [*at(("layers",), *WRONG_LAYERS), *at(("unknown",), 1), *at((), [], "all", 3)]
    needed: dict[str, Any] = {key: base[key] for key in ("epochs", "n_layers", "step_interval") if key in base}
    return {
        "NAM-1-needs_model": c.reject("needs-model", requests.map(without_names)),
        "NAM-2-unknown_name": c.reject("unknown-name", with_unknown(requests, "layers")),
        "NAM-3-needs_model": c.container_and_layer(
            dialect,
            lambda one, other: needed | {"layers": [one, "stem", other]},
            *(two_lists(needed, key) for key in ("new", "always_on") if key in base),
        ),
        "NAM-4-a_unit_moves_as_a_whole": Family(
            together, (with_entries(requests) | requests).map(with_units).filter(with_large_units)
        ),
        "NAM-5-agrees_with_the_reference": c.agree(with_entries(requests, patterns=True)),
        "NAM-5-each_is_the_list_of_its_matches": c.same(with_entries(requests, patterns=True).map(each_spelt_out)),
        "NAM-5-empty_selection": c.reject(
            "empty-selection", with_a_pattern_in_vain(requests.filter(with_layers), "layers")
        ),
        "CFG-1-invalid_spec": c.invalid(base_request, [*edits, *common]),
    }


def fractions(request: Request) -> Pair:
    """Return the request with its shares as strings, and as it is."""
    config = {
        key: "/".join(map(str, Fraction(str(value)).as_integer_ratio()))
        for key, value in request["config"].items()
        if key in ("freeze_start", "freeze_level", "t_0")
    }
    return request | {"config": request["config"] | config}, request


# Composer ----------------------------------------------------------------------------------------------------------
@c.composite
def composer(draw: DrawFn) -> Request:
    declared = layers(draw)
    config = picked(draw, declared)
    if draw(c.integers(0, 3)):
        config["freeze_start"] = draw(NOT_ALL)
    if draw(c.integers(0, 3)):
        config["freeze_level"] = draw(c.sampled((1, 0.5, "2/3", 0.7, 0)))
    return segments_request("composer", declared, config, draw(c.sampled((12, 10, 9, 20, 25, 7, 1, 0))))


@c.composite
def composer_on_the_tick(draw: DrawFn) -> Request:
    """Return freezing that begins and goes on exactly at epochs, by decimal digits and not in floats."""
    tenth = draw(c.sampled((1, 2, 4, 8, 6, 7)))
    steps = draw(c.sampled([n for n in (2, 3, 4) if (10 - tenth) % n == 0]))
    config = {"freeze_start": tenth / 10}
    return segments_request("composer", list(LAYERS[: steps + 1]), config, draw(c.sampled((10, 20))))


COMPOSER = of_layers(
    "composer",
    composer(),
    {"freeze_start": 0.25, "freeze_level": 0.5, "layers": "all"},
    [*at(("freeze_start",), 1, "1/1", *WRONG_SHARES), *at(("freeze_level",), *WRONG_SHARES)],
) | {
    "CMP-1-agrees_with_the_reference": c.agree(composer_on_the_tick() | composer()),
    "CMP-1-a_number_means_its_digits": c.same((composer_on_the_tick() | composer()).map(fractions)),
}


# FreezeOut ---------------------------------------------------------------------------------------------------------
@c.composite
def freezeout(draw: DrawFn) -> Request:
    declared = layers(draw)
    config = picked(draw, declared)
    if draw(c.integers(0, 3)):
        config["t_0"] = draw(NOT_NONE)
    if draw(c.integers(0, 3)):
        config["how_scale"] = draw(c.sampled(("linear", "squared", "cubic")))
    if draw(c.BOOLEANS):
        config["scale_lr"] = draw(c.BOOLEANS)
    return segments_request("freezeout", declared, config, draw(c.sampled((10, 16, 9, 27, 20, 8, 1, 0))))


@c.composite
def freezeout_on_the_tick(draw: DrawFn) -> Request:
    """Return a first layer that trains until exactly a step, by decimal digits and not in floats."""
    config = {"t_0": draw(c.sampled((0.3, 0.6, 0.7))), "how_scale": "linear"}
    return segments_request("freezeout", layers(draw, least=2), config, draw(c.sampled((10, 20))))


FREEZEOUT = of_layers(
    "freezeout",
    freezeout(),
    {"t_0": 0.5, "how_scale": "linear", "scale_lr": True, "learning_rate": 0.5},
    [
        *at(("t_0",), 0, "0/1", *WRONG_SHARES),
        *at(("how_scale",), "quartic", 3, True, "Cubic"),
        *at(("scale_lr",), 1, "yes"),
        *at(("learning_rate",), *WRONG_RATES),
    ],
) | {
    "FRO-1-agrees_with_the_reference": c.agree(freezeout_on_the_tick() | freezeout()),
    "FRO-1-a_number_means_its_digits": c.same((freezeout_on_the_tick() | freezeout()).map(fractions)),
}


# Gradual unfreezing ------------------------------------------------------------------------------------------------
@c.composite
def gradual(draw: DrawFn, grouped: bool | None = None) -> Request:
    declared = layers(draw)
    config: dict[str, Any] = {}
    if grouped or (grouped is None and draw(c.BOOLEANS)):
        config["groups"] = some_groups(draw, declared, 2)
    if draw(c.integers(0, 3)):
        config["every"] = draw(c.integers(1, 4))
    return segments_request("gradual", declared, config, draw(c.integers(0, 16)))


def one_by_one(request: Request) -> Pair:
    """Return the request with a group for each layer, and as it is, without groups."""
    return request | {"config": request["config"] | {"groups": [[name] for name in request["names"]]}}, request


GRADUAL = {
    "GRD-1-agrees_with_the_reference": c.agree(gradual()),
    "GRD-1-without_groups_each_layer_is_one": c.same(gradual(grouped=False).map(one_by_one)),
    "GRD-1-invalid_spec": c.reject("invalid-spec", with_layer_in_two_groups(gradual(grouped=True))),
    "NAM-1-needs_model": c.reject("needs-model", gradual(grouped=False).map(without_names)),
    "NAM-2-unknown_name": c.reject("unknown-name", with_unknown_layer(gradual(grouped=True), batch_norm=False)),
    "NAM-3-needs_model": c.container_and_layer(
        "gradual", lambda one, other: {"groups": [[one, other]]}, lambda one, other: {"groups": [[one], [other]]}
    ),
    "NAM-5-each_alone_is_a_group_for_each_match": c.same(with_each_alone(gradual())),
    "NAM-5-empty_selection": c.reject("empty-selection", with_a_group_in_vain(gradual(grouped=True))),
    "CFG-1-invalid_spec": c.invalid(
        segments_request(
            "gradual",
            list(LAYERS),
            {"groups": [["stem"], ["head"]], "every": 2, "learning_rate": 0.5, "factor": 2.5},
            8,
        ),
        [
            *at(("groups",), [], {}, "stem", 3, ["stem"], [[]], [["stem"], []], [["stem", 1]], [["stem", "stem"]]),
            *at(("every",), 0, *WRONG_INTS),
            *at(("learning_rate",), *WRONG_RATES),
            *at(("factor",), *WRONG_RATES),
            *at(("each",), 1),
            *at((), [], "stem", 3),
        ],
    ),
}


# Chain-thaw --------------------------------------------------------------------------------------------------------
def stages_of(config: dict[str, Any], names: list[str]) -> list[list[str]]:
    """Return what trains in each stage but the last."""
    every = units(config.get("layers", "all"), names)
    new = config.get("new", every[-1])
    return [new, *(rest for unit in every if (rest := [name for name in unit if name not in new]))]


@c.made_once
def lengths(stages: int) -> SearchStrategy[list[int]]:
    return st.lists(c.integers(1, 3), min_size=stages, max_size=stages)


@c.composite
def chain_thaw(draw: DrawFn, listed: bool | None = None, rates: bool | None = None) -> Request:
    declared = layers(draw)
    config = picked(draw, declared)
    if draw(c.BOOLEANS):
        config["new"] = some(draw, meant(config.get("layers", "all"), declared), 1, 3)
    stages = len(stages_of(config, declared))
    if listed or (listed is None and draw(c.BOOLEANS)):
        config["epochs"] = draw(lengths(stages))
    else:
        config["epochs"] = draw(c.integers(1, 3))
    for key in ("initial_learning_rate", "learning_rate"):
        if rates or draw(c.BOOLEANS):
            config[key] = draw(c.sampled(c.RATES))
    end = sum(config["epochs"]) if isinstance(config["epochs"], list) else config["epochs"] * stages
    return segments_request("chain_thaw", declared, config, c.near(draw, end, max(1, end // 2)))


def one_for_each_stage(request: Request) -> Pair:
    """Return the request with one number of epochs for each stage, and as it is, with one for all."""
    config = request["config"]
    stages = stages_of(config, request["names"])
    return request | {"config": config | {"epochs": [config["epochs"]] * len(stages), "new": stages[0]}}, request


@c.composite
def with_a_new_layer_outside(draw: DrawFn) -> Request:
    declared = layers(draw, least=2)
    mine = some(draw, declared, 1, len(declared) - 1)
    outside = draw(c.sampled([name for name in declared if name not in mine]))
    return segments_request("chain_thaw", declared, {"epochs": 1, "layers": mine, "new": [outside]}, 4)


CHAIN_THAW = of_layers(
    "chain_thaw",
    chain_thaw(listed=False),
    {"epochs": [1, 2], "new": ["head"], "layers": ["stem", "head"], "initial_learning_rate": 0.5, "learning_rate": 1.5},
    [
        *at(("epochs",), 0, 1.0, True, *WRONG_INTS, [], [1], [1, 1, 1], [1, 0], [1, True], [1, "2"], DROP),
        *at(("new",), [], {}, "head", 3, [1], ["head", "head"]),
        *at(("initial_learning_rate",), *WRONG_RATES),
        *at(("learning_rate",), *WRONG_RATES),
    ],
) | {
    "RES-1-a_resumed_run_is_the_rest_of_the_whole": c.resume(chain_thaw(rates=True)),
    "CHT-1-agrees_with_the_reference": c.agree(chain_thaw()),
    "CHT-1-one_number_is_a_list_of_equal_ones": c.same(chain_thaw(listed=False).map(one_for_each_stage)),
    "CHT-1-unknown_name": c.reject("unknown-name", with_a_new_layer_outside()),
    "CHT-2-agrees_with_the_reference": c.agree(chain_thaw(rates=True)),
}


# LISA --------------------------------------------------------------------------------------------------------------
def drawn_from(config: dict[str, Any], names: list[str]) -> list[list[str]]:
    return [u for u in units(config.get("layers", "all"), names) if u[0] not in config.get("always_on", ())]


@c.composite
def lisa(draw: DrawFn, listed: bool | None = None, of_units: bool | None = None, any_variant: bool = False) -> Request:
    declared = layers(draw, least=2)
    config: dict[str, Any] = {}
    if listed or (listed is None and draw(c.BOOLEANS)):
        by_names = of_units is False or (of_units is None and draw(c.BOOLEANS))
        config["layers"] = some(draw, declared) if by_names else entries(draw, declared, 2)
    free = [name for name in declared if "layers" not in config or name not in meant(config["layers"], declared)]
    if len(free) > 0 and draw(c.sampled((True, True, False))):
        config["always_on"] = some(draw, free, 1, min(len(free), len(declared) - 1))
    drawn = len(drawn_from(config, declared))
    config["n_layers"] = draw(c.sampled((1, max(1, drawn - 1), 1, drawn)))
    config["step_interval"] = draw(c.integers(1, 4))
    if draw(c.integers(0, 3)):
        config["seed"] = draw(c.SEEDS)
    if any_variant and draw(c.BOOLEANS):
        config["variant"] = "axolotl"
    return segments_request("lisa", declared, config, c.near(draw, config["step_interval"] * draw(c.integers(2, 6))))


def number_frozen(request: Request) -> Case:
    frozen = len(drawn_from(request["config"], request["names"])) - request["config"]["n_layers"]
    return {"request": request, "from": 0, "to": request["total"], "frozen": frozen}


def layers_spelt_out(request: Request) -> Pair:
    config = request["config"]
    listed = [name for unit in drawn_from(config, request["names"]) for name in unit]
    return request | {"config": config | {"layers": listed}}, request


def seeds(request: Request) -> Pair:
    """Return the request with the seed 0, and without a seed."""
    config = {key: value for key, value in request["config"].items() if key != "seed"}
    return request | {"config": config | {"seed": 0}}, request | {"config": config}


@c.composite
def drawn_and_always_on(draw: DrawFn) -> Request:
    request = draw(lisa(listed=True))
    config = request["config"]
    config["always_on"] = [*config.get("always_on", []), draw(c.sampled(config["layers"]))]
    return request


@c.composite
def as_axolotl(draw: DrawFn) -> Request:
    request = draw(lisa())
    return request | {"config": request["config"] | {"variant": "axolotl"}}


def in_other_keys(request: Request) -> Pair:
    config = {key: value for key, value in request["config"].items() if key != "variant"}
    config.setdefault("layers", "all")
    config["lisa_n_layers"], config["lisa_step_interval"] = config.pop("n_layers"), config.pop("step_interval")
    return request | {"config": config}, request


@c.composite
def nothing_to_draw(draw: DrawFn) -> Request:
    declared = layers(draw)
    config = {"n_layers": 1, "step_interval": 2, "always_on": draw(c.permutations(declared))}
    return segments_request("lisa", declared, config, 4)


LISA = of_layers(
    "lisa",
    lisa(),
    {"n_layers": 1, "step_interval": 2, "layers": ["stem", "conv1"], "always_on": ["head"], "seed": 1},
    [
        *at(("n_layers",), 0, 3, *WRONG_INTS, DROP),
        *at(("step_interval",), 0, *WRONG_INTS, DROP),
        *at(("seed",), 2**64, *WRONG_INTS),
        *at(("variant",), "lmflow", 1),
        *at(("lisa_n_layers",), 1),
        *at(("always_on",), [], {}, "head", 3, [1], ["head", "head"]),
    ],
) | {
    "NAM-2-unknown_name": c.reject("unknown-name", with_unknown(lisa(listed=True), "layers")),
    "RND-3-no_seed_is_seed_0": c.same(lisa().map(seeds)),
    "LIS-1-agrees_with_the_reference": c.agree(
        lisa(), segments_request("lisa", list(LAYERS), {"n_layers": 2, "step_interval": 1, "seed": c.NO_DOUBLE}, 6)
    ),
    "LIS-1-so_many_layers_train": Family(counts, lisa(of_units=False, any_variant=True).map(number_frozen)),
    "LIS-1-all_is_what_is_not_always_on": c.same(lisa(listed=False).map(layers_spelt_out)),
    "LIS-1-invalid_spec": c.reject("invalid-spec", drawn_and_always_on()),
    "LIS-2-agrees_with_the_reference": c.agree(as_axolotl()),
    "LIS-2-other_keys_mean_the_same": c.same(as_axolotl().map(in_other_keys)),
    "LIS-1-empty_selection": c.reject("empty-selection", nothing_to_draw()),
}


# Lightning ---------------------------------------------------------------------------------------------------------
@c.composite
def lightning(draw: DrawFn, patterns: bool = False) -> Request:
    declared = layers(draw)
    by_names = not patterns and draw(c.BOOLEANS)
    found = some(draw, declared) if by_names else entries(draw, declared, patterns=patterns)
    config: dict[str, Any] = {"backbone": found}
    if draw(c.integers(0, 4)):
        config["unfreeze_backbone_at_epoch"] = draw(c.sampled(range(7)))
    if draw(c.integers(0, 3)):
        config["batch_norm"] = some(draw, meant(config["backbone"], declared), 0)
    if draw(c.BOOLEANS):
        config["train_bn"] = draw(c.BOOLEANS)
    total = c.near(draw, config.get("unfreeze_backbone_at_epoch", 10))
    return segments_request("lightning", declared, config, total)


def backbone_spelt_out(request: Request) -> Pair:
    backbone = meant(request["config"]["backbone"], request["names"])
    return request | {"config": request["config"] | {"backbone": backbone}}, request


LIGHTNING = {
    "LTN-1-agrees_with_the_reference": c.agree(lightning()),
    "NAM-3-a_container_is_its_layers": c.same(lightning().map(backbone_spelt_out)),
    "NAM-3-needs_model": c.container_and_layer(
        "lightning",
        lambda one, other: {"backbone": [one, "stem", other]},
        lambda one, other: {"backbone": [one], "batch_norm": [other]},
    ),
    "NAM-2-unknown_name": c.reject(
        "unknown-name", with_unknown(lightning(), "backbone") | with_unknown(lightning(), "batch_norm", [])
    ),
    "NAM-5-agrees_with_the_reference": c.agree(lightning(patterns=True)),
    "NAM-5-empty_selection": c.reject(
        "empty-selection",
        with_a_pattern_in_vain(lightning(), "backbone") | with_a_pattern_in_vain(lightning(), "batch_norm"),
    ),
    "CFG-1-invalid_spec": c.invalid(
        segments_request(
            "lightning",
            list(LAYERS),
            {"backbone": ["stem", "conv1"], "batch_norm": ["conv1"], "train_bn": False, "multiplier": 2.5}
            | {"unfreeze_backbone_at_epoch": 3},
            6,
        ),
        [
            *at(("unfreeze_backbone_at_epoch",), *WRONG_INTS),
            *at(("backbone",), [], {}, "stem", 3, [1], ["stem", "stem"]),
            *at(("batch_norm",), {}, "conv1", 3, [1], ["conv1", "conv1"]),
            *at(("train_bn",), 1, 0, "no"),
            *at(("learning_rate",), *WRONG_RATES),
            *at(("multiplier",), 0, 0.5, True, "2"),
            *at(("unfreeze_at",), 3),
            *at((), [], "all", 3),
        ],
    ),
}

CASES = {
    "composer": Cases(composer(), COMPOSER, truncates=False),
    "freezeout": Cases(freezeout(), FREEZEOUT, truncates=False),
    "gradual": Cases(gradual(), GRADUAL),
    "chain_thaw": Cases(chain_thaw(), CHAIN_THAW),
    "lisa": Cases(lisa(any_variant=True), LISA),
    "lightning": Cases(lightning(), LIGHTNING),
}
