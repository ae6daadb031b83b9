"""Hypothesis profiles: HYPOTHESIS_PROFILE chooses one, else ``dev``."""

import gc
import importlib
import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("coverage", settings.get_profile("ci"), max_examples=50)
# For runs that are expected to fail: no shrinking, nothing remembered.
settings.register_profile(
    "mutants", settings.get_profile("ci"), max_examples=100, database=None, phases=(Phase.explicit, Phase.generate)
)
if os.environ.get("HYPOTHESIS_PROFILE") == "crosshair":  # needs hypothesis-crosshair: `tox -e crosshair`
    settings.register_profile(
        "crosshair",
        settings.get_profile("mutants"),
        backend="crosshair",
        max_examples=20,
        suppress_health_check=[HealthCheck.too_slow],  # a value that is derived takes seconds
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: with TensorFlow that is a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    marked = item.get_closest_marker("only_on")
    if marked and (backend := importlib.import_module("keras").backend.backend()) not in marked.args:
        pytest.skip(f"not on {backend}")


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path_factory, monkeypatch) -> None:
    """The cases that tests of the kit keep are not the user's."""
    if "conformance" in request.path.parts:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


class NotInstalled:
    """Leaves out modules, and the examples in them, that import what is not installed."""

    needs = {
        "tests/pytorch": "torch",
        "refreeze/torch": "torch",
        "refreeze/jax": "jax",
        "checksums/torch.py": "torch",
        "checksums/jax.py": "jax",
        "backends/jax.py": "jax",
        "backends/jax_masked.py": "jax",
        "backends/torch.py": "torch",
        "execution/on_torch.py": "torch",
        "torch/lightning.py": "lightning",
        "torch/transformers.py": "transformers",
    }

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        of = [package for end, package in self.needs.items() if collection_path.as_posix().endswith(f"/{end}")]
        return True if any(importlib.util.find_spec(package) is None for package in of) else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NotInstalled())
