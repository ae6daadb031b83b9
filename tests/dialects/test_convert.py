"""A configuration in another dialect: the same at every tick, or refused at the first tick that no other one says.

The second definition of what a target can say is a list: every configuration of the form that it is written in, over
three names and four ticks.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refreeze import Inexpressible, InvalidSpec, NeedsModel, UnknownName, segments
from refreeze.conformance.catalogue import CASES
from refreeze.convert import convert, targets
from refreeze.dialects import dialect
from refreeze.dialects.files import read, text
from refreeze.plan import configuration

NAMES, TOTAL = ("a", "b", "c"), 4
SAME = {name: [name] for name in NAMES}
SETS = [frozenset(found) for size in range(4) for found in itertools.combinations(NAMES, size)]
ALL_SAY = ("vl3d", "kempner", "recorded")


def frozen(config, name, total=TOTAL, names=NAMES, steps_per_epoch=1):
    """Return what is frozen at each tick, asked of the policy tick by tick."""
    policy = dialect(name).policy(config, names, total=total, steps_per_epoch=steps_per_epoch)
    return tuple(policy.frozen_at(tick) for tick in range(total))


def tried(*asked, **run):
    """Return the configuration, or the refusal."""
    try:
        return convert(*asked, **run)
    except Inexpressible as error:
        return error


# What each target can say, as a list ---------------------------------------------------------------------------------
def parts():
    return [[*found] for found in SETS if found]


def stops():
    return [{n: s for n, s in zip(NAMES, found, strict=True) if s} for found in itertools.product(range(5), repeat=3)]


def orders():
    """Every list of groups of distinct names."""
    for length in range(1, 4):
        for groups in itertools.product(parts(), repeat=length):
            if len({name for group in groups for name in group}) == sum(map(len, groups)):
                yield [*groups]


def nemo_modules():
    when = [0, *itertools.combinations_with_replacement(range(1, 5), 2)]
    for found in itertools.product(when, repeat=3):
        yield {name: [*w] if w else 0 for name, w in zip(NAMES, found, strict=True)}


def fastai_calls(groups):
    for wanted in itertools.product(range(len(groups) + 1), repeat=TOTAL):
        yield [{"at": at, "call": "freeze_to", "n": n} for at, n in enumerate(wanted)]


SHARES = sorted({f"{p}/{q}" for q in range(1, 9) for p in range(q)})
CAN_SAY = {
    "lightning": lambda: [{"backbone": p, "unfreeze_backbone_at_epoch": n} for p in parts() for n in range(5)],
    "updates": lambda: [{"modules": p, "freeze_finetune_updates": n} for p in parts() for n in range(5)],
    "two_phase": lambda: [{"freeze_layers": p, "Freeze_Epoch": n} for p in parts() for n in range(5)],
    "stop_after": lambda: [{"part": p, "stop_text_encoder_training": n} for p in parts() for n in range(5)],
    "luxonis": lambda: [
        [{"name": n, "freezing": {"active": True, "unfreeze_after": s}} for n, s in f.items()] for f in stops()
    ],
    "lighter": lambda: [[{"names": n, "until_step": s} for n, s in f.items()] for f in stops()],
    "nemo": lambda: [{"freeze_updates": {"enabled": True, "modules": found}} for found in nemo_modules()],
    "gradual": lambda: [{"groups": groups, "every": n} for groups in orders() for n in range(1, 6)],
    "fastai": lambda: [{"groups": groups, "calls": calls} for groups in orders() for calls in fastai_calls(groups)],
    "composer": lambda: [
        {"layers": [*order], "freeze_start": start, "freeze_level": level}
        for order in itertools.permutations(NAMES)
        for start in SHARES
        for level in ("0/1", "1/4", "1/3", "1/2", "2/3", "3/4", "1/1")
    ],
}


@cache
def sayable(name):
    """Return every beginning of every run that the target can say."""
    runs = {frozen(config, name) for config in CAN_SAY[name]()}
    return {run[:length] for run in runs for length in range(TOTAL + 1)}


def test_every_target_is_checked():
    assert {*CAN_SAY, *ALL_SAY} == {*targets()}


def runs(possible):
    """Return what can be said, and whatever goes on in a way that cannot; some hundreds of them."""
    found = {(*start, *[now] * TOTAL)[:TOTAL] for start in possible for now in SETS}
    return sorted(found, key=lambda run: [sorted(frozen) for frozen in run])[:: len(found) // 200 + 1]


@pytest.mark.parametrize("name", CAN_SAY)
def test_it_is_said_or_refused_at_the_first_tick_that_no_configuration_says(name):
    possible, refusals = sayable(name), 0
    for run in runs(possible):
        said = max(length for length in range(TOTAL + 1) if run[:length] in possible)
        source = configuration({"decisions": [[at, sorted(found)] for at, found in enumerate(run)]}, "recorded")
        found = tried(source, name, NAMES, total=TOTAL, parameters=SAME)
        if isinstance(found, Inexpressible):
            assert (found.tick, found.dialect) == (said, name)
            assert {*found.names} <= {*NAMES}
            refusals += 1
        else:
            assert said == TOTAL
            assert frozen(found, name) == run
    assert 20 < refusals < len(runs(possible))


@given(st.integers(2, 8), st.integers(1, 40), st.sampled_from(SHARES), st.sampled_from(SHARES))
def test_what_composer_says_is_said_in_composer(count, total, start, level):
    names = [f"layer{number}" for number in range(count)]
    source = configuration({"freeze_start": start, "freeze_level": level}, "composer")
    found = convert(source, "composer", names, total=total)
    assert frozen(found, "composer", total, names) == frozen(source.config, "composer", total, names)


def test_learning_rates_of_vl3d_are_said_in_vl3d():
    rates = [([0, 4], 0.5), ([4, 6], 0.25), ([6, 8], None)]
    source = configuration(
        [{"layers": ["a"], "training_interval": span, "initial_learning_rate": rate} for span, rate in rates], "vl3d"
    )
    found = configuration(convert(source, "vl3d", ["a", "b"], total=9), "vl3d")
    assert segments(found.policy(["a", "b"], total=9), 9) == segments(source.policy(["a", "b"], total=9), 9)
    assert [segment.learning_rate for segment in segments(found.policy(total=9), 9)] == [0.5, 0.25, None]


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_said_elsewhere_is_the_same_at_every_tick(name):
    """Every dialect to every target: to those that can say every set, it is refused for rates and modes alone."""

    @given(CASES[name].requests.filter(lambda request: request["names"]), st.sampled_from(targets()))
    def check(request, to):
        here, there, names, per = dialect(name), dialect(to), request["names"], request["steps_per_epoch"]
        source, total = configuration(request["config"], here), max(1, request["total"])
        total += -total % per if here.unit == "steps" else 0
        run = {"total": total, "steps_per_epoch": per}
        wanted = source.policy(names, **run)
        opened = here.names == "layers" and there.names == "parameters"
        owned = {layer: [f"{layer}.w", f"{layer}.b"] if opened else [layer] for layer in names}
        config = tried(source, there, names, **run, parameters=owned, rates="ignore")
        if isinstance(config, Inexpressible):
            assert to not in ALL_SAY or to == "vl3d" or "rate" in config.what or "mode" in config.what
            return
        steps = per if here.unit != there.unit else 1
        ticks = total * (steps if here.unit == "epochs" else 1)
        known = [parameter for own in owned.values() for parameter in own]
        got = there.policy(config, known, total=ticks // (steps if there.unit == "epochs" else 1), steps_per_epoch=per)
        for tick in range(ticks):
            right, found = (
                policy.at(tick // (steps if spoken.unit == "epochs" else 1))
                for policy, spoken in ((wanted, here), (got, there))
            )
            assert found.frozen == {parameter for layer in right.frozen for parameter in owned[layer]}
            assert found.bn_frozen == right.bn_frozen
            if tick % steps == 0:
                assert found.learning_rate == right.learning_rate

    check()


RUN = {"total": 6, "steps_per_epoch": 3}
LATE = configuration([{"layers": ["body"], "training_interval": [0, 4]}], "vl3d")
OWNED = {"body": ["body.w", "body.b"], "norm": [], "head": ["head.w"]}


def test_the_parameters_of_a_layer_are_frozen_with_it_and_it_with_all_of_them():
    found = convert(LATE, "lighter", ["body", "head"], **RUN, parameters=OWNED)
    assert found == [{"names": ["body.w", "body.b"], "until_step": 12}]
    steps = configuration(found, "lighter")
    assert convert(steps, "vl3d", ["body.w", "body.b", "head.w"], total=18, steps_per_epoch=3, parameters=OWNED) == [
        {"layers": ["body"], "training_interval": [0, 4]}
    ]


def refused(spec, to, *names, **options):
    with pytest.raises(Inexpressible) as caught:
        convert(spec, to, *names, **RUN | options)
    return caught.value.tick, caught.value.names, str(caught.value)


def test_a_refusal_says_what_is_there():
    rated = configuration({"learning_rate": 0.1, "unfreeze_backbone_at_epoch": 2}, "lightning")
    assert refused(rated, "vl3d") == (
        2, ("backbone",), "vl3d cannot say this schedule: at epoch 2 it has learning rates of single names"
    )  # fmt: skip
    assert refused(rated, "nemo")[0] == 6
    assert convert(rated, "two_phase", **RUN, rates="ignore")["Freeze_Epoch"] == 2
    never = configuration({"learning_rate": 0.1, "unfreeze_backbone_at_epoch": 6}, "lightning")
    assert convert(never, "two_phase", **RUN)["Freeze_Epoch"] == 6
    at_once = configuration([{"layers": ["a"], "training_interval": [0, 6], "initial_learning_rate": 0.1}], "vl3d")
    assert refused(at_once, "luxonis")[2].endswith("at epoch 0 it has the learning rate set to 0.1")
    calls = [{"at": 0, "call": "bn_freeze", "do_freeze": True}, {"at": 2, "call": "bn_freeze", "do_freeze": False}]
    modes = configuration({"groups": [["a"]], "batch_norm": ["a"], "calls": calls}, "fastai")
    assert refused(modes, "recorded")[2].endswith("at step 0 it has 'a' in inference mode")
    partly = configuration([{"names": ["body.w"], "until_step": 5}, {"names": ["body.b"], "until_step": 4}], "lighter")
    assert refused(partly, "two_phase", ["body.w", "body.b"], parameters=OWNED)[:2] == (4, ("body.b",))
    many = configuration([{"layers": [*"abcdef"], "training_interval": [2, 4]}], "vl3d")
    assert refused(many, "gradual")[2].endswith("at epoch 2 it has 'a', 'b', 'c', 'd', 'e', … frozen")
    bare = configuration([{"layers": ["norm"], "training_interval": [1, 4]}], "vl3d")
    assert refused(bare, "kempner", ["norm", "head"], parameters=OWNED)[:2] == (3, ("norm",))
    inside = configuration({"freeze_updates": {"enabled": True, "modules": {"a": 4}}}, "nemo")
    assert refused(inside, "vl3d")[2] == "vl3d cannot say this schedule: at step 4 it has 'a' trainable"


@pytest.mark.parametrize(
    ("to", "options", "kind", "message"),
    [
        ("lisa", {}, InvalidSpec, "to = 'lisa' must be a dialect that can be written: vl3d, lighter, "),
        ("kempner", {}, InvalidSpec, "parameters = None must be given: vl3d names layers, and kempner parameters"),
        ("kempner", {"parameters": {"head": ["w"]}}, UnknownName, "parameters: unknown 'body'; known are head"),
        ("kempner", {"parameters": {"body": ["w", "w"]}}, InvalidSpec, "parameters = ['w', 'w'] must be distinct"),
        ("nemo", {"total": 0}, InvalidSpec, "total = 0 must be an integer >= 1"),
        ("nemo", {"rates": "drop"}, InvalidSpec, "rates = 'drop' must be 'refuse' or 'ignore'"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(to, options, kind, message):
    with pytest.raises(kind) as caught:
        convert(LATE, to, **RUN | options)
    assert str(caught.value).startswith(message)


def test_a_schedule_without_names_needs_them():
    with pytest.raises(NeedsModel):
        convert(configuration([], "vl3d"), "nemo", **RUN)


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)),
    st.sampled_from([".yaml", ".yml", ".json"]),
)
@example({"1e-3": "010", "0o10": "yes", "1:30": "<<", "~": "1_000", ".5": "2001-01-01"}, ".yaml")
def test_a_file_that_is_written_reads_as_what_it_was(folder, config, kind):
    path = folder / f"found{kind}"
    path.write_text(text(dialect("vl3d"), config, kind), encoding="utf-8")
    assert read(path) == (dialect("vl3d"), config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("written")
