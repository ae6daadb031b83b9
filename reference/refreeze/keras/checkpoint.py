"""Checkpoints: the state of a run after so many epochs, whole or not there at all (RES-2..4).

A checkpoint is one file, ``epoch-00000012.npz``: an uncompressed zip of ``state.json`` (format, versions, epoch,
schedule, history, what the variables are) and of every variable of the model and of its optimizer as ``.npy``. So
momenta, iterations, learning rate, accumulated gradients, loss scale and the seeds of Dropout are all there. (Keras'
own weight files leave the seeds out, and loading one skips an optimizer of another size with no more than a warning.)
The file is written beside its place, flushed to the disk and renamed; the checksums of zip tell if it is damaged.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Annotated, Any

import keras
import msgspec
import numpy as np
from msgspec import Meta, Struct

import refreeze
from refreeze import segments_json
from refreeze.errors import CheckpointError, InvalidSpec, Unsupported
from refreeze.keras import optimizer as optimizers
from refreeze.keras.model import ModelTree, read
from refreeze.policy import check_int
from refreeze.schedule import Segment, check_same_past, cut

_log = logging.getLogger("refreeze")

FORMAT, VERSION = "refreeze checkpoint", 1


class _State(Struct, frozen=True):
    format: str
    version: int
    refreeze: str
    keras: str
    epoch: Annotated[int, Meta(ge=1)]
    stopped: bool
    schedule: list[Any]
    variables: list[str]
    history: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Resumed:
    """What is known of the part of a run that a checkpoint stands for, besides the model's state."""

    epoch: int
    """The epochs trained, which is the tick at which the run goes on."""
    history: dict[str, list[Any]]
    """The merged history of those epochs."""
    stopped: bool
    """Whether training was stopped there, so that nothing is to follow (EXE-8)."""


class Checkpointer:
    """Keeps checkpoints of one run in ``directory``, and goes on from the newest that is whole.

    One is written at the end of every segment and, with ``every``, after each epoch that is a multiple of it. For that
    a segment is trained in parts, cut at those epochs: the fit function is called once per part, the lengths of which
    sum to the segment's (EXE-1), and Keras callbacks begin anew with each. The parts are the same in a resumed run.
    The ``keep >= 1`` newest stay. ``other_past=True`` resumes under a schedule whose past differs as well (RES-3).

    Under a distribution strategy of several workers the chief alone writes, and all read: ``directory`` is shared. If
    one worker is lost, all are started again. What is written is the state of one replica, so all must have the same:
    a batch normalization has to be ``synchronized``, else Keras keeps other moving statistics on every replica.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, every: int | None = None, keep: int = 2, other_past: bool = False
    ) -> None:
        if not isinstance(directory, str | os.PathLike):
            raise InvalidSpec("checkpoint", directory, "a folder, or a Checkpointer")
        self.directory = Path(directory)
        self._every = None if every is None else check_int("every", every, 1)
        self._keep = check_int("keep", keep, 1)
        self._other_past = other_past
        self._whole: list[Path] = []
        self.resumed: Resumed | None = None

    def parts(self, schedule: Sequence[Segment]) -> Iterator[Segment]:
        """Yield the segments, cut at the multiples of ``every``; only the first part of one sets a learning rate.

        >>> schedule = [Segment(0, 5, frozenset(), 0.1), Segment(5, 12, frozenset())]
        >>> parts = Checkpointer("folder", every=4).parts(schedule)
        >>> [(part.start, part.stop, part.learning_rate) for part in parts]
        [(0, 4, 0.1), (4, 5, None), (5, 8, None), (8, 12, None)]
        """
        for segment in schedule:
            step = self._every or segment.stop
            edges = [*range(segment.start // step * step, segment.stop, step), segment.stop]
            yield from (part for start, stop in pairwise(edges) for part in cut([segment], start, stop))

    def found(self) -> list[Path]:
        """Return the checkpoints that there are, whole or not, the newest first."""
        return sorted(self.directory.glob("epoch-*.npz"), reverse=True)

    def begin(self, model: Any, schedule: Sequence[Segment], *, resume: bool) -> Resumed | None:
        """Put model and optimizer into the state of the newest whole checkpoint, with ``resume`` and if there is any.

        One that is damaged, of another version of the format, or of another model is skipped, with a warning in the
        log. Nothing is changed before a checkpoint is found that fits. Raises ``InvalidSpec`` if the folder cannot be
        made, or has checkpoints and ``resume`` is false; ``CheckpointError`` if it has some, and none can be used;
        ``ScheduleMismatch`` if the schedule that the newest was written under has another past (RES-3);
        ``Unsupported`` if replicas have other statistics than each other.
        """
        if apart := _apart(model):
            raise Unsupported(
                f"layer {apart[0]!r} has moving statistics of its own on each of "
                f"{model.distribute_strategy.num_replicas_in_sync} replicas, and a checkpoint has one state for all; "
                "make it with BatchNormalization(synchronized=True)"
            )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSpec(
                "checkpoint", str(self.directory), f"a folder that can be made ({error.strerror})"
            ) from None
        found = self.found()
        if found and not resume:
            raise InvalidSpec("checkpoint", str(self.directory), "a folder without checkpoints, unless a run resumes")
        unusable: list[CheckpointError] = []
        for path in found:
            try:
                with _opened(path) as file, optimizers.put_back_on_error(model):
                    state = _read(path, file, model)
                    if not self._other_past:
                        check_same_past(segments_json.from_json(state.schedule), schedule, state.epoch)
                    _put_back(file, model)
            except CheckpointError as error:
                _log.warning("%s", error)
                unusable.append(error)
                continue
            self._whole = [path]
            _log.info("resuming after %d epochs, from %s", state.epoch, path)
            self.resumed = Resumed(state.epoch, state.history, state.stopped)
            return self.resumed
        if unusable:
            raise unusable[0]
        return None

    def save(
        self,
        model: Any,
        schedule: Sequence[Segment],
        epoch: int,
        history: Mapping[str, Sequence[float]],
        stopped: bool = False,
    ) -> Path:
        """Write the checkpoint after ``epoch >= 1`` epochs, delete those too old, and return where it is.

        Raises ``CheckpointError`` if it cannot be written; then those before are as they were.
        """
        path = self.directory / f"epoch-{epoch:08}.npz"
        if not model.distribute_strategy.extended.should_checkpoint:
            return path
        state = _State(
            format=FORMAT,
            version=VERSION,
            refreeze=refreeze.__version__,
            keras=keras.__version__,
            epoch=epoch,
            stopped=stopped,
            schedule=segments_json.to_json(schedule),
            variables=_described(read(model)),
            history={key: list(values) for key, values in history.items()},
        )
        unfinished = self.directory / "unfinished"
        try:
            with unfinished.open("wb") as file:
                _write(file, state, _variables(model))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            _sync_folder(self.directory)
            self._whole = [*self._whole, path][-self._keep :]
            for old in self.directory.glob("epoch-*.npz"):
                if old.name < path.name and old not in self._whole:
                    old.unlink()
        except OSError as error:
            raise CheckpointError(str(path), f"cannot be written ({error.strerror or error})") from error
        return path


def _apart(model: Any) -> list[str]:
    """Return the layers of which each replica has statistics of its own."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return []
    return [node.path for node in read(model).nodes if not all(part.synchronized for part in node.batch_norms)]


