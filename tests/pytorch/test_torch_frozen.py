"""EXE-3 on PyTorch: frozen is bitwise unchanged, and what is not frozen moves, whatever the loop is made of."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refreeze import Unsupported, always, during, never, round_robin, union
from refreeze.torch import FreezeSchedule
from small_nets import STEPS, batch, moved, net, train, values
from torch import nn
from torch.optim import swa_utils
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.torch
STEM = {"stem.weight", "stem.bias"}
TWICE = union(during(always(["stem"]), 1, 3), during(always(["stem", "head"]), 5, 7))
"""In steps: frozen with momentum and moments in the middle of a run, thawed, and frozen anew."""
TOTAL = 9


def should(policy, model, tick):
    """Return which parameters have to move, the second time in words: all whose layer is not frozen."""
    frozen = policy.frozen_at(tick)
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0].replace(".", "/") not in frozen}


SGD, ADAMW = torch.optim.SGD, torch.optim.AdamW
HEAVY = {"momentum": 0.9, "weight_decay": 0.1}


@pytest.mark.parametrize("kept_gradients", [False, True], ids=["gradients None", "gradients zero"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGD, HEAVY), (SGD, HEAVY | {"nesterov": True, "foreach": True}), (SGD, HEAVY | {"fused": True}),
        (ADAMW, {"weight_decay": 0.5}), (ADAMW, {"weight_decay": 0.5, "foreach": True}),
        (ADAMW, {"weight_decay": 0.5, "fused": True}), (torch.optim.RMSprop, {"momentum": 0.9}),
        (torch.optim.NAdam, {}),
    ],
    ids=str,
)  # fmt: skip
def test_EXE_3_under_momentum_decay_foreach_and_fused(kind, options, kept_gradients):
    model = net(norm=False)
    optimizer = kind(model.parameters(), 0.05, **options)
    schedule = FreezeSchedule(TWICE, model, optimizer, epochs=1, steps_per_epoch=TOTAL, unit="steps")
    for step in range(TOTAL):
        schedule.begin(0, step)
        before = values(model)
        optimizer.zero_grad(set_to_none=not kept_gradients)
        model(batch(step)).square().mean().backward()
        optimizer.step()
        assert moved(before, values(model)) == should(TWICE, model, step), step


def test_zeros_in_place_of_none_would_move_it():
    """Why a gradient must be None: PyTorch goes on with momentum and decay."""
    model = net(norm=False)
    optimizer = ADAMW(model.parameters(), 0.05)
    model(batch(0)).sum().backward()
    optimizer.step()
    model.stem.requires_grad_(False)
    optimizer.zero_grad(set_to_none=False)
    before = values(model)
    optimizer.step()
    assert moved(before, values(model)) >= STEM


def test_EXE_3_under_a_gradient_scaler_and_clipping():
    """A step that the scaler leaves out is a step of the schedule all the same."""
    model = net(norm=False)
    optimizer, scaler = ADAMW(model.parameters(), 0.05), torch.amp.GradScaler("cpu", init_scale=8.0)
    schedule = FreezeSchedule(TWICE, model, optimizer, epochs=1, steps_per_epoch=TOTAL, unit="steps")
    for step in range(TOTAL):
        schedule.begin(0, step)
        before = values(model)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch(step)).float().square().mean()
        scaler.scale(loss * (float("inf") if step == 4 else 1)).backward()
        scaler.unscale_(optimizer)
        trained = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        assert step == 4 or (norm < 1e4 and len(trained) == len(should(TWICE, model, step)))
        scaler.step(optimizer)
        scaler.update()
        assert moved(before, values(model)) == (set() if step == 4 else should(TWICE, model, step)), step


def test_EXE_3_in_the_middle_of_a_window_of_accumulated_gradients():
    """There, what freezes loses what it had gathered, what thaws gathers from then on, and the rest keeps all."""
    model = net(norm=False)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    schedule = FreezeSchedule(during(always(["stem"]), 1, 2), model, optimizer, epochs=3)
    gathered = {"stem": [], "head": []}
    for epoch in range(3):  # of one batch and a half window each
        schedule.begin(epoch)
        model(batch(epoch)).square().mean().backward()
        for name, seen in gathered.items():
            gradient = model.get_submodule(name).weight.grad
            seen.append(None if gradient is None else gradient.clone())

    def alone(name, *numbers):
        twin = net(norm=False)
        for number in numbers:
            twin(batch(number)).square().mean().backward()
        return twin.get_submodule(name).weight.grad

    stem, head = gathered["stem"], gathered["head"]
    assert torch.equal(stem[0], alone("stem", 0))
    assert stem[1] is None
    assert torch.equal(stem[2], alone("stem", 2))
    assert all(torch.equal(head[last], alone("head", *range(last + 1))) for last in range(3))
    before = values(model)
    optimizer.step()
    assert moved(before, values(model)) == set(before)


def test_a_closure_sees_the_schedule_too():
    model = net(norm=False)
    optimizer = SGD(model.parameters(), 0.1, **HEAVY)
    schedule = FreezeSchedule(TWICE, model, optimizer, epochs=1, steps_per_epoch=TOTAL, unit="steps")
    for step, given in enumerate(["positional", "keyword", "positional"]):
        schedule.begin(0, step)

        def closure():
            optimizer.zero_grad()
            loss = model(batch(step)).square().mean()  # noqa: B023
            loss.backward()
            return loss

        before = values(model)
        assert (optimizer.step(closure) if given == "positional" else optimizer.step(closure=closure)) > 0
        assert moved(before, values(model)) == should(TWICE, model, step)

    def writing():
        model.stem.weight.grad = torch.zeros(6, 4)

    schedule.load_state_dict(schedule.state_dict())  # the same step anew
    schedule.begin(0, 2)
    with pytest.raises(Unsupported, match=r"'stem\.weight' is frozen at tick 2 and has a gradient"):
        optimizer.step(writing)


def test_EXE_3_averages_of_weights_do_not_touch_the_model_nor_are_held_with_it():
    """swa_utils.AveragedModel: the model trains as without it; the average of what stays the same is that."""
    plain, averaged = net(), net()
    found = []
    for model in (plain, averaged):
        optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
        schedule = FreezeSchedule(always(["stem", "body"]), model, optimizer, epochs=3)
        schedule.begin(0)
        average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5)) if found else None
        for epoch in range(3):
            train(schedule, model, optimizer, range(epoch, epoch + 1))
            if average is not None:
                average.update_parameters(model)
        found.append(values(model))
    assert moved(*found) == set()
    module = average.module
    assert moved(values(net()), values(module)) == {"head.weight", "head.bias"}
    assert (averaged.train().body[1].training, module.train().body[1].training) == (False, True)
    swa_utils.update_bn([batch(0)], average)
    assert moved(values(averaged), values(module)) >= {"body.1.running_mean"}
    assert moved(found[1], values(averaged)) == set()


def test_EXE_3_tied_weights_are_frozen_with_any_of_their_layers():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5)})
    model.head.weight = model.embed.weight
    optimizer = ADAMW(model.parameters(), 0.1)
    schedule = FreezeSchedule(during(always(["embed"]), 1, 2), model, optimizer, epochs=3)
    for epoch in range(3):
        schedule.begin(epoch)
        before = values(model)
        optimizer.zero_grad()
        model.head(model.embed(torch.arange(5))).square().mean().backward()
        optimizer.step()
        tied = {"embed.weight", "head.weight"}
        assert moved(before, values(model)) == ({"head.bias"} if epoch == 1 else tied | {"head.bias"})


def test_gradient_checkpointing_below_which_all_is_frozen_needs_use_reentrant_false():
    """https://github.com/huggingface/transformers/issues/21381"""
    for reentrant in (False, True):
        model = net(norm=False)
        optimizer = SGD(model.parameters(), 0.1)
        schedule = FreezeSchedule(during(always(["stem"]), 0, 2), model, optimizer, epochs=3)

        def forward(x):
            return model.head(checkpoint(model.body, model.stem(x), use_reentrant=reentrant))  # noqa: B023

        if not reentrant:
            found = train(schedule, model, optimizer, range(3), forward)
            every = {name for name, _ in model.named_parameters()}
            assert found == [every - STEM] * 2 * STEPS + [every] * STEPS
        else:
            with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
                found = train(schedule, model, optimizer, range(1), forward)
            assert found == [{"head.weight", "head.bias"}] * STEPS


