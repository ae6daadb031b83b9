"""Dialects of systems in use say at every tick what the installed original does, in 1,000 random configurations."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from refreeze.conformance.cases import in_use, literature
from refreeze.dialects import dialect

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from peers import originals

pytestmark = pytest.mark.peers
ORIGINALS = {  # dialect: the package, the file, what stands in, its adapter, cases
    "luxonis": ("luxonis_train", ["lightning.freezing"], ["loguru"], originals.luxonis, in_use.luxonis()),
    "nemo": ("nemo", ["core.classes.modelPT"], ["lightning", "omegaconf"], originals.nemo, in_use.nemo()),
    "fts": ("finetuning_scheduler", ["fts", "fts_supporters"], ["lightning", "yaml"], originals.fts, in_use.fts()),
    "badam": ("badam", ["block_optim"], ["transformers", "deepspeed"], originals.badam, in_use.badam()),
    "lisa": ("swift", ["callbacks.lisa"], ["accelerate", "transformers"], originals.lisa, literature.as_axolotl()),
}


def is_asked(request):
    """Whether the original can say it: its own keys, and shares that floating point multiplies exactly."""
    config, name = request["config"], request["dialect"]
    if name == "luxonis":
        shares = [node.get("freezing", {}).get("unfreeze_after") for node in config]
        exact = (Fraction(str(share)) for share in shares if isinstance(share, float))
        return all(math.floor(share * request["total"]) == int(float(share) * request["total"]) for share in exact)
    if name == "fts":
        return all("max_transition_epoch" in phase for phase in config["ft_schedule"].values())
    if name == "lisa":  # for K = 1 the number of a draw is the step's in both, from step 2 on one more
        return config["step_interval"] > 1 and not {"always_on", "layers"} & config.keys()
    return name != "badam" or config.get("switch_block_every", 50) != 0


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_dialect_says_at_every_tick_what_its_original_does(name):
    package, files, missing, adapter, requests = ORIGINALS[name]
    if None in (importlib.util.find_spec(package), importlib.util.find_spec("torch")):
        pytest.skip(f"{package} or torch is not installed")
    drive = functools.partial(adapter, *(originals.load(f"{package}.{file}", *missing) for file in files))

    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(requests.filter(is_asked))
    def check(request):
        total, names, per = request["total"], request["names"], request["steps_per_epoch"]
        policy = dialect(name).policy(request["config"], names, total=total, steps_per_epoch=per)
        means = [set(policy.frozen_at(tick)) for tick in range(total)]
        if name in ("nemo", "luxonis"):  # they speak of modules, which may be containers
            said = [
                {n for n in names for module in now if n == module or n.startswith(f"{module}/")}
                for now in drive(request)
            ]
            assert means == said
        else:
            assert means == drive(request)

    check()
