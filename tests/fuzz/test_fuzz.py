"""A few hundred hostile inputs of the fuzzer, and whether it finds what it is there for; ``tox -e fuzz`` tries 10^5."""

import contextlib
import itertools
import random
import time

import entries
import fuzz
import pytest

NEEDS = {"checkpoints": "engine", "loops": "torch"}


@pytest.mark.parametrize(
    "entry",
    [pytest.param(name, marks=[getattr(pytest.mark, NEEDS[name])] if name in NEEDS else []) for name in fuzz.NAMES],
)
def test_hostile_inputs_have_an_answer_or_one_clear_error(entry, tmp_path):
    if entry in NEEDS:
        with contextlib.suppress(Exception):  # what is imported takes seconds, that are not an input's
            entries.ENTRIES[entry](random.Random(0), tmp_path)
    found = {f"{entry}:1:{number}": fuzz.tried(entry, 1, number) for number in range(40)}
    assert {replay: what for replay, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (lambda *_: {}["gone"], "KeyError: 'gone' ("),
        (lambda *_: next(number for number in itertools.count() if number < 0), "fuzz.Hang: longer than 1 s of"),
        (lambda *_: time.sleep(5), "fuzz.Hang: longer than 1 s of"),
        (lambda *_: entries.r.always(["a"]), None),
        (lambda *_: entries.r.always("a"), None),
    ],
)
def test_what_is_wrong_is_found(monkeypatch, entry, what):
    monkeypatch.setitem(entries.ENTRIES, "wrong", entry)
    monkeypatch.setattr(fuzz, "HANG", 1)
    monkeypatch.setattr(fuzz, "WAITS", 2)
    found = fuzz.tried("wrong", 0, 0)
    assert found == what or (what is not None and found.startswith(what))


def test_a_process_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(fuzz, "PATIENCE", 0)
    (finding,) = fuzz.chunk("core", 0, 7)["found"]
    assert finding == (7, "hangs")
