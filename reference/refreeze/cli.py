"""The command line. What is wrong with the input is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
import typer.core
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import refreeze
from refreeze import audit as audits
from refreeze import bench, listing
from refreeze import plan as plans
from refreeze.choices import BatchNorm, KerasOptimizerState, OptimizerState, SingleRates, Switch
from refreeze.conformance import cli as conformance
from refreeze.dialects import Dialect, dialect, dialects, files
from refreeze.errors import InvalidSpec, NeedsModel, ScheduleError, Unsupported, one_line
from refreeze.limits import checked_names
from refreeze.loading import call_object
from refreeze.writing import checked_target, write_whole

_SPEC = typer.Argument(metavar="SPEC", help="The configuration: a JSON, YAML or TOML file.")
_Names = Annotated[str | None, typer.Option(metavar="A,B,C", help="All that can be frozen, in order.")]
_Model = Annotated[
    str | None, typer.Option(metavar="MODULE:FUNCTION", help="In place of names: it returns a Keras model.")
]
_USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]
"""What a wrong call of a command raises; typer does not export it."""


class _Commands(typer.core.TyperGroup):
    """The commands, with every error as one line: whoever calls them, also with the commands that others add."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except NeedsModel as error:
            code = _fail(f"{error}: give --names or --model")
        except ScheduleError as error:
            code = _fail(str(error))
        except OSError as error:
            code = _fail(f"{error.filename or 'output'}: {error.strerror or error}")
        except _USAGE_ERROR as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(error.format_message())
                sys.exit(2)
            command = error.ctx.command_path if error.ctx else "refreeze"
            code = _fail(f"{error.format_message()} ({command} --help says more)")
        sys.exit(code)


def _fail(message: str) -> int:
    typer.echo(f"refreeze: error: {one_line(' '.join(message.split()))}", err=True)
    return 2


app = typer.Typer(
    name="refreeze",
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line and exit: 0, 1 if a check has failed, 2 if the input is at fault, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    app(prog_name="refreeze")


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """The reference for layer-freeze schedules: which layers are frozen when, and what exactly happens then."""
    if version:
        typer.echo(f"refreeze {refreeze.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def plan(
    context: typer.Context,
    spec: Annotated[str | None, _SPEC] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The length of the run, in epochs.")] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="The steps in an epoch, for a dialect that counts steps.")
    ] = None,
    names: _Names = None,
    model: _Model = None,
    format: Annotated[Literal["text", "json", "png", "svg"], typer.Option(help="What to write.")] = "text",  # noqa: A002
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write, if not to the terminal.")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Print the layers and containers of --model, and no schedule.")
    ] = False,
) -> None:
    """Compute a schedule, without training: draw it, and say what it costs and what it leaves out."""
    if list_:
        if model is None:
            raise InvalidSpec("--model", None, "given, with --list")
        if format not in ("text", "json"):
            raise InvalidSpec("--format", format, "text or json, with --list")
        tree = _read_model(model)
        if format == "json":
            typer.echo(listing.names_as_json(tree))
        else:
            Console(soft_wrap=True).print(listing.names_as_tree(tree))
        return
    if spec is None or epochs is None:
        raise _USAGE_ERROR("Missing argument 'SPEC'." if spec is None else "Missing option '--epochs'.", context)
    asked = plans.read(spec)
    language, per = asked.dialect, _steps(steps_per_epoch, asked.dialect)
    total, length = (epochs, "") if language.unit == "epochs" else (epochs * per, f" ({epochs:,} epochs of {per:,})")
    tree = _tree(names, model)
    found = plans.plan(asked, _names(language, names, tree), total=total, steps_per_epoch=per)
    title = one_line(f"{Path(spec).name}: {language.name}, {total:,} {language.unit}{length}")

    def write(content: Iterable[bytes]) -> None:
        if out is not None:
            write_whole("--out", out, content, read=[spec])
        for part in content if out is None else ():
            typer.echo(part, nl=False)

    if format == "json":
        write(listing.to_json(language, found, tree))
        return
    if not found.names:
        raise NeedsModel("config", msgspec.json.decode(msgspec.json.encode(asked.config)))
    from refreeze import plot

    if format == "text":
        console = Console() if out is None else Console(file=io.StringIO(), width=100)
        timeline = plot.text(found.segments, found.names, console.width)
        said = map(Text, listing.sentences(found, tree))
        console.print(Text(title, "bold"), timeline, listing.table(found), *said, sep="\n")
        if isinstance(console.file, io.StringIO):
            write([console.file.getvalue().encode()])
        return
    if out is None and sys.stdout.isatty():
        raise InvalidSpec("--out", None, f"given: a terminal cannot show {format}")
    figure = plot.draw(found.segments, found.names, unit=found.unit, title=title, rates=found.rates)
    write([plot.render(figure, format)])


