"""``FreezeSchedule`` in a loop of one's own: names, ticks, flags, rates, optimizer state, resume, and every error."""

from __future__ import annotations

import copy
import gc
import io
import json
import logging
import weakref

import pytest
import torch
from refreeze import (
    InvalidSpec,
    ScheduleMismatch,
    UnknownName,
    Unsupported,
    always,
    cut,
    during,
    inference_mode,
    rate,
    round_robin,
    segments,
    shift,
    union,
)
from refreeze.plan import read
from refreeze.segments_json import to_json
from refreeze.torch import FreezeSchedule, layer_names, parameter_names
from refreeze.torch.modules import Named
from small_nets import STEPS, batch, moved, net, train, values
from torch import nn

pytestmark = pytest.mark.torch
STEM = {"stem.weight", "stem.bias"}
LATE = during(always(["stem"]), 1, 3)


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, **options)


def flags(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


# Names ---------------------------------------------------------------------------------------------------------------
class Attention(nn.Module):
    """Owns a parameter of its own beside a layer, as MultiheadAttention does."""

    def __init__(self):
        super().__init__()
        self.scale, self.out = nn.Parameter(torch.ones(1)), nn.Linear(2, 2)


def of_all_kinds():
    """Return a module with a parameter of its own, a layer without parameters, and one that is met twice."""
    model = nn.Module()
    model.token = nn.Parameter(torch.zeros(1))
    model.attention = Attention()
    model.norm = nn.BatchNorm1d(2, affine=False)
    model.plain = nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False))
    model.again = model.plain
    return model


def test_NAM_3_every_name_that_speaks_of_a_parameter_or_a_normalization():
    model = of_all_kinds()
    named = Named(model)
    assert [*named.parameters.values()] == [
        {"token"},
        {"attention.scale", "attention/scale", "attention"},
        {"attention.out.weight", "attention/out", "attention"},
        {"attention.out.bias", "attention/out", "attention"},
        {"plain.1.weight", "plain/1", "plain", "again.1.weight", "again/1", "again"},
    ]
    assert named.batch_norms == {model.norm: {"norm"}}
    assert named.all == {"norm"}.union(*named.parameters.values())
    assert parameter_names(model).aliases == {"again.1.weight": "plain.1.weight"}
    assert layer_names(model).aliases == {"again/1": "plain/1"}
    alone = Named(nn.BatchNorm1d(2))
    assert [*alone.parameters.values()] == [{"weight"}, {"bias"}]
    assert [*alone.batch_norms.values()] == [set()]
    inside = Named(nn.Sequential(nn.Sequential(nn.BatchNorm1d(2, affine=False))))
    assert inside.all == {"0/0", "0"}


def test_NAM_1_layers_own_parameters_or_statistics_and_lie_in_no_other():
    model = of_all_kinds()
    assert layer_names(model) == ("token", "attention/scale", "attention/out", "norm", "plain/1")
    assert parameter_names(model) == (
        "token", "attention.scale", "attention.out.weight", "attention.out.bias", "plain.1.weight",
    )  # fmt: skip
    assert layer_names(nn.Linear(1, 1)) == ("weight", "bias")


@pytest.mark.parametrize("spec", [always(["again"]), [{"layers": ["again"], "training_interval": [0, 1]}]])
def test_NAM_3_a_shared_module_is_in_each_container_that_holds_it(spec):
    model = nn.ModuleDict({"plain": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "head": nn.Linear(2, 2)})
    model["again"] = nn.Sequential(model.plain[1])
    assert layer_names(model) == ("plain/0", "plain/1", "head")
    FreezeSchedule(spec, model, sgd(model), epochs=1).begin(0)
    assert flags(model) == {"plain.1.weight", "plain.1.bias"}
    assert not model.train().plain[1].training


@pytest.mark.parametrize(
    ("names", "frozen"),
    [
        (["body"], {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}),
        (["body/1"], {"body.1.weight", "body.1.bias"}),
        (["body.1.bias", "head"], {"body.1.bias", "head.weight", "head.bias"}),
    ],
)
def test_a_policy_may_name_containers_layers_and_parameters(names, frozen):
    model = net()
    FreezeSchedule(always(names), model, sgd(model), epochs=1).begin(0)
    assert flags(model) == frozen


