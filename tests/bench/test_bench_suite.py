"""The benchmarks themselves: one of each question runs, and what they store ends in a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from refreeze.bench.report import report

ROOT = Path(__file__).parents[2]
CHOSEN = [
    "boundaries.py::test_boundaries[workload:CompilePerSegment-0]",
    "conformance.py::test_throughput[fastai]",
    "memory.py::test_memory[mlp-cached]",
    "pays.py::test_parts[mlp-cached-0.5]",
    "peers_torch.py::test_switch[mlp-eager]",
    "run.py::test_run[refreeze cached-mlp-round robin]",
    "schedule.py::test_length[11]",
    "step.py::test_step[mlp-prefix-0.5]",
    "step.py::test_step_of_plain_keras[mlp-0.5]",
    "switch_cold.py::test_first_visit[mlp-cached]",
    "switch_recompile.py::test_recompile[mlp-fresh]",
    "switch_warm.py::test_revisit[mlp]",
    "torch_switch.py::test_torch_switch[mlp-batch]",
    "whole.py::test_whole[mlp-4 windows, 5 cycles-refreeze cached]",
]


@pytest.mark.engine
def test_every_question_has_an_answer_or_a_reason(tmp_path: Path) -> None:
    files = {path.name for path in (ROOT / "benchmarks").glob("test_bench_*.py")}
    assert {f"test_bench_{name.partition('::')[0]}" for name in CHOSEN} == files
    stored = tmp_path / "bench.json"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-enable", "--bench-rounds=1",
        f"--benchmark-json={stored}", "--bench-adapter=workload:CompilePerSegment",
        *(f"benchmarks/test_bench_{name}" for name in CHOSEN),
    ]  # fmt: skip
    # Measured by itself, also where these tests are spread over processes: there pytest-benchmark measures nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT / "benchmarks")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    run = json.loads(stored.read_text(encoding="utf-8"))
    reasons = {item["name"]: item["reason"] for item in run["not_run"]}
    measured = {bench["name"] for bench in run["benchmarks"]}
    assert measured | reasons.keys() == {name.partition("::")[2] for name in CHOSEN}
    assert reasons.keys() <= {"test_switch[mlp-eager]", "test_torch_switch[mlp-batch]"}
    assert all("torch" in reason for reason in reasons.values())
    assert "node" not in run["machine_info"]
    written = [path.name for path in report(str(stored), tmp_path)]
    assert written == ["report.md", "report.html", "pays.png", "switch.png", "boundaries.png", "memory.png"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "What does it cost to go back to a frozen set that was there before?" in text
    assert all(f"| {name} |" in text.replace("\\[", "[") for name in reasons)