def test_EXE_10_a_segment_with_everything_frozen_runs():
    model = net()
    optimizer = ADAMW(model.parameters(), 0.1)
    schedule = FreezeSchedule(during(always(["stem", "body", "head"]), 1, 2), model, optimizer, epochs=2)
    train(schedule, model, optimizer, range(1))
    before = values(model)
    schedule.begin(1)
    loss = model(batch(0)).square().mean()
    assert not loss.requires_grad
    optimizer.step()
    assert moved(before, values(model)) == set()


# What the flags do not say --------------------------------------------------------------------------------------------
def test_a_gradient_that_something_else_has_written_is_caught_before_anything_moves():
    """As optimizers that copy parameters do, with zeros (https://github.com/facebookresearch/fairseq/issues/4702)."""
    model = net(norm=False)
    optimizer = ADAMW(model.parameters(), 0.1)
    schedule = FreezeSchedule(during(always(["stem"]), 1, 2), model, optimizer, epochs=2)
    schedule.begin(0)
    loss = model(batch(0)).square().mean()
    schedule.begin(1)
    loss.backward()  # its graph is of tick 0; what is frozen now gets nothing from it
    optimizer.step()
    assert model.stem.weight.grad is None
    before = values(model)
    model.stem.weight.grad = torch.zeros(6, 4)
    with pytest.raises(
        Unsupported, match=r"'stem\.weight' is frozen at tick 1 and has a gradient, which something else"
    ):
        optimizer.step()
    assert moved(before, values(model)) == set()