@pytest.mark.parametrize(
    "text",
    [
        "dialect: vl3d\nconfig: [{layers: [body, stem], training_interval: [0, 2]}]",
        "dialect: lighter\nconfig: [{name_starts_with: [stem, body.], until_epoch: 2}]",
        "dialect: kempner\nconfig: {module_patterns: {all: [stem.*, body.*]}, freeze: [{module: all}], "
        "freeze_schedule: [{start_step: 4, specs: [{module: all, frozen: false}]}]}",
    ],
)
def test_configuration_files_name_layers_by_path_and_parameters_as_pytorch_does(tmp_path, text):
    (path := tmp_path / "schedule.yaml").write_text(text)
    for spec in (path, str(path), read(path)):
        model = net()
        schedule = FreezeSchedule(spec, model, sgd(model), epochs=3, steps_per_epoch=STEPS)
        frozen = [schedule.begin(*divmod(step, STEPS)) or flags(model) for step in range(3 * STEPS)]
        held = {name for name in parameter_names(model) if not name.startswith("head")}
        assert frozen == [held] * 2 * STEPS + [set()] * STEPS


def test_NAM_2_a_dotted_layer_is_unknown_and_the_path_is_suggested():
    model = net()
    with pytest.raises(UnknownName, match=r"unknown 'body\.0' \(did you mean 'body/0'"):
        FreezeSchedule([{"layers": ["body.0"], "training_interval": [0, 1]}], model, sgd(model), epochs=1)
    with pytest.raises(UnknownName, match=r"model Sequential: unknown 'haed' \(did you mean 'head'\?\)"):
        FreezeSchedule(always(["haed"]), model, sgd(model), epochs=1)


def test_a_tied_parameter_is_frozen_while_any_of_its_names_is():
    model = net(norm=False)
    model.twin = nn.Linear(6, 2)
    model.twin.weight = model.head.weight
    schedule = FreezeSchedule(during(always(["twin"]), 1, 2), model, sgd(model), epochs=2)
    assert [schedule.begin(epoch) or flags(model) for epoch in (0, 1)] == [set(), {"head.weight", "twin.bias"}]


