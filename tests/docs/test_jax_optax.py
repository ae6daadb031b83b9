"""The example for JAX without Keras: what moves, what is traced, and what decay outside of a mask does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from refreeze import segments

FILE = Path(__file__).parents[2] / "examples" / "jax_optax.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("jax")
    pytest.importorskip("optax")
    spec = importlib.util.spec_from_file_location("jax_optax", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "jax_optax", module)
    spec.loader.exec_module(module)
    return module


def moved(line: str) -> tuple[set[str], set[str]]:
    frozen, _, rest = line.removeprefix("frozen: ").partition(" moved: ")
    return {*frozen.split()}, {*rest.split()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_example_trains_what_the_schedule_says(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(FILE.read_text().splitlines()) <= 60
    ends = [example.train(step) for step in (example.masked, example.static)]
    assert all(np.allclose(ends[0][name], ends[1][name], rtol=1e-5, atol=1e-6) for name in example.LAYERS)
    example.train(example.masked, outside=True)
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "traces" in line] == [
        "1 traces of masked, 0 of static", "1 traces of masked, 3 of static", "2 traces of masked, 3 of static",
    ]  # fmt: skip
    steps = [moved(line) for line in said if "traces" not in line]
    scheduled = [set(segment.frozen) for segment in segments(example.POLICY, total=12)]
    assert [frozen for frozen, _ in steps] == scheduled * 3
    assert [now for _, now in steps] == [{*example.LAYERS} - frozen for frozen in scheduled] * 2 + [
        {*example.LAYERS}
    ] * len(scheduled)  # the last: everything, frozen or not
