"""BN-1 on PyTorch: the four policies, what holds whatever ``train()`` says, and what is put back."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from refreeze import always, during, inference_mode, union
from refreeze.torch import FreezeSchedule
from small_nets import batch, net, train
from torch import nn

pytestmark = pytest.mark.torch
LAYER, PARAMETERS = ["body/1"], ["body.1.weight", "body.1.bias"]


def norm(model):
    return model.body[1]


def looked_at(model):
    """Return whether a forward pass in training uses the statistics of the batch, and whether it moves its own."""
    part, seen = norm(model.train()), []
    hook = part.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].detach(), output.detach())))
    before = [value.clone() for value in part.buffers()]
    model(batch(0) * 3)
    hook.remove()
    ((inputs, output),) = seen
    mean, variance = inputs.mean(0), inputs.var(0, correction=0)
    by_batch = (inputs - mean) / (variance + part.eps).sqrt() * part.weight + part.bias
    now = zip(before, part.buffers(), strict=True)
    return torch.allclose(output, by_batch, atol=1e-5), any(not torch.equal(old, new) for old, new in now)


@pytest.mark.parametrize(
    ("batch_norm", "of_layer", "of_parameters"),
    [
        ("keras", (False, False), (True, True)),
        ("inference", (False, False), (False, False)),
        ("batch", (True, True), (True, True)),
        ("batch_fixed", (True, False), (True, False)),
    ],
)
def test_BN_1_what_a_frozen_one_uses_and_moves(batch_norm, of_layer, of_parameters):
    for names, expected in ((LAYER, of_layer), (["body"], of_layer), (PARAMETERS, of_parameters)):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        schedule = FreezeSchedule(during(always(names), 1, 2), model, optimizer, epochs=3, batch_norm=batch_norm)
        train(schedule, model, optimizer, range(1))
        found = []
        for epoch in (0, 1, 2):
            schedule.begin(epoch)
            found.append(looked_at(model))
            norm(model).train(), model.eval()
            with torch.no_grad():
                assert torch.allclose(model(batch(0)[:1]), model(batch(0))[:1])  # evaluation looks at no batch
        assert found == [(True, True), expected, (True, True)]


def test_FAI_4_inference_mode_while_the_weights_train():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    policy = union(always(["stem"]), during(inference_mode(["body"]), 1, 2))
    schedule = FreezeSchedule(policy, model, optimizer, epochs=3, batch_norm="batch")
    moved = train(schedule, model, optimizer, range(3))[::2]
    statistics = {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
    assert [statistics & found for found in moved] == [statistics, set(), statistics]
    assert all("body.1.bias" in found for found in moved)


@pytest.mark.parametrize("policy", ["keras", "inference"])
def test_normalizations_that_no_schedule_names_are_the_users(policy):
    model = net()
    norm(model).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = FreezeSchedule(always(["stem"]), model, optimizer, epochs=1, batch_norm=policy)
    schedule.begin(0)
    assert looked_at(model) == (True, True)


def test_a_mode_is_left_as_the_user_asked_last():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = FreezeSchedule(during(always(["body"]), 0, 1), model, optimizer, epochs=2)
    schedule.begin(0)
    model.train()
    assert not norm(model).training
    model.eval()
    schedule.begin(1)
    assert not norm(model).training
    assert "train" not in vars(norm(model.train()))
    assert norm(model).training


def test_a_train_that_the_user_has_replaced_comes_back():
    model, asked = net(), []
    norm(model).train = mine = asked.append
    schedule = FreezeSchedule(always(["body"]), model, torch.optim.SGD(model.parameters(), 0.1), epochs=1)
    schedule.begin(0)
    asked.clear()
    norm(model).train(False)
    norm(model).train()
    assert asked == []
    schedule.restore()
    assert norm(model).train is mine
    assert asked == [True]


@pytest.mark.parametrize("how", ["copy", "file"])
def test_a_copy_of_the_model_is_not_held(how):
    model = net()
    FreezeSchedule(always(["body"]), model, torch.optim.SGD(model.parameters(), 0.1), epochs=1).begin(0)
    if how == "copy":
        other = copy.deepcopy(model)
    else:
        torch.save(model, file := io.BytesIO())
        other = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert norm(other.train()).training
    assert not norm(model.train()).training
    again = FreezeSchedule(
        always(["body"]), other, torch.optim.SGD(other.parameters(), 0.1), epochs=1, user_frozen="keep"
    )
    again.begin(0)
    assert not norm(other.train()).training


def test_one_without_weights_or_statistics_is_a_layer_too():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4, track_running_stats=False)
    )
    schedule = FreezeSchedule(always(["1", "2"]), model, torch.optim.SGD(model.parameters(), 0.1), epochs=1)
    schedule.begin(0)
    before = model[1].running_mean.clone()
    model.train()(batch(0))
    assert torch.equal(before, model[1].running_mean)
    schedule.restore()
    model.train()(batch(0))
    assert not torch.equal(before, model[1].running_mean)
    assert model[2].track_running_stats is False
