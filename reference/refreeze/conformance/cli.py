"""The commands ``verify`` and ``vectors``, which ``refreeze.cli`` mounts."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from refreeze.conformance import kept
from refreeze.conformance import vectors as kit_vectors
from refreeze.conformance.adapters import Adapter, load
from refreeze.conformance.protocol import Fault, Framework
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.writing import checked_target, write_whole

_Adapter = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODULE:OBJECT]",
        help="A function from a request, a dictionary, to its answer; an object that trains with --level execution.",
    ),
]
_Command = Annotated[
    str | None,
    typer.Option(metavar="COMMAND", help="In place of a callable: a program that answers a line of JSON with one."),
]
_Timeout = Annotated[
    float | None,
    typer.Option(min=0.1, max=86400, help="The seconds that an answer may take: 20, or 300 where models are trained."),
]


@contextmanager
def _adapter(
    reference: str | None,
    command: str | None,
    timeout: float | None,
    level: str = "schedule",
    framework: Framework | None = None,
) -> Iterator[Adapter]:
    """Load an adapter, and close it; one at fault is told and exits 2."""
    try:
        adapter = load(reference, command, level=level, timeout=timeout, framework=framework)
    except Fault as fault:
        _tell(fault)
    try:
        yield adapter
    finally:
        adapter.close()


def _tell(fault: Fault) -> Any:
    typer.echo(f"the adapter is at fault: {fault}")
    if fault.request is not None:
        typer.echo(f"asked: {json.dumps(fault.request)}")
    raise typer.Exit(2)


def _progress() -> Progress:
    return Progress(console=(console := Console(stderr=True)), transient=True, disable=not console.is_terminal)


def verify(
    adapter: _Adapter = None,
    command: _Command = None,
    dialect: Annotated[list[str] | None, typer.Option(help="Only this one, or these.")] = None,
    law: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this law or clause, or these.")] = None,
    level: Annotated[str, typer.Option(help="What is checked: schedule, or execution, on real models.")] = "schedule",
    framework: Annotated[
        Literal["keras", "torch"] | None, typer.Option(help="In which an executor trains that does not say so itself.")
    ] = None,
    profile: Annotated[Literal["quick", "ci", "thorough"], typer.Option(help="How hard to try.")] = "quick",
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same cases.")] = 0,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JSON.")] = None,
    known_failures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Laws that are known to break: JSON or TOML.")
    ] = None,
    write_known: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what the run fails for as a file of known failures: TOML or JSON."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it even if there is such a file.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail also for a should: what is to be rejected.")] = False,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="CASE", help="Check one case again: its id, REPORT.json#id, or with --law its JSON or file."
        ),
    ] = None,
    timeout: _Timeout = None,
) -> None:
    """Check an implementation by the laws: exit 0 if each must holds, 1 if one breaks, 2 if the adapter is at fault."""
    # Hypothesis keeps a cache: not where the user happens to be.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir(), "refreeze-hypothesis")))
    try:
        from refreeze.conformance import catalogue, runner
        from refreeze.conformance import report as kit_report
        from refreeze.conformance.known_failures import read as read_known_failures
        from refreeze.conformance.known_failures import text as known_failures_text
    except ImportError as error:
        raise Unsupported(f"verify needs Hypothesis: pip install 'refreeze[conformance]' ({error})") from None
    case = None
    if replay is not None:
        stored, case = kept.find(replay)
        law = law or ([] if stored is None else [stored])
    chosen = catalogue.checks(level, dialect or (), law or ())
    entries = [] if known_failures is None else read_known_failures(known_failures)
    if case is not None and len(law or ()) != 1:
        raise InvalidSpec("--law", law, "the one law that the case of --replay is about")
    read = [] if known_failures is None else [known_failures]
    read += [path for path in map(Path, [replay, replay.rpartition("#")[0]]) if path.is_file()] if replay else []
    if report is not None:
        checked_target("--report", report, read)  # now, not after minutes
    if write_known is not None:
        if replay is not None:
            raise InvalidSpec("--write-known", str(write_known), "left out with --replay")
        if not force and checked_target("--write-known", write_known).exists():
            raise InvalidSpec("--write-known", str(write_known), "a new file, or --force")
    began = time.perf_counter()
    with _adapter(adapter, command, timeout, level, framework) as loaded, _progress() as progress:
        chosen = catalogue.of_framework(chosen, loaded.framework)
        task = progress.add_task("verify", total=len(chosen))
        loaded.stored = "" if report is None else f"{report}#"
        if case is not None:
            found = runner.replay(loaded, chosen, case, strict)
        else:
            found = runner.run(
                loaded,
                chosen,
                profile,
                seed,
                entries,
                on_check=lambda check: progress.update(task, advance=1, description=check.id),
                strict=strict,
            )
        seconds = time.perf_counter() - began
        if write_known is not None and found.fault is None:
            try:
                to_know = runner.to_be_known(loaded, found, entries)
            except Fault as fault:
                _tell(fault)
    is_kept = report is not None or kept.keep(found.failed())
    kit_report.show(_console(), found, seconds, is_kept)
    if report is not None:
        write_whole("--report", report, [json.dumps(found.as_json(), indent=1).encode() + b"\n"], read)
    if write_known is not None and found.fault is None:
        write_whole("--write-known", write_known, [known_failures_text(to_know, write_known).encode()])
        typer.echo(
            f"{len(to_know)} known failures are in {write_known}; with --known-failures it fails for others alone"
        )
    raise typer.Exit(found.exit_code)


def _console() -> Console:
    """Return a console of 100 columns where nothing says how wide it is, such as in the log of a CI."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=100)


