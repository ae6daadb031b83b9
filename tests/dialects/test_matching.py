"""Regular expressions: in a process of its own they mean the same, and one that would never end is an error in time."""

import re
import shutil
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import InvalidSpec
from refreeze.dialects import dialect, matching

NAMES = ["model.layers.0.w", "model.layers.1.w", "model.head.b", "é{1}"]
FOR_EVER = ["(a+)+$", "(a|a)" * 50 + "$", "a?" * 30 + "a" * 30 + "$", ".*" * 9 + "b"]


@pytest.mark.parametrize("text", ["model.*", "(mod|x)+el.lay(er)*s.1", "é", "x"])
def test_another_process_finds_the_same(monkeypatch, text):
    here = matching.matching(text, NAMES, "params", time.monotonic() + 9)
    assert here == [name for name in NAMES if re.match(text, name)]
    monkeypatch.setattr(matching, "MOST_WORK", -1)
    assert matching.matching(text, NAMES, "params", time.monotonic() + 9) == here


@pytest.mark.parametrize("text", FOR_EVER)
def test_one_that_would_never_end_is_an_error_in_time(monkeypatch, text):
    monkeypatch.setattr("refreeze.dialects.fts.MOST_SECONDS", 0.3)
    with pytest.raises(InvalidSpec, match="a regular expression that takes less time") as caught:
        dialect("fts").policy({0: {"params": [text]}}, ["a" * 60 + "!"], total=3)
    assert (caught.value.where, caught.value.value) == ("ft_schedule.0.params", text)


def test_one_that_is_matched_in_another_process_has_its_time(monkeypatch):
    frozen = dialect("fts").policy({0: {"params": ["(model[.])+layers"]}}, NAMES, total=3).frozen_at(0)
    assert frozen == {*NAMES[2:]}


def test_a_process_that_fails_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(InvalidSpec) as caught:
        matching.matching("(a)+", ["a"], "params", time.monotonic() + 9)
    allowed = "a regular expression that takes less time (all together 3 seconds)"
    assert str(caught.value) == f"params = '(a)+' must be {allowed}"


@given(st.text("ab.*+?|(){2}[]", max_size=12))
def test_what_is_matched_here_is_cheap(text):
    """The bound is above what really happens: names of twenty letters never take a second."""
    begun = time.process_time()
    try:
        matching.matching(text, ["a" * 20, "b" * 20], "params", time.monotonic() + 9)
    except InvalidSpec:
        return
    assert time.process_time() - begun < 1
