"""The laws as tests: the pytest plugin, the decorator, and the README of the example adapters."""

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import brute_force
import pytest
from refreeze.conformance.catalogue import checks
from refreeze.conformance.protocol import Fault, FaultKind, segments_request
from refreeze.conformance.pytest_plugin import parametrize_with_laws
from wrong_ones import SOURCE

HERE = Path(__file__).parent
README = HERE.parents[1] / "examples" / "adapters" / "README.md"
WINDOW = {
    "layers": ["a", "b"], "training_interval": [0, 1],
    "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 1},
}  # fmt: skip
INSTALLED = any(entry.name == "refreeze" for entry in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "refreeze.conformance.pytest_plugin"]


def python(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(HERE), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def run_pytest(folder, *arguments):
    done = python(folder, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "--color=no", *arguments)
    return done.returncode, done.stdout + done.stderr


def wrong_module(folder):
    (folder / "mine.py").write_text(SOURCE.replace("(k * window + j)", "(k * window + j + 1)"))


def test_the_plugin_adds_a_test_for_each_law(tmp_path):
    wrong_module(tmp_path)
    code, output = run_pytest(tmp_path, "--refreeze", "mine:respond", "--refreeze-dialect", "vl3d", "-v", "-k", "RR-")
    assert code == 1
    assert re.search(r"RR-2-nothing_is_frozen_outside\[vl3d\] PASSED", output)
    assert re.search(r"RR-1-agrees_with_the_reference\[vl3d\] FAILED", output)
    assert "RR-1: In span k, the ticks from" in output
    assert "is [0, 1) conv2, but should be [0, 1) stem" in output
    replay = re.search(r"refreeze (verify mine:respond --replay [0-9a-f]{10})", output)[1]
    assert refreeze(tmp_path, *replay.split()).returncode == 1
    assert "Traceback" not in output


def test_the_plugin_runs_beside_other_tests_and_programs(tmp_path):
    (tmp_path / "test_mine.py").write_text("def test_other(): pass\n")
    command = f"{sys.executable} {HERE / 'faulty.py'} supports-nothing"
    code, output = run_pytest(tmp_path, "--refreeze-command", command, "--refreeze-dialect", "lisa")
    assert code == 0, output
    assert re.search(rf"1 passed, {len(checks(dialects=['lisa']))} skipped", output)
    code, output = run_pytest(
        tmp_path, "--refreeze-command", command.replace("supports-nothing", "rubbish"), "-k", "SCH-1"
    )
    assert code == 1
    assert "the adapter is at fault: rubbish: not a line of JSON" in output


def test_the_plugin_does_nothing_unless_it_is_asked(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    assert 'refreeze.conformance.laws' not in sys.modules\n"
        "    assert not {'tensorflow', 'keras', 'numpy'} & sys.modules.keys()\n"
    )
    code, output = run_pytest(tmp_path, "-q")
    assert code == 0, output
    assert "1 passed" in output


def test_importing_the_plugin_loads_nothing_heavy():
    program = "import sys; import refreeze.conformance.pytest_plugin; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in python(HERE, "-c", program).stdout.split()}
    assert "refreeze" in loaded
    assert not {"hypothesis", "numpy", "keras", "tensorflow", "msgspec", "rich", "typer"} & loaded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--refreeze", "no_such_module:f"], "adapter = 'no_such_module:f' must be the name of something that exists"),
        (["--refreeze", "mine:respond", "--refreeze-dialect", "vl4d"], "--dialect = 'vl4d' must be one of"),
        (["--refreeze-command", "no-such-program"], "not-started"),
    ],
)
def test_a_wrong_call_is_a_usage_error(tmp_path, arguments, message):
    wrong_module(tmp_path)
    code, output = run_pytest(tmp_path, *arguments)
    assert code == 4
    assert message in output


@parametrize_with_laws(brute_force.respond, dialects=["lightning"])
def test_the_decorator(law):
    assert law().verdict == "holds"


