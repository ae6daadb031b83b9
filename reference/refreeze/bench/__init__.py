"""Runs of the benchmarks, as pytest-benchmark stores them: two are compared, or one is reported with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from refreeze.bench.ab import Clock, ab
from refreeze.bench.compare import compare
from refreeze.bench.report import report

group = typer.Typer(help="Compare two runs of the benchmarks, or report one.", no_args_is_help=True)


@group.command("compare")
def _compare(
    old: Annotated[str, typer.Argument(help="A JSON file of pytest-benchmark, or the number of a stored run.")],
    new: Annotated[str, typer.Argument(help="The same, of the run to judge.")],
    fail: Annotated[
        list[str] | None, typer.Option(metavar="FIELD:MORE", help="Exit 1 past it: median:10%, min:0.001, …")
    ] = None,
    storage: Annotated[str, typer.Option(metavar="FOLDER", help="Where stored runs are.")] = ".benchmarks",
) -> None:
    """Print NEW / OLD for every benchmark. Exits 0, or 1 if a threshold is passed, or 2 if the input is wrong."""
    raise typer.Exit(compare(old, new, fail or (), storage))


@group.command("ab")
def _ab(
    old: Annotated[str, typer.Argument(help="A folder with the package, or a checkout.")],
    new: Annotated[str, typer.Argument(help="The same, of the version to judge.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file: its rows() names what is timed.")],
    pairs: Annotated[int, typer.Option(help="Pairs of processes.")] = 8,
    rounds: Annotated[int, typer.Option(help="Times that a pair is asked for each row.")] = 60,
    threshold: Annotated[float, typer.Option(help="By what part a row may become slower.")] = 0.01,
    clock: Annotated[Clock, typer.Option(help="Time of the processor, or on the wall.")] = "cpu",
) -> None:
    """Time two versions in turn. Exits 0, or 1 if a row is slower or counts otherwise, or 2 if the input is wrong."""
    raise typer.Exit(ab(old, new, file, pairs, rounds, threshold, clock))


@group.command("report")
def _report(
    reference: Annotated[str, typer.Argument(metavar="JSON", help="A JSON file of pytest-benchmark.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")],
    require: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", help="A file of requirements to compare with, such as benchmarks/requirements.toml."
        ),
    ] = None,
) -> None:
    """Write a run as Markdown and HTML, with pictures."""
    for path in report(reference, out, require):
        typer.echo(path)