def _steps(steps_per_epoch: int | None, *languages: Dialect) -> int:
    """Return the steps in an epoch; raises ``InvalidSpec`` if none are given and a language counts them."""
    if steps_per_epoch is None and (counting := [found.name for found in languages if found.unit == "steps"]):
        raise InvalidSpec("--steps-per-epoch", None, f"given: {counting[0]} counts steps")
    return steps_per_epoch or 1


@app.command()
def convert(
    spec: Annotated[str, _SPEC],
    to: Annotated[str, typer.Option(metavar="DIALECT", help="The dialect to say it in.")],
    epochs: Annotated[int, typer.Option(min=1, help="The length of the run, in epochs.")],
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="The steps in an epoch, if one of the two dialects counts steps.")
    ] = None,
    names: _Names = None,
    model: _Model = None,
    rates: Annotated[
        SingleRates, typer.Option(help="Learning rates of single names: refuse them, or leave them out.")
    ] = "refuse",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write, as .yaml or .json, if not to the terminal.")
    ] = None,
) -> None:
    """Say a configuration in another dialect, with the same meaning in every epoch or step of one run."""
    from refreeze import convert as converting

    asked, target = plans.read(spec), dialect(to)
    converting.writer(target)
    here, per = asked.dialect, _steps(steps_per_epoch, asked.dialect, target)
    tree, parameters = _tree(names, model), None
    if here.names != target.names:
        if tree is None:
            allowed = f"given: {here.name} names {here.names}, and {target.name} {target.names}"
            raise InvalidSpec("--model", None, allowed)
        parameters = {node.path: [node.name_of(variable) for variable in node.variables] for node in tree.nodes}
    found = converting.convert(
        asked,
        target,
        _names(here, names, tree),
        total=epochs * (per if here.unit == "steps" else 1),
        steps_per_epoch=per,
        parameters=parameters,
        rates=rates,
    )
    content = files.text(target, found, ".yaml" if out is None else out.suffix.lower())
    if out is None:
        typer.echo(content, nl=False)
    else:
        write_whole("--out", out, [content.encode()], read=[spec])


def _tree(names: str | None, model: str | None) -> Any:
    """Return what the engine knows of the model, None if none is given."""
    if names is not None and model is not None:
        raise InvalidSpec("--names, --model", (names, model), "one of the two")
    return None if model is None else _read_model(model)


def _names(language: Dialect, names: str | None, tree: Any) -> Sequence[str] | None:
    """Return the names that the options give, None if they give none."""
    if names is not None:
        found = [name.strip() for name in names.split(",")]
        if "" in found:
            raise InvalidSpec("--names", names, "names separated by commas, none of them empty")
        return list(checked_names("--names", found))
    return None if tree is None else tree.declared(language.names)


