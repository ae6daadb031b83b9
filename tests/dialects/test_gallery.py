"""The gallery's schedules: each loads, and shows what its first line says."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from refreeze import segments
from refreeze.dialects import BUILT_IN, dialect
from refreeze.dialects.files import read

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
RUNS = json.loads((GALLERY / "names.json").read_text())


def test_there_is_one_schedule_of_each_dialect_with_the_names_to_use_with_it():
    found = {path.stem: read(path)[0].name for path in (GALLERY / "specs").iterdir()}
    assert sorted(found.values()) == sorted(BUILT_IN)
    assert found.keys() == RUNS.keys()


@pytest.mark.parametrize("path", sorted((GALLERY / "specs").iterdir()), ids=lambda path: path.stem)
def test_a_schedule_of_the_gallery_has_the_form_of_its_schema(path):
    file = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))  # keys are texts in JSON
    jsonschema.validate(file, dialect(file["dialect"]).file_schema())


@pytest.mark.parametrize("stem", RUNS)
def test_a_schedule_of_the_gallery_is_worth_a_picture(stem):
    language, config = read(GALLERY / "specs" / f"{stem}.yaml")
    run = RUNS[stem]
    found = segments(language.policy(config, **run), run["total"])
    assert len(found) >= 2
    assert set() < frozenset.union(*(segment.frozen for segment in found)) <= set(run["names"])
