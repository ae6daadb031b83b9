"""Runs as pytest-benchmark stores them, made up for the tests of ``refreeze.bench``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

MACHINE = {
    "cpu": {"brand_raw": "Abacus", "count": 2},
    "python_version": "3.11.7",
    "system": "Linux",
    "versions": {"keras": "3.15.1"},
    "device": None,
    "load": [0.5, 0.25, 0.0],
}


def bench(name: str, *times: float, group: str | None = None, **extra: Any) -> dict[str, Any]:
    """Return one benchmark with the times of its rounds."""
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if times[1:] else times * 3
    stats = {"min": min(times), "max": max(times), "mean": statistics.fmean(times), "stddev": 0.0, "median": median}
    stats |= {"iqr": high - low, "q1": low, "q3": high, "rounds": len(times), "data": list(times), "ops": 1.0}
    return {
        "fullname": f"benchmarks/test_x.py::{name}",
        "name": name,
        "group": group,
        "stats": stats,
        "extra_info": extra,
    }


def write(path: Path, *benchmarks: dict[str, Any], not_run: Any = (), **machine: Any) -> str:
    """Write a run to the file and return its path."""
    run = {
        "machine_info": {**MACHINE, **machine},
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "datetime": "2026-11-21T05:52:11+00:00",
        "version": "5.3.1",
        "benchmarks": list(benchmarks),
        "not_run": list(not_run),
    }
    path.write_text(json.dumps(run), encoding="utf-8")
    return str(path)
