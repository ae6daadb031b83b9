"""The report of a run: what is required, what did not run, tables, pictures, Markdown and HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from refreeze import InvalidSpec
from refreeze.bench.report import report
from refreeze.bench.requirements import required
from refreeze.bench.stored import StoredRun, read
from stored_runs import bench, write

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "benchmarks" / "requirements.toml"
SWITCH, RUN, STEP = ("switch: mobilenetv2", "run, round robin: mobilenetv2", "step against plain Keras: mobilenetv2")


def figures(**changed: Any) -> list[dict[str, Any]]:
    """Return the benchmarks that the requirements are about, all of which just hold; some changed."""
    time = {"revisit": 0.0625, "first": 55.0, "compile": 100.0, "ours": 2.0, "users": 12.0, "step": 1.02} | changed
    return [
        bench("a", time["revisit"], group=SWITCH, case="refreeze, revisit", fit_seconds=[9.0], fit_after_seconds=[9.5]),
        bench("b", time["first"], group=SWITCH, case="refreeze, first visit", trace_seconds=[20.0], fit_seconds=[3.0],
              traces_per_switch=1),
        bench("c", time["compile"], group=SWITCH, case="Keras compile, fresh optimizer", baseline=True,
              fit_seconds=[37.5], traces_per_switch=2, trace_seconds=[10.0, 20.0], optimizer_bytes=2**21),
        bench("d", time["ours"], group=RUN, case="refreeze cached", segments=20, distinct_sets=4, traces=4),
        bench("e", time["users"], group=RUN, case="keras compile per segment", baseline=True),
        bench("f", 1.0, 7.0, 3.0, group=STEP, case="all trainable", beside_seconds=[1.0, 7.0, 3.0]),
        bench("g", time["step"], group=STEP, case="prefix 50% frozen", beside_seconds=[1.0]),
    ]  # fmt: skip


def run_of(*benchmarks: dict[str, Any]) -> StoredRun:
    return msgspec.convert({"benchmarks": list(benchmarks)}, StoredRun)


def rows(*benchmarks: dict[str, Any]) -> list[tuple[str, ...]]:
    return [row[1:] for row in required(run_of(*benchmarks), REQUIREMENTS)]


def test_every_requirement_holds_at_its_bound() -> None:
    assert [(allowed, measured.partition(" ")[0], holds) for allowed, measured, holds in rows(*figures())] == [
        ("≥ 1,000", "1,000", "yes"),
        ("≥ 10", "10.46", "yes"),  # the fit after the revisit is 9.5 s
        ("≤ 0.55", "0.55", "yes"),
        ("≥ 6", "6", "yes"),
        ("≤ 1.02", "1", "yes"),
        ("≤ 1.02", "1.02", "yes"),
    ]


@pytest.mark.parametrize(
    ("changed", "broken"),
    [({"revisit": 0.0626}, 0), ({"first": 55.1}, 2), ({"users": 11.9}, 3), ({"ours": 2.1}, 3), ({"step": 1.021}, 5)],
)
def test_a_requirement_that_is_just_missed_is_told(changed: dict[str, float], broken: int) -> None:
    assert [index for index, row in enumerate(rows(*figures(**changed))) if row[2] == "no"] == [broken]


def test_what_was_not_measured_does_not_hold() -> None:
    assert [row[1:] for row in rows(*figures()[3:5])] == [
        *[("not measured", "")] * 3,
        ("6 (6 to 6)", "yes"),
        *[("not measured", "")] * 2,
    ]


@pytest.mark.parametrize("text", ["[[requirement]]", "[[requirment]]", "[", '[[requirement]]\nwhat = "x"\nof = ["a"]'])
def test_what_is_no_file_of_requirements_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InvalidSpec, match=r"--require = .* must be a TOML file of requirements"):
        required(run_of(*figures()), tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("resident", "shown"),
    [([500.0, 700.0, 650.0], ("150 MiB", "yes")), ([500.0, 651.0], ("151 MiB", "no")), ([], ("not measured", ""))],
)
def test_a_growth_of_memory_may_be_required(tmp_path: Path, resident: list[float], shown: tuple[str, str]) -> None:
    """From the first measurement to the last."""
    text = '[[requirement]]\nwhat = "x"\nof = ["memory: cnn", "auto"]\nmost_mib = 150'
    (tmp_path / "memory.toml").write_text(text)
    stored = run_of(bench("auto", 5.0, group="memory: cnn", case="auto", resident_mib=resident))
    assert required(stored, tmp_path / "memory.toml") == [("x", "≤ 150 MiB", *shown)]


class Outline(HTMLParser):
    """The tags that are not closed, the pictures and the cells of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str | None] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture
