"""Checkpoints: the state of a run after so many epochs, whole or not there at all (RES-2..4).

A checkpoint is one file, ``epoch-00000012.npz``: an uncompressed zip of ``state.json`` (format, versions, epoch,
schedule, history, what the variables are) and of every variable of the model and of its optimizer as ``.npy``. So
momenta, iterations, learning rate, accumulated gradients, loss scale and the seeds of Dropout are all there. (Keras'
own weight files leave the seeds out, and loading one skips an optimizer of another size with no more than a warning.)
The file is written beside its place, flushed to the disk and renamed; the checksums of zip tell if it is damaged.

A checkpoint of one backend of Keras is one of the others too. Only the masks of Dropout and the like go on otherwise
there: each backend draws them in its own way.

A run deletes only what it has written itself: the names of its checkpoints are recorded in each of them. A checkpoint
is read whole, and all of it compared with the model, before the first variable is assigned.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import keras
import msgspec
import numpy as np
from msgspec import Meta, Struct

import refreeze
from refreeze import segments_json
from refreeze.choices import KerasOptimizerState
from refreeze.errors import CheckpointError, InvalidSpec, Unsupported
from refreeze.keras import backends, own_counts
from refreeze.keras import optimizer as optimizers
from refreeze.keras.model import ModelTree, read
from refreeze.policy import check_int
from refreeze.reading import MEBIBYTE, open_regular
from refreeze.schedule import Segment, check_same_past, cut

_log = logging.getLogger("refreeze")

FORMAT, VERSION = "refreeze checkpoint", 1
MOST_STATE = 32 * MEBIBYTE
"""The bytes that ``state.json`` may have."""
_HEADERS = 1024
"""The bytes that a variable takes in a checkpoint besides its values, at most."""
_INTEGER = r" u?int(32|64)\Z"
_NAME = r"^epoch-(\d{8,18})\.npz\Z"


class Saved(Struct, frozen=True):
    """What a checkpoint says of its run, besides the values of variables."""

    format: str
    version: int
    refreeze: str
    keras: str
    epoch: Annotated[int, Meta(ge=1)]
    """The epochs trained, which is the tick at which the run goes on."""
    stopped: bool
    """Whether training was stopped there, so that nothing is to follow (EXE-8)."""
    schedule: list[Any]
    variables: list[str]
    history: dict[str, list[Any]]
    """The merged history of those epochs."""
    written: list[Annotated[str, Meta(pattern=_NAME)]] = []
    """The checkpoints that the run had written until then and not deleted, this one included."""
    backend: str = "tensorflow"
    """What ran Keras."""
    random: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})*\Z")] = ""
    """The state of the backend's own random numbers, in hexadecimal, where it has one for the whole process."""


