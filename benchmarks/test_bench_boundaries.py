"""How does the time of a run of given length grow with the number of its boundaries?"""

from __future__ import annotations

from typing import Any

import pytest
from workload import IMPLEMENTATIONS, build, describe, fit

EPOCHS = 17


@pytest.mark.parametrize("boundaries", [0, 4, 8, 16])
def test_boundaries(benchmark: Any, boundaries: int, implementation: str) -> None:
    """One layer of the MLP freezes and thaws in turn: two frozen sets, however many boundaries."""
    network = build("mlp")
    span = EPOCHS // (boundaries + 1)
    stops = [*range(span, span * (boundaries + 1), span), EPOCHS]
    frozen = [
        {"layers": ["dense0"], "training_interval": list(pair)} for pair in zip(stops[::2], stops[1::2], strict=False)
    ]
    run, train = IMPLEMENTATIONS[implementation].run, fit(network, 1)
    history = benchmark.pedantic(run, args=(network, "vl3d", frozen, EPOCHS, train))
    assert len(history.history["loss"]) == EPOCHS
    describe(benchmark, "boundaries", "mlp", f"{implementation}, {boundaries}", series=implementation, x=boundaries)