def _variables(model: Any) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _described(tree: ModelTree) -> list[str]:
    """Return what each variable is: those of layers by their names, those of the optimizer by its class."""
    model = tree.model
    names = {id(weight): node.name_of(weight) for node in tree.nodes for weight in node.layer.weights}
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    named = [(names.get(id(variable), variable.name), variable) for variable in model.variables]
    named += [(f"{type(inner).__name__}[{index}]", slot) for index, slot in enumerate(model.optimizer.variables)]
    return [f"{name} {tuple(variable.shape)} {variable.dtype}" for name, variable in named]


def _write(file: Any, state: _State, variables: Sequence[Any]) -> None:
    # Zeros for the dates: the same state makes the same file.
    with zipfile.ZipFile(file, "w") as archive:
        text = json.dumps(msgspec.structs.asdict(state), default=lambda value: value.tolist(), indent=1)
        archive.writestr(zipfile.ZipInfo("state.json"), text)
        for index, variable in enumerate(variables):
            with archive.open(zipfile.ZipInfo(f"{index}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(variable.numpy()), allow_pickle=False)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a damaged zip has errors of many classes
        raise CheckpointError(str(path), f"is damaged, or no checkpoint ({error})") from None


def _read(path: Path, file: zipfile.ZipFile, model: Any) -> _State:
    """Return what the checkpoint says, once all of it is read and found whole and fit for the model."""
    try:
        raw = json.loads(file.read("state.json"))
        kind, version = raw["format"], raw["version"]
        state = msgspec.convert(raw, _State) if (kind, version) == (FORMAT, VERSION) else None
        damaged = file.testzip()
        missing = {f"{index}.npy" for index in range(len(raw["variables"]))} - set(file.namelist())
    except Exception as error:
        raise CheckpointError(str(path), f"is damaged, or no checkpoint ({error})") from None
    if state is None:
        raise CheckpointError(str(path), f"is a {kind} of version {version}, not a {FORMAT} of version {VERSION}")
    if damaged is not None or missing:
        raise CheckpointError(str(path), f"is damaged: {damaged or min(missing)}")
    tree = read(model)
    optimizers.prebuild(tree)
    described = _described(tree)
    if state.variables != described:
        both = zip_longest(state.variables, described, fillvalue="nothing")
        was, now = next(pair for pair in both if pair[0] != pair[1])
        raise CheckpointError(str(path), f"is of another model: it has {was}, and the model {now}")
    return state


def _put_back(file: zipfile.ZipFile, model: Any) -> None:
    for index, variable in enumerate(_variables(model)):
        with file.open(f"{index}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
        # numpy has no bfloat16 and the like: their bits come back without a type.
        variable.assign(array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and a rename is in the journal
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