class Checkpointer:
    """Keeps checkpoints of one run in ``directory``, and goes on from the newest that is whole.

    A checkpoint is written at the end of every segment and, with ``every``, after each epoch that is a multiple of it.
    For that a segment is trained in parts, cut at those epochs: the fit function is called once per part, the lengths
    of which sum to the segment's (EXE-1), and Keras callbacks begin anew with each. A resumed run has the same parts.

    Under a distribution strategy of several workers the chief alone writes, and all read: ``directory`` is shared. If
    one worker is lost, all are started again. What is written is the state of one replica, so all must have the same:
    a batch normalization has to be ``synchronized``, else Keras keeps other moving statistics on every replica.

    Args:
        directory: the folder of the checkpoints; it is made when the run begins.
        every: the epochs from one checkpoint inside of a segment to the next, >= 1; None for none inside of segments.
        keep: how many of the newest checkpoints stay, >= 1.
        other_past: whether to resume also under a schedule whose past differs (RES-3).

    Raises ``InvalidSpec`` for an argument of another type or out of range.
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
        self._written: list[Path] = []
        self.resumed: Saved | None = None

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
        """Return the files with the name of a checkpoint, whole or not, the newest first."""
        named = [path for path in self.directory.glob("epoch-*.npz") if re.fullmatch(_NAME, path.name)]
        return sorted(named, key=_epoch_of, reverse=True)

    def begin(
        self, model: Any, schedule: Sequence[Segment], *, resume: bool, optimizer_state: KerasOptimizerState = "keep"
    ) -> Saved | None:
        """Put model and optimizer into the state of the newest whole checkpoint, with ``resume`` and if there is any.

        One that is damaged, of another version of the format, or of another model is skipped, with a warning in the
        log. Nothing is changed before a checkpoint is found that fits. Raises ``InvalidSpec`` if the folder cannot be
        made, or has checkpoints and ``resume`` is false; ``CheckpointError`` if it has some, and none can be used;
        ``ScheduleMismatch`` if the schedule that the newest was written under has another past (RES-3);
        ``Unsupported`` if replicas have other statistics than each other.
        """
        tree = read(model)
        if (replicas := backends.current().replicas(tree.model)) > 1:
            apart = [n.path for n in tree.nodes if not all(part.synchronized for part in n.batch_norms)]
            if apart:
                raise Unsupported(
                    f"layer {apart[0]!r} has moving statistics of its own on each of {replicas} replicas, and a "
                    "checkpoint has one state for all; make it with BatchNormalization(synchronized=True)"
                )
        make_folder("checkpoint", self.directory)
        found = self.found()
        if found and not resume:
            raise InvalidSpec("checkpoint", str(self.directory), "a folder without checkpoints, unless a run resumes")
        if not found:
            return None
        path, state, arrays = self._newest_whole(found, tree, schedule, optimizer_state)
        for variable, array in zip(_variables(tree.model), arrays, strict=True):
            variable.assign(array)
        if state.random and state.backend == keras.backend.backend():
            backends.current().set_random_state(bytes.fromhex(state.random))
        recorded = [self.directory / name for name in state.written if name != path.name]
        self._written = [*(other for other in recorded if other.exists()), path]
        _log.info("resuming after %d epochs, from %s", state.epoch, path)
        self.resumed = state
        return state

    def _newest_whole(
        self,
        found: Sequence[Path],
        tree: ModelTree,
        schedule: Sequence[Segment],
        optimizer_state: KerasOptimizerState,
    ) -> tuple[Path, Saved, list[np.ndarray[Any, Any]]]:
        """Return the newest of ``found`` that fits, with its state and arrays; nothing is changed if none does."""
        unusable: list[CheckpointError] = []
        total = schedule[-1].stop if schedule else 0
        with optimizers.put_back_on_error(tree.model):
            optimizers.prepare(tree, optimizer_state)
            wanted = [(tuple(v.shape), np.asarray(v.numpy()).dtype) for v in _variables(tree.model)]
            for path in found:
                try:
                    state, recorded, arrays = _read(path, _described(tree), wanted)
                except CheckpointError as error:
                    _log.warning("%s", error)
                    unusable.append(error)
                    continue
                if not self._other_past:
                    check_same_past(recorded, schedule, state.epoch)
                elif state.epoch > total:
                    raise InvalidSpec("epochs", total, f"at least {state.epoch}, those that {path} stands for")
                return path, state, arrays
            raise unusable[0]

    def save(
        self,
        model: Any,
        schedule: Sequence[Segment],
        epoch: int,
        history: Mapping[str, Sequence[float]],
        stopped: bool = False,
    ) -> Path:
        """Write the checkpoint after ``epoch >= 1`` epochs, delete the run's own that are too old, and return its path.

        A file of that name that the run has not written is renamed, not replaced. Raises ``CheckpointError`` if it
        cannot be written; then those before are as they were, and nothing unfinished is left.
        """
        path = self.directory / f"epoch-{epoch:08}.npz"
        tree = read(model)
        if not backends.current().writes(tree.model):
            return path
        written = [*(old for old in self._written if old != path), path]
        state = Saved(
            format=FORMAT,
            version=VERSION,
            refreeze=refreeze.__version__,
            keras=keras.__version__,
            epoch=epoch,
            stopped=stopped,
            schedule=segments_json.to_json(schedule),
            variables=_described(tree),
            history={key: list(values) for key, values in history.items()},
            written=[file.name for file in written],
            backend=keras.backend.backend(),
            random=backends.current().random_state().hex(),
        )
        try:
            with _whole(path, keep_other=path not in self._written) as file:
                _write(file, path, state, _variables(tree.model))
            self._written = written
            for old in written[: -self._keep]:
                old.unlink(missing_ok=True)
            self._written = written[-self._keep :]
        except OSError as error:
            raise CheckpointError(str(path), f"cannot be written ({error.strerror or error})") from error
        return path


def _epoch_of(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def make_folder(where: str, folder: Path) -> None:
    """Make ``folder``, and those above it; raises ``InvalidSpec`` if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise InvalidSpec(where, str(folder), f"a folder that can be made ({why})") from None


