"""The recorder on PyTorch: checksums see every bit, a record says why, nothing changes, right runs are not blamed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from refreeze import InvalidSpec, Unsupported, always, during, random_windows, round_robin, union
from refreeze.audit import AuditOptions, audit
from refreeze.audit.checksums.torch import TensorChecksums
from refreeze.audit.record import Reader, Step
from refreeze.torch import FreezeSchedule, Recorder
from refreeze.torch.observe import Observer
from small_nets import STEPS, batch, moved, net, train, values
from torch import nn

pytestmark = pytest.mark.torch
POLICY = union(during(always(["stem"]), 0, 2), during(always(["body"]), 1, 3))


def changed(tensor):
    """Return the tensor with the smallest change of its last value."""
    words = tensor.clone().reshape(-1).view(torch.uint8)
    words[-1] ^= 1
    return words.view(tensor.dtype)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 70_000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "complex64", "int64", "uint8"])
def test_a_checksum_sees_one_bit_and_nothing_else(dtype, size):
    tensor = torch.arange(size).to(getattr(torch, dtype))
    others = [torch.rand(300), torch.rand(0), torch.tensor(True)]
    (one,) = TensorChecksums()([tensor])
    assert TensorChecksums()([*others, tensor, tensor.clone()])[3:] == [one, one]
    assert TensorChecksums()([changed(tensor)]) != [one]


def test_a_checksum_sees_what_leaves_the_sum_of_all_bits_as_it_was():
    bias, update = torch.tensor([0.05, 0.06]), torch.tensor([2.0**-20, -(2.0**-20)])
    assert bias.view(torch.int32).sum() == (bias + update).view(torch.int32).sum()
    checksums = TensorChecksums()
    assert checksums([bias]) != checksums([bias + update])
    assert checksums([torch.tensor([1.0, 2.0])]) != checksums([torch.tensor([2.0, 1.0])])


@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (lambda p, o: p.requires_grad_(False), "frozen"),
        (lambda p, o: o.param_groups.pop(0), "missing"),
        (lambda p, o: o.param_groups[0].update(lr=0.0), "rate"),
        (lambda p, o: setattr(p, "grad", None), "none"),
        (lambda p, o: p.grad.zero_(), "zero"),
        (lambda p, o: p.grad.fill_(1e-9), "small"),
        (lambda p, o: None, "gradient"),
    ],
)
def test_a_record_says_why_a_parameter_did_not_move(prepare, cause):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    optimizer = torch.optim.SGD([{"params": [*part.parameters()]} for part in model], 0.1)
    model(torch.ones(1, 2)).sum().backward()
    prepare(model[0].weight, optimizer)
    assert Observer(model).why_still(0, [optimizer]) == cause


def run(path, model, schedule, optimizer, epochs=range(4), **options):
    with Recorder(model, optimizer, path, epochs=4, steps_per_epoch=STEPS, epoch=epochs.start, **options):
        return train(schedule, model, optimizer, epochs)


def test_a_recorded_run_ends_with_the_same_bits_and_random_numbers(tmp_path):
    ends = []
    for record in (False, True):
        model = net()
        optimizer = torch.optim.AdamW(model.parameters(), 0.1, amsgrad=True)
        schedule = FreezeSchedule(POLICY, model, optimizer, epochs=4)
        if record:
            run(tmp_path / "run.jsonl", model, schedule, optimizer)
        else:
            train(schedule, model, optimizer, range(4))
        ends.append((values(model), torch.rand(1)))
    assert moved(ends[0][0], ends[1][0]) == set()
    assert ends[0][1] == ends[1][1]
    written = (tmp_path / "run.jsonl").read_bytes()
    optimizer.step()  # the recorder is closed
    assert (tmp_path / "run.jsonl").read_bytes() == written


def test_what_is_recorded_is_what_moved(tmp_path):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    found = run(tmp_path / "run.jsonl", model, FreezeSchedule(POLICY, model, optimizer, epochs=4), optimizer)
    with Reader("RUN", tmp_path / "run.jsonl") as reader:
        header, start, *steps = (record for _, record in reader)
    names = [entry.name for entry in header.parameters]
    for before, step, should in zip([start, *steps], steps, found, strict=False):
        differ = {name for name, a, b in zip(names, before.parameters, step.parameters, strict=True) if a != b}
        assert differ == should & set(names)
        assert {names[i] for i in step.still.get("frozen", [])} == set(names) - differ
    assert [(step.epoch, step.step) for step in steps] == list(itertools.product(range(4), range(STEPS)))


def test_an_optimizer_that_is_made_later_or_anew_is_found(tmp_path):
    model = net()
    with Recorder(model, path=tmp_path / "run.jsonl", epochs=2, steps_per_epoch=1) as recorder:
        recorder.begin(0)
        for _ in range(2):
            optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
            model(batch(0)).square().mean().backward()
            optimizer.step()
        torch.optim.SGD(net().parameters(), 0.1).step()  # of another module
    with Reader("RUN", tmp_path / "run.jsonl") as reader:
        steps = [record for _, record in reader if isinstance(record, Step)]
    assert [(step.epoch, step.missing, list(step.slots)) for step in steps] == [
        (0, [], ["momentum_buffer"]), (1, [], ["momentum_buffer"]),
    ]  # fmt: skip


@pytest.mark.parametrize("keeps", [True, False])
def test_a_resumed_run_is_compared_with_what_it_left(tmp_path, keeps):
    path = tmp_path / "run.jsonl"
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    run(path, model, FreezeSchedule(POLICY, model, optimizer, epochs=4), optimizer, range(2))
    again = net()
    again.load_state_dict(model.state_dict())
    other = torch.optim.Adam(again.parameters(), 0.1)
    if keeps:
        other.load_state_dict(optimizer.state_dict())
    run(path, again, FreezeSchedule(POLICY, again, other, epochs=4), other, range(2, 4), append=True)
    verdict = audit(path, POLICY)
    assert verdict.parts == 2
    assert verdict.counts.keys() == (set() if keeps else {"slots-lost"})


def test_what_cannot_be_recorded_is_refused_before_a_file_is_made(tmp_path):
    path, model = tmp_path / "run.jsonl", net()
    for arguments, error in (
        ({"every": 0}, InvalidSpec), ({"epochs": -1}, InvalidSpec), ({"optimizer": model}, Unsupported),
        ({"model": torch.compile(model, backend="eager")}, Unsupported), ({"path": tmp_path}, InvalidSpec),
    ):  # fmt: skip
        with pytest.raises(error):
            Recorder(**{"model": model, "path": path} | arguments)
    assert not path.exists()
    with Recorder(model, torch.optim.SGD(model.parameters(), 0.1), path) as recorder:
        recorder.begin(1)
        with pytest.raises(InvalidSpec, match=r"epoch, step = \(0, 0\) must be \(1, 0\) or later"):
            recorder.begin(0)


OPTIMIZERS = [
    lambda parameters: torch.optim.SGD(parameters, 0.05),
    lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=0.01),
    lambda parameters: torch.optim.AdamW(parameters, 0.01),
    lambda parameters: torch.optim.Adagrad(parameters, 0.05),
]


def drawn(rng, names):
    """Return a policy over epochs, up to nine."""
    spans = [int(number) for number in rng.integers(1, 4, 2)]
    some = list(rng.permutation(names)[: rng.integers(1, len(names) + 1)])
    moving = [
        always(some),
        round_robin(names, window=int(rng.integers(1, len(names))), span=spans[0]),
        random_windows(names, int(rng.integers(1, len(names))), spans[0], seed=int(rng.integers(99))),
    ]
    parts = [
        during(moving[rng.integers(3)], int(start), int(start + rng.integers(1, 6))) for start in rng.integers(0, 5, 2)
    ]
    return union(*parts)


def test_no_right_run_in_a_hundred_is_blamed(tmp_path):
    """Random schedules, in epochs and steps, four optimizers, four policies of normalization, three of state."""
    blamed = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        model, unit = net(), ["epochs", "steps"][seed % 2]
        policy = drawn(rng, ["stem", "body", "head"] if seed % 3 else ["stem", "body/0", "body/1", "head"])
        optimizer = OPTIMIZERS[rng.integers(len(OPTIMIZERS))](model.parameters())
        how = {
            "batch_norm": ["keras", "batch", "batch_fixed", "inference"][rng.integers(4)],
            "optimizer_state": ["keep", "reset", "reset_unfrozen"][rng.integers(3)],
        }
        schedule = FreezeSchedule(policy, model, optimizer, epochs=9, steps_per_epoch=3, unit=unit, **how)
        path, every = tmp_path / f"{seed}.jsonl", 1 if seed % 5 else 2
        with Recorder(model, optimizer, path, epochs=9, steps_per_epoch=3, every=every):
            for epoch, step in itertools.product(range(9), range(3)):
                schedule.begin(epoch, step)
                optimizer.zero_grad()
                loss = model(batch(epoch * 3 + step)).square().mean()
                if loss.requires_grad:
                    loss.backward()
                optimizer.step()
        schedule.end()
        verdict = audit(path, policy, unit=unit, options=AuditOptions(**how))
        blamed += [] if verdict.held and not verdict.unclear else [(seed, verdict.lines())]
    assert blamed == []
