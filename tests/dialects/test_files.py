"""Configuration files: the three formats, what they hold, what is wrong with them."""

import json
import math
import os

import pytest
from refreeze import InvalidSpec
from refreeze.dialects import dialect, files
from refreeze.dialects.files import read, text
from refreeze.limits import MOST_VALUES

SPEC = {"layers": ["a", "b"], "training_interval": [0, 5], "initial_learning_rate": 1e-3}
YAML = """
dialect: vl3d
config:
  - layers: [a, b]
    training_interval: [0, 5]
    initial_learning_rate: 1e-3   # YAML 1.1 says that this is a string
"""
TOML = """
dialect = "vl3d"
[[config]]
layers = ["a", "b"]
training_interval = [0, 5]
initial_learning_rate = 1e-3
"""


@pytest.fixture
def write(tmp_path):
    def file(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "byte order mark"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps({"dialect": "vl3d", "config": [SPEC]})),
        ("a.yaml", YAML),
        ("a.YML", YAML),
        ("a.toml", TOML),
    ],
)
def test_the_formats_say_the_same(write, name, text, mark):
    found, config = read(write(name, mark + text))
    assert found.name == "vl3d"
    assert config == [SPEC]
    assert read(str(write(name, text)))[1] == config


def test_yaml_numbers_are_numbers(write):
    text = "dialect: vl3d\nconfig: [1e3, -1.5E-3, .5e1, 1.0e+2, 1e, e3]"
    assert read(write("a.yaml", text))[1] == [1000.0, -0.0015, 5.0, 100.0, "1e", "e3"]


def test_yaml_is_that_of_version_1_2_and_what_json_has_too(write):
    """In YAML 1.1 the first five are the numbers 90, 10 and 3, True and a date, 010 is 8 and 0o10 is a text."""
    text = (
        "[1:30, 1_0, 0b11, yes, 2026-01-01, 010, 0o10, 0x1F, -012, 0, +1, true, ~, .inf, -.Inf, 'null', null, 1., 01e1]"
    )
    strings = ["1:30", "1_0", "0b11", "yes", "2026-01-01"]
    numbers = [10, 8, 31, -12, 0, 1, True, None, float("inf"), -float("inf"), "null", None, 1.0, 10.0]
    assert read(write("a.yaml", f"dialect: vl3d\nconfig: {text}"))[1] == [*strings, *numbers]


def test_yaml_anchors_and_merges_work_and_own_keys_win(write):
    text = "dialect: vl3d\nconfig: [&a {x: 1, y: 2}, {<<: *a, y: 3}, *a]"
    assert read(write("a.yaml", text))[1] == [{"x": 1, "y": 2}, {"x": 1, "y": 3}, {"x": 1, "y": 2}]
    text = "dialect: vl3d\nconfig: [&a {x: 1, y: 2}, &b {x: 5, z: 6}, {<<: [*a, *b], z: 0}, {<<: *a, <<: *b}]"
    assert read(write("a.yaml", text))[1][2:] == [{"x": 1, "y": 2, "z": 0}, {"x": 1, "y": 2, "z": 6}]


def test_yaml_has_three_ways_to_say_that_something_is_no_number(write):
    found = read(write("a.yaml", "dialect: vl3d\nconfig: [.nan, .NaN, .NAN]"))[1]
    assert [*map(math.isnan, found)] == [True] * 3


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ("[1, 2, 3]", True),  # seven values in the file: an object, two keys, a name, a list of numbers
        ("[1, 2, 3, 4]", True),
        ("[1, 2, 3, 4, 5]", False),
        ("[[], [], []]", True),
        ("[[[]]]", True),
        ("[[[[]]]]", False),
        ("[&a {x: 1}, {<<: *a}]", False),
    ],
)
def test_depth_values_and_merged_keys_are_counted(write, monkeypatch, config, allowed):
    monkeypatch.setattr(files, "NESTING_LIMIT", 4)
    monkeypatch.setattr(files, "MOST_VALUES", 9)
    path = write("a.yaml", f"dialect: vl3d\nconfig: {config}")
    if allowed:
        assert read(path)[1] is not None
    else:
        with pytest.raises(InvalidSpec, match="more than 4 levels, or more than 9 values"):
            read(path)