vectors = typer.Typer(
    help="Single requests with their answers, for implementations in any language.", no_args_is_help=True
)
_Clause = Annotated[str | None, typer.Option(help="Only those of this clause.")]


def _chosen(clause: str | None) -> dict[str, kit_vectors.Vector]:
    found = kit_vectors.vectors(clause)
    if not found:
        known = sorted({name.partition("/")[0] for name in kit_vectors.vectors()})
        raise InvalidSpec("--clause", clause, f"one of {', '.join(known)}")
    return found


@vectors.command("list")
def list_vectors(clause: _Clause = None) -> None:
    """List the vectors: their names, and what each shows."""
    table = Table("vector", "", box=None, pad_edge=False)
    for name, vector in _chosen(clause).items():
        table.add_row(escape(name), escape(vector.description))
    Console().print(table)


@vectors.command()
def show(name: Annotated[str, typer.Argument(help="Such as RR-1/wraps.")]) -> None:
    """Print one vector as JSON."""
    found = kit_vectors.vectors()
    if name not in found:
        raise InvalidSpec("vector", name, "a name that `refreeze vectors list` prints")
    typer.echo(json.dumps(msgspec.to_builtins(found[name]), indent=1))


@vectors.command()
def check(adapter: _Adapter = None, command: _Command = None, clause: _Clause = None, timeout: _Timeout = None) -> None:
    """Check an implementation by the vectors: exit 0 if all pass, 1 if one fails, 2 if the adapter is at fault."""
    chosen, console = _chosen(clause), Console()
    with _adapter(adapter, command, timeout) as loaded:
        try:
            outcomes = kit_vectors.check(loaded, chosen)
        except Fault as fault:
            _tell(fault)
    counts = {verdict: sum(o.verdict == verdict for o in outcomes) for verdict in ("passed", "failed", "unsupported")}
    for outcome in outcomes:
        if outcome.verdict == "failed":
            console.print(f"[red]{escape(outcome.name)}[/] {escape(outcome.vector.description)}", soft_wrap=True)
            console.print(f"  got       {escape(outcome.got)}", soft_wrap=True, highlight=False)
            console.print(f"  should be {escape(outcome.should_be)}", soft_wrap=True, highlight=False)
    console.print(", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
    raise typer.Exit(1 if counts["failed"] else 0 if counts["passed"] else 2)


@vectors.command()
def export(folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")]) -> None:
    """Copy the files of vectors and their JSON Schema."""
    if folder.exists():
        raise InvalidSpec("folder", str(folder), "the name of nothing that exists")
    shutil.copytree(kit_vectors.FOLDER, folder)
    (folder / "schema.json").write_text(json.dumps(kit_vectors.schema(), indent=1) + "\n", encoding="utf-8")
    typer.echo(f"{len(kit_vectors.vectors())} vectors in {len(kit_vectors.files())} files written to {folder}")


def register(app: typer.Typer) -> None:
    """Add the command ``verify`` and the group ``vectors`` to ``app``."""
    app.command()(verify)
    app.add_typer(vectors, name="vectors")
