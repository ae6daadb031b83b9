"""README's table of the backends, and the report behind it, have the figures of the stored runs."""

import importlib.util
import json

import pytest
from pages import DOCS, ROOT

STORED = DOCS / "benchmarks" / "backends"
COLUMNS = ("compile", "first_visit", "revisit", "revisit_switch", "step")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_row_of_a_backend_is_that_of_its_run(backend: str) -> None:
    found = json.loads((STORED / f"{backend}-small.json").read_text())
    row = f"| {backend} | " + " | ".join(f"{found[column] * 1e3:,.2f} ms" for column in COLUMNS) + " |"
    assert row in (ROOT / "README.md").read_text().splitlines()
    assert found["steps_made"] == found["sets"]  # no revisit has made another


def test_the_report_is_made_of_the_stored_runs() -> None:
    spec = importlib.util.spec_from_file_location("backends_report", ROOT / "benchmarks" / "backends_report.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (STORED / "report.md").read_text().startswith(script.report(STORED)[0])
