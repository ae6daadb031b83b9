"""Two versions, timed in turn in one session: how many times as long each row takes, with an interval.

Times of two separate runs differ by what else the machine did. Here a process of each version runs at the same time,
and they are asked in turn, in an order drawn anew for each round. A pair of processes gives one ratio for each row:
the median over the rounds. Processes of one version differ too, so the interval is over several pairs. It is a
bootstrap of their mean, and a row has become slower only if its near end passes the threshold.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refreeze.bench.stored import Ratio, number, seconds
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.policy import check_int

REFERENCE = "reference"
SAMPLE = 0.002  # seconds: longer than a clock's tick, shorter than what a busy machine lets a process run
Clock = Literal["cpu", "wall"]
Counts = dict[str, int]


class Sample(NamedTuple):
    """One round of one row: the seconds of a call, and what it counted."""

    seconds: float
    counts: Counts


class Version:
    """A process with one version of refreeze, which times rows."""

    def __init__(self, where: str, folder: str, file: str, clock: Clock) -> None:
        self.where, self.folder = where, folder
        worker = Path(__file__).with_name("ab_worker.py")
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(  # noqa: S603 (the user's own file)
            [sys.executable, "-P", str(worker), file, clock],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Any:
        """Return the next answer; raises ``InvalidSpec`` if the process has ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            allowed = f"a file whose rows run with the version in {self.folder} (its process has ended)"
            raise InvalidSpec("FILE", self.process.args[3], allowed)  # type: ignore[index]
        return json.loads(line)

    def rows(self) -> list[str]:
        """Return the names of the rows; raises ``InvalidSpec`` if another version than that of the folder was found."""
        hello = self.answer()
        if not Path(hello["package"] or "/").is_relative_to(Path(self.folder).resolve()):
            raise InvalidSpec(self.where, self.folder, f"a folder with the package refreeze (found {hello['package']})")
        names: list[str] = hello["rows"]
        return names

    def time(self, row: str, repeats: int) -> Sample:
        """Return the seconds of one of ``repeats`` calls of a row; raises ``InvalidSpec`` if its counts change."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps([row, repeats]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says so
        answer = self.answer()
        first: Counts = answer["counts"][0]
        if odd := [counts for counts in answer["counts"] if counts != first]:
            raise InvalidSpec(f"{row} in {self.where}", odd[0], f"counts that are equal in each call: {first}")
        return Sample(answer["seconds"] / repeats, first)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def measured(old: str, new: str, file: str, rounds: int, clock: Clock) -> dict[str, list[tuple[Sample, Sample]]]:
    """Return, for each row of ``file``, the samples of OLD and NEW in each round of one pair of processes."""
    with ExitStack() as stack:
        versions = [Version(where, path, file, clock) for where, path in (("OLD", old), ("NEW", new))]
        for version in versions:
            stack.callback(version.close)
        names, others = (version.rows() for version in versions)
        if names != others or not [name for name in names if name != REFERENCE]:
            raise InvalidSpec("FILE", file, f"a file with the same rows for both versions ({names} and {others})")
        repeats = {}
        for name in names:
            once = max(min(version.time(name, 1).seconds for _ in range(3)) for version in versions)  # and warm up
            repeats[name] = max(1, round(SAMPLE / max(once, 1e-7)))
        found: dict[str, list[tuple[Sample, Sample]]] = {name: [] for name in names}
        for _ in range(rounds):
            order = random.sample((0, 1), 2)
            now = {which: {name: versions[which].time(name, repeats[name]) for name in names} for which in order}
            for name in names:
                found[name].append((now[0][name], now[1][name]))
    return found


def logarithms(pair: dict[str, list[tuple[Sample, Sample]]]) -> dict[str, float]:
    """Return the logarithm of NEW / OLD of each row in one pair, relative to the row ``reference`` if there is one."""

    def of(name: str) -> float:
        return statistics.median(math.log(new.seconds / old.seconds) for old, new in pair[name])

    less = of(REFERENCE) if REFERENCE in pair else 0.0
    return {name: of(name) - less for name in pair if name != REFERENCE}


def interval(values: Sequence[float]) -> Ratio:
    """Return the ratio whose logarithms are ``values``, one of each pair, with its 95 % bootstrap interval.

    >>> print(interval([0.0, 0.0, 0.0]))
    1 (1 to 1)
    """
    try:
        import numpy as np
        from scipy.stats import bootstrap
    except ImportError as error:
        raise Unsupported(f"bench ab needs scipy: pip install 'refreeze[bench]' ({error})") from None
    low, high = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return Ratio(*(math.exp(float(value)) for value in (statistics.fmean(values), low, high)))


def _folder(where: str, given: str) -> str:
    for folder in (Path(given), Path(given, "reference")):
        if (folder / "refreeze" / "__init__.py").is_file():
            return str(folder.resolve())
    raise InvalidSpec(where, given, "a folder with the package refreeze, or with reference/refreeze")


def _counted(pairs: Iterable[dict[str, list[tuple[Sample, Sample]]]], row: str, version: int) -> list[Counts]:
    every = (samples[version].counts for pair in pairs for samples in pair[row])
    return [dict(counts) for counts in {tuple(sorted(counts.items())) for counts in every}]


def ab(
    old: str, new: str, file: str, pairs: int = 8, rounds: int = 60, threshold: float = 0.01, clock: Clock = "cpu"
) -> int:
    """Print NEW / OLD for each row of ``file``, and return 1 if one has become slower or counts otherwise, else 0.

    A row whose interval is so wide that a slowdown of 5 % could hide in it is marked; more pairs make it narrower.

    Args:
        old: A folder with the package, or a checkout.
        new: The same, of the version to judge.
        file: A Python file with a function ``rows``, which returns a dictionary: name -> a function without arguments.
            What such a function returns, a dictionary of integers or None, are counts, which must be equal in both
            versions. If there is a row ``reference``, the others are divided by it.
        pairs: The pairs of processes, >= 2.
        rounds: How often each pair is asked for each row, >= 2.
        threshold: By what part a row may become slower: 0.01 is 1 %; >= 0.
        clock: "cpu", the processor time of a process, which does not see waiting, or "wall".

    Raises ``InvalidSpec`` for a folder without the package, a file without rows, and numbers out of range.
    """
    folders = _folder("OLD", old), _folder("NEW", new)
    check_int("--pairs", pairs, 2)
    check_int("--rounds", rounds, 2)
    if not 0 <= threshold < math.inf:
        raise InvalidSpec("--threshold", threshold, "a number >= 0")
    if clock not in ("cpu", "wall"):
        raise InvalidSpec("--clock", clock, "cpu or wall")
    if not Path(file).is_file():
        raise InvalidSpec("FILE", file, "a Python file with a function rows")
    found = [measured(*folders, file, rounds, clock) for _ in range(pairs)]
    ratios = [logarithms(pair) for pair in found]

    console, slower, changed = Console(), 0, 0
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("row", "OLD", "NEW", "NEW / OLD", "95 % interval", ""):
        table.add_column(heading, overflow="fold")
    for row in ratios[0]:
        value, low, high = interval([pair[row] for pair in ratios])
        times = (statistics.median(s[i].seconds for pair in found for s in pair[row]) for i in (0, 1))
        was, now = (_counted(found, row, version) for version in (0, 1))
        notes = [f"slower than {threshold:.3g} allows"] * (low > 1 + threshold)
        notes += ["too noisy for a slowdown of 5 %"] * (1.05 * low <= value * (1 + threshold))
        notes += [f"counted {was} in OLD, {now} in NEW"] * (was != now or len(was) != 1)
        slower, changed = slower + (low > 1 + threshold), changed + (was != now or len(was) != 1)
        cells = (
            row,
            *map(seconds, times),
            number(value, 4),
            f"{number(low, 4)} to {number(high, 4)}",
            "; ".join(notes),
        )
        table.add_row(*(Text(cell, "red" if notes else "") for cell in cells))
    console.print(table)
    console.print(f"{slower} of {len(ratios[0])} rows slower, {changed} with other counts")
    return int(slower + changed > 0)
