"""A configuration of each dialect in use, for three layers in three epochs of two steps, on whatever framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from refreeze.plan import Plan

LAYERS = ("stem", "body", "last_layer")
EPOCHS, STEPS = 3, 2
CONFIGS: Mapping[str, Any] = {
    "nemo": {"freeze_updates": {"enabled": True, "modules": {"stem": 2, "body": [2, 3]}}},
    "fts": {
        0: {"params": ["last_layer."], "max_transition_epoch": 1},
        1: {"params": ["body."], "max_transition_epoch": 2},
        2: {"params": ["stem."]},
    },
    "badam": {"block_prefix_list": [[name] for name in LAYERS], "switch_block_every": 2, "switch_mode": "ascending"},
    "lisa": {"lisa_n_layers": 1, "lisa_step_interval": 2, "layers": [*LAYERS]},
    "updates": {"modules": ["stem"], "freeze_finetune_updates": 3},
    "luxonis": [
        {"name": name, "freezing": {"active": True, "unfreeze_after": epoch}}
        for name, epoch in (("stem", 1), ("body", 2))
    ],
    "stop_after": {"part": ["body"], "stop_training_after": 1},
    "two_phase": {"freeze_layers": 2, "Freeze_Epoch": 1},
    "dino": {"freeze_last_layer": 1},
    "recorded": {"decisions": [[0, ["stem"]], [3, ["stem", "body"]], [4, []]]},
}


def trained(plan: Plan, layer_of: Callable[[str], str]) -> list[set[str]]:
    """Return the layers that train in each step, as the policy says at each tick."""
    per = STEPS if plan.unit == "epochs" else 1
    frozen = [{layer_of(name) for name in plan.policy.frozen_at(step // per)} for step in range(EPOCHS * STEPS)]
    return [{*LAYERS} - some for some in frozen]


def of_layers(names: Iterable[str]) -> set[str]:
    """Return the layers of parameters, as either framework calls them."""
    return {name.partition("." if "." in name else "/")[0] for name in names}
