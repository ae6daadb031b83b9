"""Comparing two runs: ratios, thresholds and exit codes, and what is no run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from refreeze import InvalidSpec, Unsupported
from refreeze.bench import group
from refreeze.bench.compare import compare
from refreeze.bench.stored import Ratio, Stats, paired, ratio, read
from stored_runs import bench, write
from typer.testing import CliRunner


@pytest.fixture
def runs(tmp_path: Path):
    """Write OLD and NEW, each of one benchmark with these times, and return their paths."""

    def written(old: list[float], new: list[float]) -> tuple[str, str]:
        return write(tmp_path / "old.json", bench("one", *old)), write(tmp_path / "new.json", bench("one", *new))

    return written


def stats(*times: float) -> Stats:
    return Stats(**{key: value for key, value in bench("x", *times)["stats"].items() if key != "ops"})


def test_a_ratio_is_of_medians_and_its_spread_of_quartiles_the_widest_way_round() -> None:
    new, old = stats(8.0, 10.0, 12.0, 14.0, 16.0), stats(1.0, 2.0, 4.0, 5.0, 6.0)
    assert ratio(new, old) == Ratio(12 / 4, 10 / 5, 14 / 2)
    assert ratio(new, old, less=2.0, plus=1.0) == Ratio(10 / 5, 8 / 6, 12 / 3)


def test_paired_times_cancel_what_both_share() -> None:
    drift = [1.0, 5.0, 2.0, 9.0, 1.0]
    assert paired([2 * time for time in drift], drift) == Ratio(2, 2, 2)
    assert paired([3.0], [2.0]) == Ratio(1.5, 1.5, 1.5)
    assert paired([], []) is None


@pytest.mark.parametrize(
    ("old", "new", "fail", "code"),
    [
        ([2.0], [9.0], [], 0),  # without a threshold it only tells
        ([2.0], [2.5], ["median:25%"], 0),
        ([2.0], [2.5625], ["median:25%"], 1),
        ([2.0], [1.0], ["median:25%"], 0),
        ([1.0, 2.0, 9.0], [1.5, 2.0, 9.0], ["median:10%"], 0),
        ([1.0, 2.0, 9.0], [1.5, 2.0, 9.0], ["median:10%", "min:0.25"], 1),
        ([1.0, 2.0, 9.0], [1.25, 2.0, 9.0], ["min:0.25"], 0),
    ],
)
def test_a_threshold_that_is_passed_exits_1(runs, old, new, fail, code) -> None:
    assert compare(*runs(old, new), fail) == code


def test_the_slowest_is_first_with_both_times_and_the_threshold_that_it_passed(tmp_path, capsys) -> None:
    old = write(
        tmp_path / "old.json", *(bench(name, 0.002, group="switch: mlp", case=name) for name in ("a", "b", "c"))
    )
    new = write(
        tmp_path / "new.json",
        *(bench(name, time, group="switch: mlp", case=name) for name, time in (("a", 0.002), ("b", 3), ("c", 0.004))),
    )
    compare(old, new, ["median:60%"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("switch")]
    assert [row[2] for row in rows] == ["b", "c", "a"]
    assert rows[1] == ["switch:", "mlp,", "c", "2", "ms", "4", "ms", "2", "2", "to", "2", "median:60%"]
    assert rows[2][-1] == "1"


def test_a_benchmark_that_failed_in_new_is_past_every_threshold_and_one_that_was_skipped_is_told(tmp_path, capsys):
    old = write(tmp_path / "old.json", bench("one", 1.0), bench("two", 1.0), bench("three", 1.0))
    for outcome, code in (("failed", 1), ("skipped", 0)):
        gone = {"name": "two", "outcome": outcome, "reason": "because\nof that"}
        new = write(tmp_path / "new.json", bench("one", 1.0), bench("four", 1.0), not_run=[gone])
        assert compare(old, new, ["median:10%"]) == code
        assert compare(old, new) == 0
        told = capsys.readouterr().out
        assert f"two: {outcome} in NEW: because of that" in told
        assert "three: not in NEW" in told
        assert "four: not in OLD" in told


def test_another_machine_is_told(tmp_path, capsys) -> None:
    old = write(tmp_path / "old.json", bench("one", 1.0))
    compare(old, write(tmp_path / "new.json", bench("one", 1.0), device="Loom 9000"))
    told = capsys.readouterr().out
    assert "GPU: no GPU in OLD, Loom 9000 in NEW" in told
    assert "CPU" not in told


def test_a_run_is_found_by_its_number_in_the_storage_of_pytest_benchmark(tmp_path) -> None:
    machine = tmp_path / "Linux-CPython"
    machine.mkdir()
    for number in (1, 2):
        write(machine / f"000{number}_mine.json", bench("one", float(number)))
    assert read("OLD", "0002", str(tmp_path)).benchmarks[0].stats.median == 2
    with pytest.raises(InvalidSpec, match=r"OLD = '000' must be a JSON file of pytest-benchmark.*\(2 match\)"):
        read("OLD", "000", str(tmp_path))


@pytest.mark.parametrize(
    "content",
    ["", "no JSON", "[]", "3", "{}", '{"benchmarks": []}', '{"benchmarks": [{}]}', '{"benchmarks": [{"stats": {}}]}',
     '{"benchmarks": 1}', b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_run_is_rejected(tmp_path, content) -> None:
    (tmp_path / "bad.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidSpec, match=r"NEW = .* must be a JSON file of pytest-benchmark"):
        read("NEW", str(tmp_path / "bad.json"))


def test_a_wrong_type_is_told_with_its_place(tmp_path) -> None:
    path = write(tmp_path / "bad.json", bench("one", 1.0, segments="many"))
    with pytest.raises(InvalidSpec, match=r"benchmarks\[0\]\.extra_info\.segments"):
        read("NEW", path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((f"stats.{key}", value) for key in ("median", "min") for value in (float("nan"), -1.0, 0.0, float("inf"))),
        ("stats.q1", 1.5),
        ("stats.q3", 0.5),
        ("stats.data", [1.0, float("nan")]),
        ("extra_info.beside_seconds", [0.0]),
        ("extra_info.mib_per_switch", float("nan")),
        ("fullname", "one\x1b[31m"),
        ("group", "two\nlines"),
        ("extra_info.case", "\ud800"),
    ],
)
def test_what_no_run_can_measure_is_rejected_and_no_threshold_holds(tmp_path, place, value) -> None:
    found = bench("one", 1.0)
    holder, _, key = place.rpartition(".")
    (found[holder] if holder else found)[key] = value
    old, new = write(tmp_path / "old.json", bench("one", 1.0)), write(tmp_path / "new.json", found)
    with pytest.raises(InvalidSpec, match=rf"benchmarks\[0\]\.{holder or key}"):
        compare(old, new, ["median:10%"])


def test_nothing_is_made_where_there_is_nothing(tmp_path) -> None:
    with pytest.raises(InvalidSpec, match="OLD = '0001' must be"):
        read("OLD", "0001", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("expression", ["median", "median:fast", "median:-10%", "speed:10%", ""])
def test_what_is_no_threshold_is_rejected(runs, expression) -> None:
    with pytest.raises(InvalidSpec, match=r"--fail = .* must be such as median:10%"):
        compare(*runs([1.0], [1.0]), [expression])


def test_two_runs_without_a_common_benchmark_are_rejected(tmp_path) -> None:
    old, new = (write(tmp_path / f"{name}.json", bench(name, 1.0)) for name in ("one", "two"))
    with pytest.raises(InvalidSpec, match=r"NEW = .* must be a run that has a benchmark in common with"):
        compare(old, new)


def test_the_commands(runs, tmp_path) -> None:
    app = typer.Typer()
    app.add_typer(group, name="bench")
    old, new = runs([1.0], [2.0])
    run = CliRunner().invoke
    assert run(app, ["bench", "compare", old, new]).exit_code == 0
    assert run(app, ["bench", "compare", old, new, "--fail", "median:50%"]).exit_code == 1
    assert run(app, ["bench", "compare", new, old, "--fail", "median:50%", "--fail", "min:1%"]).exit_code == 0
    written = run(app, ["bench", "report", new, "--out", str(tmp_path / "out")])
    assert written.exit_code == 0
    assert written.output.split() == [str(tmp_path / "out" / name) for name in ("report.md", "report.html")]


def test_without_pytest_benchmark_it_says_what_to_install(runs, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest_benchmark.storage.file", None)
    with pytest.raises(Unsupported, match=r"pip install 'refreeze\[bench\]'"):
        compare(*runs([1.0], [1.0]))


def test_the_command_line_loads_nothing_heavy_before_it_must() -> None:
    program = "import sys, refreeze.bench; print({'pytest_benchmark', 'matplotlib', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
