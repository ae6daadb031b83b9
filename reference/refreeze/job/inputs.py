"""What a run is given: read and checked, all of it, before anything is made, trained or written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from refreeze.errors import InvalidSpec
from refreeze.keras.checkpoint import Checkpointer, make_folder
from refreeze.keras.model import ModelTree
from refreeze.keras.model import read as read_model
from refreeze.keras.optimizer import check_single_rates
from refreeze.keras.options import Options
from refreeze.loading import call_object
from refreeze.plan import Configuration, Plan, configuration, plan, read
from refreeze.policy import check_int
from refreeze.schedule import steps_per_epoch

DEFAULT_OUT = "refreeze-out"
CHECKPOINTS = "checkpoints"
BATCH_SIZE = 32
_DATA = "a function that returns (x, y) or ((x, y), (x_test, y_test)), arrays of numbers"


def default(name: str) -> Any:
    """Return the embedded example's ``name``; it is imported late, for it alone needs scikit-learn."""
    from refreeze.job import digits

    return getattr(digits, name)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user asks of a run; ``check`` checks all of it but the ``options``, which check themselves."""

    spec: str | None = None
    """A configuration file of any dialect."""
    epochs: int | None = None
    """How many to train, an integer >= 0; 24 by default."""
    model: str | None = None
    """``module:function``, of a function that returns a compiled Keras model."""
    data: str | None = None
    """``module:function``, of one that returns ``(x, y)`` or ``((x, y), (x_test, y_test))``, arrays."""
    options: Options = field(default_factory=Options)
    """How the schedule is run."""
    seed: int = 0
    """Of weights, data order and dropout, in [0, 2**32)."""
    out: str | None = None
    """The folder to write to, new or empty; by default a new ``refreeze-out``."""
    checkpoint_every: int | None = None
    """Keep a checkpoint after so many epochs >= 1, besides one at the end of each segment."""
    resume: bool = False
    """Go on from the last checkpoint in ``out``, to the same weights and history as if nothing had happened (RES-2)."""
    quiet: bool = False
    """Print nothing."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run."""

    settings: Settings
    asked: Configuration
    plan: Plan
    epochs: int
    tree: ModelTree
    """The model, compiled, as it was read."""
    data: tuple[Any, Any, Any]
    """The inputs to train on, their targets, and a pair of both to evaluate after every epoch, or None."""
    folder: Path
    """Where to write; it is new, empty, or that of the run which is resumed."""
    keeper: Checkpointer | None
    """What keeps checkpoints; None for a schedule in steps, which is one fit."""

    @contextlib.contextmanager
    def folder_made(self) -> Iterator[None]:
        """Make the folder, and remove it again if what follows ends without anything in it."""
        new = [path for path in (self.folder / CHECKPOINTS, self.folder, *self.folder.parents) if not path.exists()]
        make_folder("--out", self.folder)
        try:
            yield
        finally:
            for path in new:
                with contextlib.suppress(OSError):  # it is not empty
                    path.rmdir()


def check(settings: Settings) -> Inputs:
    """Return the inputs; raises the ``ScheduleError`` that says which is wrong."""
    seed, every = settings.seed, settings.checkpoint_every
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InvalidSpec("--seed", seed, "an integer in [0, 2**32)")
    if every is not None:
        check_int("--checkpoint-every", every, 1)
    epochs = check_int("--epochs", default("EPOCHS") if settings.epochs is None else settings.epochs)
    asked = configuration(default("SCHEDULE"), "vl3d") if settings.spec is None else read(settings.spec)
    in_steps = asked.dialect.unit == "steps"
    if in_steps and (settings.resume or every is not None):
        raise InvalidSpec("--resume, --checkpoint-every", asked.dialect.name, "absent: a schedule in steps is one fit")
    folder = _folder(settings.out, settings.resume)
    keras.utils.set_random_seed(seed)
    network = _model(settings.model)
    arrays = _data(settings.data, network)
    steps = steps_per_epoch(len(arrays[0]), BATCH_SIZE)
    tree = read_model(network)
    found = plan(
        asked, tree.declared(asked.dialect.names), total=epochs * (steps if in_steps else 1), steps_per_epoch=steps
    )
    check_single_rates(found.rates, settings.options.rates)
    keeper = None if in_steps else Checkpointer(folder / CHECKPOINTS, every=every)
    return Inputs(settings, asked, found, epochs, tree, arrays, folder, keeper)


def _model(reference: str | None) -> Any:
    if reference is None:
        return default("model")()
    model = call_object("--model", reference)
    if not isinstance(model, keras.Model):
        raise InvalidSpec("--model", model, "a function that returns a compiled Keras model")
    return model


def _data(reference: str | None, model: Any) -> tuple[Any, Any, Any]:
    """Return x, y and the test pair or None; types, numbers of examples and the shapes of inputs are checked."""
    found = default("data")(first=5) if reference is None else call_object("--data", reference)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InvalidSpec("--data", found, _DATA)
    train, test = found if isinstance(found[0], tuple) else (found, None)
    for pair in (train, test) if test is not None else (train,):
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(getattr(array, "shape", ()) for array in pair):
            raise InvalidSpec("--data", found, _DATA)
        for array in pair:
            try:
                keras.backend.standardize_dtype(array.dtype)
            except ValueError:
                raise InvalidSpec("--data", str(array.dtype), _DATA) from None
        if len(pair[0]) != len(pair[1]) or not len(pair[0]):
            raise InvalidSpec("--data", f"{len(pair[0])} inputs, {len(pair[1])} targets", "as many inputs as targets")
        given, wanted = pair[0].shape[1:], getattr(model, "input_shape", (None, *pair[0].shape[1:]))[1:]
        if len(given) != len(wanted) or any(size not in (None, g) for g, size in zip(given, wanted, strict=True)):
            raise InvalidSpec("--data", tuple(given), f"of the model's input shape {wanted}")
    return *train, test


def _folder(out: str | None, resume: bool = False) -> Path:
    """Return the folder to write to, not made yet; only a run that is resumed writes where something is already."""
    if resume:
        if out is None or not (Path(out) / CHECKPOINTS).is_dir():
            raise InvalidSpec("--out", out, f"the folder of the run to resume, with {CHECKPOINTS}/ in it")
        return Path(out)
    if out is None:
        candidates = (Path(DEFAULT_OUT if number == 1 else f"{DEFAULT_OUT}-{number}") for number in range(1, 10_000))
        return next(path for path in candidates if not path.exists())
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidSpec("--out", out, "a new or an empty folder")
    return folder
