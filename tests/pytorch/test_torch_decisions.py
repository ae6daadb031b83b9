"""REC-1 on PyTorch: what a loop decided is written and replayed; and each dialect in use moves what its plan says."""

import json
from collections import OrderedDict

import pytest
import torch
from in_use_runs import CONFIGS, EPOCHS, LAYERS, STEPS, of_layers, trained
from refreeze import InvalidSpec, Unsupported, read
from refreeze.torch import FreezeSchedule, RecordDecisions
from small_nets import net, train

pytestmark = pytest.mark.torch


def test_REC_1_what_was_decided_is_replayed(tmp_path):
    model, file = net(), tmp_path / "record.json"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with RecordDecisions(file, model, optimizer):
        for step in range(6):
            model.stem.requires_grad_(step >= 5)
            model.body.requires_grad_(step != 2)
            model.head.bias.requires_grad_(step < 3)  # its layer trains still
            optimizer.zero_grad()
            model(torch.ones(8, 4)).sum().backward()
            optimizer.step()
    layers = [["stem"], ["stem", "body/0", "body/1"], ["stem"], []]
    assert read(file).config.decisions == tuple(
        (step, tuple(frozen)) for step, frozen in zip((0, 2, 3, 5), layers, strict=True)
    )
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    moved = train(FreezeSchedule(file, model, optimizer, epochs=3, steps_per_epoch=2), model, optimizer, range(3))
    assert ["stem.weight" in names for names in moved] == [False] * 5 + [True]
    assert ["body.0.weight" in names for names in moved] == [True, True, False, True, True, True]


def test_what_cannot_be_recorded_is_refused_and_no_file_is_written(tmp_path):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    file, nowhere = tmp_path / "a.json", tmp_path / "none" / "a.json"
    for arguments, kind, message in (
        ((file, model, model), Unsupported, "optimizer is a Sequential, and must be a torch.optim.Optimizer"),
        ((file, optimizer, optimizer), Unsupported, "model is a SGD, and must be a torch.nn.Module"),
        ((nowhere, model, optimizer), InvalidSpec, f"path = '{nowhere}' must be "),
        ((file, model, optimizer, -1), InvalidSpec, "step = -1 must be an integer >= 0"),
    ):
        with pytest.raises(kind) as caught:
            RecordDecisions(*arguments[:3], step=(*arguments, 0)[3])
        assert str(caught.value).startswith(message)
    RecordDecisions(tmp_path / "a.json", model, optimizer, step=3).close()
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_gone_at_the_end_is_an_error(tmp_path):
    model, folder = net(), tmp_path / "gone"
    folder.mkdir()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = RecordDecisions(folder / "a.json", model, optimizer)
    optimizer.step()
    folder.rmdir()
    with pytest.raises(InvalidSpec) as caught:
        recorder.close()
    assert str(caught.value).startswith(f"path = '{folder / 'a.json'}' must be ")


def test_what_is_read_first_holds_from_the_beginning(tmp_path):
    model, file = net(), tmp_path / "record.json"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with RecordDecisions(file, model, optimizer, step=3):
        for trains in (True, False):
            model.stem.requires_grad_(trains)
            optimizer.step()
    content = {"dialect": "recorded", "config": {"decisions": [[0, []], [4, ["stem"]]]}}
    assert file.read_text() == json.dumps(content, indent=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_moves_is_what_the_plan_of_a_dialect_in_use_says(name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(OrderedDict((layer, torch.nn.Linear(4, 4)) for layer in LAYERS))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = FreezeSchedule(CONFIGS[name], model, optimizer, dialect=name, epochs=EPOCHS, steps_per_epoch=STEPS)
    expected = trained(schedule.plan, lambda parameter: parameter.partition(".")[0])
    assert [of_layers(moved) for moved in train(schedule, model, optimizer, range(EPOCHS))] == expected
    assert len({*map(frozenset, expected)}) > 1
