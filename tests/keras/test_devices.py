"""On JAX a distribution of Keras over four devices: what is frozen stays, and the end is nearly that of one device."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="no jax here"),
]
PROGRAM = """
import sys
import keras
import numpy as np
sys.path.insert(0, sys.argv[1])
kind, folder = sys.argv[2:]
if kind != "none":
    devices = keras.distribution.list_devices()
    assert len(devices) == 4
    if kind == "data":
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    else:
        mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts["two/kernel"] = (None, "model")
        parallel = keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
        keras.distribution.set_distribution(parallel)
import across
found = across.train("adamw")
across.train("adamw", across.HALF, checkpoint=folder)
again = across.train("adamw", checkpoint=folder, resume=True)
assert all(np.array_equal(again[name], end) for name, end in found.items() if name != "moved"), "resumed"
masked = across.train("adamw", switch="masked")
assert np.array_equal(masked["moved"], found["moved"]), "masked"
assert all(np.allclose(masked[name], end, rtol=0, atol=1e-5) for name, end in found.items()), "masked"
np.savez(f"{folder}.npz", **found)
"""


def run(kind: str, tmp_path: Path) -> dict[str, np.ndarray]:
    folder = tmp_path / kind
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    arguments = [sys.executable, "-c", PROGRAM, Path(__file__).parent, kind, folder]
    subprocess.run(arguments, check=True, timeout=900, env=os.environ | environment)
    return dict(np.load(f"{folder}.npz"))


def test_data_and_model_parallel_end_like_one_device(tmp_path: Path) -> None:
    one = run("none", tmp_path)
    for kind in ("data", "model"):
        for name, end in run(kind, tmp_path).items():
            assert np.allclose(end, one[name], rtol=0, atol=0 if name == "moved" else 2e-4), (kind, name)
