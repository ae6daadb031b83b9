"""How much memory does each distinct frozen set keep, and each recompile?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import memory_probe
import pytest
from workload import BUILDERS, describe

SWITCHES = 4
CASES = {
    "cached": "refreeze cached",
    "rebuild": "refreeze rebuild",
    "auto": "refreeze auto",
    "compile": "keras compile per segment",
}


def probe(model: str, how: str, *numbers: int) -> list[float]:
    """Return the MiB that ``memory_probe`` finds in a new process."""
    command = [sys.executable, memory_probe.__file__, model, how, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return json.loads(done.stdout.splitlines()[-1])


pytestmark = pytest.mark.skipif(not memory_probe.PAGES.exists(), reason="resident memory is read as Linux has it")


@pytest.mark.parametrize("how", CASES)
@pytest.mark.parametrize("model", BUILDERS)
def test_memory(benchmark: Any, model: str, how: str) -> None:
    """Measured, not timed: the resident memory of a new process after each switch to another frozen set."""
    resident = benchmark.pedantic(probe, (model, how, SWITCHES))
    assert len(resident) == SWITCHES + 1
    per_switch = (resident[-1] - resident[1]) / (SWITCHES - 1)  # the first switch makes what there is once per model
    found = {"resident_mib": resident, "mib_per_switch": per_switch, "series": CASES[how]}
    describe(benchmark, "memory", model, CASES[how], **found)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["auto", "cached"])
@pytest.mark.parametrize("model", ["mlp", "mobilenetv2"])
def test_memory_of_random_windows(benchmark: Any, model: str, how: str) -> None:
    """Measured, not timed: the resident memory before and after 20 sets of 10 steps."""
    resident = benchmark.pedantic(probe, (model, how, 20, 10))
    describe(benchmark, "memory, random windows, 20 sets", model, CASES[how], resident_mib=resident)
