"""The page of findings, docs/findings.md, from the files of known failures: ``python -m peers.findings`` writes it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from refreeze.conformance import known_failures
from refreeze.conformance.catalogue import laws
from refreeze.conformance.clauses import Clause, Requirement, clauses, requirement

from peers.asked import ROOT, System, shown, systems
from peers.asked import known_failures as known_failures_of

PAGE = ROOT / "docs" / "findings.md"
REASON = re.compile(r"(?P<version>[^,]+), (?P<date>\d{4}-\d\d-\d\d): (?P<what>.+)", re.DOTALL)
"""The form of the reason of an entry: in which version the failure was seen, when, and what the peer does."""


PEERS = {name: system for name, system in systems().items() if known_failures_of(name).exists()}
"""The implementations with a file of known failures, by its name."""


def page() -> str:
    """Return the text of the page."""
    text, entries = HEAD, {name: known_failures.read(known_failures_of(name)) for name in PEERS}
    for name, peer in PEERS.items():
        versions = dict.fromkeys(_seen(entry)["version"] for entry in entries[name])
        text += f"| {peer.title} | {', '.join(versions) or peer.seen_in} "
        for level in ("must", "should"):
            ids = {_clause(entry).id for entry in entries[name] if _level(entry) == level}
            text += f"| {', '.join(sorted(ids, key=list(clauses()).index)) or 'none'} "
        text += "|\n"
    for name, peer in PEERS.items():
        if not entries[name]:
            continue
        text += f"\n## {peer.title}\n\n" + "".join(_finding(peer, entry) for entry in entries[name])
    return text.rstrip() + "\n"


def _clause(entry: known_failures.KnownFailure) -> Clause:
    return clauses()[laws()[entry.law].clause]


def _level(entry: known_failures.KnownFailure) -> Requirement:
    return requirement(_clause(entry).id, entry.case)


def _seen(entry: known_failures.KnownFailure) -> re.Match[str]:
    seen = REASON.fullmatch(entry.reason)
    assert seen is not None, f"{entry.check_id}: the reason must be of the form 'package version, date: what it does'"
    return seen


def _finding(peer: System, entry: known_failures.KnownFailure) -> str:
    clause, seen, case = _clause(entry), _seen(entry), shlex.quote(json.dumps(entry.case))
    requests = [_shown(entry.case[key]) for key in ("request", "other") if key in entry.case]
    return ROW.format(
        law=entry.law,
        clause=clause,
        level=_level(entry),
        version=seen["version"],
        date=seen["date"],
        what=" ".join(seen["what"].split()),
        case="; against that: ".join(requests),
        command=f"refreeze verify {shown(peer)} --law {entry.law} --replay {case}",
    )


def _shown(request: dict[str, Any]) -> str:
    """Return a request in the words of a reader."""
    words = [f"`{json.dumps(request['config'])}`", f"names {' '.join(request['names'])}", f"total {request['total']}"]
    words += [f"resumed at {request['start']}"] if request.get("start") else []
    words += [f"interrupted in tick {tick} and resumed"] if (tick := request.get("fail_tick")) else []
    words += [f"{n} steps an epoch"] if (n := request.get("steps_per_epoch", 1)) > 1 else []
    return ", ".join(words)


HEAD = """# What implementations do differently

`refreeze verify` was run on installed implementations, through the adapters in `peers/`, which call their own code
and read the flags that it sets, or see which weights move. Those that are marked "training" trained the kit's module in
their own trainers (`--level execution`). Each entry below is a case in which a law does not hold of
one of them: the clause, what the implementation does, and a case, mostly the simplest that was found, with the command
that runs it again. Some are mistakes, some are choices, and in some the choice is refreeze's: the entries say what
happens and no more. Laws that hold are not listed.
Who breaks a **must** trains otherwise than the configuration says; a **should** is about which wrong
configurations are rejected, and with which error.

`tox -e peers` runs all of it again; an entry that does not happen any more fails, and so does anything new.
Configurations are read as on the pages of the [dialects](dialects/index.md). Short experiments on more questions are
on the page [what the frameworks do](frameworks.md).

| implementation | version | musts with an entry | shoulds with an entry |
|---|---|---|---|
"""
ROW = """\
### {clause.id}: {clause.title}

| | |
|---|---|
| the clause | {clause.id}: {clause.text} |
| level | {level} |
| what it does | {what} |
| the case | {case} |
| the law | `{law}` |
| seen in | {version}, {date} |

```sh
{command}
```

"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
