"""The schedules in use, and LISA's variants: errors and rates."""

import pytest
from refreeze import EmptySelection, InvalidSpec, NeedsModel, UnknownName
from refreeze.dialects import dialect

ONE_OF = "config = {} must be an object with exactly one of freeze_finetune_updates, "
PHASE = {"params": ["a"]}
ACTIVE = {"active": True}
BAD = [
    ("updates", {"modules": ["a"]}, InvalidSpec, ONE_OF),
    ("updates", {"modules": ["x"], "warmup_steps": 1}, UnknownName, "modules: unknown 'x'"),
    ("nemo", {"freeze_updates": {"modules": {"x": 1}}}, UnknownName, "freeze_updates.modules: unknown 'x'"),
    ("nemo", {"freeze_updates": {"modules": {"a": [1]}}}, InvalidSpec, "freeze_updates.modules"),
    ("stop_after", {"part": ["a"]}, InvalidSpec, "config = {} must be an object with exactly one of stop"),
    (
        "stop_after",
        {"part": ["a"], "stop_training_after": 1, "stop_training_after_unit": "HOUR"},
        InvalidSpec,
        "stop_training_after_unit = 'HOUR' must be one of",
    ),
    ("two_phase", {"freeze_layers": 5}, InvalidSpec, "freeze_layers = 5 must be in 1..4"),
    (
        "two_phase",
        {"freeze_layers": 1, "Freeze_Epoch": 9, "UnFreeze_Epoch": 8},
        InvalidSpec,
        "UnFreeze_Epoch = 8 must be >= Freeze_Epoch, 9",
    ),
    ("dino", {}, InvalidSpec, "config = {} must be an object with exactly one of freeze_last_layer, "),
    ("dino", {"freeze_last_layer": 1}, EmptySelection, "names = 'last_layer' matches no name"),
    (
        "luxonis",
        [{"name": "a", "freezing": ACTIVE}, {"name": "a", "freezing": ACTIVE}],
        InvalidSpec,
        "nodes = ['a', 'a'] must be distinct names (repeated: 'a')",
    ),
    ("luxonis", "all", InvalidSpec, "nodes = 'all' must be array"),
    ("luxonis", {"model": {"nodes": ["a"]}}, InvalidSpec, "nodes[0] = 'a' must be object"),
    (
        "recorded",
        {"decisions": [[1, []]]},
        InvalidSpec,
        "decisions = [1] must be ticks that begin with 0 and increase ",
    ),
    ("recorded", {"decisions": [[0, ["a", "a"]]]}, InvalidSpec, "decisions[0] = ['a', 'a'] must be distinct names"),
    ("recorded", {"decisions": [[0, ["x"]]]}, UnknownName, "decisions: unknown 'x'"),
    (
        "badam",
        {"switch_block_every": 0, "block_prefix_list": [["a"]]},
        InvalidSpec,
        "switch_block_every = 0 must be an ",
    ),
    (
        "badam",
        {"switch_mode": "fixed", "block_prefix_list": [["a"]]},
        InvalidSpec,
        "start_block = None must be in 0..0",
    ),
    ("badam", [], InvalidSpec, "config = [] must be object"),
    ("badam", {}, EmptySelection, "block_prefix_list = [] matches no name"),
    (
        "badam",
        {"block_prefix_list": [["a"], ["a"]]},
        InvalidSpec,
        "block_prefix_list = ['a'] must be parameters of one ",
    ),
    ("fts", [], InvalidSpec, "config = [] must be object"),
    ("fts", {"ft_schedule": []}, InvalidSpec, "ft_schedule = [] must be object"),
    ("fts", {0: PHASE, "0": PHASE}, InvalidSpec, "ft_schedule = [(0, "),
    (
        "fts",
        {0: PHASE, 2: PHASE},
        InvalidSpec,
        "ft_schedule = ['0', '2'] must be the numbers of phases from 0, with no",
    ),
    (
        "fts",
        {0: PHASE, 1: {"params": ["b"]}},
        InvalidSpec,
        "ft_schedule.0.max_transition_epoch = -1 must be an epoch; ",
    ),
    (
        "fts",
        {0: {"params": ["("]}},
        InvalidSpec,
        "ft_schedule.0.params = '(' must be a name, or a regular expression (",
    ),
    ("fts", {0: {"params": ["x"]}}, EmptySelection, "ft_schedule.0.params = 'x' matches no name"),
    ("fts", {0: {"params": ["a", "."]}}, InvalidSpec, "ft_schedule = ['a', 'a', 'b', 'c', 'd'] must be distinct names"),
    ("lisa", {"lisa_n_layers": 1, "n_layers": 1, "step_interval": 1}, InvalidSpec, "config = "),
    (
        "lisa",
        {"lisa_n_layers": 1, "lisa_step_interval": 1, "lisa_layers_attribute": "h"},
        EmptySelection,
        "layers[0] = ",
    ),
]


@pytest.mark.parametrize(("name", "config", "kind", "message"), BAD)
def test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed(name, config, kind, message):
    with pytest.raises(kind) as caught:
        dialect(name).policy(config, ["a", "b", "c", "d"], total=9)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("two_phase", {"freeze_layers": 1}),
        ("dino", {"freeze_last_layer": 1}),
        ("badam", {}),
        ("fts", {0: PHASE}),
        ("lisa", {"lisa_n_layers": 1, "lisa_step_interval": 1, "lisa_layers_attribute": "model.layers"}),
    ],
)
def test_without_names_it_is_an_error(name, config):
    with pytest.raises(NeedsModel):
        dialect(name).policy(config, total=9)


def test_a_node_gets_its_rate_at_the_epoch_that_thaws_it():
    nodes = [{"name": "a", "freezing": ACTIVE | {"unfreeze_after": 2, "lr_after_unfreeze": 0.5}}, {"name": "b"}]
    rates = dialect("luxonis").learning_rates(nodes, ["a", "b"], total=4)
    assert [rates.learning_rates_at(epoch) for epoch in range(4)] == [{}, {}, {"a": 0.5}, {"a": 0.5}]
    assert (rates.names, rates.boundaries(0, 4), rates.boundaries(2, 4)) == ({"a"}, [2], [])
    assert dialect("luxonis").learning_rates(nodes[1:], ["a", "b"], total=4) is None


def test_the_rate_of_phase_0_has_no_effect_and_a_later_phase_has_the_default_or_its_own():
    phases = {0: {"params": ["a"], "max_transition_epoch": 1, "lr": 0.5}}
    assert dialect("fts").learning_rates(phases, ["a"], total=4) is None
    phases |= {1: {"params": ["b"], "max_transition_epoch": 3}, 2: {"params": ["c"], "lr": 0.25}}
    rates = dialect("fts").learning_rates(phases, ["a", "b", "c"], total=4)
    assert [rates.learning_rates_at(epoch) for epoch in (0, 1, 3)] == [{}, {"b": 1e-5}, {"b": 1e-5, "c": 0.25}]
    config = {"ft_schedule": phases, "max_depth": 1, "base_max_lr": 0.125}
    assert dialect("fts").learning_rates(config, ["a", "b", "c"], total=4).learning_rates_at(3) == {"b": 0.125}