@contextlib.contextmanager
def _whole(path: Path, *, keep_other: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to, which becomes ``path`` at the end; if anything fails, ``path`` is as it was.

    With ``keep_other``, a file that is there already is renamed, not replaced. Raises ``OSError``.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    if unfinished.is_file() and not unfinished.is_symlink():
        unfinished.unlink()  # of a run that was killed while it wrote this very file
    with unfinished.open("xb") as file:  # which follows no link
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if keep_other and path.exists():
                numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
                other = next(other for other in numbered if not other.exists())
                _log.warning("%s is not of this run; it is now %s", path, other)
                path.rename(other)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    if os.name != "nt":  # there folders cannot be opened, and a rename is in the journal
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _variables(model: Any) -> list[Any]:
    return [*model.variables, *own_counts.beside(model.optimizer)]


def _described(tree: ModelTree) -> list[str]:
    """Return what each variable is: those of layers by their names, those of the optimizer by its class."""
    model = tree.model
    names = {id(weight): node.name_of(weight) for node in tree.nodes for weight in node.layer.weights}
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    named = [(names.get(id(variable), variable.name), variable) for variable in model.variables]
    counted = {id(count): "updates of one variable" for count in own_counts.counts(inner)}
    state = enumerate(own_counts.beside(model.optimizer))
    named += [(counted.get(id(slot), f"{type(inner).__name__}[{index}]"), slot) for index, slot in state]
    return [f"{name} {tuple(variable.shape)} {variable.dtype}" for name, variable in named]


def _write(file: BinaryIO, path: Path, state: Saved, variables: Sequence[Any]) -> None:
    text = json.dumps(msgspec.structs.asdict(state), default=lambda value: value.tolist())
    if len(text) > MOST_STATE:
        raise CheckpointError(str(path), "cannot be written: its schedule and history are too long")
    # Zeros for the dates: the same state makes the same file.
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("state.json"), text)
        for index, variable in enumerate(variables):
            with archive.open(zipfile.ZipInfo(f"{index}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(variable.numpy(), order="C"), allow_pickle=False)


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _read(
    path: Path, described: list[str], wanted: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
) -> tuple[Saved, tuple[Segment, ...], list[np.ndarray[Any, Any]]]:
    """Return state, schedule and arrays of a checkpoint, once all of it is found whole and fit for the model.

    ``described`` says what each variable of the model is, ``wanted`` its shape and type. No more is read than that.
    """
    try:
        with open_regular("checkpoint", path) as raw:
            if os.fstat(raw.fileno()).st_size > MOST_STATE + sum(_size(*array) + _HEADERS for array in wanted):
                raise CheckpointError(str(path), "is of another model: it is too large for this one")
            with zipfile.ZipFile(raw) as file:
                state, schedule = _read_state(path, file)
                both = [*zip_longest(state.variables, described, fillvalue="nothing")]
                other = state.backend != keras.backend.backend()  # which counts in integers of another size
                for was, now in both:
                    if was != now and not (other and re.sub(_INTEGER, "", was) == re.sub(_INTEGER, "", now)):
                        what = "optimizer_state" if "updates of" in was + now else "model"
                        why = f"is of another {what}: it has {was:.200}, and the model {now}"
                        raise CheckpointError(str(path), why)
                arrays = []
                for n, ((was, now), (shape, dtype)) in enumerate(zip(both, wanted, strict=True)):
                    found = _array(file, f"{n}.npy", shape, dtype if was == now else np.dtype(was.rpartition(" ")[2]))
                    arrays.append(found.astype(dtype, copy=False))
                    if was != now and not np.array_equal(found, arrays[-1]):
                        here = keras.backend.backend()
                        raise CheckpointError(
                            str(path), f"was written on {state.backend}: {was} is too large for {here}"
                        )
                return state, schedule, arrays
    except CheckpointError:
        raise
    except Exception as error:  # a damaged zip has errors of many classes
        raise CheckpointError(str(path), f"is damaged, or no checkpoint ({error})") from None


def _member(file: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return a member, whose checksum is checked; raise ``ValueError`` for one larger than ``most`` or compressed."""
    info = file.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name} is compressed, or larger than {most} bytes")
    return file.read(info)


def _read_state(path: Path, file: zipfile.ZipFile) -> tuple[Saved, tuple[Segment, ...]]:
    raw = json.loads(_member(file, "state.json", MOST_STATE))
    kind, version = raw["format"], raw["version"]
    if (kind, version) != (FORMAT, VERSION):
        raise CheckpointError(
            str(path), f"is {kind!r:.60} of version {version!r:.60}, not {FORMAT!r} of version {VERSION}"
        )
    state = msgspec.convert(raw, Saved)
    schedule = segments_json.from_json(state.schedule)
    epochs = {state.epoch, _epoch_of(path), *map(len, state.history.values())}
    if len(epochs) > 1 or not schedule or state.epoch > schedule[-1].stop:
        raise ValueError("its name, epoch, schedule and history do not agree")
    return state, schedule


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the array in a member; raise ``ValueError`` unless it has that shape and type."""
    content = _member(archive, name, _size(shape, dtype) + _HEADERS)
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} has another version of the format of numpy")
    header = np.lib.format.read_array_header_1_0(file)
    # numpy has no bfloat16 and the like: their bits come back without a type.
    plain = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype))
    if header != (shape, False, plain) or len(content) - file.tell() != _size(shape, dtype):
        raise ValueError(f"{name} has {header}, not {(shape, False, plain)}")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