# Ticks ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_SCH_3_every_tick_means_what_the_policy_says(unit):
    policy = union(round_robin(["stem", "body", "head"], window=1, span=1), LATE)
    model = net()
    schedule = FreezeSchedule(policy, model, sgd(model), epochs=4, steps_per_epoch=STEPS, unit=unit)
    seen = []
    for step in range(4 * STEPS):
        schedule.begin(*divmod(step, STEPS))
        seen.append({name.partition(".")[0] for name in flags(model)})
    assert seen == [set(policy.frozen_at(step if unit == "steps" else step // STEPS)) for step in range(4 * STEPS)]


def test_on_segment_is_told_of_each_segment_that_begins(caplog):
    model, told = net(), []
    with caplog.at_level(logging.INFO, "refreeze"):
        schedule = FreezeSchedule(LATE, model, sgd(model), epochs=4, on_segment=told.append)
        for epoch in (0, 1, 1, 2, 3):
            schedule.begin(epoch)
        schedule.end()
    assert tuple(told) == schedule.plan.segments == segments(LATE, 4)
    assert caplog.messages == [
        "epochs [0, 1): 0 names frozen", "epochs [1, 3): 1 names frozen", "epochs [3, 4): 0 names frozen",
        "0 of 2 scheduled parameters remain frozen",
    ]  # fmt: skip
    caplog.clear()
    with caplog.at_level(logging.INFO, "refreeze"):
        FreezeSchedule(rate(0.05), model, sgd(model), epochs=1).begin(0)
    assert caplog.messages == ["epochs [0, 1): 0 names frozen, learning rate set to 0.05"]


def test_a_run_that_is_one_segment_begins_with_its_rate():
    model = net()
    optimizer = sgd(model)
    FreezeSchedule(rate(0.05), model, optimizer, epochs=3).begin(0)
    assert optimizer.param_groups[0]["lr"] == 0.05


def stepped(schedule, model, optimizer, *tick):
    schedule.begin(*tick)
    model(batch(0)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("options", "do", "error", "message"),
    [
        ({}, lambda s, m, o: s.begin(4), InvalidSpec, "epoch = 4 must be an integer < 4, the epochs of the run"),
        ({}, lambda s, m, o: s.begin(True), InvalidSpec, "epoch = True must be an integer >= 0"),
        ({}, lambda s, m, o: s.begin(0, -1), InvalidSpec, "step = -1 must be an integer >= 0"),
        ({}, lambda s, m, o: (s.begin(1), s.begin(3)), InvalidSpec,
         "(epoch, step) = (3, 0) must be that of tick 1, which began last, or of 2, in epochs"),
        ({"unit": "steps"}, lambda s, m, o: s.begin(0, 2), InvalidSpec,
         "step = 2 must be an integer in 0..1, as steps_per_epoch is 2"),
        ({"unit": "steps"}, lambda s, m, o: (s.begin(0, 0), s.begin(1, 0)), InvalidSpec,
         "(epoch, step) = (1, 0) must be that of tick 0, which began last, or of 1, in steps with 2 in an epoch"),
        ({}, lambda s, m, o: o.step(), Unsupported,
         "optimizer.step() was called before begin(epoch, step) of the schedule"),
        ({"unit": "steps"}, lambda s, m, o: (stepped(s, m, o, 0), o.step()), Unsupported,
         "one optimizer.step() more than 1 in step 0: begin(epoch, step) was not called before it"),
        ({}, lambda s, m, o: (stepped(s, m, o, 1), o.step(), o.step()), Unsupported,
         "one optimizer.step() more than 2 in epoch 1: begin(epoch, step) was not called before it"),
        ({}, lambda s, m, o: (s.begin(0), s.load_state_dict(s.state_dict()), o.step()), Unsupported,
         "optimizer.step() was called before begin(epoch, step) of the schedule"),
        ({}, lambda s, m, o: (s.end(), s.begin(0)), Unsupported, "the schedule is over: end() or restore() was called"),
    ],
)  # fmt: skip
def test_a_loop_that_does_not_follow_the_schedule_is_stopped(options, do, error, message):
    model = net()
    optimizer = sgd(model)
    schedule = FreezeSchedule(LATE, model, optimizer, epochs=4, steps_per_epoch=STEPS, **options)
    with pytest.raises(error) as raised:
        do(schedule, model, optimizer)
    assert str(raised.value) == message


def test_an_epoch_that_is_left_out_of_a_long_segment_is_noticed():
    model = net()
    schedule = FreezeSchedule(always(["stem"]), model, sgd(model), epochs=9)
    for epoch in range(2):
        schedule.begin(epoch)
    with pytest.raises(InvalidSpec, match="must be that of tick 1, which began last, or of 2, in epochs"):
        schedule.begin(3)


# What is refused, before anything is changed -----------------------------------------------------------------------
@pytest.mark.parametrize("option", ["optimizer_state", "user_frozen", "batch_norm"])
def test_an_option_that_is_none_is_refused(option):
    model = net()
    with pytest.raises(InvalidSpec, match=f"^{option} = 'none' must be one of '"):
        FreezeSchedule(LATE, model, sgd(model), epochs=4, **{option: "none"})


def test_a_parameter_with_rates_by_several_names_is_refused():
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("a", "b", "head")})
    model.b.weight = model.a.weight
    with pytest.raises(Unsupported) as raised:
        FreezeSchedule({"t_0": 0.5}, model, sgd(model), dialect="freezeout", epochs=4, steps_per_epoch=2)
    assert str(raised.value) == "'a.weight' has learning rates by several names: 'a', 'b'"


def test_a_part_that_was_compiled_is_refused():
    model = nn.ModuleDict({"a": torch.compile(nn.Linear(2, 2)), "b": nn.Linear(2, 2)})
    with pytest.raises(
        Unsupported, match=r"^module 'a\._orig_mod': torch.compile has renamed it; call model.compile\(\)"
    ):
        FreezeSchedule(always(["b"]), model, sgd(model), epochs=1)


def lbfgs(model):
    return torch.optim.LBFGS(model.parameters())


def partly(model):
    return torch.optim.SGD([*model.body.parameters(), *model.head.parameters()], 0.1)


def scheduled(model):
    optimizer = sgd(model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return optimizer


FREEZEOUT = {"layers": ["stem", "head"], "t_0": 0.5}


@pytest.mark.parametrize(
    ("spec", "make", "options", "message"),
    [
        (LATE, partly, {}, "the schedule trains 'stem.weight', 'stem.bias', which the optimizer does not hold; build "
         "it over model.parameters(), while everything is trainable"),
        (LATE, lbfgs, {}, "LBFGS moves parameters along earlier directions, those that are frozen too"),
        (LATE, lambda model: model, {}, "optimizer is a Sequential, and must be a torch.optim.Optimizer"),
        (rate(0.1), scheduled, {}, "the schedule sets the learning rate, and a learning-rate scheduler of the "
         "optimizer would overwrite it; leave out one of them"),
        (FREEZEOUT, scheduled, {"dialect": "freezeout"}, "'stem' needs a parameter group of its own, and a "
         "learning-rate scheduler has counted the groups already; make the schedule first, or give the optimizer these "
         "groups"),
        (inference_mode(["stem"]), sgd, {}, "bn_frozen = 'stem' must be a batch normalization"),
        (LATE, sgd, {"batch_norm": "eval"},
         "batch_norm = 'eval' must be one of 'keras', 'batch', 'batch_fixed', 'inference'"),
        (LATE, sgd, {"on_segment": 3}, "on_segment = 3 must be callable with a Segment, or None"),
        (LATE, sgd, {"unit": "steps", "steps_per_epoch": None}, "steps_per_epoch = None must be an integer >= 1"),
        ([], sgd, {"unit": "steps"}, "unit = 'steps' must be None: the dialect says it"),
        (LATE, sgd, {"epochs": 1.5}, "epochs = 1.5 must be an integer >= 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_and_nothing_is_changed(spec, make, options, message):
    model = net()
    optimizer = make(model)
    with pytest.raises((InvalidSpec, Unsupported)) as raised:
        FreezeSchedule(spec, model, optimizer, **{"epochs": 4, "steps_per_epoch": STEPS, **options})
    assert str(raised.value) == message
    assert flags(model) == set()
    assert optimizer is model or len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda model: torch.compile(model, backend="eager"), "module '_orig_mod': torch.compile has renamed it"),
        (lambda model: 3, "model is a int, and must be a torch.nn.Module"),
        (lambda model: nn.ModuleDict({"a/b": model}), "module 'a/b': a name with '/' cannot be told from a path"),
    ],
)
def test_a_model_whose_names_are_not_the_users_is_refused(wrap, message):
    model = net()
    with pytest.raises(Unsupported, match=message):
        FreezeSchedule(LATE, wrap(model), sgd(model), epochs=4)


def test_an_optimizer_has_one_schedule_at_a_time():
    model = net()
    optimizer = sgd(model)
    first = FreezeSchedule(LATE, model, optimizer, epochs=4)
    with pytest.raises(
        Unsupported, match=r"^another schedule runs on this optimizer; call its end\(\) or restore\(\) first$"
    ):
        FreezeSchedule(LATE, model, optimizer, epochs=4)
    first.end()
    FreezeSchedule(LATE, model, optimizer, epochs=4).begin(0)


# The user's flags -----------------------------------------------------------------------------------------------------
def test_EXE_2_what_no_schedule_names_keeps_the_users_flag():
    model = net()
    model.head.weight.requires_grad = False
    schedule = FreezeSchedule(LATE, model, sgd(model), epochs=4)
    assert [schedule.begin(epoch) or flags(model) for epoch in range(4)] == [
        {"head.weight"}, STEM | {"head.weight"}, STEM | {"head.weight"}, {"head.weight"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("froze", "names", "options", "held"),
    [
        (["stem.bias"], ["stem"], {}, {"stem.bias"}),
        (["stem.bias"], ["stem", "stem.bias"], {}, set()),
        (["stem.bias", "stem.weight"], ["stem"], {}, set()),
        (["stem.bias", "stem.weight"], ["stem"], {"user_frozen": "keep"}, STEM),
        (["body.0.weight", "body.0.bias"], ["body"], {}, {"body.0.weight", "body.0.bias"}),
        (["body.0.weight", "body.0.bias"], ["body/0"], {}, set()),
    ],
)
def test_EXE_2_what_the_user_froze_is_released_only_if_it_is_named(froze, names, options, held):
    """By its own name, or by that of a layer or container all of which the user has frozen."""
    model = net()
    for name in froze:
        model.get_parameter(name).requires_grad = False
    schedule = FreezeSchedule(during(always(names), 0, 1), model, sgd(model), epochs=2, **options)
    assert [schedule.begin(epoch) or flags(model) & set(froze) for epoch in (0, 1)] == [set(froze), held]
    schedule.restore()
    assert flags(model) == set(froze)


def test_an_optimizer_without_what_the_user_froze_is_refused_or_that_is_kept():
    model = net()
    model.stem.requires_grad_(False)
    with pytest.raises(Unsupported, match="trainable; user_frozen='keep' keeps frozen what you have frozen"):
        FreezeSchedule(LATE, model, partly(model), epochs=4)
    FreezeSchedule(LATE, model, partly(model), epochs=4, user_frozen="keep").begin(0)
    assert flags(model) == STEM


def test_EXE_11_the_flags_stay_at_the_end_and_restore_puts_the_users_back():
    for finish, frozen in (("end", STEM), ("restore", set())):
        model = net()
        schedule = FreezeSchedule(always(["stem", "body/1"]), model, sgd(model), epochs=1)
        schedule.begin(0)
        getattr(schedule, finish)()
        assert flags(model) >= frozen
        assert bool(flags(model)) is not (finish == "restore")
        assert model.train().body[1].training is (finish == "restore")
        sgd(model).step()


# Learning rates -------------------------------------------------------------------------------------------------------
def test_a_scheduler_that_comes_later_is_refused_at_the_first_tick():
    model = net()
    optimizer = sgd(model)
    schedule = FreezeSchedule(union(LATE, rate(0.1)), model, optimizer, epochs=4)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(Unsupported, match="a learning-rate scheduler of the optimizer would overwrite it"):
        schedule.begin(0)


def test_EXE_5_the_rate_of_a_segment_is_set_once_at_its_start():
    model = net()
    optimizer = torch.optim.SGD(
        [{"params": model.stem.parameters(), "lr": torch.tensor(0.3)}, {"params": model.head.parameters()}], 0.1
    )
    schedule = FreezeSchedule(shift(rate(0.5, every=2), 1), model, optimizer, epochs=6)
    seen = []
    for epoch in range(6):
        schedule.begin(epoch)
        seen.append([round(float(group["lr"]), 4) for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            group["lr"] /= 2  # the user's own
    assert seen == [[0.3, 0.1], [0.5, 0.5], [0.25, 0.25], [0.5, 0.5], [0.25, 0.25], [0.5, 0.5]]


def test_rates_of_single_names_are_exact_in_groups_of_their_own():
    """FreezeOut, against a loop that has a group for each layer and computes its cosine."""
    model, total = net(norm=False), 12
    twin = copy.deepcopy(model)
    named = torch.optim.SGD(model.named_parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    schedule = FreezeSchedule(FREEZEOUT, model, named, epochs=6, steps_per_epoch=STEPS, dialect="freezeout")
    named.load_state_dict(named.state_dict())  # which makes new groups
    assert [group["param_names"] for group in named.param_groups] == [
        ["stem.weight", "stem.bias"], ["body.0.weight", "body.0.bias"], ["head.weight", "head.bias"],
    ]  # fmt: skip
    assert all(group["momentum"] == 0.9 and group["weight_decay"] == 0.01 for group in named.param_groups)
    train(schedule, model, named, range(6))

    groups = [{"params": list(part.parameters())} for part in (twin.stem, twin.body, twin.head)]
    optimizer = torch.optim.SGD(groups, 0.1, momentum=0.9, weight_decay=0.01)
    rates, policy = schedule.plan.rates, schedule.plan.policy
    for step in range(total):
        optimizer.zero_grad()
        twin(batch(step)).square().mean().backward()
        for group, name in zip(groups, ("stem", "body", "head"), strict=True):
            group["lr"] = rates.learning_rates_at(step).get(name, 0.1)
            for parameter in group["params"] if name in policy.frozen_at(step) else ():
                parameter.grad = None
        optimizer.step()
    assert moved(values(model), values(twin)) == set()


def test_a_split_group_whose_rate_is_a_tensor_gives_each_part_one_of_its_own():
    model = net(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), torch.tensor(0.1))
    schedule = FreezeSchedule(FREEZEOUT, model, optimizer, epochs=6, steps_per_epoch=STEPS, dialect="freezeout")
    schedule.begin(0)
    rates = schedule.plan.rates.learning_rates_at(0)
    shown = [rates["stem"], 0.1, rates["head"]]
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx(shown)


def test_rates_of_single_names_hold_whatever_a_scheduler_does():
    model = net(norm=False)
    groups = [{"params": list(part.parameters())} for part in (model.stem, model.body, model.head)]
    optimizer = torch.optim.SGD(groups, 0.1)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    config = {"backbone": ["stem", "body"], "unfreeze_backbone_at_epoch": 1, "learning_rate": 0.1, "batch_norm": []}
    schedule = FreezeSchedule(config, model, optimizer, epochs=3, dialect="lightning")
    seen = []
    for epoch in range(3):
        schedule.begin(epoch)
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(batch(0)).square().mean().backward()
            optimizer.step()
            seen.append([group["lr"] for group in optimizer.param_groups])
            decay.step()
    slow = [0.1 * 0.1] * 2 + [0.1 * 0.1 * 2] * 2
    assert [(stem, body) for stem, body, _ in seen[2:]] == list(zip(slow, slow, strict=True))
    assert [head for *_, head in seen] == [0.1 * 0.5**step for step in range(6)]


# Optimizer state ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["Adam", "Adagrad"])  # Adagrad makes state when it is built, too
@pytest.mark.parametrize("policy", ["keep", "per_variable", "reset", "reset_unfrozen"])
def test_EXE_4_what_a_switch_does_to_optimizer_state_has_a_name(policy, kind):
    model = net(norm=False)
    optimizer = getattr(torch.optim, kind)(model.parameters(), 0.1)
    schedule = FreezeSchedule(LATE, model, optimizer, epochs=4, optimizer_state=policy)
    counts = []
    for epoch in range(4):
        train(schedule, model, optimizer, range(epoch, epoch + 1))
        counts.append(
            [int(optimizer.state[model.stem.weight].get("step", 0)), int(optimizer.state[model.head.bias]["step"])]
        )
    assert (
        counts
        == {
            "keep": [[2, 2], [2, 4], [2, 6], [4, 8]],
            "per_variable": [[2, 2], [2, 4], [2, 6], [4, 8]],
            "reset": [[2, 2], [0, 2], [0, 4], [2, 2]],
            "reset_unfrozen": [[2, 2], [2, 4], [2, 6], [2, 8]],
        }[policy]
    )


def test_EXE_4_what_trains_on_keeps_its_state_when_others_thaw():
    model = net(norm=False)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    turns = union(*(during(always([name]), *when) for name, *when in (("stem", 0, 2), ("body", 2, 3), ("head", 3, 4))))
    schedule = FreezeSchedule(turns, model, optimizer, epochs=4, optimizer_state="reset_unfrozen")
    train(schedule, model, optimizer, range(4))
    steps = [optimizer.state[weight]["step"] for weight in (model.stem.weight, model.body[0].weight, model.head.weight)]
    assert [*map(int, steps)] == [2 * STEPS, STEPS, 3 * STEPS]


@pytest.mark.parametrize("named", [True, False])
def test_gradients_are_looked_at_after_a_closure_however_it_is_given(named):
    model = net(norm=False)
    optimizer = sgd(model)
    schedule = FreezeSchedule(always(["stem"]), model, optimizer, epochs=1)
    schedule.begin(0)

    def closure():
        loss = model(batch(0)).sum()
        loss.backward()
        model.stem.bias.grad = torch.ones(6)
        return loss

    with pytest.raises(Unsupported, match=r"^'stem.bias' is frozen at tick 0 and has a gradient"):
        optimizer.step(closure=closure) if named else optimizer.step(closure)


# Resume ---------------------------------------------------------------------------------------------------------------
EVERY = union(round_robin(["stem", "body", "head"], window=1, span=3), shift(rate(0.05, every=5), 2))


@pytest.mark.parametrize("state", ["keep", "reset", "reset_unfrozen"])
@pytest.mark.parametrize("at", range(0, 13))
def test_RES_1_and_RES_2_a_resumed_run_is_the_rest_of_the_whole(at, state):
    def new():
        model = net()
        optimizer = torch.optim.AdamW(model.parameters(), 0.1)
        options = {"epochs": 6, "steps_per_epoch": STEPS, "unit": "steps", "optimizer_state": state}
        return model, optimizer, FreezeSchedule(EVERY, model, optimizer, **options)

    def go(model, optimizer, schedule, steps):
        for step in steps:
            schedule.begin(*divmod(step, STEPS))
            model.train()
            optimizer.zero_grad()
            model(batch(step)).square().mean().backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.9  # the user's own, which a resumed segment does not undo

    whole, parts = new(), new()
    go(*whole, range(12))
    go(*parts, range(at))
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts], file)
    resumed = new()
    for part, saved in zip(resumed, torch.load(io.BytesIO(file.getvalue())), strict=True):
        part.load_state_dict(saved)
    go(*resumed, range(at, 12))
    assert moved(values(whole[0]), values(resumed[0])) == set()
    slots = [
        [(key, s.tolist()) for slot in one.state.values() for key, s in slot.items()] for _, one, _ in (whole, resumed)
    ]
    assert slots[0] == slots[1]
    assert flags(whole[0]) == flags(resumed[0]) or at == 12


def test_RES_3_the_state_of_a_schedule_with_another_past_is_refused():
    def schedule(policy, epochs):
        model = net()
        return FreezeSchedule(policy, model, sgd(model), epochs=epochs), model

    first, _ = schedule(LATE, 4)
    for epoch in range(3):
        first.begin(epoch)
    saved = json.loads(json.dumps(first.state_dict()))
    for start, stop, tick in ((2, 3, 1), (1, 2, 2)):
        with pytest.raises(ScheduleMismatch, match=f"the schedules differ at tick {tick}: recorded"):
            schedule(during(always(["stem"]), start, stop), 4)[0].load_state_dict(saved)
    later, model = schedule(during(always(["stem"]), 1), 9)  # what is to come may change
    later.load_state_dict(saved)
    assert later.state_dict() == saved
    with pytest.raises(InvalidSpec, match="must be that of tick 2, which began last, or of 3"):
        later.begin(0)
    later.begin(3)
    assert flags(model) == STEM
    for wrong, message in (
        (None, "state = None must be what state_dict() has returned"),
        ({}, "state = {} must be what state_dict() has returned"),
        (saved | {"unit": "steps"}, "state['unit'] = 'steps' must be 'epochs', as in this schedule"),
        (saved | {"tick": -1}, "state['tick'] = -1 must be an integer >= 0"),
        (saved | {"segments": 3}, "segments = 3 must be "),
    ):
        with pytest.raises(InvalidSpec) as caught:
            later.load_state_dict(wrong)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("last", "begun", "found"),
    [
        (None, 0, 0.2),  # a rate that is set where a run begins
        (None, 2, 0.05),
        (None, 3, 0.1),  # it was set before, and what the optimizer has is the user's
        (0, 1, 0.1),
        (1, 2, 0.05),
        (2, 2, 0.1),
        (2, 3, 0.1),
    ],
)
def test_RES_2_a_rate_is_set_where_its_segment_begins_and_not_again(last, begun, found):
    model = net()
    optimizer = sgd(model)
    schedule = FreezeSchedule(union(rate(0.2), shift(rate(0.05), 2)), model, optimizer, epochs=4)
    if last is not None:
        past = to_json(cut(schedule.plan.segments, 0, last + 1))
        schedule.load_state_dict({"unit": "epochs", "tick": last, "segments": past})
    schedule.begin(begun)
    assert optimizer.param_groups[0]["lr"] == found


def test_what_has_no_rate_any_more_has_its_own_again():
    model = net(norm=False)
    layers = {"layers": ["stem", "body/0", "head"], "t_0": "1/2", "how_scale": "linear", "learning_rate": 0.4}
    optimizer = torch.optim.SGD([{"params": part.parameters()} for part in (model.stem, model.body, model.head)], 0.3)
    schedule = FreezeSchedule(layers, model, optimizer, dialect="freezeout", epochs=2, steps_per_epoch=STEPS)
    rates = []
    for step in range(4):
        schedule.begin(*divmod(step, STEPS))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == 0.8  # divided by the share
    assert flags(model) >= STEM
    assert rates[3] == 0.3


def test_a_group_of_two_layers_with_rates_becomes_two():
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("a", "b")})
    optimizer = sgd(model)
    FreezeSchedule({"t_0": 0.5, "how_scale": "linear"}, model, optimizer, dialect="freezeout", epochs=2,
                   steps_per_epoch=2).begin(0)  # fmt: skip
    assert [group["params"] for group in optimizer.param_groups] == [[*part.parameters()] for part in model.values()]
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.1]


