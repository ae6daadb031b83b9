"""The same schedule, written in two dialects, has the same segments."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import NeedsModel, segments
from refreeze.dialects import dialect

PLAIN = ("a", "b", "c", "d", "e")
BACKBONE = ("backbone/conv1", "backbone/conv2", "head")
numbers = st.integers(1, 8)


def first_layers_until(boundary):
    """Freeze a and b until ``boundary``: the plainest schedule there is."""
    return [
        ("vl3d", [{"layers": ["a", "b"], "training_interval": [0, boundary]}]),
        ("lighter", [{"names": ["a", "b"], "until_epoch": boundary}]),
        ("lighter", [{"names": "a", "until_step": boundary}, {"name_starts_with": "b", "start_epoch": boundary}]),
        (
            "kempner",
            {
                "freeze": [{"module": "[ab]"}],
                "freeze_schedule": [{"start_step": boundary, "specs": [{"module": "[ab]", "frozen": False}]}],
            },
        ),
        (
            "fastai",
            {
                "groups": [["a", "b"], ["c", "d", "e"]],
                "calls": [{"at": 0, "call": "freeze"}, {"at": boundary, "call": "unfreeze"}],
            },
        ),
        ("gradual", {"groups": [["a", "b"], ["c", "d", "e"]], "every": boundary}),
        ("lightning", {"backbone": ["a", "b"], "unfreeze_backbone_at_epoch": boundary}),
    ]


def one_by_one_from_the_end(every):
    """ULMFiT's gradual unfreezing of five layers."""
    return [
        ("gradual", {"every": every}),
        ("lighter", [{"names": ["d", "c", "b", "a"], "unfreeze_every_n_epochs": every}]),
        (
            "fastai",
            {
                "groups": [[name] for name in PLAIN],
                "calls": [{"at": k * every, "call": "freeze_to", "n": -1 - k} for k in range(5)],
            },
        ),
        ("vl3d", [{"layers": [name], "training_interval": [0, (4 - i) * every]} for i, name in enumerate("abcd")]),
    ]


def each_alone(epochs):
    """Chain-thaw: e, a, b, c, d, then all."""
    order = [*"eabcd"]
    return [
        ("chain_thaw", {"epochs": epochs}),
        (
            "kempner",
            {
                "freeze": [{"module": "*"}, {"module": "e", "frozen": False}],
                "freeze_schedule": [
                    *(
                        {"start_step": k * epochs, "specs": [{"module": before}, {"module": name, "frozen": False}]}
                        for k, (before, name) in enumerate(itertools.pairwise(order), start=1)
                    ),
                    {"start_step": 5 * epochs, "specs": [{"module": name, "frozen": False} for name in order]},
                ],
            },
        ),
        (
            "vl3d",
            [
                {"layers": [n for n in PLAIN if n != name], "training_interval": [k * epochs, (k + 1) * epochs]}
                for k, name in enumerate(order)
            ],
        ),
    ]


