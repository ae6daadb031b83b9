"""Records of a run, as lines of JSON: what everything was after each step, written by a recorder, read by the audit.

The file is one or more parts, one for each process that trained: a header, the state before its first step, and the
state after each recorded step. ``docs/protocol.md`` has the format for writers in other languages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec
from refreeze.limits import MOST_NAMES, checked_names, wrong_text
from refreeze.policy import check_int
from refreeze.reading import MEBIBYTE, open_regular
from refreeze.selectors import Names
from refreeze.writing import checked_target

VERSION = 1
MOST_LINE = 64 * MEBIBYTE
"""Bytes of a line."""
MOST_RECORDS = 10_000_000
"""Records in a file."""
MOST_TICK = 2**53
"""No epoch, step or number of them is larger."""

Cause = Literal["frozen", "missing", "rate", "none", "zero", "small", "gradient"]
"""Why a parameter did not move, as ``Observer.why_still`` of ``refreeze.torch`` defines it."""
Checksum = Annotated[str, Meta(max_length=64, description="any text; equal ones for equal bits")]
_Count = Annotated[int, Meta(ge=0, le=MOST_TICK)]
_Index = Annotated[int, Meta(ge=0, lt=MOST_NAMES)]
_Name = Annotated[str, Meta(min_length=1, max_length=1000)]


class Entry(Struct, forbid_unknown_fields=True, frozen=True):
    """A parameter, or a statistic of a batch normalization."""

    name: _Name
    """What to call it; each once among the parameters, and among the statistics."""
    names: Annotated[tuple[_Name, ...], Meta(max_length=1000)]
    """All by which a schedule may mean it: its own name, its layer and the containers around; a statistic's own layer
    comes first."""


class Header(Struct, forbid_unknown_fields=True, frozen=True, tag_field="record", tag="header", kw_only=True):
    """The first line of a part. All parts of a file have the same parameters and statistics."""

    refreeze: Literal[1] = 1
    """The version of the format."""
    framework: _Name
    """For people, such as ``torch 2.13.0``."""
    checksum: _Name
    """What the checksums are; those of parts are compared only if this is the same."""
    layers: tuple[_Name, ...]
    """The paths of all layers in declaration order, as configurations name them."""
    aliases: dict[_Name, _Name] = {}
    """The name of a layer or parameter by each other path or name of it."""
    parameters: tuple[Entry, ...]
    """All parameters in declaration order, trainable or not."""
    statistics: tuple[Entry, ...] = ()
    """The statistics of batch normalizations."""
    every: Annotated[int, Meta(ge=1, le=MOST_TICK)] = 1
    """Each so many-th step is recorded."""
    epochs: _Count | None = None
    """The epochs of the whole run, if known."""
    steps_per_epoch: Annotated[int, Meta(ge=1, le=MOST_TICK)] | None = None
    """The steps in an epoch, if known."""

    def declared(self, kind: Literal["layers", "parameters"]) -> Names:
        """Return what a configuration can name: layers or parameters."""
        names = self.layers if kind == "layers" else tuple(parameter.name for parameter in self.parameters)
        return Names(names, {alias: name for alias, name in self.aliases.items() if name in set(names)})


class _State(Struct, forbid_unknown_fields=True, frozen=True, tag_field="record", kw_only=True):
    epoch: _Count
    """Epochs count from 0 over the whole run, whichever process trains."""
    step: _Count
    """Updates of the weights in the epoch, from 0."""
    parameters: list[Checksum]
    """In the order of the header."""
    statistics: list[Checksum] = []
    """In the order of the header; empty where nobody knows."""
    slots: dict[_Name, list[Checksum | None]] = {}
    """By name of a slot, such as ``momentum``: that of each parameter, null where it has none."""
    frozen: list[_Index] | None = None
    """The indices of the parameters whose flag says that they do not train; null where nobody knows."""
    missing: list[_Index] | None = None
    """The indices of the parameters that no optimizer holds; null where nobody knows."""


class Start(_State, frozen=True, tag="start", kw_only=True):
    """The state before the first step of a process; epoch and step are those of the step to come."""


class Step(_State, frozen=True, tag="step", kw_only=True):
    """The state after a step."""

    still: dict[Cause, list[_Index]] = {}
    """Why parameters have not moved since the record before, where the recorder knows."""


Record = Header | Start | Step
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    return msgspec.json.schema(Record)


class Reader:
    """Reads a file of records line by line; use it as a context.

    Raises ``InvalidSpec``, with the number of the line, for what is no such file, is out of order, or is beyond the
    limits. Memory is that of a line, and eight bytes a record.
    """

    def __init__(self, where: str, path: str | Path) -> None:
        self._where, self._file = where, open_regular(where, path)
        self.line = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def wrong(self, value: object, allowed: str) -> InvalidSpec:
        """Return the error that says what is wrong with this line."""
        return InvalidSpec(f"{self._where}, line {self.line}", value, allowed)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield each record with the place in the file where it begins.

        A line that a process left unfinished, the last of the file or before a header, is left out.
        """
        header: Header | None = None
        last: tuple[int, int] | None = None
        broken: InvalidSpec | None = None
        place, ended = 0, True
        while line := self._file.readline(MOST_LINE + 1):
            self.line += 1
            at, place, ended = place, self._file.tell(), line.endswith(b"\n")
            if self.line > MOST_RECORDS:
                raise self.wrong(self.line, f"one of at most {MOST_RECORDS:,} records")
            try:
                record = self._decoded(line)
            except InvalidSpec as error:
                if broken or len(line) > MOST_LINE:
                    raise
                broken = error
                continue
            if isinstance(record, Header):
                self._check_header(record, header)
                header, last, broken = header or record, None, None
            elif broken:
                raise broken
            elif header is None or (last is None) is not isinstance(record, Start):
                raise self.wrong(type(record).__name__.lower(), "in order: a header, a start, then steps")
            else:
                self._check_state(record, header)
                now = (record.epoch, record.step)
                if last is not None and now < last:
                    raise self.wrong(now, f"an epoch and step after {last}")
                last = (record.epoch, record.step + isinstance(record, Step))
            yield at, record
        if broken and (ended or header is None):
            raise broken
        if header is None:
            raise InvalidSpec(self._where, "an empty file", "records of a run")

    def at(self, place: int) -> Start | Step:
        """Return the record that begins at a place which was yielded; the reading goes on where it was."""
        back = self._file.tell()
        self._file.seek(place)
        record = _decoder.decode(self._file.readline())
        self._file.seek(back)
        assert not isinstance(record, Header)
        return record

    def _decoded(self, line: bytes) -> Record:
        if len(line) > MOST_LINE:
            raise self.wrong(line[:40], f"a line of at most {MOST_LINE / MEBIBYTE:g} MiB")
        try:
            return _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.wrong(line[:40], f"a record ({error})") from None

    def _check_header(self, now: Header, first: Header | None) -> None:
        for entries, where in ((now.parameters, "parameters"), (now.statistics, "statistics")):
            checked_names(f"{self._where}, line {self.line}, {where}", [entry.name for entry in entries])
        checked_names(f"{self._where}, line {self.line}, layers", now.layers)
        total = sum(len(entry.names) for entry in (*now.parameters, *now.statistics))
        if total + len(now.aliases) > 10 * MOST_NAMES:
            raise self.wrong(total, f"a header of at most {10 * MOST_NAMES:,} names")
        spoken = (name for entry in (*now.parameters, *now.statistics) for name in entry.names)
        for text in (*now.aliases, *now.aliases.values(), *spoken):
            if wrong := wrong_text(text):
                raise self.wrong(text, wrong)
        if first is not None and (now.parameters, now.statistics) != (first.parameters, first.statistics):
            raise self.wrong("another model", "a header with the parameters and statistics of the first one")

    def _check_state(self, state: Start | Step, header: Header) -> None:
        count = len(header.parameters)
        rows: list[tuple[str, Sequence[object], int]] = [
            ("parameters", state.parameters, count),
            ("statistics", state.statistics, len(header.statistics)),
            *((f"slots[{name!r}]", row, count) for name, row in state.slots.items()),
        ]
        for where, row, length in rows:
            if len(row) != length and (row or where != "statistics"):
                raise self.wrong(len(row), f"{length} checksums in {where}, as in the header")
        still = state.still if isinstance(state, Step) else {}
        for where, indices in (("frozen", state.frozen), ("missing", state.missing), *still.items()):
            if indices and max(indices) >= count:
                raise self.wrong(max(indices), f"below {count} in {where}, the index of a parameter")


