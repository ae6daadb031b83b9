"""VL3D's freeze-training: its meaning tick by tick, its methods and their shapes, and what it rejects."""

import math
import tracemalloc

import brute_force
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import Conflict, EmptySelection, InvalidSpec, NeedsModel, UnknownName, segments
from refreeze.conformance.cases.vl3d import requests
from refreeze.dialects.vl3d import (
    DIALECT,
    Random,
    RoundRobin,
    Spec,
    compute_schedule,
    handle_random_freezing,
    handle_round_robin_freezing,
    resolve_layers,
)
from strategies import LAYERS, WORDS


def told(request, tick):
    """Return what the second definition says about an epoch: what is frozen, and the rate that is set."""
    frozen, rates, _ = brute_force.vl3d(request["config"], request["names"], request["total"], 1)(tick)
    return frozen, min(rates, default=None)


@given(requests().filter(lambda request: request["names"]))
def test_SCH_5_compute_schedule_says_what_changes_and_when(request):
    """Strictly increasing epochs, layers in declaration order; done in turn, the operations are the run."""
    total, names = request["total"], request["names"]
    op_epoch, ops, lrs = compute_schedule(request["config"], total, names)
    assert len(op_epoch) == len(ops) == len(lrs)
    assert op_epoch == sorted(set(op_epoch) & set(range(total)))
    frozen: set[str] = set()
    for tick in range(total):
        expected, rate = told(request, tick)
        if tick in op_epoch:
            index = op_epoch.index(tick)
            assert set(ops[index]) == {"freeze", "unfreeze"}
            assert all(changed == sorted(changed, key=names.index) for changed in ops[index].values())
            assert not frozen & set(ops[index]["freeze"])
            assert frozen >= set(ops[index]["unfreeze"])
            assert lrs[index] == rate
            assert ops[index]["freeze"] or ops[index]["unfreeze"] or rate is not None
            frozen = (frozen | set(ops[index]["freeze"])) - set(ops[index]["unfreeze"])
        else:
            assert rate is None
        assert frozen == expected, f"epoch {tick}"


SILENT = {"layers": ["stem"], "training_interval": [500, 501]}


def spec(**changes):
    strategy = {"type": "round_robin", "window_size": 2, "iterative_span": 3}
    return {"layers": ["a", "b", "c"], "training_interval": [2, 12], "strategy": strategy} | changes


def random(**changes):
    return spec(strategy={"type": "random", "window_size": 1, "iterative_span": 3} | changes)


def test_RND_1_the_number_of_the_spec_is_part_of_the_key():
    policy = DIALECT.policy([random() | {"training_interval": [0, 60]}] * 2, total=60)
    assert {len(policy.frozen_at(tick)) for tick in range(60)} == {1, 2}  # two draws with one seed differ at times


def test_RR_2_an_interval_that_ends_early_leaves_a_trailing_unfrozen_segment():
    last = segments(DIALECT.policy([spec()], total=20), 20)[-1]
    assert (last.start, last.stop, last.frozen) == (12, 20, frozenset())


def test_a_spec_without_a_strategy_freezes_all_its_layers_and_sets_its_rate_once():
    for strategy in ({}, {"strategy": None}):
        config = [{"layers": ["a", "b"], "training_interval": [3, 6], "initial_learning_rate": 0.5, **strategy}]
        assert compute_schedule(config, 10) == (
            [3, 6],
            [{"freeze": ["a", "b"], "unfreeze": []}, {"freeze": [], "unfreeze": ["a", "b"]}],
            [0.5, None],
        )


def test_the_rate_is_set_wherever_a_window_begins_even_if_the_layers_stay():
    strategy = {"type": "round_robin", "window_size": 2, "iterative_span": 4}
    config = [spec(layers=["a", "b"], strategy=strategy, initial_learning_rate=0.1)]
    assert compute_schedule(config, 12) == (
        [2, 6, 10],
        [{"freeze": ["a", "b"], "unfreeze": []}, *[{"freeze": [], "unfreeze": []}] * 2],
        [0.1, 0.1, 0.1],
    )


