"""Ask every question of every system, each by itself, and write the answers, dated, to the folder ``results``.

It needs all systems installed; one that is not is written down as not run.
"""

from __future__ import annotations

import datetime
import importlib
import json
import subprocess
import sys
from pathlib import Path

import lab

HERE = Path(__file__).parent
QUESTIONS = (
    "flip", "still_moves", "batch_norm", "optimizer_state", "late_thaw", "until_epoch", "resume", "compose", "misspelt",
)  # fmt: skip


def answers(question: str) -> dict[str, object]:
    """Return what every system answers, and when."""
    cells = []
    for system in lab.SYSTEMS:
        command = [sys.executable, str(HERE / f"{question}.py"), system]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
        if done.returncode != 0:
            sys.exit(f"{question} {system}: {done.stderr[-2000:]}")
        cell = json.loads(done.stdout)
        print(f"{question:16} {system:17} {cell['answer'] or cell['why']}", flush=True)
        cells.append({key: value for key, value in cell.items() if key != "question"})
    text = str(importlib.import_module(question).__doc__).strip()
    return {"question": text.partition("\n")[0], "how": " ".join(text.split("\n")[1:]).strip(),
            "date": datetime.date.today().isoformat(), "cells": cells}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:] or QUESTIONS:
        text = json.dumps(answers(name), indent=1) + "\n"
        (HERE / "results" / f"{name}.json").write_text(text, encoding="utf-8")
