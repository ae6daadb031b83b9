"""The command line. What is wrong with the input is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

import refreeze
from refreeze import plot, wire
from refreeze.dialects import Dialect, dialect, dialects, files
from refreeze.errors import InvalidSpec, ScheduleError, Unsupported
from refreeze.loading import load_object
from refreeze.policy import check_int
from refreeze.schedule import Operation, Segment, operations, segments
from refreeze.selectors import distinct

app = typer.Typer(
    name="refreeze",
    help="The reference for layer-freeze schedules: which layers are frozen when, and what exactly happens then.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_MOST_SEGMENTS = 40


class Format(StrEnum):
    """What ``plan`` writes."""

    TEXT = "text"
    JSON = "json"
    PNG = "png"
    SVG = "svg"


class SwitchKind(StrEnum):
    """How ``run`` switches."""

    CACHED = "cached"
    REBUILD = "rebuild"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refreeze {refreeze.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _names(language: Dialect, names: str | None, model: str | None) -> list[str] | None:
    if names is not None and model is not None:
        raise InvalidSpec("--names and --model", (names, model), "one of the two")
    if names is not None:
        found = list(distinct([name.strip() for name in names.split(",")], "--names"))
        if "" in found:
            raise InvalidSpec("--names", names, "names with commas between them, none empty")
        return found
    if model is None:
        return None
    network = load_object("--model", model)()
    try:
        from refreeze.engine import tree
    except ImportError as error:
        raise Unsupported(f"--model needs Keras: pip install 'refreeze[tensorflow]' ({error})") from None
    return tree.layer_names(network) if language.names == "layers" else tree.variable_names(network)


@app.command()
def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The configuration: a JSON, YAML or TOML file.")],
    epochs: Annotated[int, typer.Option(help="The length of the run, in epochs.")],
    steps_per_epoch: Annotated[int, typer.Option(help="For dialects in steps: the steps in an epoch.")] = 1,
    names: Annotated[str | None, typer.Option(help="What can be frozen, in order: a,b,c.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="A function that returns a Keras model, whose names are taken."),
    ] = None,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.TEXT,  # noqa: A002 (the option's name)
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Where to write; otherwise to the terminal.")] = None,
) -> None:
    """Compute a schedule, without training, and draw it."""
    language, config = files.read(spec)
    check_int("--epochs", epochs, 1)
    total = epochs * check_int("--steps-per-epoch", steps_per_epoch, 1) if language.unit == "steps" else epochs
    known = _names(language, names, model)
    policy = language.policy(config, known, total=total, steps_per_epoch=steps_per_epoch)
    run = segments(policy, total)
    shown = known if known is not None else _as_written(config, policy.names)
    title = f"{language.name}: {total} {language.unit}"
    if format in (Format.PNG, Format.SVG):
        if out is None and sys.stdout.isatty():
            raise InvalidSpec("--out", None, f"given: a {format} is not for a terminal")
        figure = plot.draw(run, shown, unit=language.unit, title=title)
        _write(plot.render(figure, "png" if format is Format.PNG else "svg"), out)
    elif format is Format.JSON:
        data = {
            "dialect": language.name,
            "unit": language.unit,
            "total": total,
            "names": shown,
            "segments": wire.to_json(run),
            "operations": [_operation(operation) for operation in operations(run)],
        }
        _write((json.dumps(data, indent=1) + "\n").encode(), out)
    else:
        with open(out, "w", encoding="utf-8") if out else contextlib.nullcontext(sys.stdout) as file:
            console = Console(file=file)
            console.print(title)
            console.print(plot.text(run, shown, console.width))
            console.print(_segment_table(run, language.unit))


def _operation(operation: Operation) -> dict[str, Any]:
    found = dataclasses.asdict(operation)
    return {key: sorted(value) if isinstance(value, frozenset) else value for key, value in found.items()}


def _as_written(config: Any, names: frozenset[str]) -> list[str]:
    """Return ``names`` in the order in which the configuration mentions them, the others behind, sorted."""
    text = json.dumps(config, default=str)
    return sorted(names, key=lambda name: (text.find(json.dumps(name)) % (len(text) + 1), name))


def _segment_table(run: tuple[Segment, ...], unit: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for heading in (unit, "frozen", "learning rate set"):
        table.add_column(heading, justify="right", no_wrap=True)
    for segment in run[:_MOST_SEGMENTS]:
        rate = "" if segment.learning_rate is None else f"{segment.learning_rate:g}"
        table.add_row(f"{segment.start:,}-{segment.stop - 1:,}", str(len(segment.frozen)), rate)
    if len(run) > _MOST_SEGMENTS:
        table.add_row(f"… and {len(run) - _MOST_SEGMENTS:,} more", "", "")
    return table


def _write(content: bytes, out: str | None) -> None:
    if out is None:
        sys.stdout.buffer.write(content)
    else:
        Path(out).write_bytes(content)


@app.command("dialects")
def list_dialects(
    name: Annotated[str | None, typer.Argument(help="Print the JSON Schema of this dialect's configuration.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """List the configuration languages and where they come from, or print the JSON Schema of one."""
    if name is not None:
        typer.echo(json.dumps(dialect(name).file_schema(), indent=1))
        return
    found = dialects().values()
    if as_json:
        rows = [{"name": d.name, "names": d.names, "unit": d.unit, "source": d.source} for d in found]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("dialect", "names", "ticks", "source"):
        table.add_column(heading, no_wrap=heading != "source")
    for language in found:
        table.add_row(language.name, language.names, language.unit, language.source)
    Console().print(table)


@app.command()
def run(
    spec: Annotated[
        str | None, typer.Option(metavar="FILE", help="The schedule: a JSON, YAML or TOML file of any dialect.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="The epochs to train.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Returns a compiled Keras model.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Returns (x, y) or ((x, y), (x_test, y_test)).")
    ] = None,
    switch: Annotated[
        SwitchKind, typer.Option(help="Keep train steps and put them back, or make a new one each time.")
    ] = SwitchKind.CACHED,
    cache_size: Annotated[int, typer.Option(help="How many train steps to keep.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights, data order and dropout.")] = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where to write; otherwise a new folder refreeze-out.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Fine-tune a model under a schedule: without options, a small network on real digits."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from refreeze.engine import job
    except ImportError as error:
        raise Unsupported(f"run needs Keras and TensorFlow: pip install 'refreeze[run]' ({error})") from None
    raise typer.Exit(
        job.run(
            spec=spec, epochs=epochs, model=model, data=data, switch=switch.value, cache_size=cache_size, seed=seed,
            out=out, quiet=quiet,
        )
    )  # fmt: skip


def main() -> None:
    """Run the command line and exit: 0, 1 if a check has failed, 2 if the input is at fault, 130 after Ctrl-C."""
    try:
        app()
    except ScheduleError as error:
        typer.echo(f"refreeze: error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"refreeze: error: {error.filename or 'output'}: {error.strerror or error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