def test_layers_come_in_declaration_order_with_names_and_in_the_order_of_the_specs_without():
    config = [spec(layers=["c", "a"], strategy=None), spec(layers=["b", "c"], strategy=None)]
    assert compute_schedule(config, 5, ["a", "b", "c"])[1] == [{"freeze": ["a", "b", "c"], "unfreeze": []}]
    assert compute_schedule(config, 5)[1] == [{"freeze": ["c", "a", "b"], "unfreeze": []}]


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_no_specification_freezes_nothing(nothing):
    assert compute_schedule(nothing, 10) == ([], [], [])


def test_SCH_1_no_epochs_no_operations():
    assert compute_schedule([spec(initial_learning_rate=0.1)], 0) == ([], [], [])


def test_a_configuration_may_be_objects_as_well_as_plain_data():
    objects = [
        Spec(layers=("a", "b"), training_interval=(0, 8), strategy=RoundRobin(window_size=1, iterative_span=3)),
        Spec(layers="all", training_interval=(2, 9), strategy=Random(window_size=1, iterative_span=2, seed=9)),
        Spec(layers="all_reverse", training_interval=(4, 5), initial_learning_rate=0.1),
    ]
    moving, drawn = {"window_size": 1, "iterative_span": 3}, {"window_size": 1, "iterative_span": 2, "seed": 9}
    plain = [
        {"layers": ["a", "b"], "training_interval": [0, 8], "strategy": {"type": "round_robin", **moving}},
        {"layers": "all", "training_interval": (2, 9), "strategy": {"type": "random", **drawn}},
        {"layers": "all_reverse", "training_interval": [4, 5], "strategy": None, "initial_learning_rate": 0.1},
    ]
    assert DIALECT.parse(objects) == DIALECT.parse(plain) == tuple(objects)
    assert compute_schedule(objects, 12, ["a", "b"]) == compute_schedule(plain, 12, ["a", "b"])


@given(st.lists(st.sampled_from(LAYERS), unique=True, min_size=1), st.integers(0, 4))
def test_NAM_1_all_is_every_name_in_declaration_order_and_all_reverse_the_reverse(names, index):
    assert resolve_layers("all", index, names) == names
    assert resolve_layers("all_reverse", index, names) == names[::-1]


@pytest.mark.parametrize(
    ("layers", "names", "resolved"),
    [
        (["b", "a"], None, ["b", "a"]),
        (("b", "a"), ["a", "b"], ["b", "a"]),
        (["head", "body"], LAYERS, ["head", "body/conv1", "body/conv2", "body/deep/conv3"]),
        (["body/deep", "stem"], LAYERS, ["body/deep/conv3", "stem"]),
        (["*conv[13]", {"each": "?e*"}], LAYERS, ["body/conv1", "body/deep/conv3", "neck", "head"]),
    ],
)
def test_NAM_3_resolve_layers_keeps_the_order_of_the_entry_and_opens_containers(layers, names, resolved):
    assert resolve_layers(layers, 0, names) == resolved
    assert brute_force.flat(brute_force.select(layers, names or resolved)) == resolved


def test_NAM_4_a_window_moves_containers_and_patterns_as_a_whole():
    """Where VL3D calls get_layer(name), that is a nested model with all that is in it."""
    names = ["b1/q", "b1/norm", "b2/q", "b2/norm", "head"]
    windows = {}
    for layers in (["b1", "b2", "head"], [{"each": "b?"}, "head"], ["b1/*", "b2", "h*"]):
        config = [
            spec(layers=layers, training_interval=[0, 3], strategy=STRATEGY | {"iterative_span": 1, "window_size": 1})
        ]
        windows[str(layers)] = [sorted(DIALECT.policy(config, names, total=3).frozen_at(tick)) for tick in range(3)]
    assert set(map(str, windows.values())) == {"[['b1/norm', 'b1/q'], ['b2/norm', 'b2/q'], ['head']]"}


def test_NAM_1_all_reverse_is_the_order_in_which_windows_move():
    strategy = {"type": "round_robin", "window_size": 1, "iterative_span": 1}
    policy = DIALECT.policy(
        [spec(layers="all_reverse", training_interval=[0, 3], strategy=strategy)], ["a", "b", "c"], total=3
    )
    assert [min(policy.frozen_at(tick)) for tick in range(3)] == ["c", "b", "a"]