def test_a_schedule_lives_no_longer_than_its_optimizer():
    model = net()
    optimizer = sgd(model)
    schedule = weakref.ref(FreezeSchedule(LATE, model, optimizer, epochs=4))
    assert schedule() is not None
    del optimizer
    gc.collect()
    assert schedule() is None


def in_the_middle_of_a_segment(**options):
    model = net()
    schedule = FreezeSchedule(always(["stem"]), model, sgd(model), epochs=9, **options)
    for tick in range(3):
        schedule.begin(tick) if not options else schedule.begin(0, tick)
    return schedule


@pytest.mark.parametrize(("epoch", "step"), [(True, 0), (3.0, 0), (3, False), (3, "0"), (3, -1)])
def test_wrong_ticks_are_rejected_also_where_nothing_would_change(epoch, step):
    with pytest.raises(InvalidSpec, match=r"epoch = (True|3\.0)|step = (False|'0'|-1)"):
        in_the_middle_of_a_segment().begin(epoch, step)


def test_a_step_of_the_next_epoch_is_not_taken_for_one_of_this():
    schedule = in_the_middle_of_a_segment(unit="steps", steps_per_epoch=3)
    with pytest.raises(InvalidSpec, match=r"step = 3 must be an integer in 0\.\.2"):
        schedule.begin(0, 3)
    schedule.begin(1, 0)


def test_where_nothing_would_change_the_end_and_a_loaded_state_still_count():
    schedule = in_the_middle_of_a_segment()
    schedule.load_state_dict(in_the_middle_of_a_segment().state_dict() | {"tick": 1})
    with pytest.raises(InvalidSpec, match="tick 1"):
        schedule.begin(3)
    schedule = in_the_middle_of_a_segment()
    schedule.end()
    with pytest.raises(Unsupported, match="the schedule is over"):
        schedule.begin(3)
