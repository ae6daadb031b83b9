"""What dialects share: the schema of a whole file of another system."""

import jsonschema
import pytest
from refreeze.dialects.common import in_a_section


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
