"""The schedules in use, and LISA's variants: errors and rates."""

from refreeze.dialects import dialect

ACTIVE = {"active": True}


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