def whole(tmp_path: Path) -> str:
    curves = [
        bench(f"s{layers}{x}", 1 + x, group="schedule: boundaries", case=f"{layers}, {x}", series=layers, x=x)
        for layers in ("ten", "hundred")
        for x in (0, 10, 100)
    ]
    memory = [
        bench(how, 5.0, group=f"memory: {model}", case=how, series=how, resident_mib=[500.0, 510.0, 520.0],
              mib_per_switch=10.0)
        for model in ("mlp", "cnn")
        for how in ("cached", "compile")
    ]  # fmt: skip
    kit = bench("kit", 2.0, 2.0, group="conformance: reference", case="vl3d", cases=500, question="How many?")
    peer = {"name": "test_peer[a|b]", "outcome": "skipped", "reason": "could not\nimport <torch>"}
    return write(tmp_path / "run.json", *figures(), *curves, *memory, kit, not_run=[peer])


def test_when_freezing_pays(tmp_path: Path) -> None:
    """A first visit takes 9 steps that train everything, a later one half of such a step."""
    times = {"once_seconds": 22.0, "first_seconds": [18.0], "beside_once_seconds": 22.0, "beside_seconds": [2.0, 2.0]}
    part = bench("p", 1.0, 1.0, group="parts of a run: mlp", case="cached", series="cached", share=0.5, **times)
    never = bench("n", 2.0, 2.0, group="parts of a run: mlp", case="slow", series="slow", share=0.5, **times)
    written = report(write(tmp_path / "run.json", part, never), tmp_path / "out")
    assert "pays.png" in {path.name for path in written}
    text = written[0].read_text(encoding="utf-8")
    assert "| cached | 50% | 9 | 0.5 | 17 | 1.16 | 0.58 | 1.33 | 0.58 | 0.51 |" in text
    assert "| slow | 50% | 9 | 1 | never | 1.53 | 1.06 | 1.77 | 1.08 | 1.01 |" in text


