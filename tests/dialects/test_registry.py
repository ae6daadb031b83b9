"""The registry, entry points, configurations as objects, error messages, JSON Schemas."""

import dataclasses
import datetime
import importlib.metadata
import re
from decimal import Decimal
from typing import Annotated, Literal

import jsonschema
import msgspec
import pytest
from refreeze import InvalidSpec, always
from refreeze.dialects import BUILT_IN, Dialect, Run, dialect, dialects, gradual, lighter
from refreeze.plan import configuration


class Names(msgspec.Struct, forbid_unknown_fields=True):
    """A dialect of a third party: these, always."""

    names: tuple[str, ...]


THIRD = Dialect(
    name="third",
    source="a third party",
    config=Names,
    root="",
    unit="epochs",
    names="layers",
    build=lambda config, names, run: always(config.names),
)


@pytest.fixture
def install(monkeypatch):
    """Pretend that packages with these entry points are installed: (name, object or exception)."""

    def pretend(*points):
        class Entry(importlib.metadata.EntryPoint):
            def load(self):
                found = dict(points)[self.name]
                if isinstance(found, Exception):
                    raise found
                return found

        entries = [Entry(name, f"package_of_{name}:DIALECT", "refreeze.dialects") for name, _ in points]
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda *, group: entries if group == "refreeze.dialects" else []
        )

    return pretend


def test_the_built_in_dialects_come_in_their_order_under_their_names():
    found = dialects()
    assert tuple(found)[: len(BUILT_IN)] == BUILT_IN
    assert BUILT_IN[:4] == ("vl3d", "lighter", "kempner", "fastai")
    assert all(one.name == name and one.source for name, one in found.items())
    assert all(dialect(name) is found[name] for name in found)


def test_a_third_party_adds_a_dialect_by_an_entry_point(install):
    install(("third", THIRD))
    assert list(dialects()) == [*BUILT_IN, "third"]
    assert dialect("third").policy({"names": ["a"]}, total=1).frozen_at(0) == {"a"}


def test_a_broken_entry_point_does_not_hinder_the_others(install):
    install(("third", THIRD), ("broken", ImportError("no module named x")))
    assert dialect("third") is THIRD
    assert dialect("vl3d").name == "vl3d"
    with pytest.raises(InvalidSpec, match=r"entry point broken = 'package_of_broken:DIALECT' must be a Dialect to imp"):
        dialect("broken")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([("lighter", THIRD)], "entry point package_of_lighter:DIALECT = 'lighter' must be a name that no other"),
        ([("third", THIRD), ("third", THIRD)], "entry point package_of_third:DIALECT = 'third' must be a name that no"),
        ([("other", THIRD)], "entry point other = Dialect(name='third', "),
        ([("third", "no dialect")], "entry point third = 'no dialect' must be a Dialect with the name 'third'"),
        (
            [("third", AttributeError("DIALECT"))],
            "entry point third = 'package_of_third:DIALECT' must be a Dialect to ",
        ),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_an_error(install, points, message):
    install(*points)
    with pytest.raises(InvalidSpec) as caught:
        dialects()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["ligther", 5, ["vl3d"]])
def test_an_unknown_dialect_is_an_error_that_lists_the_known(install, name):
    install(("third", THIRD))
    said = rf"dialect = {re.escape(repr(name))} must be one of 'vl3d', 'lighter', .*'third'"
    for ask in (dialect, lambda name: configuration([], name)):
        with pytest.raises(InvalidSpec, match=said):
            ask(name)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gradual", gradual.GradualConfig(every=0), "every = 0 must be int >= 1"),
        ("lighter", [lighter.Freezer(names=())], "freezers[0].names = () must be array of length >= 1"),
        ("lighter", (lighter.Freezer(names="a", until_step=-1),), "freezers[0].until_step = -1 must be int >= 0"),
    ],
)
def test_a_configuration_made_as_an_object_is_checked_like_plain_data(name, config, message):
    with pytest.raises(InvalidSpec) as caught:
        dialect(name).parse(config)
    assert str(caught.value).startswith(message)


def test_an_epoch_is_a_step_if_nothing_else_is_said():
    asked = dataclasses.replace(dialect("gradual"), rates=lambda config, names, run: run, build=lambda *of: of[-1])
    for ask in (asked.policy, asked.learning_rates):
        assert ask({}, total=3) == Run(total=3, steps_per_epoch=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"total": -1}, "total = -1 must be an integer >= 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch = 0 must be an integer >= 1"),
        ({"names": ["a", "a"]}, "names = ['a', 'a'] must be distinct names (repeated: 'a')"),
    ],
)
def test_the_run_is_checked(wrong, message):
    for ask in (lighter.DIALECT.policy, lighter.DIALECT.learning_rates):
        with pytest.raises(InvalidSpec) as caught:
            ask([], **{"total": 1} | wrong)
        assert str(caught.value) == message