class Writer:
    """Writes the records of one process to a file: a new one, or behind what earlier processes have written.

    Raises ``InvalidSpec`` for a file that cannot be written, and for one that is there unless ``append``.
    """

    def __init__(self, where: str, path: str | Path, header: Header, append: bool) -> None:
        target = checked_target(where, path)
        there = target.exists()
        if there and not append:
            raise InvalidSpec(where, str(path), "a new file; append=True goes on behind an earlier part of the run")
        end = b""
        if there and target.stat().st_size:
            with Reader(where, target) as reader, open_regular(where, target) as file:
                next(iter(reader))  # an error, if this is another file
                file.seek(-1, os.SEEK_END)
                end = file.read()
        self._target = target
        self._write(b"" if end in (b"", b"\n") else b"\n")
        self.write(header)

    def write(self, record: Record) -> None:
        """Write a record, whole, to the file."""
        self._write(msgspec.json.encode(record) + b"\n")

    def _write(self, content: bytes) -> None:
        with open(self._target, "ab", buffering=0) as file:  # so no process has it open that nobody closes
            file.write(content)


def check_run(epochs: object, steps_per_epoch: object, every: object) -> None:
    """Raise ``InvalidSpec`` for a number that a header cannot have; of a run it may be unknown, None."""
    for where, value, least in (("epochs", epochs, 0), ("steps_per_epoch", steps_per_epoch, 1)):
        if value is not None:
            check_int(where, value, least)
    check_int("every", every, 1)


def named(entries: Mapping[str, Iterable[str]]) -> tuple[Entry, ...]:
    """Return the entries of a header: by the name of each, all names that speak of it."""
    return tuple(Entry(name, tuple(names)) for name, names in entries.items())
