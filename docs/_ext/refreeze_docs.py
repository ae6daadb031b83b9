"""What the site needs beyond Sphinx: clauses and their links, the reference of the code, tables made from data."""

from __future__ import annotations

from typing import Any

import api
import clause
import conformance_table
import frameworks
import schema
import timeline


def setup(app: Any) -> dict[str, object]:
    """Register the directives, for Sphinx."""
    clause.setup(app)
    api.setup(app)
    conformance_table.setup(app)
    frameworks.setup(app)
    schema.setup(app)
    timeline.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