# JSON Schema ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", BUILT_IN)
def test_the_schema_is_one_and_names_the_dialect(name):
    schema = dialect(name).file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["dialect"] == {"const": name}


def test_a_schema_says_what_it_is_of_and_what_it_cannot_say():
    schema = dialect("gradual").file_schema()
    rest = {key: schema.pop(key) for key in ("properties", "$defs")}
    assert [*rest["properties"]] == ["dialect", "config"]
    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A refreeze configuration in the dialect gradual",
        "description": "Source: ULMFiT, arXiv 1801.06146. Names are layers, ticks are epochs. JSON Schema takes 3.0 "
        "for an integer, and cannot say what other keys or the names forbid: refreeze rejects both.",
        "type": "object",
        "required": ["dialect", "config"],
        "additionalProperties": False,
    }
    assert dataclasses.replace(dialect("gradual"), config=dict[str, int]).file_schema()["$defs"] == {}


def is_valid(name, file):
    return jsonschema.Draft202012Validator(dialect(name).file_schema()).is_valid(file)


@pytest.mark.parametrize("value", [{"a"}, frozenset("a"), Decimal("0.1"), range(2), b"a"], ids=repr)
def test_only_plain_data_are_a_configuration(value):
    """A set has no order, so the same program would mean another schedule in each process (RND-3)."""
    for config, where in (
        ([{"layers": value, "training_interval": [0, 2]}], "freeze_training[0].layers"),
        (value, "freeze_training"),
    ):
        with pytest.raises(InvalidSpec) as caught:
            dialect("vl3d").parse(config)
        assert str(caught.value) == f"{where} = {value!r} must be plain data, as in JSON"


class Odd(msgspec.Struct, forbid_unknown_fields=True):
    """What no built-in dialect has."""

    flag: bool = True
    word: Literal["a", "b"] = "a"
    pairs: dict[str, Annotated[list[int], msgspec.Meta(max_length=1)]] = {}
    share: float | None = None
    day: datetime.date | None = None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"flag": True, "word": "a", "pairs": {"a": [1]}, "share": "x"}, "share = 'x' must be float | null"),
        ({"flag": True, "share": 10**400}, "share = 1000"),
        ({"pairs": {"a": [1], "b": [1, 2]}}, "pairs['b'] = [1, 2] must be array of length <= 1"),
        ({1: 2}, "config = {1: 2} must be an object whose keys are strings"),
        ({"day": "never"}, "config = {'day': 'never'} must be a configuration (Invalid RFC3339 encoded date"),
    ],
)
def test_a_third_partys_types_are_explained_or_msgspec_is_quoted(config, message):
    with pytest.raises(InvalidSpec) as caught:
        dataclasses.replace(THIRD, config=Odd).parse(config)
    assert str(caught.value).startswith(message)


def test_a_list_is_allowed_beside_a_word_and_a_key_may_look_like_a_place():
    with pytest.raises(InvalidSpec, match=r"layers = 'stem' must be one of 'all', 'all_reverse', or a list$"):
        dialect("vl3d").parse([{"layers": "stem", "training_interval": [0, 2]}])
    with pytest.raises(InvalidSpec, match=r"an object without the key 'a - at `\$.b'"):
        dialect("vl3d").parse([{"a - at `$.b": 1}])
    with pytest.raises(InvalidSpec, match="must be a number that a float can hold"):
        dialect("composer").parse({"freeze_start": 10**400})


VL3D = {"layers": ["a"], "training_interval": [0, 5]}


def test_the_schema_bounds_seeds_and_says_what_it_cannot_say():
    window = {"type": "random", "window_size": 1, "iterative_span": 1}
    for seed, valid in ((2**64 - 1, True), (2**64, False)):
        vl3d, lisa = [VL3D | {"strategy": window | {"seed": seed}}], {"n_layers": 1, "step_interval": 1, "seed": seed}
        assert is_valid("vl3d", {"dialect": "vl3d", "config": vl3d}) is valid
        assert is_valid("lisa", {"dialect": "lisa", "config": lisa}) is valid
    gradual = {"dialect": "gradual", "config": {"every": 3.0}}
    assert is_valid("gradual", gradual)
    with pytest.raises(InvalidSpec, match=r"every = 3\.0 must be"):
        dialect("gradual").parse(gradual["config"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_schema_rejects_another_dialect_and_other_keys(name):
    config = [] if name in ("vl3d", "lighter") else {}
    assert not is_valid(name, {"dialect": "other", "config": config})
    assert not is_valid(name, {"dialect": name})
    assert not is_valid(name, {"dialect": name, "config": config, "epochs": 3})
