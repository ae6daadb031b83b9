"""Stored runs: the parts of a JSON file of pytest-benchmark that are used, and ratios of its times.

Times are medians. A ratio of two times has a spread too, from the smallest to the largest that their quartiles give.
A run is rejected if it holds what no run can hold: a time that is not a number above 0, quartiles that are not in
order, or a name that is not one printable line.
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

Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z", max_length=1000)]
Text = Annotated[str, Meta(pattern=r"^[^\ud800-\udfff]*\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Time = Annotated[float, Meta(gt=0, le=1e9)]
Amount = Annotated[float, Meta(ge=0, le=1e18)]


class Stats(Struct, frozen=True, kw_only=True):
    """Times in seconds, as pytest-benchmark computes them."""

    min: Time
    max: Time
    mean: Time
    stddev: Amount
    median: Time
    iqr: Amount
    q1: Time
    q3: Time
    rounds: Count
    data: list[Time] = []
    """The time of each round."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for times that are out of order."""
        if not self.min <= self.q1 <= self.median <= self.q3 <= self.max:
            raise ValueError("min, q1, median, q3 and max must be in this order")


class Extra(Struct, frozen=True, kw_only=True):
    """What a benchmark of this project says about itself. A benchmark of another project says nothing of it."""

    question: Line = ""
    """What it asks."""
    case: Line | None = None
    """What was measured; unique in the group."""
    baseline: bool = False
    """Whether the others in the group are compared with it."""
    series: Line | None = None
    """The name of its curve in a picture: it is the point at ``x`` of that curve, or ``resident_mib`` is the curve."""
    x: Amount | None = None
    resident_mib: list[Amount] = []
    """The memory of a process after each switch."""
    mib_per_switch: Annotated[float, Meta(ge=-1e18, le=1e18)] | None = None
    """How much memory each switch after the first adds."""
    fit_seconds: list[Time] = []
    """Fits of one step, without a switch."""
    fit_after_seconds: list[Time] = []
    """Fits of one step, right after the switch."""
    trace_seconds: list[Time] = []
    """Traces of the train step, ``traces_per_switch`` of them in each round."""
    beside_seconds: list[Time] = []
    """Times of something else, which was measured in turn with the rounds."""
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The share of the layers that is frozen, where ``first_seconds`` and the two after it were measured."""
    first_seconds: list[Time] = []
    """First visits of frozen sets, all but the very first; each with its first step."""
    once_seconds: Time | None = None
    """The very first of them."""
    beside_once_seconds: Time | None = None
    """The very first step of what was measured beside."""
    segments: Count | None = None
    distinct_sets: Count | None = None
    traces: Count | None = None
    traces_per_switch: Count | None = None
    optimizer_bytes: Count | None = None
    cases: Count | None = None
    """Cases checked by the conformance kit."""


class Benchmark(Struct, frozen=True, kw_only=True):
    """One benchmark."""

    fullname: Line
    stats: Stats
    group: Line | None = None
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

    brand_raw: Line = "unknown"
    count: Count | None = None


class Machine(Struct, frozen=True):
    """Where a run was."""

    cpu: Cpu = Cpu()
    device: Line | None = None
    """The accelerator."""
    python_version: Line = "?"
    system: Line = "?"
    versions: dict[Line, Line] = {}
    load: list[Amount] | None = None
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

    id: Line | None = None
    dirty: bool = False


class NotRun(Struct, frozen=True):
    """A benchmark that was skipped, or failed."""

    name: Line
    outcome: Line
    reason: Text

    def line(self) -> str:
        """Return the reason in one printable line."""
        return " ".join("".join(char if char.isprintable() else " " for char in self.reason).split())


class StoredRun(Struct, frozen=True, kw_only=True):
    """What one run of the benchmarks has stored."""

    benchmarks: Annotated[list[Benchmark], Meta(min_length=1)]
    machine_info: Machine = Machine()
    commit_info: Commit = Commit()
    datetime: Line = ""
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


def read(where: str, reference: str, storage: str = ".benchmarks") -> StoredRun:
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
        return msgspec.convert(found[0], StoredRun)
    except (ValueError, KeyError, TypeError, RecursionError, NotImplementedError) as error:  # msgspec's is a ValueError
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


def ratio(new: Stats, old: Stats, less: float = 0.0, plus: float = 0.0) -> Ratio:
    """Return the median of ``new``, less ``less`` seconds, by that of ``old`` and ``plus`` seconds."""
    pairs = (new.median, old.median), (new.q1, old.q3), (new.q3, old.q1)
    return Ratio(*((mine - less) / (other + plus) for mine, other in pairs))


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
