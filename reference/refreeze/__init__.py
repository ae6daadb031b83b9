"""refreeze: the reference for layer-freeze schedules, and for what exactly happens when layers freeze and thaw.

The core is here, and is read in this order: ``policy`` (what is frozen at a tick, and how big policies are made of
small ones), ``schedule`` (a policy as segments, and what changes between them), ``windows`` (policies that move),
``rates`` (how fast single names learn), ``selectors`` (which names are meant) and ``errors``.

``refreeze.dialects`` reads the configurations of real systems; ``refreeze.keras`` and ``refreeze.torch`` run schedules
on Keras and on PyTorch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from refreeze.errors import (
    CheckpointError,
    Conflict,
    EmptySelection,
    Inexpressible,
    InvalidSpec,
    NeedsModel,
    ScheduleError,
    ScheduleMismatch,
    UnknownName,
    Unsupported,
)
from refreeze.policy import (
    Policy,
    State,
    always,
    during,
    inference_mode,
    invert,
    never,
    override,
    rate,
    shift,
    stages,
    union,
)
from refreeze.schedule import (
    Operation,
    Segment,
    canonical,
    check_same_past,
    cut,
    in_epochs,
    in_steps,
    operations,
    replay,
    segments,
    steps_per_epoch,
)
from refreeze.windows import random_order, random_window, random_windows, round_robin, round_robin_window

if TYPE_CHECKING:
    from refreeze.plan import Configuration

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Conflict",
    "EmptySelection",
    "Inexpressible",
    "InvalidSpec",
    "NeedsModel",
    "Operation",
    "Policy",
    "ScheduleError",
    "ScheduleMismatch",
    "Segment",
    "State",
    "UnknownName",
    "Unsupported",
    "always",
    "canonical",
    "check_same_past",
    "cut",
    "during",
    "in_epochs",
    "in_steps",
    "inference_mode",
    "invert",
    "never",
    "operations",
    "override",
    "random_order",
    "random_window",
    "random_windows",
    "rate",
    "read",
    "replay",
    "round_robin",
    "round_robin_window",
    "segments",
    "shift",
    "stages",
    "steps_per_epoch",
    "union",
]


def read(path: str | os.PathLike[str]) -> Configuration:
    """Return the configuration in the JSON, YAML or TOML file at ``path``, of whatever dialect, checked.

    Its ``policy(names, total=..., steps_per_epoch=...)`` is what it means for these names in a run of so many ticks.
    Raises ``InvalidSpec`` for a file that cannot be read or is malformed, and for what is no configuration.
    """
    from refreeze.plan import read as read_configuration  # msgspec and yaml, which the core does without

    return read_configuration(path)
