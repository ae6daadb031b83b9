"""Hostile inputs for every entry point: no traceback, no hang, no gigabyte, and nothing of the user's lost.

    tox -e fuzz -- --seconds 600
    tox -e fuzz -- --inputs 1000000                      # a night: until so many inputs were tried
    python tests/fuzz/fuzz.py --replay files:0:1234      # one input again: entry point, seed, number

An input follows from its entry point, the seed and its number alone. Each chunk of inputs runs in a process of its own,
which is ended if it hangs; an input is given processor time, so that a busy machine is no finding. An entry point may
raise a ``ScheduleError``, and in the kit a ``Fault``; all else is a finding, as is a message that is not one printable
line of at most 2,000 characters.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HANG, MOST_MEBIBYTES, CHUNK, CHUNK_SECONDS = 10, 1024, 10_000, 40
"""The first in seconds of processor time."""
WAITS, PATIENCE = 100, 900
"""Seconds on the clock that an input may wait, and a process of a chunk may take, on a busy machine too."""
NAMES = ["plain", "core", "files", "cli", "wire", "answers", "cases", "checkpoints", "records"]
NAMES += ["loops"] if importlib.util.find_spec("torch") else []
NAMES += ["page"] if shutil.which("node") else []


class Hang(BaseException):
    """An input took longer than it may."""


def tried(entry: str, seed: int, number: int) -> str | None:
    """Try one input; return what is wrong, None if nothing is."""
    from entries import ENTRIES
    from refreeze import ScheduleError
    from refreeze.conformance.protocol import Fault

    def hang(*_: Any) -> None:
        raise Hang(f"longer than {HANG} s of processor time, or {WAITS} s")

    signal.signal(signal.SIGALRM, hang)
    signal.signal(signal.SIGPROF, hang)
    signal.alarm(WAITS)
    signal.setitimer(signal.ITIMER_PROF, HANG)
    begun = time.process_time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            ENTRIES[entry](random.Random(f"{entry}:{seed}:{number}"), Path(folder))
    except Fault:
        return None
    except ScheduleError as error:
        said = str(error)
        return None if said.isprintable() and len(said) <= 2_000 else f"the message {said!r:.300}"
    except BaseException as error:
        *_, line = traceback.format_exception_only(error)
        places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
        return f"{line.strip():.300} ({' < '.join(reversed(places))})"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None if time.process_time() - begun < HANG else f"longer than {HANG} s of processor time"


def work(entry: str, seed: int, first: int, at: Path) -> None:
    """Try inputs in this process, for a while, and print the figures as JSON."""
    from entries import ENTRIES

    with contextlib.suppress(BaseException), tempfile.TemporaryDirectory() as folder:
        ENTRIES[entry](random.Random(0), Path(folder))  # what is imported is not part of an input's time
    begun, slowest, found = time.perf_counter(), 0.0, []
    for number in range(first, first + CHUNK):
        at.write_text(str(number))
        now = time.process_time()
        if wrong := tried(entry, seed, number):
            found.append((number, wrong))
        slowest = max(slowest, time.process_time() - now)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if peak > MOST_MEBIBYTES:
            found.append((number, f"the process has {peak} MiB"))
        if peak > MOST_MEBIBYTES or time.perf_counter() - begun > CHUNK_SECONDS:
            break
    print("\n" + json.dumps({"inputs": number + 1 - first, "found": found, "slowest": slowest, "peak": peak}))


def chunk(entry: str, seed: int, first: int) -> dict[str, Any]:
    """Try inputs in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder, "at")
        call = [sys.executable, __file__, "--work", f"{entry}:{seed}:{first}:{at}"]
        try:
            run = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE)
            return dict(json.loads(run.stdout.splitlines()[-1]))
        except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
            last = int(at.read_text()) if at.exists() else first
            hangs = isinstance(error, subprocess.TimeoutExpired)
            found = [(last, "hangs" if hangs else f"the process ended: {run.stderr[-500:]}")]
            return {"inputs": last - first + 1, "found": found, "slowest": 0.0, "peak": 0}


def fuzz(entries: list[str], seconds: float, inputs: int, processes: int, seed: int) -> int:
    """Try inputs of each entry point in turn, print figures and findings, and return their number."""
    begun, rows, findings = time.perf_counter(), {entry: [0, 0.0, 0.0, 0] for entry in entries}, []

    def series(worker: int) -> None:
        for entry in itertools.cycle(entries[worker::processes]):
            now, row = time.perf_counter(), rows[entry]
            result = chunk(entry, seed, int(row[0]))
            spent = time.perf_counter() - now
            row[:] = (
                row[0] + result["inputs"],
                row[1] + spent,
                max(row[2], result["slowest"]),
                max(row[3], result["peak"]),
            )
            findings.extend(f"{entry}:{seed}:{number}  {what}" for number, what in result["found"])
            if time.perf_counter() - begun > seconds and sum(int(row[0]) for row in rows.values()) >= inputs:
                return

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(series, range(min(processes, len(entries)))))
    print(f"{'':12}{'inputs':>9}{'seconds':>9}{'slowest':>9}{'peak MiB':>10}")
    for entry, (number, spent, slowest, peak) in rows.items():
        print(f"{entry:12}{number:9,}{spent:9.0f}{slowest:9.2f}{peak:10,}")
    total, took = sum(int(row[0]) for row in rows.values()), time.perf_counter() - begun
    print(f"{total:,} inputs in {took:.0f} s, seed {seed}: {len(findings)} findings")
    for finding in findings[:50]:
        print(f"--replay {finding}")
    return len(findings)


def main() -> int:
    """Fuzz, or replay one input; return 1 if there are findings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--inputs", type=int, default=0, help="to try at least, whatever time it takes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--entries", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--replay", metavar="ENTRY:SEED:NUMBER")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        entry, seed, first, at = options.work.split(":", 3)
        work(entry, int(seed), int(first), Path(at))
        return 0
    if options.replay:
        from entries import ENTRIES

        with tempfile.TemporaryDirectory() as folder:
            ENTRIES[options.replay.partition(":")[0]](random.Random(options.replay), Path(folder))
        return 0
    return 1 if fuzz(options.entries, options.seconds, options.inputs, options.processes, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