def test_the_report_has_what_was_measured_and_what_was_not(whole: str, tmp_path: Path) -> None:
    written = report(whole, tmp_path / "out", REQUIREMENTS)
    assert [path.name for path in written] == ["report.md", "report.html", "switch.png", "boundaries.png", "memory.png"]
    assert {path.read_bytes()[:4] for path in written[2:]} == {b"\x89PNG"}
    text = written[0].read_text(encoding="utf-8")
    for line in (
        "| commit | 0123456789ab and uncommitted changes |",
        "| CPU | Abacus, 2 cores |",
        "| GPU | no GPU |",
        "| load average before | 0.5, 0.25, 0 |",
        "| switch, without an ordinary step: compile per segment / revisit | ≥ 1,000 | 1,000 (1,000 to 1,000) | yes |",
        "| step, all trainable: refreeze / plain Keras | ≤ 1.02 | 1 (1 to 1) | yes |",
        "| test_peer\\[a\\|b] | skipped | could not import &lt;torch&gt; |",
        "| refreeze, first visit | 55 s (55 s to 55 s) | 1 | 0.55 (0.55 to 0.55) "
        "| trace 20 s, first run 32 s; a fit without a switch 3 s; traces per switch 1 |",
        "| Keras compile, fresh optimizer | 100 s (100 s to 100 s) | 1 | 1 "
        "| trace 30 s, first run 32.5 s; a fit without a switch 37.5 s; traces per switch 2; optimizer 2 MiB |",
        "| refreeze cached | 2 s (2 s to 2 s) | 1 | 0.1667 (0.1667 to 0.1667) "
        "| segments 20; distinct sets 4; traces 4 |",
        "| cached | not timed | 1 | MiB resident 500, 510, 520; 10.0 MiB a switch after the first |",
        "| vl3d | 2 s (2 s to 2 s) | 2 | 250 cases per second |",
        "![Cost of a switch, by model](switch.png)",
        "How many?",
    ):
        assert f"\n{line}\n" in text
    page = Outline()
    page.feed(written[1].read_text(encoding="utf-8"))
    assert page.open == []
    assert page.pictures == ["switch.png", "boundaries.png", "memory.png"]
    assert "could not import <torch>" in page.cells
    for cell in ("test_peer[a|b]", "refreeze, first visit", "250 cases per second"):
        assert cell in page.cells


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Dollar signs would be a formula in a picture; HTML, borders of cells and links something else in a table."""
    name = "$x^$ <b onclick=a()>|[c](d)&amp;`"
    found = bench("one", 1.0, group=f"switch: {name}", case=name, question=name)
    curve = bench("two", 1.0, group=f"boundaries: {name}", case="a", series=name, x=1)
    path = write(
        tmp_path / "run.json", found, curve, not_run=[{"name": name, "outcome": name, "reason": f"{name}\x1b"}]
    )
    written = report(path, tmp_path / "out")
    assert len(written) == 4
    assert "<b" not in written[0].read_text(encoding="utf-8")
    page = Outline()
    page.feed(written[1].read_text(encoding="utf-8"))
    assert page.cells.count(name) >= 4
    assert "b" not in page.open


def test_an_equal_run_gives_an_equal_report(whole: str, tmp_path: Path) -> None:
    first, second = ([path.read_bytes() for path in report(whole, tmp_path / out)] for out in ("one", "two"))
    assert first == second


def test_a_run_of_another_suite_has_tables_and_no_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "run.json", bench("sort", 1.0, 2.0), device="Loom 9000")
    written = report(path, tmp_path / "out")
    text = written[0].read_text(encoding="utf-8")
    assert len(written) == 2
    assert "| sort | 1.5 s (1.25 s to 1.75 s) | 2 |  |" in text
    assert "| GPU | Loom 9000 |" in text
    assert "required" not in text


def test_a_picture_shows_every_figure(whole: str) -> None:
    from refreeze.bench.pictures import pictures

    drawn = {name: figure for name, (_, figure) in pictures(read("JSON", whole)).items()}
    (bars,) = drawn["switch"].axes
    assert sorted(bar.get_height() for bar in bars.patches) == [0.0625, 55, 100]
    assert bars.get_yscale() == "log"
    (curves,) = drawn["boundaries"].axes
    assert [line.get_label() for line in curves.lines] == ["ten", "hundred"]
    assert [list(line.get_xdata()) for line in curves.lines] == [[0, 10, 100]] * 2
    assert [axes.get_title("left") for axes in drawn["memory"].axes] == ["mlp", "cnn"]
    assert [list(line.get_ydata()) for axes in drawn["memory"].axes for line in axes.lines] == [[0, 10, 20]] * 4


def test_the_report_that_is_kept_is_of_its_run_and_the_readme_quotes_it(tmp_path):
    kept = ROOT / "docs" / "benchmarks" / "cpu"
    report(str(kept / "run.json"), tmp_path, REQUIREMENTS)
    text = (kept / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
    quoted = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if "≥" in line or "≤" in line
    ]
    assert len(quoted) == 6
    assert [line for line in quoted if line not in text.splitlines()] == []
