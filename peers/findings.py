"""The page of findings, docs/findings.md, from the files of known failures: ``python -m peers.findings`` writes it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refreeze.conformance import known_failures
from refreeze.conformance.catalogue import laws
from refreeze.conformance.clauses import Clause, clauses

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
REASON = re.compile(r"(?P<version>[^,]+), (?P<date>\d{4}-\d\d-\d\d): (?P<what>.+)", re.DOTALL)
"""The form of the reason of an entry: in which version the failure was seen, when, and what the peer does."""


@dataclass(frozen=True)
class Peer:
    """An implementation, and how it is asked."""

    title: str
    dialect: str
    adapter: str
    """What ``refreeze verify`` takes."""
    needs: tuple[str, ...]
    """The modules without which it cannot be asked."""
    laws: tuple[str, ...] = ()
    """The clauses or laws that it is asked about, if not all."""
    version: str = ""
    """Which one was asked, where no law is broken that would say it."""

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``refreeze verify`` for all of it."""
        laws = [argument for law in self.laws for argument in ("--law", law)]
        return [*shlex.split(self.adapter), "--dialect", self.dialect, *laws]


def _keras(title: str, backend: str) -> Peer:
    command = f"--command 'python peers/keras_flips.py {backend}'"
    laws = ("SCH-3", "RES-1-a_resumed_run_is_the_rest_of_the_whole")
    return Peer(f"Keras on {title}, `trainable` set without compiling", "vl3d", command, ("keras", backend), laws)


def _trained(title: str, dialect: str, name: str, *needs: str, version: str = "") -> Peer:
    adapter = f"peers.executors:{name} --level execution"
    return Peer(f"{title}, training", dialect, adapter, ("torch", *needs), version=version)


PEERS = {
    "lighter": Peer("Lighter, Freezer", "lighter", "peers.lighter_freezer:respond", ("lighter",)),
    "lighter_both": Peer(
        "Lighter, Freezer with `until_step` and `until_epoch`",
        "lighter",
        "peers.lighter_freezer:respond_to_both",
        ("lighter",),
        ("LGT-2",),
    ),
    "lightning": Peer(
        "PyTorch Lightning, BackboneFinetuning", "lightning", "peers.lightning_finetuning:respond", ("lightning",)
    ),
    "composer": Peer("Composer, LayerFreezing", "composer", "peers.composer_layer_freezing:respond", ("composer",)),
    "keras_tensorflow": _keras("TensorFlow", "tensorflow"),
    "keras_jax": _keras("JAX", "jax"),
    "keras_torch": _keras("torch", "torch"),
    "lightning_training": _trained(
        "PyTorch Lightning, BackboneFinetuning", "lightning", "BackboneFinetuning", "lightning"
    ),
    "fts_training": _trained("finetuning-scheduler", "fts", "FinetuningScheduler", "finetuning_scheduler"),
    "lighter_training": _trained(
        "Lighter, Freezer under Lightning's trainer", "lighter", "LighterFreezer", "lighter",
        version="lighter 0.1.0 with pytorch_lightning 2.6.6",
    ),
    "composer_training": _trained("Composer, LayerFreezing", "composer", "ComposerLayerFreezing", "composer"),
    "swift_training": _trained(
        "ms-swift, LISA under Hugging Face's Trainer", "lisa", "SwiftLISA", "swift", "transformers", "accelerate",
        version="ms-swift 4.6.0 with transformers 5.23.0",
    ),
    "axolotl_training": _trained(
        "axolotl, LISA under Hugging Face's Trainer", "lisa", "AxolotlLISA", "axolotl", "transformers", "accelerate",
        version="axolotl 0.19.0 with transformers 5.23.0",
    ),
    "badam_training": _trained("BAdam, BlockOptimizer", "badam", "BAdam", "badam", "transformers"),
}  # fmt: skip
"""By the name of the file of known failures."""


def file_of(name: str) -> Path:
    """Return the file of known failures of a peer."""
    return ROOT / "peers" / "known_failures" / f"{name}.toml"


def page() -> str:
    """Return the text of the page."""
    text, entries = HEAD, {name: known_failures.read(file_of(name)) for name in PEERS}
    for name, peer in PEERS.items():
        ids = dict.fromkeys(_clause(entry).id for entry in entries[name])
        versions = dict.fromkeys(_seen(entry)["version"] for entry in entries[name])
        text += f"| {peer.title} | {', '.join(versions) or peer.version} "
        text += f"| {', '.join(sorted(ids, key=list(clauses()).index)) or 'none'} |\n"
    for name, peer in PEERS.items():
        if not entries[name]:
            continue
        text += f"\n## {peer.title}\n\n" + "".join(_finding(peer, entry) for entry in entries[name])
    return text.rstrip() + "\n"


def _clause(entry: known_failures.KnownFailure) -> Clause:
    return clauses()[laws()[entry.law].clause]


def _seen(entry: known_failures.KnownFailure) -> re.Match[str]:
    seen = REASON.fullmatch(entry.reason)
    assert seen is not None, f"{entry.check_id}: the reason must be of the form 'package version, date: what it does'"
    return seen


def _finding(peer: Peer, entry: known_failures.KnownFailure) -> str:
    clause, seen, case = _clause(entry), _seen(entry), shlex.quote(json.dumps(entry.case))
    requests = [_shown(entry.case[key]) for key in ("request", "other") if key in entry.case]
    return ROW.format(
        law=entry.law,
        clause=clause,
        version=seen["version"],
        date=seen["date"],
        what=" ".join(seen["what"].split()),
        case="; against that: ".join(requests),
        command=f"refreeze verify {peer.adapter} --law {entry.law} --replay {case}",
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

`tox -e peers` runs all of it again; an entry that does not happen any more fails, and so does anything new.
Configurations are read as on the pages of the [dialects](dialects/index.md). Short experiments on more questions are
on the page [what the frameworks do](frameworks.md).

| implementation | version | clauses with an entry |
|---|---|---|
"""
ROW = """\
### {clause.id}: {clause.title}

| | |
|---|---|
| the clause | {clause.id}: {clause.text} |
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
