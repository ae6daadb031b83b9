"""Files of records: what is refused, with the line; unfinished lines; going on behind an earlier part."""

from __future__ import annotations

import json
import os

import pytest
from made_up import MadeUp
from refreeze.audit import record
from refreeze.audit.record import Header, Reader, Start, Step, Writer
from refreeze.errors import InvalidSpec


@pytest.fixture
def run():
    run = MadeUp()
    run.start()
    run.step(0, 0, {"head"})
    run.step(0, 1, {"head"})
    return run


def read(path):
    with Reader("RUN", path) as reader:
        return [found for _, found in reader]


def test_records_are_read_with_their_places(run, tmp_path):
    path = run.write(tmp_path / "run.jsonl")
    with Reader("RUN", path) as reader:
        found = list(reader)
        assert [type(record) for _, record in found] == [Header, Start, Step, Step]
        assert reader.at(found[2][0]) == found[2][1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.clear(), "RUN = 'an empty file' must be records of a run"),
        (lambda lines: lines.pop(0), "line 1 = 'start' must be in order: a header, a start, then steps"),
        (lambda lines: lines.pop(1), "line 2 = 'step' must be in order: a header, a start, then steps"),
        (lambda lines: lines.insert(2, lines[1]), "line 3 = 'start' must be in order: a header, a start, then steps"),
        (lambda lines: lines.append(lines[2]), "line 5 = (0, 0) must be an epoch and step after (0, 2)"),
        (lambda lines: lines[2]["parameters"].pop(), "line 3 = 2 must be 3 checksums in parameters, as in the header"),
        (lambda lines: lines[2]["slots"].update(m=[]), "line 3 = 0 must be 3 checksums in slots['m'], as in the"),
        (lambda lines: lines[2].update(frozen=[3]), "line 3 = 3 must be below 3 in frozen, the index of a parameter"),
        (lambda lines: lines[2].update(still={"zero": [7]}), "line 3 = 7 must be below 3 in zero, the index of a"),
        (lambda lines: lines[0].update(layers=["a", "a"]), "line 1, layers"),
        (lambda lines: lines[0]["parameters"].append(lines[0]["parameters"][0]), "line 1, parameters"),
        (lambda lines: lines.append(lines[0] | {"statistics": []}), "line 5 = 'another model' must be a header with"),
        (lambda lines: lines[0].update(refreeze=2), "must be a record (Invalid enum value 2 - at `$.refreeze`)"),
        (lambda lines: lines[2].update(step=-1), "must be a record (Expected `int` >= 0 - at `$.step`)"),
        (lambda lines: lines[2].update(stop=1), "must be a record (Object contains unknown field `stop`)"),
        (lambda lines: lines[2].update(still={"tired": [0]}), "must be a record (Invalid enum value 'tired'"),
    ],
)
def test_what_is_no_run_is_refused_with_its_line(run, tmp_path, change, said):
    run.lines = json.loads(json.dumps(run.lines))
    change(run.lines)
    with pytest.raises(InvalidSpec) as caught:
        read(run.write(tmp_path / "run.jsonl"))
    assert said in str(caught.value)


def test_limits(run, tmp_path, monkeypatch):
    path = run.write(tmp_path / "run.jsonl")
    monkeypatch.setattr(record, "MOST_RECORDS", 3)
    with pytest.raises(InvalidSpec, match="line 4 = 4 must be one of at most 3 records"):
        read(path)
    monkeypatch.setattr(record, "MOST_LINE", 100)
    with pytest.raises(InvalidSpec, match="must be a line of at most"):
        read(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidSpec, match="a regular file, not a pipe or a device"):
        read(tmp_path / "pipe")


def test_a_line_that_a_process_left_unfinished_is_left_out(run, tmp_path):
    path = run.write(tmp_path / "run.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert len(read(path)) == 3
    header = record._decoder.decode(whole.splitlines()[0])
    writer = Writer("path", path, header, append=True)
    writer.write(record._decoder.decode(whole.splitlines()[1]))
    assert [type(found).__name__ for found in read(path)] == ["Header", "Start", "Step", "Header", "Start"]
    path.write_bytes(whole[:-9] + b"\n" + whole.splitlines(keepends=True)[2])
    with pytest.raises(InvalidSpec, match="RUN, line 4"):
        read(path)


def test_a_file_that_is_there_is_neither_replaced_nor_written_behind_if_it_is_another(run, tmp_path):
    path = run.write(tmp_path / "run.jsonl")
    header = read(path)[0]
    with pytest.raises(InvalidSpec, match="must be a new file; append=True"):
        Writer("path", path, header, append=False)
    path.write_text("my notes\n")
    with pytest.raises(InvalidSpec):
        Writer("path", path, header, append=True)
    assert path.read_text() == "my notes\n"


def test_the_schema_of_a_line_takes_what_is_written(run, tmp_path):
    from jsonschema import validate

    for line in run.lines:
        validate(line, record.schema())