def test_the_decorator_fails_and_skips_as_pytest_does():
    def bound(respond):
        (first, *_) = parametrize_with_laws(respond, dialects=["vl3d"]).args[1]
        return first.values[0]

    with pytest.raises(pytest.fail.Exception, match="SCH-1: Segments are contiguous"):
        bound(lambda request: {"id": request["id"], "segments": []})()
    with pytest.raises(pytest.skip.Exception, match="does not support it"):
        bound(lambda request: {"id": request["id"], "unsupported": True})()
    with pytest.raises(pytest.fail.Exception, match=r"crashed: ZeroDivisionError: .*test_kit_plugin\.py:"):
        bound(lambda request: 1 // 0)()
    with pytest.raises(Fault, match="rubbish"):
        bound(lambda request: None)()
    assert parametrize_with_laws("brute_force:respond").args[0] == "law"


def test_known_failures_are_expected_ones_for_the_plugin_and_the_decorator(tmp_path):
    wrong_module(tmp_path)
    case = {"request": segments_request("vl3d", ["a", "b"], [WINDOW], 1)}
    entry = {"law": "RR-1-agrees_with_the_reference", "dialect": "vl3d", "reason": "counts from 1", "case": case}
    known = tmp_path / "known.json"
    known.write_text(json.dumps({"failures": [entry]}))
    arguments = ("--refreeze", "mine:respond", "--refreeze-dialect", "vl3d", "-k", "RR-1", "-rx")
    code, output = run_pytest(tmp_path, *arguments, "--refreeze-known-failures", known)
    assert (code, "1 passed" in output, "2 xfailed" in output, "counts from 1" in output) == (0, True, True, True), (
        output
    )
    marked = parametrize_with_laws(brute_force.respond, dialects=["vl3d"], known_failures=known).args[1]
    stale = next(param.values[0] for param in marked if param.id == "RR-1-agrees_with_the_reference[vl3d]")
    with pytest.raises(
        pytest.fail.Exception, match=r"a known failure does not fail any more: remove it \(counts from 1"
    ):
        stale()
    known.write_text(json.dumps({"failures": [entry | {"dialect": "lisa"}]}))
    code, output = run_pytest(tmp_path, *arguments, "--refreeze-known-failures", known)
    assert code == 4
    assert "known failures = ['RR-1-agrees_with_the_reference[lisa]'] must be laws that there are" in output


def test_the_readme_gives_a_first_verdict_in_ten_lines(tmp_path):
    """Its program is written to the file that it says, its commands are run, and what it shows is what they print."""
    text = README.read_text()
    program, commands, shown = re.search(
        r"```python\n(.*?)```.*?```console\n(.*?)```.*?```\n(.*?)```", text, re.S
    ).groups()
    assert len(program.splitlines()) + len(commands.splitlines()) <= 10
    (tmp_path / "mine.py").write_text(program)
    install, verify = commands.splitlines()
    assert install.startswith("$ pip install")
    done = refreeze(tmp_path, *verify.split()[2:])
    assert done.returncode == 1, done.stderr
    found = " ".join(done.stdout.split())
    for line in shown.splitlines():
        assert " ".join(line.split()) in found, line
    replay = next(line for line in done.stdout.splitlines() if line.startswith("  refreeze verify"))
    assert refreeze(tmp_path, *shlex.split(replay)[1:]).returncode == 1
    # Then what it says about known failures, and about tests of one's own.
    (tmp_path / "known.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1])
    known = refreeze(tmp_path, *verify.split()[2:], "--known-failures", "known.toml")
    assert known.returncode == 0, known.stdout + known.stderr
    (tmp_path / "test_mine.py").write_text(re.findall(r"```python\n(.*?)```", text, re.S)[1])
    code, output = run_pytest(tmp_path, "-q", "-k", "SCH-1 or GRD-1")
    assert code == 1
    assert "2 failed, 1 passed, 2 skipped" in output
    (tmp_path / "mine.py").write_text(
        program.replace("names[: len(names) - t // every - 1]", "names[: max(0, len(names) - t // every - 1)]")
    )
    assert refreeze(tmp_path, *verify.split()[2:]).returncode == 0


def test_the_readme_shows_an_executor(tmp_path):
    text = README.read_text().partition("## An executor")[2]
    program, commands = re.search(r"```python\n(.*?)```.*?```console\n(.*?)```", text, re.S).groups()
    (tmp_path / "trains.py").write_text(program)
    install, verify = commands.splitlines()
    assert install.startswith("$ pip install")
    done = refreeze(tmp_path, *verify.split()[2:], "--law", "EXE-12", "--law", "EXE-5-a_schedule_object_is_refused")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "test_mine.py").write_text("")
    arguments = ("--refreeze", "trains:Mine", "--refreeze-level", "execution", "-k", "EXE-12", "-q")
    code, output = run_pytest(tmp_path, *arguments)
    assert code == 0, output
    assert "1 passed, " in output


def refreeze(folder, *arguments):
    return python(
        folder, "-c", "import typer, refreeze.conformance.cli as c; a = typer.Typer(); c.register(a); a()", *arguments
    )


def test_the_page_names_every_fault():
    assert [kind for kind in get_args(FaultKind) if f"`{kind}`" not in README.read_text()] == []


def test_the_plugin_ends_what_takes_too_long(tmp_path):
    began = time.perf_counter()
    program = "sh -c 'sleep 777 & exec sleep 777'"
    arguments = ["--refreeze-command", program, "--refreeze-dialect", "vl3d", "--refreeze-timeout", "1"]
    code, output = run_pytest(tmp_path, *arguments)
    assert code == 1
    assert "the adapter is at fault: timeout: no answer in 1 s" in output
    assert time.perf_counter() - began < 700  # far less, but on a busy machine
    code, output = run_pytest(tmp_path, *arguments[:-1], "nan")
    assert "timeout = nan must be some seconds, at most a day" in output