@given(
    st.integers(0, 9),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["round_robin", "random"]),
    WORDS,
    st.integers(0, 3),
)
def test_the_handlers_say_what_compute_schedule_says(start, length, window, span, kind, seed, spec_index):
    """``(epochs, ops)`` for one specification; the last operation ends it."""
    layers, strategy = ["d", "b", "a", "c"], {"window_size": window, "iterative_span": span}
    interval = [start, start + length]
    if kind == "random":
        strategy["seed"] = seed
        handled = handle_random_freezing(layers, interval, strategy, spec_index)
    else:
        handled = handle_round_robin_freezing(layers, interval, strategy)
    one = {"layers": layers, "training_interval": interval, "strategy": {"type": kind, **strategy}}
    assert handled == compute_schedule([*[SILENT] * spec_index, one], start + length + 1)[:2]
    assert handled[0][-1] == start + length
    assert not handled[1][-1]["freeze"]


def test_the_handlers_take_a_strategy_with_or_without_its_type():
    strategy = {"window_size": 1, "iterative_span": 2}
    assert handle_round_robin_freezing(["a", "b"], (0, 4), strategy | {"type": "round_robin"}) == (
        [0, 2, 4],
        [{"freeze": ["a"], "unfreeze": []}, {"freeze": ["b"], "unfreeze": ["a"]}, {"freeze": [], "unfreeze": ["b"]}],
    )
    named = handle_random_freezing(("a", "b"), [0, 4], strategy | {"type": "random"})
    assert named == handle_random_freezing(("a", "b"), [0, 4], strategy)
    assert named == handle_random_freezing(("a", "b"), [0, 4], strategy, 0)


STRATEGY = spec()["strategy"]
TWO = {"window_size": 1, "iterative_span": 2}
NEEDS_MODEL = "can be resolved only with a model or a list of names"
NOT_LAYERS = "must be a list of layers, 'all' or 'all_reverse'"
NOT_INTERVAL = "must be [start, stop) with start < stop"
FIRST = "freeze_training[0]"
BAD_CONFIGURATIONS = [
    (spec(strategy=STRATEGY | {"window_size": 0}), f"{FIRST}.strategy.window_size = 0 must be int >= 1"),
    (spec(strategy=STRATEGY | {"window_size": 4}), f"{FIRST}.strategy.window_size = 4 must be in 1..3"),
    (spec(strategy=STRATEGY | {"window_size": True}), f"{FIRST}.strategy.window_size = True must be int"),
    (spec(strategy=STRATEGY | {"window_size": 2.0}), f"{FIRST}.strategy.window_size = 2.0 must be int"),
    (spec(strategy=STRATEGY | {"window_size": np.int64(2)}), f"{FIRST}.strategy.window_size = np.int64(2) must be int"),
    (spec(strategy=STRATEGY | {"iterative_span": 0}), f"{FIRST}.strategy.iterative_span = 0 must be int >= 1"),
    (spec(strategy=STRATEGY | {"iterative_span": False}), f"{FIRST}.strategy.iterative_span = False must be int"),
    (random(window_size=4), f"{FIRST}.strategy.window_size = 4 must be in 1..3"),
    (random(seed=-1), f"{FIRST}.strategy.seed = -1 must be int >= 0"),
    (random(seed=2**64), f"{FIRST}.strategy.seed = 18446744073709551616 must be an integer in [0, 2**64)"),
    (random(seed=2**70), f"{FIRST}.strategy.seed = 1180591620717411303424 must be an integer in [0, 2**64)"),
    (random(seed=True), f"{FIRST}.strategy.seed = True must be int"),
    (random(seed="1"), f"{FIRST}.strategy.seed = '1' must be int"),
    (random(seed=None), f"{FIRST}.strategy.seed = None must be int"),
    (
        spec(strategy=STRATEGY | {"seed": 3}),
        f"{FIRST}.strategy = {STRATEGY | {'seed': 3}} must be an object "
        "without the key 'seed' (known are iterative_span, type, window_size)",
    ),
    (spec(strategy={}), f"{FIRST}.strategy = {{}} must be an object with the key 'type'"),
    (spec(strategy="random"), f"{FIRST}.strategy = 'random' must be object | null"),
    (
        spec(strategy={"type": "round_robin", "window_size": 2}),
        f"{FIRST}.strategy = {{'type': 'round_robin', 'window_size': 2}} must be an object "
        "with the key 'iterative_span'",
    ),
    (spec(training_interval=[12, 2]), f"{FIRST}.training_interval = [12, 2] {NOT_INTERVAL}"),
    (spec(training_interval=[5, 5]), f"{FIRST}.training_interval = [5, 5] {NOT_INTERVAL}"),
    (spec(training_interval=[-1, 5]), f"{FIRST}.training_interval[0] = -1 must be int >= 0"),
    (spec(training_interval=[True, 5]), f"{FIRST}.training_interval[0] = True must be int"),
    (spec(training_interval=[0, 5.0]), f"{FIRST}.training_interval[1] = 5.0 must be int"),
    (spec(training_interval=[0, np.int64(5)]), f"{FIRST}.training_interval[1] = np.int64(5) must be int"),
    (spec(training_interval=(1, 2, 3)), f"{FIRST}.training_interval = (1, 2, 3) must be array of length 2"),
    (spec(training_interval=5), f"{FIRST}.training_interval = 5 must be array"),
    (spec(layers="every"), f"{FIRST}.layers = 'every' must be one of 'all', 'all_reverse', or a list"),
    (spec(layers=None), f"{FIRST}.layers = None must be str | array"),
    (spec(layers=["a", 1]), f"{FIRST}.layers[1] = 1 must be str | object"),
    (spec(layers=["a", "b", "a"]), f"{FIRST}.layers = ['a', 'b', 'a'] must be distinct names (repeated: 'a')"),
    (spec(layers=[{"each": "b"}]), f"{FIRST}.layers[0].each = 'b' must be str matching regex '[*?\\\\[]'"),
    (spec(initial_learning_rate=-0.1), f"{FIRST}.initial_learning_rate = -0.1 must be float > 0.0"),
    (spec(initial_learning_rate=math.nan), f"{FIRST}.initial_learning_rate = nan must be float > 0.0"),
    (spec(initial_learning_rate=math.inf), f"{FIRST}.initial_learning_rate = inf must be finite"),
    (spec(initial_learning_rate=True), f"{FIRST}.initial_learning_rate = True must be float | null"),
    (spec(initial_learning_rate="0.1"), f"{FIRST}.initial_learning_rate = '0.1' must be float | null"),
    ({"layers": ["a"]}, f"{FIRST} = {{'layers': ['a']}} must be an object with the key 'training_interval'"),
    ([], f"{FIRST} = [] must be object"),
]


