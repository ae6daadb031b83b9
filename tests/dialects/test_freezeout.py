"""FreezeOut: the shares, the strict boundary, the cosines, errors."""

import math

import brute_force
import pytest
from hypothesis import given
from refreeze import InvalidSpec
from refreeze.conformance.catalogue import CASES
from refreeze.dialects import dialect
from refreeze.dialects.freezeout import DIALECT

THREE = ("stem", "body", "head")


def starts(total, names=THREE, **config):
    """Return the first frozen step of each layer, or None."""
    policy = DIALECT.policy(config, names, total=total)
    return [next((step for step in range(total) if name in policy.frozen_at(step)), None) for name in names]


def test_the_defaults_are_those_of_the_script():
    assert starts(1000) == [513, 730, None], "0.8 ** 3 = 0.512, 0.9 ** 3 = 0.729, strictly after"
    assert starts(1000, how_scale="squared") == [641, 811, None]
    assert starts(1000, how_scale="linear") == [801, 901, None]


def test_the_boundary_is_strict():
    """0.5 of 10 steps: step 5 is still trained, as the script freezes at j > max_j."""
    assert starts(10, t_0=0.5, how_scale="linear") == [6, 8, None]


def test_a_single_layer_and_t_0_of_the_whole_run_freeze_nothing():
    assert starts(10, names=("only",), t_0=0.1) == [None]
    assert starts(10, t_0=1) == [None, None, None]


def script(config, units, total):
    """As the script works: rates by layer and step, of layers that are active; in floats, as there."""
    t_0 = config.get("t_0", 0.8)
    t_0 = int(t_0.split("/")[0]) / int(t_0.split("/")[1]) if isinstance(t_0, str) else t_0
    power = ["linear", "squared", "cubic"].index(config.get("how_scale", "cubic")) + 1
    for i, name in ((i, name) for i, unit in enumerate(units) for name in unit):
        lr_ratio = 1.0 if i == len(units) - 1 else (t_0 + (1 - t_0) * i / (len(units) - 1)) ** power
        max_j = total * lr_ratio
        for j in range(total):
            scale = config.get("learning_rate", 0.1) / 2 / (lr_ratio if config.get("scale_lr", True) else 1)
            yield name, j, scale * (1 + math.cos(math.pi * j / max_j))


@given(CASES["freezeout"].requests)
def test_the_rates_are_those_of_the_script_while_a_layer_trains(request):
    config, names, total = request["config"], request["names"], request["total"]
    units = brute_force.layers_of(config, names)
    rates, policy = (ask(config, names, total=total) for ask in (DIALECT.learning_rates, DIALECT.policy))
    for name, step, expected in script(config, units, total):
        if name not in policy.frozen_at(step):
            assert rates.learning_rates_at(step)[name] == pytest.approx(expected, rel=1e-9, abs=1e-15)
    every = {*brute_force.flat(units)}
    assert all(rates.learning_rates_at(step).keys() == every - policy.frozen_at(step) for step in range(total))
    assert total == 0 or rates.names == every


def test_the_rates_start_at_the_peak_and_change_at_every_step():
    rates = DIALECT.learning_rates({"learning_rate": 0.5, "scale_lr": False}, THREE, total=5)
    assert rates.learning_rates_at(0) == dict.fromkeys(THREE, 0.5)
    assert list(rates.boundaries(0, 5)) == [1, 2, 3, 4]
    assert DIALECT.learning_rates({"learning_rate": 0.512}, THREE, total=5).learning_rates_at(0)["stem"] == 1.0


def test_a_share_too_small_to_divide_by_is_rejected():
    tiny = {"t_0": 1e-120}
    with pytest.raises(InvalidSpec, match="t_0 = 1e-120 must be a share by which learning_rate can be divided"):
        DIALECT.learning_rates(tiny, THREE, total=5)
    unscaled = DIALECT.learning_rates(tiny | {"scale_lr": False}, THREE, total=5)
    assert set(unscaled.learning_rates_at(1)) == {"head"}


def test_a_dialect_without_rates_has_none():
    assert dialect("composer").learning_rates({}, THREE, total=5) is None


@pytest.mark.parametrize("t_0", [0, "0/7"])
def test_a_share_of_nothing_has_no_rates(t_0):
    with pytest.raises(InvalidSpec, match=r"t_0 = .* must be in \(0, 1\]"):
        DIALECT.learning_rates({"t_0": t_0}, THREE, total=9)
