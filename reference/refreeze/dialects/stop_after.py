"""A part that trains first and is frozen later: the text encoder in OneTrainer, kohya's scripts and those of diffusers.

Source: OneTrainer, ``TimedActionMixin.single_action_elapsed``; sd-scripts, ``train_db.py``; diffusers,
``examples/advanced_diffusion_training``. ``part`` is an extension. Clause STP-1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, exactly_one, frozen_from, keys_of
from refreeze.dialects.fields import Entries, Share, Tick, exactly_share
from refreeze.policy import Policy, never, union
from refreeze.schedule import Segment


class StopAfterConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """Which part stops, and when, under exactly one of three keys."""

    part: Entries = ("text_encoder",)
    """The layers or containers that train first."""
    stop_training_after: Tick | None = None
    """OneTrainer: the epochs or steps for which the part trains."""
    stop_training_after_unit: Literal["EPOCH", "STEP", "NEVER", "ALWAYS"] = "EPOCH"
    """OneTrainer: what ``stop_training_after`` counts; NEVER trains it always, ALWAYS never."""
    stop_text_encoder_training: int | None = None
    """sd-scripts: the steps for which the part trains; less than 0 never trains it."""
    train_text_encoder_frac: Share | None = None
    """diffusers: the share of the epochs, rounded down to a whole one, for which the part trains, in [0, 1]."""


def own_keys(config: object) -> object:
    """Return the one part of a whole configuration of OneTrainer that stops; any other stays as it is.

    Its parts are objects, and one without a unit, or with NEVER, does not stop.

    >>> own_keys({"batch_size": 4, "text_encoder": {"stop_training_after": 30, "stop_training_after_unit": "EPOCH"}})
    {'part': ['text_encoder'], 'stop_training_after_unit': 'EPOCH', 'stop_training_after': 30}
    """
    keys = ("stop_training_after", "stop_training_after_unit")
    parts = config.items() if isinstance(config, Mapping) else ()
    found = {name: keys_of(part, keys) for name, part in parts if isinstance(part, Mapping) and keys[0] in part}
    stopping = {name: part for name, part in found.items() if part.get(keys[1], "NEVER") != "NEVER"} or found
    if len(stopping) != 1:
        return config
    name, part = next(iter(stopping.items()))
    return {"part": [name], keys[1]: "NEVER"} | part


def _stop(config: StopAfterConfig, run: Run) -> int | float:
    """Return the step at which the part freezes."""
    keys = ("stop_training_after", "stop_text_encoder_training", "train_text_encoder_frac")
    key, value = exactly_one(config, *keys)
    if key == "train_text_encoder_frac":
        epochs = exactly_share(key, value) * -(-run.total // run.steps_per_epoch)
        return math.floor(epochs) * run.steps_per_epoch
    if key == "stop_text_encoder_training":
        return max(0, int(value))
    unit = config.stop_training_after_unit
    per = {"EPOCH": run.steps_per_epoch, "STEP": 1, "ALWAYS": 0}
    return math.inf if unit == "NEVER" else value * per[unit]


def policy(config: StopAfterConfig, names: Sequence[str] | None, run: Run) -> Policy:
    """Return the policy, in steps: ``part`` trains in [0, D) and is frozen from D on.

    D is ``stop_training_after`` steps, or epochs, infinity with NEVER and 0 with ALWAYS;
    ``max(0, stop_text_encoder_training)`` steps; or floor(``train_text_encoder_frac`` * E) epochs of the run's E, of
    which the last may be partial.

    Raises ``InvalidSpec`` unless exactly one of the three is given, and what ``part`` can raise (NAM-2..5).

    >>> late = policy(StopAfterConfig(part=("text",), stop_training_after=2), None, Run(total=9, steps_per_epoch=3))
    >>> [len(late.frozen_at(step)) for step in (5, 6)]
    [0, 1]
    """
    part, stop = chosen(config.part, names, "part"), _stop(config, run)
    starts = {} if stop == math.inf else dict.fromkeys(part, int(stop))
    return union(never(part), frozen_from(starts, run.total))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return OneTrainer's keys, with the first part that is frozen at all, and when."""
    first = next((segment for segment in run if segment.frozen), None)
    if first is None:
        return {"part": [names[0]], "stop_training_after": 0, "stop_training_after_unit": "NEVER"}
    part = [name for name in names if name in first.frozen]
    return {"part": part, "stop_training_after": first.start, "stop_training_after_unit": "STEP"}


DIALECT = Dialect(
    name="stop_after",
    source="OneTrainer, sd-scripts and diffusers, ends of the text encoder's training",
    config=StopAfterConfig,
    unit="steps",
    names="layers",
    build=policy,
    unwrap=own_keys,
    wrapped={
        "description": "A whole configuration of OneTrainer, in which one part stops.",
        "type": "object",
        "patternProperties": {"^(text_encoder|unet|prior|transformer)": {"type": "object"}},
        "minProperties": 1,
        "properties": dict.fromkeys(StopAfterConfig.__struct_fields__, False),
    },
    from_segments=from_segments,
)
