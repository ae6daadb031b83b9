"""The public table: implementations are asked, and their stored reports are combined.

``python -m peers.table ask [NAME ...]`` installs each version into a folder of its own and stores a report of it;
``python -m peers.table combine`` makes ``docs/table/table.json`` of all stored reports and asks nobody.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import refreeze
from refreeze.conformance.clauses import clauses
from refreeze.conformance.protocol import PROTOCOL

from peers.asked import ROOT, SYSTEMS, System, known_failures, shown, systems

TABLE = ROOT / "docs" / "table" / "table.json"
FOLDERS = Path(os.environ.get("REFREEZE_SYSTEMS", ROOT / ".tox" / "systems"))
"""Where versions are installed; what is there already is not installed again."""
LONGEST = 400
"""Characters of what is told of a failure: the report has all of it."""
BADNESS = ("unsupported", "holds", "known", "should", "must")
"""What a cell can say, from the least to the most important; the last two are broken, by what is demanded."""
Result = dict[str, Any]


# Asking ------------------------------------------------------------------------------------------------------------
def folder_of(system: System, version: str) -> Path:
    """Return the folder with one version of an implementation, installed if it was not there."""
    folder = FOLDERS / f"{system.package or system.module}-{version}"
    if folder.exists():
        return folder
    if system.checkout:
        subprocess.run(["git", "clone", "-q", system.checkout, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "-q", version], check=True)
    else:
        wanted = [f"{system.package}=={version}", *system.also.get(version, ())]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--no-deps", "--target"]
        subprocess.run([*pip, folder, *wanted], check=True)
    return folder


def report_of(name: str, version: str) -> Path:
    """Return the file of a stored report."""
    return SYSTEMS / name / f"{version}.json"


def ask(name: str, system: System, version: str) -> str:
    """Store the report of one version, and return what the command said at last."""
    folders = [str(ROOT / path) for path in (*system.path, "")]
    if system.versions:
        folders.insert(0, str(folder_of(system, version)))
    report = report_of(name, version)
    known = known_failures(name)
    entries = ["--known-failures", str(known.relative_to(ROOT))] if known.exists() else []
    options = [*entries, "--timeout", "300", "--report", os.path.relpath(report, ROOT)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "PATH": path, "COLUMNS": "200"}
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "refreeze.cli", "verify", *system.arguments, *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if report.exists():
        found = {
            "asked": {
                "system": name,
                "version": version,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "python": sys.version.split()[0],
                "beside": dict(versions(["torch", *system.beside] if system.versions else [])),
            }
        } | json.loads(without(folders, report.read_text("utf-8")))
        report.write_text(as_lines(found, "results"), "utf-8")
    return next(reversed((done.stdout + done.stderr).strip().splitlines()), "")


def without(folders: Iterable[str], text: str) -> str:
    """Return the text with paths in these folders as paths from there: where they lie on a machine is no finding."""
    for folder in folders:
        text = text.replace(f"{folder.rstrip(os.sep)}{os.sep}", "")
    return text


def versions(modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the modules and in which version each is installed."""
    for module in dict.fromkeys(modules):
        distributions = importlib.metadata.packages_distributions().get(module, [module])
        yield module, importlib.metadata.version(distributions[0])


def as_lines(data: dict[str, Any], key: str) -> str:
    """Return JSON with a line for each entry of the list under ``key``, so that a change of one is a line."""
    rest = {other: value for other, value in data.items() if other != key}
    entries = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in data[key])
    return f"{json.dumps(rest, ensure_ascii=False)[:-1]},\n{json.dumps(key)}: [\n{entries}\n]}}\n"


# Combining ---------------------------------------------------------------------------------------------------------
def reports() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the stored reports by the names of their implementations, versions in the order of their lists."""
    for name, system in systems().items():
        for version in system.versions or (refreeze.__version__,):
            if (file := report_of(name, version)).exists():
                yield name, json.loads(file.read_text("utf-8"))


def state(result: Result) -> str:
    """Return which of ``BADNESS`` a result is: a crash breaks what is demanded too."""
    verdict: str = result["verdict"]
    return result["requirement"] if verdict in ("broken", "crashed") else verdict


def cells(results: Iterable[Result]) -> dict[str, Any]:
    """Return by clause the worst that its laws say, in how many cases, and each failure."""
    found: dict[str, Any] = {}
    for result in results:
        cell = found.setdefault(result["clause"], {"state": "unsupported", "dialects": {}, "cases": 0, "failures": []})
        now, dialects = state(result), cell["dialects"]
        cell["state"] = max(cell["state"], now, key=BADNESS.index)
        dialects[result["dialect"]] = max(dialects.get(result["dialect"], now), now, key=BADNESS.index)
        cell["cases"] += result["cases"] - result["unsupported"]
        if (failure := result["failure"]) is not None:
            told = {key: failure[key][:LONGEST] for key in ("what", "got", "should_be")}
            about = {"law": result["law"], "dialect": result["dialect"], "state": now, "reason": result["reason"]}
            kept = {key: failure[key] for key in ("case", "timelines", "replay")}
            cell["failures"].append(about | told | kept)
    for cell in found.values():
        cell["failures"].sort(key=lambda failure: -BADNESS.index(failure["state"]))
    order = list(clauses())
    return {clause: found[clause] for clause in sorted(found, key=order.index)}


def table(stored: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the table of stored reports, as plain data."""
    rows: dict[str, Any] = {}
    for name, report in stored:
        system = systems()[name]
        row = {"name": name, "title": system.title.replace("`", ""), "adapter": shown(system), "versions": []}
        about = {key: report["asked"][key] for key in ("version", "date", "python", "beside")}
        about |= {key: report[key] for key in ("refreeze", "level", "profile", "seed")}
        fault = report["fault"] and f"{report['fault']['kind']}: {report['fault']['detail']}"[:LONGEST]
        versions = rows.setdefault(name, row)["versions"]
        versions.append(about | {"fault": fault, "cells": cells(report["results"])})
    asked = {clause for row in rows.values() for version in row["versions"] for clause in version["cells"]}
    musts_first = sorted(clauses().values(), key=lambda clause: clause.requirement == "should")
    told = ("id", "title", "requirement", "text")
    return {
        "protocol": PROTOCOL,
        "clauses": [{key: getattr(c, key) for key in told} for c in musts_first if c.id in asked],
        "implementations": list(rows.values()),
    }


def combined() -> str:
    """Return the text of ``table.json``."""
    return as_lines(table(reports()), "implementations")


if __name__ == "__main__":
    what, *names = sys.argv[1:] or ["combine"]
    if what == "ask":
        for name, system in systems().items():
            for version in system.versions or (refreeze.__version__,):
                if not names or name in names or f"{name}-{version}" in names:
                    print(name, version, ask(name, system, version), sep=": ", flush=True)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(combined(), "utf-8")