def test_keys_that_are_merged_in_are_counted(write, monkeypatch):
    monkeypatch.setattr(files._Loader, "merged", MOST_VALUES - 4)
    text = "dialect: vl3d\nconfig: [&a {x: 1, y: 2}, {<<: *a}, {<<: *a}]"
    assert read(write("a.yaml", text))[1][2] == {"x": 1, "y": 2}
    monkeypatch.setattr(files._Loader, "merged", MOST_VALUES - 3)
    with pytest.raises(InvalidSpec, match="<< merges in more than 200,000 keys"):
        read(write("a.yaml", text))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "dialect: vl3d\nconfig: [{x: 1, y: 2, x: 3}]", "the key 'x' is given twice in one object"),
        ("a.json", '{"dialect": "vl3d", "config": [{"x": 1, "x": 1}]}', "the key 'x' is given twice in one object"),
        ("a.toml", 'dialect = "vl3d"\nconfig = []\nconfig = []', "well-formed TOML (Cannot overwrite a value"),
        ("a.json", '{"dialect": ', "well-formed JSON (Expecting value: line 1 column 13"),
        ("a.yaml", "dialect: [", "well-formed YAML (while parsing a flow "),
        ("a.yaml", "? [a]\n: 1", "well-formed YAML (a key that is a list or an object)"),
        ("a.yaml", "a: {<<: 1}", "well-formed YAML (what << merges in must be an object or a list of objects)"),
        ("a.yaml", "a: !!int 1_0", "well-formed YAML ('1_0' is no int)"),
        ("a.yaml", "a: !!python/object:os.system x", "could not determine a constructor"),
        ("a.yaml", "a: !!set {b, c}", "could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
        ("a.yaml", "a: !!timestamp x", "could not determine a constructor"),
        ("a.yaml", "a: !!bool x", "well-formed YAML ('x')"),
        ("a.yaml", b"\xff\xfe", "a file in UTF-8 ('utf-8' codec can't decode"),
        ("a.json", "[" * 100_000, "well-formed JSON (maximum recursion depth exceeded"),
        ("a.txt", "", "named .json, .yaml, .yml, .toml"),
        ("yaml", "", "named .json, .yaml, .yml, .toml"),
        ("a.yaml", "", "None must be an object with exactly the keys 'dialect' and 'config'"),
        ("a.json", "[]", "[] must be an object with exactly the keys 'dialect' and 'config'"),
        ("a.json", '{"dialect": "vl3d"}', "must be an object with exactly the keys"),
        ("a.json", '{"dialect": "vl3d", "config": [], "epochs": 3}', "must be an object with exactly the keys"),
        ("a.json", '{"dialect": 3, "config": []}', "dialect = 3 must be a string"),
        ("a.json", '{"dialect": "vl3", "config": []}', "dialect = 'vl3' must be one of 'vl3d', 'lighter'"),
    ],
)
def test_a_bad_file_is_rejected_with_what_is_wrong(write, name, text, message):
    path = write(name, text)
    with pytest.raises(InvalidSpec) as caught:
        read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "where", "value"),
    [
        ("a.txt", "", "file", "{path}"),
        ("a.yaml", "dialect: [", "file", "{path}"),
        ("a.yaml", b"\xff", "file", "{path}"),
        ("a.json", "[]", "{path}", []),
        ("a.json", '{"dialect": 3, "config": []}', "{path}: dialect", 3),
    ],
)
def test_an_error_says_which_file_is_wrong_and_where(write, name, text, where, value):
    path = write(name, text)
    with pytest.raises(InvalidSpec) as caught:
        read(path)
    assert caught.value.where == where.format(path=path)
    assert caught.value.value == (str(path) if value == "{path}" else value)


def test_a_configuration_is_written_as_json_and_as_yaml_in_its_own_order():
    shared = ["a"]
    config = {"second": shared, "first": shared, "long": ["x" * 30, "y" * 30, "z" * 30, "w" * 15, "v"]}
    assert text(dialect("dino"), config, ".yml") == text(dialect("dino"), config)
    assert text(dialect("dino"), config) == (
        "dialect: dino\n"
        "config:\n"
        "  second: [a]\n"
        "  first: [a]\n"
        f"  long: [{'x' * 30}, {'y' * 30}, {'z' * 30}, {'w' * 15},\n"
        "    v]\n"
    )
    assert text(dialect("dino"), {"b": shared, "a": shared}, ".json") == (
        '{\n "dialect": "dino",\n "config": {\n  "b": [\n   "a"\n  ],\n  "a": [\n   "a"\n  ]\n }\n}\n'
    )


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(InvalidSpec, match=r"a file that can be read \(No such file or directory\)"):
        read(tmp_path / "missing.yaml")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InvalidSpec, match=r"a file that can be read \(Is a directory\)"):
        read(tmp_path / "folder.json")
    if os.geteuid() != 0:
        (tmp_path / "secret.json").touch(mode=0)
        with pytest.raises(InvalidSpec, match=r"a file that can be read \(Permission denied\)"):
            read(tmp_path / "secret.json")


def test_a_configuration_is_not_written_in_a_format_that_nothing_here_writes():
    with pytest.raises(InvalidSpec, match=r"file = '\.toml' must be named \.json, \.yaml or \.yml to be written"):
        text(dialect("dino"), {"freeze_last_layer": 1}, ".toml")
