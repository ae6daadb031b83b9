"""Frozen for a number of updates, then trained: fairseq, ESPnet and recipes of SpeechBrain, which differ by one.

Source: fairseq, ``wav2vec2_asr.py``, ``s2t_transformer.py`` and ``xm_transformer.py``; ESPnet, ``wav2vec2_encoder.py``;
SpeechBrain, the recipes CommonVoice/ASR/CTC (``>=``) and LibriSpeech/ASR/transformer with Whisper (``>``). ``modules``
is an extension: there, which layers are meant is written in the code. Clause UPD-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, exactly_one, frozen_until
from refreeze.dialects.fields import Entries
from refreeze.dialects.spans import one_set_until
from refreeze.policy import Policy
from refreeze.schedule import Segment


class UpdatesConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """Which layers are frozen at first, and the number of updates F, under exactly one of its four names."""

    modules: Entries
    """The layers or containers that are frozen at first."""
    freeze_finetune_updates: int | None = None
    """fairseq and ESPnet: F; 0 or less freezes nothing."""
    encoder_freezing_updates: int | None = None
    """fairseq's speech-to-text models: F; 0 or less freezes nothing."""
    w2v_freezing_updates: int | None = None
    """fairseq's XM transformer: F, which freezes F + 1 updates; -1 or less freezes nothing."""
    warmup_steps: int | None = None
    """SpeechBrain: F."""
    boundary: Literal[">=", ">"] | None = None
    """The layers thaw once the number of updates done is >= F, or > F; if not given, as the original does."""


def policy(config: UpdatesConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in updates: ``modules`` are frozen in [0, F) with ``>=``, and in [0, F + 1) with ``>``.

    Without ``boundary`` it is ``>`` for ``w2v_freezing_updates`` and ``>=`` for the other keys. Raises ``InvalidSpec``
    unless exactly one of the four keys is given, and what ``modules`` can raise (NAM-2..5).

    >>> late = policy(UpdatesConfig(modules=("encoder",), w2v_freezing_updates=2))
    >>> [len(late.frozen_at(update)) for update in range(4)]
    [1, 1, 1, 0]
    """
    keys = ("freeze_finetune_updates", "encoder_freezing_updates", "w2v_freezing_updates", "warmup_steps")
    key, updates = exactly_one(config, *keys)
    boundary = config.boundary or (">" if key == "w2v_freezing_updates" else ">=")
    stop = max(0, updates + (boundary == ">"))
    return frozen_until(dict.fromkeys(chosen(config.modules, names, "modules"), stop))


def from_segments(run: Sequence[Segment], names: Sequence[str]) -> dict[str, Any]:
    """Return fairseq's key, with what is frozen at first, until that changes."""
    modules, updates = one_set_until(run, names)
    return {"modules": modules, "freeze_finetune_updates": updates}


DIALECT = Dialect(
    name="updates",
    source="fairseq, ESPnet and SpeechBrain, numbers of updates",
    config=UpdatesConfig,
    unit="steps",
    names="layers",
    build=policy,
    from_segments=from_segments,
)
