"""The template of a repository: what its workflow and its hook run does what they say."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "examples" / "template"


def commands():
    """Return the calls of refreeze in the workflow, the hook and the page of the template."""
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "refreeze.yml").read_text())
    hook = yaml.safe_load((TEMPLATE / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"][0]
    steps = [step["run"] for step in workflow["jobs"]["verify"]["steps"] if "run" in step]
    return {
        "workflow": next(step for step in steps if step.startswith("refreeze")),
        "hook": shlex.join([*shlex.split(hook["entry"]), *hook["args"]]),
        "page": next(
            line[2:] for line in (TEMPLATE / "README.md").read_text().splitlines() if line.startswith("$ refr")
        ),
    }


@pytest.mark.parametrize("where", ["workflow", "hook", "page"])
def test_what_the_template_runs_passes_now_and_fails_for_another_mistake_and_for_one_that_is_mended(where, tmp_path):
    copied = shutil.copytree(TEMPLATE, tmp_path / "copy")

    def code():
        call = [sys.executable, "-m", "refreeze.cli", *shlex.split(commands()[where])[1:]]
        return subprocess.run(call, cwd=copied, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}).returncode

    assert code() == 0
    assert (copied / "refreeze-report.json").exists() == (where == "workflow")
    source = (copied / "schedule.py").read_text()
    if where == "hook":
        (copied / "schedule.py").write_text(
            source.replace("    return", "    if every == 2:\n        return []\n    return")
        )
        assert code() == 1
    if where == "page":
        (copied / "schedule.py").write_text(
            source.replace("len(layers) - epoch // every - 1", "max(0, len(layers) - epoch // every - 1)")
        )
        assert code() == 1


def test_the_file_of_known_failures_can_be_written_by_the_command_on_the_page(tmp_path):
    copied = shutil.copytree(TEMPLATE, tmp_path / "copy")
    before = (copied / "known_failures.toml").read_text()
    first, *rest = [line[2:] for line in (copied / "README.md").read_text().splitlines() if line.startswith("$ ")][2:]
    for command, code in ((rest[0], 2), (first, 0), (rest[0], 1), (commands()["page"], 0)):
        words = shlex.split(command)
        words[:1] = [sys.executable, "-m", "refreeze.cli"] if words[0] == "refreeze" else words[:1]
        assert subprocess.run(words, cwd=copied, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}).returncode == code
    written = (copied / "known_failures.toml").read_text()
    assert written != before
    assert written.count("not explained yet: ") >= 2


def test_the_hook_for_other_repositories_is_the_command_of_the_template():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    mine = yaml.safe_load((TEMPLATE / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"][0]
    assert {key: hook[key] for key in ("id", "entry", "pass_filenames")} == {
        key: mine[key] for key in ("id", "entry", "pass_filenames")
    }
