"""What the benchmarks need of pytest: the device, other implementations, and a record of what did not run."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
from collections.abc import Iterator
from typing import Any

import keras
import pytest
import workload
from refreeze.loading import load_object

PACKAGES = ("refreeze", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "lightning", "pytest-benchmark")
DEVICE = pytest.StashKey[str | None]()
LOAD = pytest.StashKey[tuple[float, ...] | None]()
_not_run: dict[str, dict[str, str]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-rounds", type=int, metavar="N", help="at most so many rounds a benchmark: a quick look")
    parser.addoption(
        "--bench-adapter", metavar="MODULE:NAME", help="an execution adapter to measure too; its run(model, dialect, "
        "config, total, fit) trains the compiled Keras model under the schedule and returns a History",
    )  # fmt: skip


def _device() -> str | None:
    """Return the name of the accelerator that Keras' backend has found, None if there is none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # already in use: then it stays as it is
                tf.config.experimental.set_memory_growth(gpu, True)
            return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    elif backend == "jax":
        import jax

        return next((device.device_kind for device in jax.devices() if device.platform != "cpu"), None)
    elif backend == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return None


def pytest_configure(config: pytest.Config) -> None:
    config.stash[DEVICE] = _device()
    config.stash[LOAD] = os.getloadavg() if hasattr(os, "getloadavg") else None
    if reference := config.getoption("--bench-adapter"):
        adapter = load_object("--bench-adapter", reference)
        workload.IMPLEMENTATIONS[reference] = adapter() if isinstance(adapter, type) else adapter


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "implementation" in metafunc.fixturenames:
        metafunc.parametrize("implementation", list(workload.IMPLEMENTATIONS))


def _slow(model: str, **chosen: Any) -> bool:
    """Return whether a benchmark is left out by default."""
    if model == "resnet50" or chosen.get("kind") == "random":
        return True
    if way := chosen.get("way"):  # whole runs in steps, of which those stay that something is required of
        few = chosen["schedule"] in ("4 windows, 5 cycles", "thaw in 5 stages", "prefix of 3/4")
        many = chosen["schedule"] == "random windows, 20 sets" or (model == "mlp" and "50" in chosen["schedule"])
        wanted = {"plain Keras, nothing frozen": many, "refreeze cached": few, "refreeze masked": few}
        wanted["keras compile per segment"] = "round robin" in chosen["schedule"]
        return not wanted.get(way)
    if "switch" in chosen and chosen.get("share"):  # the parts of runs
        return model not in ("mlp", "mobilenetv2") or chosen["share"] != 0.5
    if "kind" in chosen:  # whole runs: up to twenty traces each, and what is required is of MobileNetV2
        return model == "transformer" or (
            model != "mlp" and chosen["implementation"] in ("refreeze rebuild", "refreeze masked")
        )
    if "how" in chosen:  # a process each, or torch.compile
        return model != "mlp" and chosen["how"] != "eager"
    if chosen.get("share") in (0.25, 0.75):
        return model != "mlp"
    return model == "mobilenetv2" and not {"same", "rebuild"}.isdisjoint(chosen.values())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        chosen = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        model = chosen.pop("model", None) or chosen.pop("network", None)
        if model is not None and _slow(model, **chosen):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Any:
    """A function from the rounds that a benchmark wants to those that it gets."""
    most = request.config.getoption("--bench-rounds")
    return lambda wanted: wanted if most is None else min(wanted, most)


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """Train something first: the process's first trace is slower than all that follow."""
    workload.fit(workload.build("mlp"), 1)(1)


@pytest.fixture
def benchmark(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """pytest-benchmark's own; the record says which question it is about."""
    benchmark.extra_info["question"] = request.module.__doc__.splitlines()[0]
    return benchmark


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Remove what plain Keras leaks at each trace, so that no benchmark slows down those after it."""
    from tensorflow.python.framework import ops

    before = set(ops.gradient_registry._registry)
    yield
    if traced := ops.gradient_registry._registry.keys() - before:
        for name in traced:
            ops.gradient_registry._registry.pop(name)
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.outcome != "passed":
        reason = call.excinfo.exconly() if call.excinfo else report.outcome
        _not_run[item.nodeid] = {"name": item.name, "outcome": report.outcome, "reason": reason}
    return report


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)
    machine_info["device"] = config.stash[DEVICE]
    machine_info["backend"] = keras.backend.backend()
    machine_info["load"] = config.stash[LOAD]
    machine_info["versions"] = versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Report what did not run, with the reason; what was measured and then found wrong is no measurement."""
    output_json["not_run"] = list(_not_run.values())
    output_json["benchmarks"][:] = [bench for bench in output_json["benchmarks"] if bench["fullname"] not in _not_run]
