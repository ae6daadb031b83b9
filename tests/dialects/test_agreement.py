"""Every dialect against its second definition, ``brute_force``, which looks at every tick; and its plain data.

The cases are the kit's. Installed originals are compared in ``peers``.
"""

import json

import brute_force
import jsonschema
import msgspec
import pytest
from hypothesis import event, given
from per_tick import Says, encode, outcome
from refreeze import segments
from refreeze.conformance.cases import in_use, literature
from refreeze.conformance.catalogue import CASES
from refreeze.dialects import dialect

REQUESTS = {name: cases.requests for name, cases in CASES.items()} | {
    "badam in blocks": in_use.badam(listed=True),
    "lisa as axolotl": literature.as_axolotl(),
    "lisa in other keys": literature.as_axolotl().map(lambda request: literature.in_other_keys(request)[0]),
    "luxonis in shares": in_use.luxonis(share=True),
    "luxonis in a model": in_use.luxonis().map(lambda request: in_use.nodes_of_a_model(request)[0]),
    "nemo in a model": in_use.nemo().map(lambda request: in_use.in_a_model(request)[0]),
    "fts alone": in_use.fts()
    .filter(lambda request: "epoch_transitions_only" not in request["config"])
    .map(lambda request: in_use.phases_alone(request)[0]),
    "stop_after of a share": in_use.stop_after(frac=True),
}


def second_definition(request):
    """Return what a request says at a tick."""
    asked = (request[key] for key in ("config", "names", "total", "steps_per_epoch"))
    at = brute_force.DIALECTS[request["dialect"]](*asked)
    return lambda tick: Says(*(frozenset(part) for part in (at(tick)[0], (), *at(tick)[1:])))


@pytest.mark.parametrize("name", REQUESTS)
def test_every_tick_means_what_the_second_definition_says(name):
    @given(REQUESTS[name])
    def check(request):
        names, total = request["names"], request["total"]
        run = {"total": total, "steps_per_epoch": request["steps_per_epoch"]}
        policy = dialect(request["dialect"]).policy(request["config"], names, **run)
        found = outcome(lambda: segments(policy, total))
        assert found == outcome(lambda: encode(second_definition(request), total))
        event(f"segments: {min(len(found), 4)}")
        assert names is None or policy.names <= {*names}
        assert all(policy.frozen_at(tick) <= policy.names for tick in range(total))

    check()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_configuration_is_its_own_plain_data_and_fits_the_schema(name):
    @given(REQUESTS[name])
    def check(request):
        found, asked = dialect(request["dialect"]), request["config"]
        config = found.parse(asked)
        assert found.parse(config) == found.parse(json.loads(json.dumps(asked))) == config
        assert found.parse(msgspec.to_builtins(config)) == config
        jsonschema.validate({"dialect": found.name, "config": asked}, found.file_schema())

    check()


@pytest.mark.parametrize(
    ("name", "config", "governed"),
    [
        ("vl3d", [{"layers": ["a"], "training_interval": [1, 2]}], "a"),
        ("lighter", [{"names": "a"}], "a"),
        ("kempner", {"freeze": [{"module": "a"}, {"module": "b", "frozen": False}]}, "ab"),
        ("fastai", {"groups": [["a"], ["b"]]}, "ab"),
        ("lightning", {"backbone": ["a", "b"], "batch_norm": ["b"]}, "ab"),
        ("composer", {"layers": ["a", "b", "c"]}, "a"),
        ("freezeout", {"layers": ["a", "b"]}, "a"),
        ("gradual", {"groups": [["a"], ["b"]]}, "ab"),
        ("chain_thaw", {"layers": ["a", "b"], "epochs": 1}, "ab"),
        ("lisa", {"layers": ["a", "b"], "n_layers": 1, "step_interval": 1}, "ab"),
    ],
)
def test_a_name_that_is_not_mentioned_keeps_the_state_it_had(name, config, governed):
    """Whoever applies a policy touches only what its configuration is about."""
    assert dialect(name).policy(config, ["a", "b", "c", "d"], total=9).names == {*governed}
