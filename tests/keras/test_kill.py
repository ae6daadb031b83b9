"""RES-4: killed at any moment, also while saving, a run goes on from its last whole checkpoint, to the same bits."""

from __future__ import annotations

import multiprocessing
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import killed
import pytest

pytestmark = pytest.mark.engine

# Processes are forked from one that has imported Keras, which saves seconds each; nothing has run in it yet.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["refreeze.keras.checkpoint"])


def run(folder: Path | None, moments: int | None = None) -> tuple[str, Any]:
    """Start a process and let it end, or kill it after so many moments; return the last moment, and the result."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=killed.train, args=(None if folder is None else str(folder), theirs))
    process.start()
    theirs.close()
    try:
        last, seen = "starting", 0
        while moments is None or seen < moments:
            if not ours.poll(120):
                pytest.fail(f"nothing happened for two minutes after {last!r}")
            told = ours.recv()
            if isinstance(told, tuple):
                process.join()
                assert process.exitcode == 0
                return "finished", told
            last, seen = told, seen + 1
        process.kill()
        process.join()
        assert process.exitcode == -9
        return last, None
    finally:
        process.kill()
        process.join()
        ours.close()


def kill_until(kills: int, tmp_path: Path, seed: int) -> Counter[str]:
    """Run, kill at random moments and resume, over and over; return in which moments it was killed, and how often."""
    _, uninterrupted = run(None)
    assert uninterrupted[1] == list(range(killed.EPOCHS))
    draw, when, folder, number = random.Random(seed), Counter(), tmp_path / "0", 0
    while when.total() < kills:
        last, result = run(folder, draw.randrange(1, 200))
        if result is not None:
            assert result == uninterrupted
            number += 1
            folder = tmp_path / str(number)
        else:
            when[last] += 1
            for path in folder.glob("epoch-*.npz"):
                assert zipfile.ZipFile(path).testzip() is None, f"{path} is not whole, killed while {last}"
    assert run(folder)[1] == uninterrupted
    return when


def test_RES_4_a_run_killed_at_random_moments_ends_like_one_that_was_not(tmp_path: Path) -> None:
    kill_until(3, tmp_path, seed=1)


@pytest.mark.slow
def test_RES_4_thirty_kills_in_training_and_in_saving(tmp_path: Path) -> None:
    when = kill_until(30, tmp_path, seed=0)
    print("killed while", dict(when))
    assert when["training"] >= 3, when
    assert when["writing"] >= 3, when
    assert when["flushing"] + when["flushed"] >= 1, when
