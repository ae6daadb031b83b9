"""Inputs that are too large, or that nothing could write: one clear error, at once."""

import json

import pytest
from refreeze import InvalidSpec, UnknownName, segments
from refreeze.dialects import dialect
from refreeze.dialects.files import read
from refreeze.limits import MOST_NAMES, MOST_PARTS, MOST_TEXT, MOST_VALUES, checked_names
from refreeze.reading import NESTING_LIMIT

SPEC = {"layers": ["stem"], "training_interval": [0, 2]}


def nested(depth):
    found = "x"
    for _ in range(depth):
        found = [found]
    return found


def endless():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"layers": "\ud800"}, r"layers = '\ud800' must be text without half of a surrogate pair"),
        ({"\udfff": 1}, "must be an object with keys that are text without half of a surrogate pair"),
        ({"a - at `$.b": 1}, "must be an object without the key 'a - at `$.b' (known are initial_learning_rate, "),
        ({"\x1b[31m\n": 1}, r"must be an object without the key '\x1b[31m\n' (known are "),
        ({"layers": ["x" * (MOST_TEXT + 1)]}, f"must be at most {MOST_TEXT:,} characters long"),
        ({"x" * (MOST_TEXT + 1): 1}, f"must be an object with keys that are at most {MOST_TEXT:,} characters long"),
        ({"training_interval": [0, 10**1000]}, "training_interval[1] = 1000000"),
        ({"training_interval": [0, -(10**5000)]}, "[1] = <int> must be an integer of at most 1,000 digits"),
        ({"layers": nested(10**5)}, f"must be nested at most {NESTING_LIMIT} levels deep"),
        ({"layers": nested(NESTING_LIMIT - 3)}, "layers[0] = [[["),
        ({"layers": endless()}, f"must be nested at most {NESTING_LIMIT} levels deep"),
        ({"layers": ["x"] * MOST_VALUES}, f"must be part of data of at most {MOST_VALUES:,} values"),
        ({str(number): 1 for number in range(40_000)}, "must be an object without the key '0' (known are "),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_configuration_beyond_a_limit_is_one_clear_error(spec, message):
    with pytest.raises(InvalidSpec) as caught:
        dialect("vl3d").parse([SPEC, SPEC | spec if "layers" in spec else spec])
    said = str(caught.value)
    assert message in said
    assert len(said) <= 2_000
    assert said.isprintable()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("stem", "names = 'stem' must be a list of names"),
        ([b"stem"], "names = [b'stem'] must be a list of names"),
        (["a", "a"], "names = ['a', 'a'] must be distinct names"),
        (["\ud800"], r"names = '\ud800' must be text without half of a surrogate pair"),
        (["x" * (MOST_TEXT + 1)], f"must be at most {MOST_TEXT:,} characters long"),
        (["a" + "/a" * MOST_PARTS], f"must be a path of at most {MOST_PARTS} parts"),
        ([f"{number}" + "x" * 990 for number in range(11_000)], "of together at most 10,000,000 characters"),
        (["a"] * (MOST_NAMES + 1), f"must be a list of at most {MOST_NAMES:,} names"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_names_beyond_a_limit_are_one_clear_error(names, message):
    with pytest.raises(InvalidSpec) as caught:
        dialect("vl3d").policy([SPEC], names, total=3)
    assert message in str(caught.value)


def test_what_is_at_a_limit_is_allowed():
    names = ["x" * MOST_TEXT, "a" + "/a" * (MOST_PARTS - 1)]
    assert checked_names("names", names) == tuple(names)
    spec = SPEC | {"layers": names, "training_interval": [0, 10**1000 - 1]}
    assert dialect("vl3d").parse([spec])[0].layers == tuple(names)


def test_many_unknown_names_are_counted_and_close_ones_looked_for_among_some():
    known = [f"layer{number:0>80}" for number in range(10_000)]
    error = UnknownName("layers", [f"leyer{number:0>80}" for number in range(1_000)], known)
    assert "did you mean 'layer" in str(error)
    assert " and 992 more; known are layer000" in str(error)
    assert len(str(error)) <= 2_000
    assert "did you mean" not in str(UnknownName("layers", ["a" * 101], ["a" * 100]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[" * 10**6, "well-formed JSON (maximum recursion depth exceeded"),
        ("a.json", json.dumps({"dialect": "vl3d", "config": "x" * 2**21}), "a file of at most 2 MiB"),
        ("a.yaml", "{a: " * 50_000, "well-formed YAML (more than 100 levels, or more than 200,000 values)"),
        ("a.yaml", "- " * 50_000, "well-formed YAML (more than 100 levels, or more than 200,000 values)"),
        ("a.yaml", "[" + "0," * 300_000, "well-formed YAML (more than 100 levels, or more than 200,000 values)"),
        ("a.yaml", '{"\\ud83d": 1}', "found invalid Unicode character escape code"),
        ("a.toml", "a." * 200_000 + "b = 1", "well-formed TOML (a dotted key of more than 100 parts)"),
        ("a.toml", "a = " + "[" * 50_000, "well-formed TOML (maximum recursion depth exceeded"),
        ("a.toml", f"a = {'1' * 5000}", "well-formed TOML (Exceeds the limit (4300 digits)"),
    ],
)  # fmt: skip
def test_a_file_beyond_a_limit_is_one_clear_error(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)


LAUGHS = "- &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"- &a{number + 1} [{', '.join([f'*a{number}'] * 9)}]\n" for number in range(12)
)
MERGES = "- &a {" + ", ".join(f"k{number}: 1" for number in range(9_000)) + "}\n- {<<: [" + "*a, " * 50 + "]}\n"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [(LAUGHS, "must be part of data of at most 200,000 values"), (MERGES, "<< merges in more than 200,000 keys")],
)
def test_what_aliases_repeat_counts_each_time(tmp_path, yaml, message):
    (tmp_path / "a.yaml").write_text(f"dialect: vl3d\nconfig:\n{yaml}")
    with pytest.raises(InvalidSpec) as caught:
        dialect("vl3d").parse(read(tmp_path / "a.yaml")[1])
    assert message in str(caught.value)


def test_thousands_of_specifications_of_thousands_of_names_cost_their_sum_not_their_product():
    """What took minutes and gigabytes takes a second or two; so a product would be noticed."""
    names = [f"layer{number}" for number in range(10_000)]
    specs = [{"layers": [name], "training_interval": [at, at + 5]} for at, name in enumerate(names)]
    assert len(segments(dialect("vl3d").policy(specs, names, total=20_000), 20_000)) == 10_005
    freezers = [{"name_starts_with": name, "until_step": 1} for name in names]
    assert len(segments(dialect("lighter").policy(freezers, names, total=9), 9)) == 2
    stages = [{"start_step": at, "specs": [{"module": name}]} for at, name in enumerate(names[:2_000])]
    assert len(segments(dialect("kempner").policy({"freeze_schedule": stages}, names, total=2_000), 2_000)) == 2_000


@pytest.mark.parametrize(("name", "config"), [("gradual", {}), ("chain_thaw", {"epochs": 1})])
def test_frozen_sets_of_together_millions_of_names_are_an_error(name, config):
    policy = dialect(name).policy(config, [f"layer{number}" for number in range(5_000)], total=9_999)
    with pytest.raises(InvalidSpec, match="whose different frozen sets have together at most 5,000,000 names"):
        segments(policy, 9_999)
