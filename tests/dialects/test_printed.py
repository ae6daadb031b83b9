"""What the originals print loads as it is printed; a misspelt key of theirs does not."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from refreeze import InvalidSpec, ScheduleError, segments
from refreeze.dialects import dialect

PRINTED = yaml.safe_load(Path(__file__).with_name("printed.yaml").read_text(encoding="utf-8"))
IDS = [f"{entry['dialect']} {entry['source'].split(' ')[0]}" for entry in PRINTED]


def schedule(entry):
    policy = dialect(entry["dialect"]).policy(
        entry["config"], entry["names"], total=entry["total"], steps_per_epoch=entry.get("steps_per_epoch", 1)
    )
    return segments(policy, entry["total"])


@pytest.mark.parametrize("entry", PRINTED, ids=IDS)
def test_it_means_what_was_worked_out_by_hand(entry):
    if "refused" in entry:
        with pytest.raises(InvalidSpec) as caught:
            schedule(entry)
        assert str(caught.value) == entry["refused"]
        return
    found = schedule(entry)
    if "draws" in entry:
        assert {segment.start for segment in found} <= {*entry["draws"]["within"]}
        assert {len(entry["names"]) - len(segment.frozen) for segment in found} == {entry["draws"]["train"]}
    else:
        assert [[s.start, s.stop, s.frozen] for s in found] == [
            [*ends, {*frozen}] for *ends, frozen in entry["segments"]
        ]


@pytest.mark.parametrize("entry", PRINTED, ids=IDS)
def test_its_schema_takes_it(entry):
    file = {"dialect": entry["dialect"], "config": in_json(entry["config"])}
    jsonschema.validate(file, dialect(entry["dialect"]).file_schema())


def in_json(data):
    if isinstance(data, dict):
        return {str(key): in_json(value) for key, value in data.items()}
    return [in_json(value) for value in data] if isinstance(data, list) else data


MISSPELT = [
    ("lisa", {"base_model": "any", "lisa_n_layers": 1, "lisa_step_intervall": 2}),
    ("lisa", {"lisa_n_layers": 1, "lisa_step_interval": 2, "learning_rate": 1}),
    ("lisa", {"base_model": "any", "lisa_layers": 1}),
    ("badam", {"use_badam": True, "badam_switch_intervall": 2}),
    ("badam", {"use_badam": True, "badam_mode": "ratio"}),
    ("badam", {"use_badam": False, "badam_switch_interval": 2}),
    ("updates", {"model": {"freeze_finetune_update": 2}}),
    ("updates", {"warmup_step": 2}),
    ("dino", {"optim": {"freeze_last_layer_epoch": 2}}),
    ("two_phase", {"Freeze_epoch": 2}),
    ("stop_after", {"text_encoder": {"stop_training_afer": 2}}),
    ("stop_after", {part: {"stop_training_after": 2, "stop_training_after_unit": "STEP"} for part in ("a", "b")}),
    ("nemo", {"model": {"freeze_update": {"enabled": True}}}),
    ("fts", {0: {"params": ["a"], "new_lr_schedular": {}}}),
]


@pytest.mark.parametrize(("name", "config"), MISSPELT)
def test_a_misspelt_key_is_refused(name, config):
    with pytest.raises(ScheduleError):
        dialect(name).policy(config, ["a", "b", "backbone", "wav2vec2", "last_layer", "layers.0.w"], total=4)


@pytest.mark.parametrize(
    ("name", "file", "kept"),
    [
        (
            "lisa",
            {"base_model": "m", "lisa_n_layers": 1, "lisa_interval_steps": 2, "epochs": 3, "seed": 3}
            | {"layers": ["a"], "always_on": ["b"], "variant": "axolotl", "lisa_layers_attribute": None},
            {"n_layers": 1, "step_interval": 2, "layers": ["a"], "always_on": ["b"], "seed": 3, "variant": "axolotl"},
        ),
        (
            "badam",
            {"use_badam": True, "badam_switch_interval": 2, "seed": None, "include_embedding": True, "stage": "sft"},
            {"switch_mode": "ascending", "switch_block_every": 2, "include_embedding": True},
        ),
        (
            "updates",
            {"encoder_conf": {"freeze_finetune_updates": 3, "x": 1}, "modules": ["a"], "boundary": ">", "y": 1},
            {"modules": ["a"], "freeze_finetune_updates": 3, "boundary": ">"},
        ),
        (
            "updates",
            {"model": {"w2v_freezing_updates": 3, "x": 1}, "modules": ["a"], "boundary": ">", "y": 1},
            {"w2v_freezing_updates": 3, "modules": ["a"], "boundary": ">"},
        ),
        ("updates", {"model": {"warmup_steps": 3}}, {"model": {"warmup_steps": 3}}),  # of transformers: not in a part
        (
            "stop_after",
            {"a": {"stop_training_after": 2, "x": 1}, "b": {"stop_training_after_unit": "STEP"}},
            {"part": ["a"], "stop_training_after_unit": "NEVER", "stop_training_after": 2},
        ),
        (
            "stop_after",
            {"a": {"stop_training_after": 2}, "b": {"stop_training_after": 3, "stop_training_after_unit": "STEP"}},
            {"part": ["b"], "stop_training_after_unit": "STEP", "stop_training_after": 3},
        ),
    ],
)
def test_of_a_whole_file_the_keys_of_the_dialect_are_kept(name, file, kept):
    assert dialect(name).unwrap(file) == kept


def test_the_rates_of_luxonis_are_of_the_layers_in_a_node():
    node = {"name": "body", "freezing": {"active": True, "unfreeze_after": 2, "lr_after_unfreeze": 0.5}}
    rates = dialect("luxonis").learning_rates([node], ["body/a", "body/b", "head"], total=5)
    assert [rates.learning_rates_at(epoch) for epoch in (1, 2)] == [{}, {"body/a": 0.5, "body/b": 0.5}]


@pytest.mark.parametrize(
    ("interval", "path", "unit"),
    [
        ("lisa_interval_steps", "model.layers", "model/layers/0"),
        ("lisa_interval_steps", "model.model.layers", "model/layers/0"),
        ("lisa_step_interval", "model.model.layers", "model/model/layers/0"),
    ],
)
def test_LMFlow_alone_begins_the_path_of_its_layers_with_the_model_itself(interval, path, unit):
    config = {"lisa_n_layers": 1, interval: 2, "lisa_layers_attribute": path}
    assert dialect("lisa").policy(config, [unit, "head"], total=2).frozen_at(0) == set()
