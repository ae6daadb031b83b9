"""KempnerForge's freeze specifications, applied in the order of its ``scripts/train.py``; a checkout is on the path.

``freeze`` is applied when the model is built and, in a resumed run, ``effective_freeze`` of the step after it; a stage
then applies when the step that has just been counted is its ``start_step``. The flags are read off the parameters.
The canonical form is the metadata of a checkpoint at 0 and at each stage, without those that change nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from kempnerforge.config.vlm import FreezeSpec, FreezeStage, VLMConfig
from kempnerforge.training.freeze import apply_freeze_specs, canonical_freeze_meta, effective_freeze

from peers.adapter import Frozen, Request, adapter, an_object, frozen, module_of


def configuration(request: Request) -> tuple[VLMConfig, set[str] | None]:
    """Return the configuration of a request as KempnerForge has it, and the modules that are valid."""
    config = an_object(request["config"])
    valid = config.pop("valid_modules", None)
    config["freeze"] = [FreezeSpec(**an_object(spec)) for spec in config.get("freeze", ())]
    stages = [an_object(stage) for stage in config.get("freeze_schedule", ())]
    config["freeze_schedule"] = [
        FreezeStage(**stage | {"specs": tuple(FreezeSpec(**an_object(spec)) for spec in stage["specs"])})
        for stage in stages
    ]
    return VLMConfig(**config), None if valid is None else {*valid}


def effective(config: VLMConfig, valid: set[str] | None, step: int) -> list[FreezeSpec]:
    """Return what is active at a step."""
    return effective_freeze(step, config.freeze, config.freeze_schedule, valid)  # type: ignore[no-any-return]


@adapter("kempner")
def segments(request: Request) -> Frozen:
    """Return what is frozen in each step of [start, total)."""
    (config, valid), model = configuration(request), module_of(request["names"])
    apply_freeze_specs(model, config.freeze, config.module_patterns)
    active = effective(config, valid, request["start"])  # a checkpoint asks for it, so it raises what is wrong
    if request["start"] and config.freeze_schedule:
        apply_freeze_specs(model, active, config.module_patterns)
    found = []
    for step in range(request["start"], request["total"]):
        found.append(frozen(model))
        for stage in config.freeze_schedule:
            if stage.start_step == step + 1:
                apply_freeze_specs(model, stage.specs, config.module_patterns)
    return found


def applied(request: Request) -> dict[str, Any]:
    """Return the state after applying what is active at a tick, and how many elements were flipped."""
    (config, valid), model = configuration(request), module_of(request["names"])
    for name, size in zip(request["names"], request["sizes"], strict=True):
        *path, leaf = name.split(".")
        owner = model
        for part in path:
            owner = owner._modules[part]
        owner._parameters[leaf] = torch.nn.Parameter(torch.zeros(size), requires_grad=name not in request["frozen"])
    flipped = apply_freeze_specs(model, effective(config, valid, request["tick"]), config.module_patterns)
    return {"frozen": frozen(model), "flipped": sum(flipped.values())}


def canonical(request: Request) -> dict[str, Any]:
    """Return the metadata of each stage."""
    config, valid = configuration(request)
    form: list[Any] = []
    for step in sorted({0, *(stage.start_step for stage in config.freeze_schedule)}):
        meta = canonical_freeze_meta(effective(config, valid, step))
        form += [[step, meta]] if not form or form[-1][1] != meta else []
    return {"canonical": form}


def respond(request: Request) -> dict[str, Any]:
    """Answer all three operations of the dialect."""
    others = {"apply": applied, "canonical": canonical}
    if request["op"] not in others or request["dialect"] != "kempner":
        return segments(request)
    try:
        return {"id": request["id"], **others[request["op"]](request)}
    except Exception as error:
        return {"id": request["id"], "error": "invalid-spec", "message": f"{type(error).__name__}: {error}"[:300]}