def _read_model(model: str) -> Any:
    """Return what the engine knows of the model that a function returns."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from refreeze.keras import model as models
    except ImportError as error:
        raise Unsupported(f"--model needs Keras: pip install 'refreeze[tensorflow]' ({error})") from None
    network = call_object("--model", model)
    if not hasattr(network, "built"):
        raise InvalidSpec("--model", model, f"a function that returns a Keras model (it returned {network!r})")
    return models.read(network)


@app.command("dialects")
def list_dialects(
    format: Annotated[Literal["text", "json"], typer.Option(help="What to write.")] = "text",  # noqa: A002
    schema: Annotated[str | None, typer.Option(metavar="NAME", help="Print the JSON Schema of its files.")] = None,
) -> None:
    """List the dialects, the configuration languages, and where they come from."""
    if schema is not None:
        typer.echo(json.dumps(dialect(schema).file_schema(), indent=1))
        return
    keys = ("name", "names", "unit", "source")
    rows = [{key: getattr(language, key) for key in keys} for language in dialects().values()]
    if format == "json":
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("dialect", "names", "ticks", "source", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    Console().print(table)


@app.command()
def run(
    spec: Annotated[str | None, typer.Option(metavar="FILE", help="The schedule, in any dialect.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The epochs to train, 24 by default.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="It returns a compiled Keras model.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="It returns (x, y) or ((x, y), (x_test, y_test)).")
    ] = None,
    backend: Annotated[
        Literal["tensorflow", "jax", "torch"] | None, typer.Option(help="What runs Keras, if not what Keras says.")
    ] = None,
    switch: Annotated[
        Switch, typer.Option(help="Keep train steps and put them back, or make a new one each time.")
    ] = "cached",
    cache_size: Annotated[int, typer.Option(min=1, help="How many train steps to keep.")] = 16,
    optimizer_state: Annotated[
        KerasOptimizerState,
        typer.Option(help="What a switch does to the optimizer, and whose updates it counts (EXE-4, EXE-13)."),
    ] = "keep",
    rates: Annotated[
        SingleRates,
        typer.Option(help="Learning rates of single names, which no Keras optimizer has: refuse them, or ignore them."),
    ] = "refuse",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data order and dropout.")] = 0,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to write, if not to refreeze-out.")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Keep a checkpoint after so many epochs, besides at the end of segments.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Fine-tune a model under a schedule; without options, a small network on real digits."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if backend is not None:
        _choose(backend)
    try:
        from refreeze.job import run as job
        from refreeze.job.inputs import Settings
        from refreeze.keras.options import Options
    except ImportError as error:
        raise Unsupported(f"run needs Keras and what runs it: pip install 'refreeze[run]' ({error})") from None
    options = Options(switch=switch, cache_size=cache_size, optimizer_state=optimizer_state, rates=rates)
    settings = Settings(
        spec=spec, epochs=epochs, model=model, data=data, options=options, seed=seed, out=out,
        checkpoint_every=checkpoint_every, resume=resume, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(job.run(settings))


@app.command("audit")
def audit_run(
    records: Annotated[Path, typer.Argument(metavar="RUN", help="What a Recorder has written.")],
    spec: Annotated[Path, typer.Option(metavar="FILE", help="The schedule, in any dialect.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="The epochs of the whole run, if not as recorded.")] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="The steps in an epoch, if not as recorded.")
    ] = None,
    batch_norm: Annotated[BatchNorm, typer.Option(help="What statistics of frozen layers do (BN-1).")] = "keras",
    optimizer_state: Annotated[OptimizerState, typer.Option(help="What a switch does to slots (EXE-4).")] = "keep",
    unused: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A layer or parameter that the loss does not use.")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="KIND", help="A kind of fault not to count.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 also for what is unclear.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what should be against what was: .png or .svg.")
    ] = None,
) -> None:
    """Compare what a training did with its schedule: exit 0 if it did what the schedule says, 1 if not."""
    if wrong := sorted(set(ignore or ()) - audits.KINDS.keys()):
        raise InvalidSpec("--ignore", wrong[0], f"one of {', '.join(audits.KINDS)}")
    if picture is not None:
        from refreeze import plot

        plot.format_of(picture, "--picture")
        checked_target("--picture", picture, [records, spec])
    options = audits.AuditOptions(
        batch_norm=batch_norm, optimizer_state=optimizer_state, unused=unused or (), ignore=ignore or ()
    )
    drawn: list[Any] = []

    def watch(*given: Any) -> Any:
        from refreeze.audit.picture import Seen

        drawn.append(Seen(*given))
        return drawn[-1]

    verdict = audits.audit(
        records, spec, epochs=epochs, steps_per_epoch=steps_per_epoch, options=options, watch=watch if picture else None
    )
    title = one_line(f"{records.name} under {spec.name}: {verdict.plan.total:,} {verdict.plan.unit}")
    if picture is not None:
        plot.save(drawn[0].figure(title), picture, "--picture")
    if json_:
        typer.echo(json.dumps(verdict.to_json(), indent=1))
    else:
        Console().print(Text(title, "bold"), *verdict.lines(), sep="\n", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(1 if verdict.counts or (strict and verdict.unclear) else 0)


def _choose(backend: str) -> None:
    """Have Keras run on that backend, which it reads when it is imported."""
    now = sys.modules["keras"].backend.backend() if "keras" in sys.modules else backend
    if now != backend:
        raise InvalidSpec("--backend", backend, f"{now}, on which Keras runs in this process already")
    os.environ["KERAS_BACKEND"] = backend


app.add_typer(bench.group, name="bench")
conformance.register(app)

if __name__ == "__main__":
    main()
