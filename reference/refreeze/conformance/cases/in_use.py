"""The schedules in use: NeMo, finetuning-scheduler, BAdam, numbers of updates, luxonis, and what resembles them.

Numbers lie around the ends of ranges, and runs end around them: a boundary that is one off shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance import cases as c
from refreeze.conformance.cases import DROP, LAYERS, WRONG_INTS, Cases, Edit, at, entries, layers, some
from refreeze.conformance.cases.literature import SHARES, WRONG_RATES, WRONG_SHARES
from refreeze.conformance.laws import Family
from refreeze.conformance.protocol import ErrorId, Request, segments_request

NUMBERS = c.sampled((2, 3, 1, 4, 0, -1, -2))
PARAMETERS = (
    "embed.w",
    "embed.w2",
    "layers.1.w",
    "layers.1.b",
    "layers.10.w",
    "layers.2.w",
    "norm.w",
    "head.last_layer.w",
)
NOT_INTS = (True, "1", 1.5, [1])
TEXTS = ("layers.1.", "layers.10.", "layers.2.", "embed", "orm", "last_layer")
Pair = tuple[Request, Request]


def changed(requests: SearchStrategy[Request], error: ErrorId, **config: Any) -> Family:
    """Return the family of requests that are rejected with these keys; a key that is ``DROP`` goes."""

    def change(request: Request) -> Request:
        kept = {key: value for key, value in request["config"].items() if key not in config}
        return request | {"config": kept | {key: value for key, value in config.items() if value is not DROP}}

    return c.reject(error, requests.map(change))


def without_names(requests: SearchStrategy[Request]) -> Family:
    return c.reject("needs-model", requests.map(lambda request: request | {"names": None}))


def misspelt(requests: SearchStrategy[Request], key: str) -> Family:
    """Return the family of requests with a name at ``key`` that is not there."""

    @c.composite
    def unknown(draw: DrawFn) -> Request:
        request = draw(requests)
        found = [*request["config"][key], c.misspelt(draw, request["names"])]
        return request | {"config": request["config"] | {key: draw(c.permutations(found))}}

    return c.reject("unknown-name", unknown())


def invalid(dialect: str, names: Sequence[str], base: Any, edits: Sequence[Edit], *others: Any) -> Family:
    """Return the family of a configuration and its edits, and of other ones with other values for integers in them."""
    found = c.invalid(segments_request(dialect, [*names], base, 6), [*edits, *at(("unknown",), 1), *at((), "all", 3)])
    more = [c.invalid(segments_request(dialect, [*names], other, 6), []).always for other in others]
    return Family(found.check, None, always=(*found.always, *(case for cases in more for case in cases)))


# A number of updates -------------------------------------------------------------------------------------------------
UPDATES_KEYS = ("freeze_finetune_updates", "encoder_freezing_updates", "w2v_freezing_updates", "warmup_steps")


@c.composite
def updates(draw: DrawFn, boundary: bool | None = None) -> Request:
    declared, number = layers(draw), draw(NUMBERS)
    config = {"modules": entries(draw, declared), draw(c.sampled(UPDATES_KEYS)): number}
    if boundary or (boundary is None and draw(c.BOOLEANS)):
        config["boundary"] = draw(c.sampled((">=", ">")))
    return segments_request("updates", declared, config, c.near(draw, max(number, 0)))


def one_more(request: Request) -> Pair:
    """Return the request with ">=" and a number that is one more, and with ">"."""
    (key,) = request["config"].keys() & {*UPDATES_KEYS}
    config = request["config"] | {"boundary": ">"}
    return request | {"config": config | {key: config[key] + 1, "boundary": ">="}}, request | {"config": config}


UPDATES = {
    "UPD-1-agrees_with_the_reference": c.agree(updates()),
    "UPD-1-one_boundary_is_the_other_one_later": c.same(updates().map(one_more)),
    "NAM-2-unknown_name": misspelt(updates(), "modules"),
    "CFG-1-invalid_spec": invalid(
        "updates",
        LAYERS,
        {"modules": ["stem"], "warmup_steps": 2, "boundary": ">"},
        [
            *at(("modules",), [], {}, "stem", 3, [1], ["stem", "stem"]),
            *at(("warmup_steps",), *NOT_INTS, DROP),
            *at(("w2v_freezing_updates",), 2, 0),
            *at(("boundary",), "<", 1, True),
        ],
        *({"modules": ["stem"], key: 2} for key in UPDATES_KEYS[:3]),
    ),
}


# NeMo ----------------------------------------------------------------------------------------------------------------
NUMBERS_OR_PAIRS = NUMBERS | st.lists(NUMBERS | c.integers(5, 8), min_size=2, max_size=2)


@c.composite
def nemo(draw: DrawFn) -> Request:
    declared = layers(draw)
    modules = {name: draw(NUMBERS_OR_PAIRS) for name in c.spelt_out(entries(draw, declared), declared)}
    config: dict[str, Any] = {"modules": modules}
    if draw(c.sampled((True, True, True, True, False))):
        config["enabled"] = draw(c.sampled((True, True, True, False)))
    ends = [max(0, *(said if isinstance(said, list) else [said])) for said in modules.values()]
    return segments_request("nemo", declared, {"freeze_updates": config}, c.near(draw, *ends))


def in_a_model(request: Request) -> Pair:
    return request | {"config": {"name": "asr", "model": request["config"] | {"encoder": {}}}}, request


@c.composite
def nemo_misspelt(draw: DrawFn) -> Request:
    request = draw(nemo())
    found = request["config"]["freeze_updates"]
    modules = found["modules"] | {c.misspelt(draw, request["names"]): 1}
    return request | {"config": {"freeze_updates": found | {"modules": modules}}}


NEMO = {
    "NEM-1-agrees_with_the_reference": c.agree(nemo()),
    "NEM-1-a_whole_configuration_is_its_part": c.same(nemo().map(in_a_model)),
    "NAM-2-unknown_name": c.reject("unknown-name", nemo_misspelt()),
    "CFG-1-invalid_spec": invalid(
        "nemo",
        LAYERS,
        {"freeze_updates": {"enabled": True, "modules": {"stem": 2, "head": [1, 2]}}},
        [
            *at(("freeze_updates", "enabled"), 1, "yes"),
            *at(("freeze_updates", "modules"), [], 3, {"body": 1, "body/a": 2}, DROP),
            *at(("freeze_updates", "modules", "stem"), *NOT_INTS, [1, 2, 3], [1, True], {}),
            *at(("freeze_updates", "module"), 3),
            *at(("freeze_updates",), DROP),
        ],
    ),
}


# A part that stops ---------------------------------------------------------------------------------------------------
@c.composite
def stop_after(draw: DrawFn, frac: bool | None = None) -> Request:
    declared, per = layers(draw), draw(c.integers(1, 4))
    config: dict[str, Any] = {"part": entries(draw, declared)}
    keys = ("stop_training_after", "stop_training_after", "stop_text_encoder_training", "train_text_encoder_frac")
    key, number = draw(c.sampled(keys)), draw(NUMBERS)
    if frac or (frac is None and key == keys[-1]):
        config[keys[-1]] = draw(SHARES)
        return segments_request("stop_after", declared, config, draw(c.integers(0, 24)), steps_per_epoch=per)
    config[key] = abs(number) if key == keys[0] else number
    if key == keys[0] and draw(c.integers(0, 3)):
        config["stop_training_after_unit"] = draw(c.sampled(("NEVER", "STEP", "EPOCH", "ALWAYS")))
    total = c.near(draw, abs(number), abs(number) * per)
    return segments_request("stop_after", declared, config, total, steps_per_epoch=per)


STOP_AFTER = {
    "STP-1-agrees_with_the_reference": c.agree(
        stop_after() | stop_after(frac=True),
        segments_request(
            "stop_after",
            ["stem"],
            {"part": ["stem"], "stop_training_after": 0, "stop_training_after_unit": "EPOCH"},
            2,
        ),
    ),
    "NAM-2-unknown_name": misspelt(stop_after(), "part"),
    "CFG-1-invalid_spec": invalid(
        "stop_after",
        LAYERS,
        {"part": ["stem"], "stop_training_after": 2, "stop_training_after_unit": "STEP"},
        [
            *at(("part",), [], {}, "stem", 3, [1], ["stem", "stem"]),
            *at(("stop_training_after",), *WRONG_INTS, DROP),
            *at(("stop_training_after_unit",), "MINUTE", "HOUR", "step", 1),
            *at(("stop_text_encoder_training",), 1, 1.5),
            *at(("train_text_encoder_frac",), 1, *WRONG_SHARES),
        ],
        {"part": ["stem"], "stop_text_encoder_training": 2},
    ),
}


# Two phases ----------------------------------------------------------------------------------------------------------
@c.composite
def two_phase(draw: DrawFn, count: bool | None = None) -> Request:
    declared = layers(draw)
    numbered = draw(c.BOOLEANS) if count is None else count
    config: dict[str, Any] = {
        "freeze_layers": draw(c.integers(1, len(declared))) if numbered else entries(draw, declared)
    }
    if draw(c.integers(0, 4)):
        config["Freeze_Epoch"] = draw(c.integers(0, 6))
    if draw(c.BOOLEANS):
        config["Init_Epoch"] = draw(c.integers(0, 7))
    if draw(c.integers(0, 4)) == 0:
        config["Freeze_Train"] = draw(c.BOOLEANS)
    return segments_request("two_phase", declared, config, c.near(draw, config.get("Freeze_Epoch", 9)))


TWO_PHASE = {
    "TWO-1-agrees_with_the_reference": c.agree(two_phase()),
    "NAM-1-needs_model": without_names(two_phase(count=True)),
    "NAM-2-unknown_name": misspelt(two_phase(count=False), "freeze_layers"),
    "CFG-1-invalid_spec": invalid(
        "two_phase",
        LAYERS,
        {"freeze_layers": 2, "Freeze_Train": True, "Init_Epoch": 0, "Freeze_Epoch": 2, "UnFreeze_Epoch": 4},
        [
            *at(("freeze_layers",), 0, -1, 7, [], "stem", True, ["stem", "stem"]),
            *at(("Freeze_Train",), 1, "yes"),
            *at(("Init_Epoch",), *WRONG_INTS),
            *at(("Freeze_Epoch",), 5, *WRONG_INTS),
            *at(("UnFreeze_Epoch",), 1, *WRONG_INTS),
        ],
    ),
}


# DINO ----------------------------------------------------------------------------------------------------------------
@c.composite
def dino(draw: DrawFn) -> Request:
    names = [*some(draw, PARAMETERS[:-1]), *some(draw, ("head.last_layer.w", "last_layer.v", "my_last_layer"))]
    number = draw(NUMBERS)
    config = {draw(c.sampled(("freeze_last_layer", "freeze_last_layer_epochs"))): number}
    return segments_request("dino", draw(c.permutations(names)), config, c.near(draw, max(number, 0)))


DINO = {
    "DIN-1-agrees_with_the_reference": c.agree(dino()),
    "DIN-1-empty_selection": c.reject("empty-selection", dino().map(lambda r: r | {"names": [*PARAMETERS[:-1]]})),
    "NAM-1-needs_model": without_names(dino()),
    "CFG-1-invalid_spec": invalid(
        "dino", PARAMETERS, {"freeze_last_layer": 1},
        [*at(("freeze_last_layer",), *NOT_INTS, DROP), *at(("freeze_last_layer_epochs",), 1, "2")],
        {"freeze_last_layer_epochs": 2},
    ),
}  # fmt: skip


# luxonis -------------------------------------------------------------------------------------------------------------
@c.composite
def luxonis(draw: DrawFn, share: bool = False) -> Request:
    declared, ends, nodes = layers(draw), [4], []
    total = draw(c.sampled((100, 10, 50, 7)))
    for name in c.spelt_out(entries(draw, declared), declared):
        freezing: dict[str, Any] = {"active": draw(c.sampled((True, True, True, False)))}
        kind = draw(c.sampled(("share" if share else "int", "int", "share", "none")))
        if kind == "int":
            freezing["unfreeze_after"] = draw(c.integers(0, 5))
            ends.append(freezing["unfreeze_after"])
        elif kind == "share":
            freezing["unfreeze_after"] = draw(c.sampled((0.5, 0.29, 0.58, 1.0, 0.0, 0.57)))
        nodes.append({"name": name} | ({"freezing": freezing} if draw(c.integers(0, 5)) else {}))
    return segments_request("luxonis", declared, nodes, total if share else c.near(draw, *ends))


def nodes_of_a_model(request: Request) -> Pair:
    nodes = [node | {"alias": "x", "params": {}} for node in request["config"]]
    return request | {"config": {"model": {"name": "m", "nodes": nodes}}}, request


@c.composite
def luxonis_misspelt(draw: DrawFn) -> Request:
    request = draw(luxonis())
    node = {"name": c.misspelt(draw, request["names"]), "freezing": {"active": True}}
    return request | {"config": draw(c.permutations([*request["config"], node]))}


LUXONIS = {
    "LUX-1-agrees_with_the_reference": c.agree(
        luxonis(share=True) | luxonis(),
        segments_request(
            "luxonis",
            ["stem"],
            [{"name": "stem", "freezing": {"active": True, "unfreeze_after": c.NO_PRODUCT[0]}}],
            c.NO_PRODUCT[1],
        ),
    ),
    "LUX-1-a_whole_configuration_is_its_nodes": c.same(luxonis().map(nodes_of_a_model)),
    "NAM-2-unknown_name": c.reject("unknown-name", luxonis_misspelt()),
    "CFG-1-invalid_spec": c.invalid(
        segments_request(
            "luxonis", [*LAYERS], [{"name": "stem", "freezing": {"active": True, "unfreeze_after": 2}}], 6
        ),
        [
            *at((0, "name"), 1, ["stem"], DROP),
            *at((0, "freezing", "active"), 1, "yes"),
            *at((0, "freezing", "unfreeze_after"), True, "1", -1, -0.5, 1.5),
            *at((0, "freezing", "lr_after_unfreeze"), *WRONG_RATES),
            *at((0, "freezing", "until"), 1),
            *at((0, "freezing"), True),
            *at((0,), "stem", {}),
            *at((), "all", 3, [{"name": name, "freezing": {"active": True}} for name in ("body", "body/a")]),
        ],
    ),
}


# Recorded decisions --------------------------------------------------------------------------------------------------
@c.composite
def recorded(draw: DrawFn) -> Request:
    declared, per = layers(draw), draw(c.integers(1, 3))
    ticks = [0, *sorted(some(draw, range(1, 9), 0, 4))]
    config: dict[str, Any] = {"decisions": [[tick, some(draw, declared, 0)] for tick in ticks]}
    if draw(c.BOOLEANS):
        config["unit"] = draw(c.sampled(("epochs", "steps")))
    end = ticks[-1] * (per if config.get("unit") == "epochs" else 1)
    return segments_request("recorded", declared, config, c.near(draw, end), steps_per_epoch=per)


@c.composite
def recorded_misspelt(draw: DrawFn) -> Request:
    request = draw(recorded())
    decisions = request["config"]["decisions"]
    tick, frozen = decisions[-1]
    last = [tick, draw(c.permutations([*frozen, c.misspelt(draw, request["names"])]))]
    return request | {"config": request["config"] | {"decisions": [*decisions[:-1], last]}}


RECORDED = {
    "REC-1-agrees_with_the_reference": c.agree(recorded()),
    "NAM-2-unknown_name": c.reject("unknown-name", recorded_misspelt()),
    "CFG-1-invalid_spec": invalid(
        "recorded",
        LAYERS,
        {"decisions": [[0, ["stem"]], [2, []]], "unit": "steps"},
        [
            *at(("decisions",), [], {}, [[1, []]], [[0, []], [0, []]], [[0, []], [2, []], [1, []]], DROP),
            *at(("decisions", 1), [2], [2, [], []], 2),
            *at(("decisions", 1, 0), *WRONG_INTS),
            *at(("decisions", 0, 1), "stem", ["stem", "stem"], [1]),
            *at(("unit",), "epoch", 1),
        ],
    ),
}


# BAdam ---------------------------------------------------------------------------------------------------------------
@c.composite
def badam(draw: DrawFn, listed: bool | None = None) -> Request:
    config: dict[str, Any] = {}
    count = 3
    if listed or (listed is None and draw(c.BOOLEANS)):
        texts = draw(c.permutations(some(draw, TEXTS, 2)))
        cut = draw(c.integers(1, len(texts)))
        config["block_prefix_list"] = [texts[:cut], *([text] for text in texts[cut:])]
        count = len(config["block_prefix_list"])
    else:
        for key in ("include_embedding", "include_lm_head"):
            if draw(c.BOOLEANS):
                config[key] = draw(c.BOOLEANS)
                count += config[key]
    if draw(c.integers(0, 5)):
        config["switch_block_every"] = draw(c.sampled((2, 3, 1, 4, -1, -2)))
    if draw(c.integers(0, 2)):
        config["switch_mode"] = draw(c.sampled(("random", "ascending", "descending", "fixed")))
    mode = config.get("switch_mode")
    if mode == "fixed" or (mode != "random" and draw(c.BOOLEANS)):
        config["start_block"] = draw(c.integers(0, count - 1))
    if draw(c.integers(0, 3)) == 0:
        config["active_modules"] = some(draw, TEXTS, 0)
    if mode == "random" and draw(c.BOOLEANS):
        config["seed"] = draw(c.SEEDS)
    total = c.near(draw, abs(config.get("switch_block_every", 9)) * draw(c.integers(1, 2 * count + 1)))
    return segments_request("badam", [*PARAMETERS], config, total)


BADAM = {
    "BAD-1-agrees_with_the_reference": c.agree(badam(listed=True)),
    "BAD-2-agrees_with_the_reference": c.agree(badam(listed=False)),
    "BAD-2-empty_selection": changed(badam(), "empty-selection", block_prefix_list=[["norm"], ["norm.b"]]),
    "BAD-2-a_block_in_another": changed(badam(), "invalid-spec", block_prefix_list=[["layers.1."], ["layers."]]),
    "RND-4-agrees_with_the_reference": c.agree(
        badam(listed=True).map(
            lambda r: (
                r | {"config": {k: v for k, v in r["config"].items() if k != "start_block"} | {"switch_mode": "random"}}
            )
        ),
        segments_request(
            "badam",
            [*PARAMETERS],
            {
                "block_prefix_list": [["layers.1."], ["layers.10."], ["layers.2."], ["norm"]],
                "switch_mode": "random",
                "switch_block_every": 2,
                "seed": c.NO_DOUBLE,
            },
            16,
        ),
    ),
    "NAM-1-needs_model": without_names(badam()),
    "CFG-1-invalid_spec": invalid(
        "badam",
        PARAMETERS,
        {
            "block_prefix_list": [["layers"], ["norm"]],
            "switch_mode": "ascending",
            "start_block": 1,
            "switch_block_every": 3,
            "seed": 2,
        },
        [
            *at(("block_prefix_list",), [], [[]], ["layers"], "layers", [[1]], 3),
            *at(("include_embedding",), 1, "yes"),
            *at(("include_lm_head",), 0),
            *at(("switch_block_every",), 0, *NOT_INTS),
            *at(("switch_mode",), "up", "random", 1),
            *at(("start_block",), 2, *WRONG_INTS),
            *at(("active_modules",), "norm", [1]),
            *at(("seed",), *WRONG_INTS),
            *at((), [], {"switch_mode": "fixed"}, {"switch_mode": "random", "seed": 2**64}),
        ],
    ),
}


# finetuning-scheduler ------------------------------------------------------------------------------------------------
PATTERNS = (
    "layers.1.w",
    "layers.*w",
    "layers.1",
    "l",
    "norm",
    "embed.w",
    r"embed\.w.",
    "head.*",
    "layers.(1|2)\\.",
    "nor+",
)


@c.composite
def fts(draw: DrawFn) -> Request:
    phases: list[dict[str, Any]] = []
    left = [*PARAMETERS]
    for text in draw(c.permutations(PATTERNS)):
        found = _matched(text)
        if {*found} <= {*left} and (not phases or draw(c.BOOLEANS)):
            left = [name for name in left if name not in found]
            if phases and draw(c.integers(0, 3)) == 0:
                phases[-1]["params"].append(text)
            else:
                phases.append({"params": [text], "max_transition_epoch": draw(c.integers(0, 5))})
    config: dict[str, Any] = {}
    if draw(c.BOOLEANS):
        config["max_depth"] = draw(c.integers(-1, len(phases)))
    if draw(c.BOOLEANS):
        config["epoch_transitions_only"] = draw(c.BOOLEANS)
    if not config.get("epoch_transitions_only") and draw(c.BOOLEANS):
        del phases[-1]["max_transition_epoch"]
    for phase in phases:
        if draw(c.integers(0, 5)) == 0:
            phase["lr"] = draw(c.sampled(c.RATES))
    numbered = draw(c.permutations([*enumerate(phases)]))
    config["ft_schedule"] = {str(number): phase for number, phase in numbered}
    ends = [phase.get("max_transition_epoch", 0) for phase in phases]
    return segments_request("fts", [*PARAMETERS], config, c.near(draw, *ends, len(phases)))


def _matched(text: str) -> list[str]:
    """Return what the patterns above match, without regular expressions."""
    starts = {
        "layers.*w": [n for n in PARAMETERS if n.startswith("layers.") and n.endswith("w")],
        "embed.w": ["embed.w"],
        r"embed\.w.": ["embed.w2"],
        "head.*": ["head.last_layer.w"],
        "layers.(1|2)\\.": ["layers.1.w", "layers.1.b", "layers.2.w"],
        "nor+": ["norm.w"],
        "layers.1.w": ["layers.1.w"],
    }
    return starts.get(text, [name for name in PARAMETERS if name.startswith(text)])


def phases_alone(request: Request) -> Pair:
    return request | {"config": request["config"]["ft_schedule"]}, request | {
        "config": {"ft_schedule": request["config"]["ft_schedule"]}
    }


FTS_BASE = {
    "ft_schedule": {"0": {"params": ["norm.w"], "max_transition_epoch": 2}, "1": {"params": ["layers.*"]}},
    "max_depth": 1,
}
FTS = {
    "FTS-1-agrees_with_the_reference": c.agree(fts()),
    "FTS-1-phases_alone_are_a_configuration": c.same(
        fts().filter(lambda r: "epoch_transitions_only" not in r["config"]).map(phases_alone)
    ),
    "FTS-2-empty_selection": changed(
        fts(), "empty-selection", ft_schedule={"0": {"params": ["orm"]}}, epoch_transitions_only=DROP
    ),
    "FTS-2-invalid_spec": changed(
        fts(), "invalid-spec", ft_schedule={"0": {"params": ["embed.w"]}, "1": {"params": ["embed"]}}
    ),
    "NAM-1-needs_model": without_names(fts()),
    "CFG-1-invalid_spec": invalid(
        "fts",
        PARAMETERS,
        FTS_BASE,
        [
            *at(("ft_schedule",), {}, [], {"1": {"params": ["norm.w"]}}, DROP),
            *at(("ft_schedule", "3"), {"params": ["head.last_layer.w"]}),
            *at(
                ("ft_schedule", "0", "params"), [], "norm.w", [1], ["(norm"], ["norm.w", "norm.w"], ["layers.1.w"], DROP
            ),
            *at(("ft_schedule", "0", "max_transition_epoch"), -1, -2, True, "1", 1.5, DROP),
            *at(("ft_schedule", "0", "lr"), *WRONG_RATES),
            *at(("ft_schedule", "0", "new_optimizer"), [], "Adam"),
            *at(("ft_schedule", "0", "new_optimiser"), {}),
            *at(("max_depth",), -2, *NOT_INTS),
            *at(("epoch_transitions_only",), True, 1),
            *at(("base_max_lr",), *WRONG_RATES),
        ],
    ),
}

CASES = {
    "nemo": Cases(nemo(), NEMO),
    "fts": Cases(fts(), FTS),
    "badam": Cases(badam(), BADAM),
    "updates": Cases(updates(), UPDATES),
    "luxonis": Cases(luxonis(), LUXONIS, truncates=False),
    "stop_after": Cases(stop_after(), STOP_AFTER, truncates=False),
    "two_phase": Cases(two_phase(), TWO_PHASE),
    "dino": Cases(dino(), DINO),
    "recorded": Cases(recorded(), RECORDED),
}
