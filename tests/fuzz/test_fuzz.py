"""A few hundred hostile inputs of the fuzzer, and whether it finds what it is there for; ``tox -e fuzz`` tries 10^5."""

import importlib
import time

import entries
import fuzz
import pytest


@pytest.mark.parametrize(
    "entry", [pytest.param(name, marks=[pytest.mark.engine] * (name == "checkpoints")) for name in fuzz.NAMES]
)
def test_hostile_inputs_have_an_answer_or_one_clear_error(entry):
    if entry == "checkpoints":
        importlib.import_module("refreeze.keras.checkpoint")  # which takes seconds, that are not the input's
    found = {f"{entry}:1:{number}": fuzz.tried(entry, 1, number) for number in range(40)}
    assert {replay: what for replay, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (lambda *_: {}["gone"], "KeyError: 'gone' ("),
        (lambda *_: time.sleep(5), "fuzz.Hang: longer than 1 s ("),
        (lambda *_: entries.r.always(["a"]), None),
        (lambda *_: entries.r.always("a"), None),
    ],
)
def test_what_is_wrong_is_found(monkeypatch, entry, what):
    monkeypatch.setitem(entries.ENTRIES, "wrong", entry)
    monkeypatch.setattr(fuzz, "HANG", 1)
    found = fuzz.tried("wrong", 0, 0)
    assert found == what or (what is not None and found.startswith(what))


def test_a_process_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(fuzz, "CHUNK_SECONDS", -60)
    (finding,) = fuzz.chunk("core", 0, 7)["found"]
    assert finding == (7, "hangs")
