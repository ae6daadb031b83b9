"""A process that times the rows of a file when told to, with whatever version of refreeze it finds: see ``ab``.

It is started by its path, so that an old version need not have it, and imports nothing but the standard library.
A line ``row repeats`` on the standard input is answered by one line of JSON.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import runpy
import sys
import time
from typing import Any


def main(file: str, clock: str) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a row prints is no answer
    found = importlib.util.find_spec("refreeze")
    rows: dict[str, Any] = runpy.run_path(file)["rows"]()
    now = {"cpu": time.process_time, "wall": time.perf_counter}[clock]
    gc.collect()
    gc.freeze()

    def say(**answer: object) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    say(rows=list(rows), package=found.origin if found else None)
    for line in sys.stdin:
        name, repeats = json.loads(line)
        row, counts = rows[name], []
        start = now()
        for _ in range(repeats):
            counts.append(row())
        seconds = now() - start
        say(seconds=seconds, counts=[dict(one or {}) for one in counts])


if __name__ == "__main__":
    main(*sys.argv[1:])
