"""Two versions in turn: what is compared, what fails, and what is refused. The packages are stand-ins."""

from __future__ import annotations

import math
import sys

import pytest
from refreeze import InvalidSpec
from refreeze.bench.ab import Sample, Version, ab, interval, logarithms

ROWS = """
import refreeze
def rows():
    def work():
        print("this is no answer")
        sum(range(20_000 * refreeze.WORK))
        return {"calls": refreeze.COUNT}
    return {"reference": lambda: sum(range(20_000)) and None, "work": work, **refreeze.MORE}
"""


@pytest.fixture
def version(tmp_path):
    """Write a version that does ``work`` times as much, and return its folder."""

    def written(name: str, work: int = 1, count: str = "1", more: str = "{}") -> str:
        package = tmp_path / name / "reference" / "refreeze"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"WORK, COUNT, MORE = {work}, {count}, {more}")
        return str(tmp_path / name)

    return written


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.py"
    path.write_text(ROWS)
    return str(path)


def test_a_version_that_works_three_times_as_much_is_slower_and_the_other_is_not(version, rows, capsys) -> None:
    old, new = version("old"), version("new", work=3)
    assert ab(old, new, rows, pairs=2, rounds=5, threshold=0.5) == 1
    assert "slower than 0.5 allows" in " ".join(capsys.readouterr().out.split())
    assert ab(new, old, rows, pairs=2, rounds=5, threshold=0.5, clock="wall") == 0


def test_a_count_that_differs_fails_whatever_the_threshold(version, rows, capsys) -> None:
    assert ab(version("old"), version("new", count="2"), rows, pairs=2, rounds=2, threshold=1e9) == 1
    assert "0 of 1 rows slower, 1 with other counts" in capsys.readouterr().out


def test_a_row_is_divided_by_the_reference_of_its_process() -> None:
    def samples(*pairs: tuple[float, float]) -> list[tuple[Sample, Sample]]:
        return [(Sample(old, {}), Sample(new, {})) for old, new in pairs]

    pair = {"work": samples((1.0, 2.0), (1.0, 4.0), (1.0, 99.0))}
    assert logarithms(pair) == {"work": math.log(4)}
    assert logarithms(pair | {"reference": samples((1.0, 2.0))}) == {"work": pytest.approx(math.log(2))}


def test_a_row_that_is_too_noisy_to_tell_says_so(version, rows, monkeypatch, capsys) -> None:
    noisy = iter([{"work": math.log(ratio)} for ratio in (1.0, 1.2, 1.0, 1.001)])
    monkeypatch.setattr(sys.modules["refreeze.bench.ab"], "logarithms", lambda pair: next(noisy))
    assert ab(version("old"), version("new"), rows, pairs=2, rounds=2) == 0
    assert "too noisy for a slowdown of 5 %" in " ".join(capsys.readouterr().out.split())
    assert ab(version("third"), version("fourth"), rows, pairs=2, rounds=2) == 0
    assert "too noisy" not in capsys.readouterr().out


def test_the_interval_holds_the_mean_and_is_as_wide_as_the_values_differ() -> None:
    value, low, high = interval([math.log(ratio) for ratio in (1.0, 1.1, 1.2, 1.3)])
    assert 1 < low < value < high < 1.3


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"old": "nowhere"}, "OLD"),
        ({"file": "nowhere.py"}, "FILE"),
        ({"pairs": 1}, "--pairs"),
        ({"rounds": 1}, "--rounds"),
        ({"threshold": math.nan}, "--threshold"),
        ({"threshold": -0.1}, "--threshold"),
        ({"clock": "sun"}, "--clock"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_started(version, rows, change, where) -> None:
    given = {"old": version("old"), "new": version("new"), "file": rows} | change
    with pytest.raises(InvalidSpec) as refusal:
        ab(**given)
    assert refusal.value.where == where


@pytest.mark.parametrize(
    ("count", "more", "where"),
    [
        ("1", "{'other': int}", "FILE"),  # other rows than in OLD
        ("__import__('os')._exit(3)", "{}", "FILE"),  # it ends
        ("1", "{'work': lambda n=iter(range(99)): {'calls': next(n)}}", "work in NEW"),  # counts that change
    ],
)
def test_a_version_whose_rows_cannot_be_compared_is_refused(version, rows, count, more, where) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        ab(version("old"), version("new", count=count, more=more), rows, pairs=2, rounds=2)
    assert refusal.value.where == where


def test_a_process_that_finds_another_package_is_refused(tmp_path) -> None:
    (tmp_path / "rows.py").write_text("def rows(): return {}")
    version = Version("NEW", str(tmp_path), str(tmp_path / "rows.py"), "cpu")
    with pytest.raises(InvalidSpec, match=r"NEW = .* must be a folder with the package refreeze"):
        version.rows()
    version.close()
