"""README's table of the backends has the figures of the stored runs."""

import json

import pytest
from pages import DOCS, ROOT

COLUMNS = ("compile", "first_visit", "revisit", "revisit_switch", "step")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_row_of_a_backend_is_that_of_its_run(backend: str) -> None:
    found = json.loads((DOCS / "benchmarks" / "backends" / f"{backend}.json").read_text())
    row = f"| {backend} | " + " | ".join(f"{found[column] * 1e3:,.2f} ms" for column in COLUMNS) + " |"
    assert row in (ROOT / "README.md").read_text().splitlines()
    assert found["steps_made"] == found["sets"]  # no revisit has made another
