"""What dialects share: groups, and whole files of other systems, and their schema."""

import jsonschema
import pytest
from refreeze import EmptySelection, UnknownName
from refreeze.dialects.common import groups_of, in_a_section, section
from refreeze.dialects.fields import EachOf


@pytest.mark.parametrize(
    ("file", "valid"),
    [({"a": {}}, True), ({"b": {}, "c": 1}, True), ({"a": 1}, False), ({"c": {}}, False), ({}, False), ([], False)],
)
def test_a_whole_file_has_one_of_the_parts(file, valid):
    schema = in_a_section("a", "b")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(file) is valid
    assert {*schema} == {"description", "type", "anyOf"}
    assert schema["description"] == "A whole file of the system; what else it has is left alone."


def test_a_group_is_a_list_or_each_match_of_a_pattern():
    names = ["b1/conv", "b1/norm", "b2", "head"]
    assert groups_of([EachOf("b*"), ["head"]], names) == [("b1/conv", "b1/norm"), ("b2",), ("head",)]
    with pytest.raises(EmptySelection) as empty:
        groups_of([["head"], EachOf("x*")], names)
    assert str(empty.value) == "groups[1] = 'x*' matches no name"
    with pytest.raises(UnknownName, match=r"^groups\[1\]: unknown 'tail'"):
        groups_of([["head"], ["tail"]], names)


@pytest.mark.parametrize("config", [None, "part", [], {"part": "a"}, {"part": {"b": 1}, "a": 1}])
def test_what_has_no_such_part_stays_as_it_is(config):
    assert section(config, "part", ["a"], own=["seed"]) is config
