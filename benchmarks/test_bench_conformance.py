"""How many cases does the conformance kit check in a second?"""

from __future__ import annotations

from typing import Any

import pytest
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks
from refreeze.conformance.runner import Profile, run_check
from workload import describe


@pytest.mark.parametrize("dialect", ["vl3d", "lighter", "kempner", "fastai"])
def test_throughput(benchmark: Any, dialect: str) -> None:
    """Timed: every law of the dialect on the reference itself, drawing the cases included."""
    adapter, few = load("refreeze.conformance.reference:respond"), Profile(examples=10, shrink_calls=0)
    every = checks(dialects=[dialect])
    try:
        results = benchmark.pedantic(lambda: [run_check(adapter, check, few) for check in every])
    finally:
        adapter.close()
    assert {result.verdict for result in results} == {"holds"}
    describe(benchmark, "conformance", "reference", dialect, cases=sum(result.cases for result in results))
