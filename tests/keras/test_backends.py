"""One meaning on all backends: what moves agrees exactly, values nearly, and a checkpoint goes from one to another."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.engine
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name} here"))
    for name in ("jax", "torch")
]
NEAR = {"sgd": 2e-6, "momentum": 2e-6, "gathering": 2e-6, "adam": 2e-4, "adamw": 2e-4}
"""How far values may be apart at the end of 32 steps: rounding, which Adam divides by small numbers."""


def run(backend: str, folder: Path, *resume: Path) -> dict[str, np.ndarray]:
    result = folder / f"{backend}{len(resume)}.npz"
    arguments = [sys.executable, Path(__file__).with_name("across.py"), result, folder / backend, *resume]
    subprocess.run(arguments, check=True, timeout=900, env=os.environ | {"KERAS_BACKEND": backend})
    return dict(np.load(result))


@pytest.mark.parametrize("other", OTHERS)
def test_what_moves_is_the_same_on_each_backend_and_values_are_near(other: str, tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir(), (again := tmp_path / "back").mkdir()
    here = run("tensorflow", tmp_path)
    found = run(other, there, tmp_path / "tensorflow")
    back = {name: end for name, end in run("tensorflow", again, there / other).items() if "resumed" in name}
    assert len(back) > 20
    for name, end in (found | {f"back, {name}": end for name, end in back.items()}).items():
        should_be = here[name.removeprefix("back, ").removeprefix("resumed ")]
        if name.endswith("moved"):
            assert np.array_equal(end, should_be), name
        else:
            apart = np.abs(end.astype(float) - should_be).max()
            assert apart <= next(NEAR[kind] for kind in NEAR if f"{kind}: " in name), f"{name}: {apart}"
