"""Schedules under distribution strategies: the same bits on every replica, on every worker, and after a kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import replicas

pytestmark = [pytest.mark.engine, pytest.mark.only_on("tensorflow")]
WORKER = Path(__file__).parents[2] / "examples" / "multi_worker.py"
TURNS = [["one"], ["norm"], ["one"]]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All runs on two logical devices: one process, for TensorFlow's start is what takes the time."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(replicas.train, str(tmp_path_factory.mktemp("checkpoints"))).result()


def apart(state: dict[str, list[bytes]]) -> set[str]:
    """Return the variables that the two replicas have different values of."""
    assert {len(values) for values in state.values()} == {2}
    return {name for name, (one, other) in state.items() if one != other}


@pytest.mark.parametrize("way", ["executor", "callback", "batch"])
def test_EXE_3_on_every_replica_frozen_stays_and_the_rest_moves_to_the_same_bits(
    way: str, mirrored: dict[str, Any]
) -> None:
    before = mirrored[way]["begun"]
    assert [frozen for frozen, _, _ in mirrored[way]["epochs"]] == TURNS
    for (frozen, weights, _), turn in zip(mirrored[way]["epochs"], TURNS, strict=True):
        assert frozen == turn
        for layer, now in weights.items():
            moved = {name for name in now if now[name] != before[layer][name]}
            moving = {name for name in now if "moving" in name} if way == "batch" else set()  # BN-1
            assert moved == (moving if layer in frozen else set(now))
        before = weights
    assert apart(mirrored[way]["end"][0]) == set()


def test_a_set_is_traced_once_per_replica(mirrored: dict[str, Any]) -> None:
    for way in ("executor", "callback", "batch"):
        assert [traces for _, _, traces in mirrored[way]["epochs"]] == [1, 2, 2]
    assert [traces for _, _, traces in mirrored["rebuild"]["epochs"]] == [1, 2, 3]


@pytest.mark.parametrize("way", ["rebuild", "callback", "resumed"])
def test_EXE_7_RES_2_every_way_ends_with_the_same_bits(way: str, mirrored: dict[str, Any]) -> None:
    assert mirrored[way]["end"] == mirrored["executor"]["end"]


def test_EXE_13_the_updates_of_each_variable_are_counted_once_on_every_replica(mirrored: dict[str, Any]) -> None:
    """Of six updates, those that train ``norm`` or ``two`` are all but two or all, those of ``one`` the other two."""
    state, _ = mirrored["counts"]["end"]
    counted = [np.frombuffer(values[0], np.int64).item() for name, values in state.items() if name.endswith("updates")]
    assert counted == [2, 2, 4, 4, 6, 6]


def test_synchronized_statistics_are_not_masked_and_the_run_ends_alike(mirrored: dict[str, Any]) -> None:
    assert [traces for _, _, traces in mirrored["masked"]["epochs"]] == [1, 2, 2]
    assert mirrored["masked"]["end"] == mirrored["executor"]["end"]
    assert [traces for _, _, traces in mirrored["masked apart"]["epochs"]] == [1, 1, 1]
    assert mirrored["masked apart"]["end"] == mirrored["cached apart"]["end"]


def test_statistics_that_replicas_have_for_themselves_are_not_checkpointed(mirrored: dict[str, Any]) -> None:
    """Without ``synchronized`` Keras moves the statistics of each replica by its part of the batch."""
    state, _ = mirrored["apart"]["end"]
    assert {name.partition(" ")[2] for name in apart(state)} == {"moving_mean", "moving_variance"}
    assert mirrored["refused"] == (
        "layer 'norm' has moving statistics of its own on each of 2 replicas, and a checkpoint has one state for all; "
        "make it with BatchNormalization(synchronized=True)"
    )


class Workers:
    """Two processes of the example, on this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind(("127.0.0.1", 0))
            addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (one, other)]
        self.processes = []
        for index in range(2):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, str(WORKER), str(folder)],
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def end(self) -> list[list[str]]:
        """Wait for the end of both and return what each has said, line by line."""
        said = [process.communicate(timeout=300) for process in self.processes]
        assert [process.returncode for process in self.processes] == [0, 0], said
        return [out.splitlines() for out, _ in said]


@pytest.mark.slow
def test_RES_4_workers_agree_and_after_one_is_killed_all_go_on_from_the_chiefs_checkpoint(tmp_path: Path) -> None:
    with Workers(tmp_path / "through") as workers:
        chief, other = workers.end()
    assert chief == other
    turns = ["two", "two", "one", "one", "two", "two", "norm", "norm"]
    expected = [f"epochs [{epoch}, {epoch + 1}) frozen: {name}" for epoch, name in enumerate(turns)]
    assert chief[:8] == expected
    assert chief[8].startswith("3 train steps, ")
    end = chief[9:]

    for victim in (0, 1):
        folder = tmp_path / str(victim)
        with Workers(folder) as workers:
            while "[3, 4)" not in (said := workers.processes[victim].stdout.readline()):
                assert said, workers.processes[victim].communicate()
            workers.processes[victim].kill()
            # The other one cannot go on, and ends with an error of TensorFlow's.
            workers.processes[1 - victim].communicate(timeout=300)
            assert workers.processes[1 - victim].returncode != 0
        saved = sorted(path.name for path in folder.glob("epoch-*"))
        assert "epoch-00000003.npz" in saved
        with Workers(folder) as workers:
            chief, other = workers.end()
        assert chief == other
        assert chief[:-3] == expected[-len(chief) + 3 :]
        assert len(chief) < 11
        assert chief[-2:] == end
