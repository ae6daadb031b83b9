"""Stored runs: what is read of a JSON file of pytest-benchmark, and ratios of its times.

Times are medians. A ratio of two has as its spread the ratios of their quartiles, the widest way round: from first to
third quartile to third to first.
"""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec, Unsupported


class Stats(Struct, frozen=True, kw_only=True):
    """Times in seconds, as pytest-benchmark computes them."""

    min: float
    max: float
    mean: float
    stddev: float
    median: float
    iqr: float
    q1: float
    q3: float
    rounds: int
    data: list[float] = []
    """The time of each round."""


class Extra(Struct, frozen=True, kw_only=True):
    """What a benchmark of this project says about itself; one of another has none of it."""

    question: str = ""
    """What it asks."""
    case: str | None = None
    """What was measured; unique in the group."""
    baseline: bool = False
    """Whether the others in the group are compared with it."""
    series: str | None = None
    """The curve that it is a point of, at ``x``; or that is ``resident_mib``."""
    x: float | None = None
    resident_mib: list[float] = []
    """The memory of a process after each switch."""
    mib_per_switch: float = math.nan
    fit_seconds: list[float] = []
    """Fits of one step, without a switch."""
    fit_after_seconds: list[float] = []
    """The same right after the switch."""
    trace_seconds: list[float] = []
    """Traces of the train step, ``traces_per_switch`` of them in each round."""
    beside_seconds: list[float] = []
    """What was measured in turn with the rounds."""
    segments: int | None = None
    distinct_sets: int | None = None
    traces: int | None = None
    traces_per_switch: int | None = None
    optimizer_bytes: int | None = None
    cases: int | None = None
    """Cases checked by the conformance kit."""


class Benchmark(Struct, frozen=True, kw_only=True):
    """One benchmark."""

    fullname: str
    stats: Stats
    group: str | None = None
    """``question: subject``; the benchmarks of a group can be compared."""
    extra_info: Extra = Extra()

    @property
    def question(self) -> str:
        """The first half of the group."""
        return (self.group or "").partition(": ")[0]

    @property
    def case(self) -> str:
        """What was measured, within the group."""
        return self.extra_info.case or self.fullname.rpartition("::")[2]

    @property
    def title(self) -> str:
        """What was measured."""
        return f"{self.group}, {self.case}" if self.group else self.case


class Cpu(Struct, frozen=True):
    """The processor."""

    brand_raw: str = "unknown"
    count: int | None = None


class Machine(Struct, frozen=True):
    """Where a run was."""

    cpu: Cpu = Cpu()
    device: str | None = None
    """The accelerator."""
    python_version: str = "?"
    system: str = "?"
    versions: dict[str, str] = {}
    load: list[float] | None = None
    """The load average when the run began."""

    def facts(self) -> dict[str, str]:
        """Return what must be equal for times to be comparable."""
        return {
            "CPU": f"{self.cpu.brand_raw}, {self.cpu.count or '?'} cores",
            "GPU": self.device or "no GPU",
            "Python": f"{self.python_version} on {self.system}",
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        }


class Commit(Struct, frozen=True):
    """What was measured."""

    id: str | None = None
    dirty: bool = False


class NotRun(Struct, frozen=True):
    """A benchmark that was skipped, or failed."""

    name: str
    outcome: str
    reason: str


class Run(Struct, frozen=True, kw_only=True):
    """What one run of the benchmarks has stored."""

    benchmarks: Annotated[list[Benchmark], Meta(min_length=1)]
    machine_info: Machine = Machine()
    commit_info: Commit = Commit()
    datetime: str = ""
    not_run: list[NotRun] = []

    def groups(self, question: str) -> dict[str, list[Benchmark]]:
        """Return the benchmarks of one question by subject, in the order in which they ran."""
        found: dict[str, list[Benchmark]] = {}
        for bench in self.benchmarks:
            if bench.question == question:
                found.setdefault((bench.group or "").partition(": ")[2], []).append(bench)
        return found

    def find(self, group: str, case: str) -> Benchmark | None:
        """Return the benchmark of that group and case, None if it was not measured."""
        return next((bench for bench in self.benchmarks if (bench.group, bench.case) == (group, case)), None)


def read(where: str, reference: str, storage: str = ".benchmarks") -> Run:
    """Return the run in a JSON file of pytest-benchmark, or the one of that number or name in the folder ``storage``.

    Raises ``InvalidSpec`` unless there is exactly one, and ``Unsupported`` without pytest-benchmark.
    """
    files = benchmark_module("storage.file")
    folder = Path(reference).parent if Path(reference).is_file() else Path(storage)
    allowed = f"a JSON file of pytest-benchmark, or the number of one in {storage}"
    if not folder.is_dir():  # FileStorage would make it
        raise InvalidSpec(where, reference, allowed)
    problems = _Problems()
    try:
        found = [data for _, data in files.FileStorage(folder, problems).load(reference)]
        if len(found) != 1:
            raise ValueError("; ".join(problems) or f"{len(found)} match")
        return msgspec.convert(found[0], Run)
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:  # msgspec's is a ValueError
        raise InvalidSpec(where, reference, f"{allowed} ({error})") from None


class _Problems(list[str]):
    """A logger for pytest-benchmark that keeps what it warns of."""

    warning = list.append


def benchmark_module(name: str) -> Any:
    """Return a module of pytest-benchmark, which is imported only here; raises ``Unsupported`` without it."""
    try:
        return importlib.import_module(f"pytest_benchmark.{name}")
    except ImportError as error:
        raise Unsupported(f"bench needs pytest-benchmark: pip install 'refreeze[bench]' ({error})") from None


class Ratio(NamedTuple):
    """A ratio with its spread."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.value, 4)} ({number(self.low, 4)} to {number(self.high, 4)})"


def ratio(new: Stats, old: Stats, less: float = 0.0) -> Ratio:
    """Return ``new`` by ``old``, of each the median, after taking ``less`` seconds from ``new``."""
    pairs = (new.median, old.median), (new.q1, old.q3), (new.q3, old.q1)
    return Ratio(*((mine - less) / other if other else math.inf for mine, other in pairs))


def paired(mine: Sequence[float], beside: Sequence[float]) -> Ratio | None:
    """Return the median and the quartiles of the ratios of times that were measured in turn, None if there are none.

    >>> print(paired([2.0, 3.0, 5.0], [1.0, 2.0, 2.0]))
    2 (1.75 to 2.25)
    """
    ratios = [own / other for own, other in zip(mine, beside, strict=False)]
    if len(ratios) < 2:
        return Ratio(*ratios * 3) if ratios else None
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high)


def number(value: float, digits: int = 3) -> str:
    """Return so many digits that count, all before the point of a large number.

    >>> [number(value) for value in (0.000123, 0.5512, 1.0049, 8412.3)]
    ['0.000123', '0.551', '1', '8,412']
    """
    return f"{value:,.0f}" if 100 <= value < math.inf else f"{value:.{digits}g}"


def seconds(value: float) -> str:
    """Return a time in the unit that suits it.

    >>> [seconds(value) for value in (0.0000021, 0.0151, 8.5, 176.2)]
    ['2.1 µs', '15.1 ms', '8.5 s', '176 s']
    """
    unit, factor = next((u, f) for u, f in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if value * f >= 1 or u == "µs")
    return f"{number(value * factor)} {unit}"
