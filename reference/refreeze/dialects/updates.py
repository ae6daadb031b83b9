"""Frozen for a number of updates, then trained: fairseq, ESPnet and recipes of SpeechBrain, which differ by one.

Source: fairseq, ``wav2vec2_asr.py``, ``s2t_transformer.py`` and ``xm_transformer.py``; ESPnet, ``wav2vec2_encoder.py``;
SpeechBrain, the recipes ``train_with_wav2vec.py`` of CommonVoice/ASR/CTC (``>=``) and ``train_with_whisper.py`` of
LibriSpeech/ASR/CTC (``>``). ``modules`` is an extension: there, which layers are meant is written in the code.
Clause UPD-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from refreeze.dialects import Dialect, Run
from refreeze.dialects.common import chosen, exactly_one, frozen_until, in_a_section, section
from refreeze.dialects.fields import Entries
from refreeze.dialects.spans import one_set_until
from refreeze.policy import Policy
from refreeze.schedule import Segment

_MODULES = {
    "freeze_finetune_updates": "w2v_encoder/w2v_model",
    "encoder_freezing_updates": "encoder",
    "w2v_freezing_updates": "encoder/w2v_encoder/w2v_model",
    "warmup_steps": "wav2vec2",
}
"""What each key freezes if ``modules`` is not given: as the module is called in the original."""


class UpdatesConfig(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """Which layers are frozen at first, and the number of updates F, under exactly one of its four names."""

    modules: Entries | None = None
    """The layers or containers that are frozen at first; if not given, the one that the original freezes:
    w2v_encoder/w2v_model, encoder, encoder/w2v_encoder/w2v_model and wav2vec2, in the order of the four keys."""
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


def own_keys(config: object) -> object:
    """Return the key of a whole file, in ``model`` (fairseq) or ``encoder_conf`` (ESPnet); any other stays as it is.

    ``modules`` and ``boundary`` may stand beside that part. In ESPnet it is the container ``encoder/encoders``.

    >>> own_keys({"model": {"_name": "wav2vec_ctc", "freeze_finetune_updates": 10000}, "task": {}})
    {'freeze_finetune_updates': 10000}
    """
    found = section(config, "encoder_conf", ["freeze_finetune_updates"], own=["modules", "boundary"])
    if found is not config:
        return {"modules": ["encoder/encoders"]} | found  # type: ignore[operator]
    return section(config, "model", list(_MODULES)[:3], own=["modules", "boundary"])


def policy(config: UpdatesConfig, names: Sequence[str] | None = None, run: Run | None = None) -> Policy:
    """Return the policy, in updates: ``modules`` are frozen in [0, F) with ``>=``, and in [0, F + 1) with ``>``.

    Without ``boundary`` it is ``>`` for ``w2v_freezing_updates`` and ``>=`` for the other keys. Raises ``InvalidSpec``
    unless exactly one of the four keys is given, and what ``modules`` can raise (NAM-2..5).

    >>> late = policy(UpdatesConfig(modules=("encoder",), w2v_freezing_updates=2))
    >>> [len(late.frozen_at(update)) for update in range(4)]
    [1, 1, 1, 0]
    """
    key, updates = exactly_one(config, *_MODULES)
    boundary = config.boundary or (">" if key == "w2v_freezing_updates" else ">=")
    stop = max(0, updates + (boundary == ">"))
    return frozen_until(dict.fromkeys(chosen(config.modules or (_MODULES[key],), names, "modules"), stop))


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
    unwrap=own_keys,
    wrapped=in_a_section("model", "encoder_conf"),
    from_segments=from_segments,
)