def linear_from_the_input(total):
    """Composer from the first epoch on, five layers: layer i freezes when i + 1 quarters of the run are over."""
    return [
        ("composer", {"freeze_start": 0}),
        (
            "vl3d",
            [
                {"layers": [name], "training_interval": [-(-total * k // 4), total]}
                for k, name in enumerate("abc", start=1)
                if -(-total * k // 4) < total
            ],
        ),
    ]


def nothing(total):
    """LISA with all layers drawn, FreezeOut with the whole run: two ways to freeze nothing."""
    return [
        ("lisa", {"n_layers": 5, "step_interval": total}),
        ("freezeout", {"t_0": 1}),
        ("composer", {"freeze_level": 0}),
        ("vl3d", []),
        ("kempner", {"freeze": [{"module": "*", "frozen": False}]}),
        ("fastai", {"groups": [["a"]]}),
        ("lighter", [{"name_starts_with": "", "until_step": 0}]),
    ]


def round_robin_by_stages(span):
    """VL3D's round robin of two in five, spelled out."""
    windows = ["ab", "cd", "ea", "bc", "de"]
    return [
        (
            "vl3d",
            [
                {
                    "layers": "all",
                    "training_interval": [0, 5 * span],
                    "strategy": {"type": "round_robin", "window_size": 2, "iterative_span": span},
                }
            ],
        ),
        (
            "kempner",
            {
                "freeze_schedule": [
                    {
                        "start_step": k * span,
                        "specs": [{"module": name, "frozen": name in window} for name in PLAIN],
                    }
                    for k, window in enumerate([*windows, ""])
                ],
            },
        ),
        (
            "vl3d",
            [
                {"layers": [*window], "training_interval": [k * span, (k + 1) * span]}
                for k, window in enumerate(windows)
            ],
        ),
    ]


@pytest.mark.parametrize(
    "family",
    [first_layers_until, one_by_one_from_the_end, each_alone, linear_from_the_input, nothing, round_robin_by_stages],
)
@given(number=numbers, data=st.data())
def test_two_ways_to_write_it_have_the_same_segments(family, number, data):
    """``number`` is the parameter of the family; for those that depend on the run, it is the run."""
    total = number if family in (linear_from_the_input, nothing) else data.draw(st.integers(0, 50), label="total")
    found = {
        f"{name}: {config}": segments(dialect(name).policy(config, PLAIN, total=total), total)
        for name, config in family(number)
    }
    assert len(set(found.values())) == 1, found


def test_a_container_means_the_same_in_every_dialect_of_layers():
    configs = [
        ("vl3d", [{"layers": ["backbone"], "training_interval": [0, 10]}]),
        ("lightning", {}),
        (
            "fastai",
            {
                "groups": [["backbone"], ["head"]],
                "calls": [{"at": 0, "call": "freeze"}, {"at": 10, "call": "unfreeze"}],
            },
        ),
        ("gradual", {"groups": [["backbone"], ["head"]], "every": 10}),
    ]
    found = {segments(dialect(name).policy(config, BACKBONE, total=20), 20) for name, config in configs}
    assert len(found) == 1


def test_lisa_is_the_complement_of_vl3ds_random_windows():
    """Both draw by RND from (seed, 0, number of the interval): LISA trains what VL3D freezes."""
    strategy = {"type": "random", "window_size": 2, "iterative_span": 3, "seed": 5}
    vl3d = dialect("vl3d").policy(
        [{"layers": "all", "training_interval": [0, 30], "strategy": strategy}], PLAIN, total=30
    )
    lisa = dialect("lisa").policy({"n_layers": 2, "step_interval": 3, "seed": 5}, PLAIN, total=30)
    assert all(vl3d.frozen_at(step) == set(PLAIN) - lisa.frozen_at(step) for step in range(30))


INSIDE = ["backbone", "backbone/block/conv"]
OPAQUE = [
    ("vl3d", [{"layers": INSIDE, "training_interval": [0, 2]}]),
    ("vl3d", [{"layers": [name], "training_interval": [0, 2]} for name in reversed(INSIDE)]),
    ("fastai", {"groups": [["head", *INSIDE]]}),
    ("fastai", {"groups": [[name] for name in INSIDE]}),
    ("fastai", {"groups": [["backbone"], ["head"]], "batch_norm": INSIDE[1:]}),
    ("composer", {"layers": INSIDE}),
    ("freezeout", {"layers": INSIDE}),
    ("gradual", {"groups": [INSIDE]}),
    ("gradual", {"groups": [[name] for name in INSIDE]}),
    ("chain_thaw", {"epochs": 1, "layers": ["backbone"], "new": INSIDE[1:]}),
    ("lisa", {"n_layers": 1, "step_interval": 1, "layers": ["backbone"], "always_on": INSIDE[1:]}),
    ("lightning", {"batch_norm": INSIDE[1:]}),
]


@pytest.mark.parametrize(("name", "config"), OPAQUE, ids=str)
def test_NAM_3_without_names_a_layer_and_a_container_around_it_are_an_error(name, config):
    with pytest.raises(NeedsModel) as caught:
        dialect(name).policy(config, total=4)
    assert caught.value.value == INSIDE