@pytest.fixture
def counted():
    """Return a backend of torch.compile that does nothing but count what it is asked to compile."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    def backend(graph, examples):
        backend.compiled += 1
        return graph.forward

    backend.compiled = 0
    yield backend
    torch._dynamo.reset()


@pytest.mark.parametrize("sets", [3, 10])
def test_EXE_3_under_torch_compile_costs_one_compilation_for_each_distinct_set(counted, sets):
    """dynamo keeps 8 of one function by default, and runs the others eagerly: slower, and right all the same."""
    names = [str(index) for index in range(sets)]
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in names))
        optimizer = ADAMW(model.parameters(), 0.1)
        policy = union(round_robin(names, window=1, span=1), never(names))
        schedule = FreezeSchedule(policy, model, optimizer, epochs=2 * sets)
        forward = torch.compile(model, backend=counted) if compiled else model
        results.append((train(schedule, model, optimizer, range(2 * sets), forward), values(model)))
    assert results[0][0] == results[1][0]
    assert moved(results[0][1], results[1][1]) == set()
    assert counted.compiled == min(sets, 8) == torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert not torch._dynamo.utils.counters["graph_break"]


def test_EXE_3_under_a_compiled_step_of_the_optimizer(counted):
    """https://github.com/pytorch/pytorch/issues/115607: the right parameters move; as far as rounding goes."""
    found = []
    for compiled in (False, True):
        model = net(norm=False)
        optimizer = ADAMW(model.parameters(), 0.05, weight_decay=0.5)
        schedule = FreezeSchedule(TWICE, model, optimizer, epochs=1, steps_per_epoch=TOTAL, unit="steps")
        update = torch.compile(lambda: optimizer.step(), backend=counted) if compiled else optimizer.step  # noqa: B023
        for step in range(TOTAL):
            schedule.begin(0, step)
            before = values(model)
            optimizer.zero_grad()
            model(batch(step)).square().mean().backward()
            update()
            assert moved(before, values(model)) == should(TWICE, model, step), step
        found.append(values(model))
    assert counted.compiled
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


@pytest.mark.parametrize(("start", "stop", "caught"), [(0, 1, True), (1, 2, False)], ids=["thaw", "freeze"])
def test_a_stale_compiled_frame_is_seen_by_its_gradients(counted, start, stop, caught):
    """https://github.com/pytorch/pytorch/issues/139476: here with guards left out, so that it happens for sure."""
    model = net(norm=False)
    optimizer = ADAMW(model.parameters(), 0.1)
    schedule = FreezeSchedule(during(always(["stem"]), start, stop), model, optimizer, epochs=2)
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    forward = torch.compile(model, backend="aot_eager", options=options)
    train(schedule, model, optimizer, range(1), forward)
    if caught:
        with pytest.warns(
            UserWarning,
            match=r"^'stem\.weight', 'stem\.bias': trainable from tick 1 on, and without a gradient in the first "
            "step; the loss does not use it, or a compiled function or a reentrant checkpoint missed the switch$",
        ):
            found = train(schedule, model, optimizer, range(1, 2), forward)
        assert not found[0] & STEM
    else:
        assert not train(schedule, model, optimizer, range(1, 2), forward)[0] & STEM


# Several processes ----------------------------------------------------------------------------------------------------
def test_EXE_3_two_workers_stay_equal_after_a_thaw(tmp_path):
    """DistributedDataParallel and fully_shard, over gloo; https://github.com/Lightning-AI/pytorch-lightning/issues/20340"""
    program = [sys.executable, str(Path(__file__).with_name("torch_workers.py")), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    for epochs in ranks[0].values():
        stem = [(values["0.weight"], values["0.bias"]) for values in epochs]
        assert stem[0] == stem[1] != stem[2] != stem[3]
        assert all(one["4.weight"] != other["4.weight"] for one, other in itertools.pairwise(epochs))


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WAITS = (
    "DistributedDataParallel waits for the gradients of frozen parameters; make it with find_unused_parameters=True "
    "and static_graph=False"
)


@pytest.mark.filterwarnings("ignore:You passed find_unused_parameters=true")
@pytest.mark.parametrize(
    ("freeze_first", "options", "message"),
    [
        (
            True,
            {"find_unused_parameters": True},
            "the schedule trains 'stem.weight', 'stem.bias', frozen in the DistributedDataParallel, which does not "
            "share gradients of what was frozen when it was made; make it while everything is trainable",
        ),
        (False, {}, WAITS),
        (False, {"find_unused_parameters": True, "static_graph": True}, WAITS),
    ],
)
def test_a_module_that_is_wrapped_in_the_wrong_order_is_refused(alone, freeze_first, options, message):
    model = net(norm=False)
    model.stem.requires_grad_(not freeze_first)
    wrapped = nn.parallel.DistributedDataParallel(model, **options)
    with pytest.raises(Unsupported) as caught:
        FreezeSchedule(during(always(["stem"]), 0, 1), wrapped, SGD(model.parameters(), 0.1), epochs=2)
    assert str(caught.value) == message