IDS = [message.replace("\\", "") for _, message in BAD_CONFIGURATIONS]  # pytest finds no test by a backslash


@pytest.mark.parametrize(("bad", "message"), BAD_CONFIGURATIONS, ids=IDS)
def test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed(bad, message):
    with pytest.raises(InvalidSpec) as caught:
        compute_schedule([bad], 20)
    assert str(caught.value) == message
    with pytest.raises(InvalidSpec) as caught:
        compute_schedule([spec(), bad], 20)
    assert str(caught.value) == message.replace("[0]", "[1]", 1)


BAD_CALLS = [
    (lambda: compute_schedule({}, 20), InvalidSpec, "freeze_training = {} must be array"),
    (lambda: compute_schedule("all", 20), InvalidSpec, "freeze_training = 'all' must be array"),
    (lambda: compute_schedule([], -1), InvalidSpec, "total = -1 must be an integer >= 0"),
    (lambda: compute_schedule([], True), InvalidSpec, "total = True must be an integer >= 0"),
    (lambda: compute_schedule([], np.int64(5)), InvalidSpec, "total = np.int64(5) must be an integer >= 0"),
    (
        lambda: compute_schedule([spec(layers="all")], 20),
        NeedsModel,
        f"{FIRST}.layers = 'all' {NEEDS_MODEL}",
    ),
    (
        lambda: compute_schedule([spec(), spec(layers="all_reverse")], 20),
        NeedsModel,
        f"freeze_training[1].layers = 'all_reverse' {NEEDS_MODEL}",
    ),
    (lambda: compute_schedule([spec(layers="all")], 20, []), EmptySelection, f"{FIRST}.layers = 'all' matches no name"),
    (
        lambda: compute_schedule([spec(), spec(layers=["cnov1", "b", "d"])], 20, ["a", "b", "c", "conv1"]),
        UnknownName,
        "freeze_training[1].layers: unknown 'cnov1' (did you mean 'conv1'?), 'd'; known are a, b, c, conv1",
    ),
    (
        lambda: compute_schedule([spec(layers=["a", {"each": "b*"}])], 20),
        NeedsModel,
        f"{FIRST}.layers[1] = 'b*' {NEEDS_MODEL}",
    ),
    (
        lambda: compute_schedule([spec(), spec(layers=["a", "b?"])], 20, ["a", "b", "c"]),
        EmptySelection,
        "freeze_training[1].layers[1] = 'b?' matches no name",
    ),
    (
        lambda: compute_schedule([spec(layers=["body", "body/x"], strategy=None)], 20, ["body/x", "body/y"]),
        InvalidSpec,
        f"{FIRST}.layers = ['body/x', 'body/y', 'body/x'] must be distinct names (repeated: 'body/x')",
    ),
    (
        lambda: compute_schedule([spec(initial_learning_rate=0.1), spec(initial_learning_rate=0.2)], 20),
        Conflict,
        "tick 2: learning rates 0.1, 0.2 are set at once; one may be",
    ),
    (
        lambda: compute_schedule(
            [spec(initial_learning_rate=0.1), spec(training_interval=[5, 9], initial_learning_rate=0.2)], 20
        ),
        Conflict,
        "tick 5: learning rates 0.1, 0.2 are set at once; one may be",
    ),
    (lambda: resolve_layers([], 3), EmptySelection, "freeze_training[3].layers = [] matches no name"),
    (lambda: resolve_layers("all", 3), NeedsModel, f"freeze_training[3].layers = 'all' {NEEDS_MODEL}"),
    (
        lambda: resolve_layers("a", 3),
        InvalidSpec,
        f"freeze_training[3].layers = 'a' {NOT_LAYERS}",
    ),
    (
        lambda: resolve_layers(5, 0),
        InvalidSpec,
        f"freeze_training[0].layers = 5 {NOT_LAYERS}",
    ),
    (
        lambda: resolve_layers(["a", 5], 0),
        InvalidSpec,
        f"freeze_training[0].layers = ['a', 5] {NOT_LAYERS}",
    ),
    (lambda: handle_round_robin_freezing("all", [0, 4], TWO), NeedsModel, f"{FIRST}.layers = 'all' {NEEDS_MODEL}"),
    (lambda: handle_round_robin_freezing(5, [0, 4], TWO), InvalidSpec, f"{FIRST}.layers = 5 must be str | array"),
    (
        lambda: handle_round_robin_freezing(["a"], 5, TWO),
        InvalidSpec,
        f"{FIRST}.training_interval = 5 must be array",
    ),
    (
        lambda: handle_round_robin_freezing(["a"], [4, 0], TWO),
        InvalidSpec,
        f"{FIRST}.training_interval = [4, 0] {NOT_INTERVAL}",
    ),
    (
        lambda: handle_round_robin_freezing(["a"], [0, 4], TWO | {"type": "random"}),
        InvalidSpec,
        "strategy = {'window_size': 1, 'iterative_span': 2, 'type': 'random'} must be an object "
        "of the type 'round_robin'",
    ),
    (
        lambda: handle_random_freezing(["a"], [0, 4], None),
        InvalidSpec,
        "strategy = None must be an object of the type 'random'",
    ),
    (
        lambda: handle_random_freezing(["a", "b"], [0, 4], TWO | {"window_size": 3}, 2),
        InvalidSpec,
        "freeze_training[2].strategy.window_size = 3 must be in 1..2",
    ),
    (
        lambda: handle_random_freezing(["a", "b"], [0, 4], TWO, -1),
        InvalidSpec,
        "spec_index = -1 must be an integer >= 0",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS, ids=[message for *_, message in BAD_CALLS])
def test_a_bad_call_is_rejected_with_what_is_allowed(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_SCH_6_rates_beyond_the_run_are_no_conflict():
    config = [spec(initial_learning_rate=0.1), spec(training_interval=[5, 9], initial_learning_rate=0.2)]
    assert compute_schedule(config, 5)[2] == [0.1]


def test_a_million_epochs_and_a_thousand_layers():
    names = [f"layer{number}" for number in range(1000)]
    strategy = {"type": "round_robin", "window_size": 100, "iterative_span": 10**4}
    config = [{"layers": "all", "training_interval": [0, 10**6], "strategy": strategy, "initial_learning_rate": 0.1}]
    tracemalloc.start()
    try:
        assert len(compute_schedule(config, 10**6, names)[0]) == 100
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
