"""Selectors: which names are meant, in which order, and that a selector that means nothing fails (NAM-1..3)."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import EmptySelection, InvalidSpec, UnknownName
from refreeze.selectors import (
    alias,
    any_of,
    distinct,
    everything,
    exactly,
    except_for,
    glob,
    group,
    in_reverse,
    prefix,
    regex,
    under,
)
from strategies import LAYERS

NAMES = ["stem", "backbone/conv1", "backbone/conv10", "backbone/Conv2", "head"]
declared = st.lists(st.sampled_from(LAYERS), unique=True, min_size=1)


@given(declared)
def test_NAM_1_everything_is_every_name_in_declaration_order_and_the_reverse(names):
    assert everything()(names) == tuple(names)
    assert in_reverse(everything())(names) == tuple(names[::-1])


@given(declared, st.data())
def test_NAM_2_exactly_keeps_the_order_wanted(names, data):
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True))
    assert exactly(*wanted)(names) == tuple(wanted)


@given(declared)
def test_NAM_3_a_container_stands_for_the_names_in_it(names):
    """Every container of the names, at any depth, and none of them twice."""
    for container in {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}:
        assert under(container)(names) == tuple(name for name in names if name.startswith(f"{container}/"))


def test_NAM_3_a_path_reaches_a_nested_layer():
    assert under("head", "backbone/conv1")(NAMES) == ("head", "backbone/conv1")


def test_NAM_3_parameters_are_separated_by_dots():
    assert under("a", separator=".")(["a.weight", "a/bias", "ab.weight"]) == ("a.weight",)


def test_NAM_3_a_container_that_owns_weights_is_selected_with_what_is_in_it():
    assert under("body")(["body", "body/conv", "bodyguard"]) == ("body", "body/conv")


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (everything(), NAMES),
        (in_reverse(everything()), NAMES[::-1]),
        (in_reverse(prefix("backbone/conv1")), ["backbone/conv10", "backbone/conv1"]),
        (exactly("head", "stem"), ["head", "stem"]),
        (under("head", "backbone"), ["head", "backbone/conv1", "backbone/conv10", "backbone/Conv2"]),
        (prefix("backbone/conv1"), ["backbone/conv1", "backbone/conv10"]),
        (prefix(""), NAMES),
        (glob("*conv?"), ["backbone/conv1"]),
        (glob("head", "st*"), ["stem", "head"]),
        (regex("backbone/conv1"), ["backbone/conv1"]),
        (regex(".*[Cc]onv2?"), ["backbone/Conv2"]),
        (alias("vision", {"vision": ["backbone/*", "stem"]}), NAMES[:4]),
        (alias("he*", {"vision": ["backbone/*"]}), ["head"]),
        (group(0, [["head"], ["stem"]]), ["head"]),
        (group(-1, [["head"], ["stem"]]), ["stem"]),
        (any_of(exactly("head"), exactly("stem"), exactly("head")), ["stem", "head"]),
        (except_for(everything(), prefix("backbone"), exactly("stem")), ["head"]),
        (except_for(exactly("head", "stem")), ["head", "stem"]),
    ],
)
def test_a_selector_chooses(selector, chosen):
    assert selector(NAMES) == tuple(chosen)


@given(declared, st.sampled_from(["*", "body/*", "*conv?", "[!b]*", "STEM", "body*conv1"]))
def test_a_glob_is_fnmatch_case_sensitive(names, pattern):
    matched = tuple(name for name in names if re.fullmatch(fnmatch.translate(pattern), name))
    if matched:
        assert glob(pattern)(names) == matched
    else:
        with pytest.raises(EmptySelection):
            glob(pattern)(names)


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (lambda: everything("layers")([]), "layers = 'all' matches no name"),
        (lambda: prefix("cnov")(NAMES), "prefix = 'cnov' matches no name"),
        (lambda: prefix("Stem", "freezers[0]")(NAMES), "freezers[0] = 'Stem' matches no name"),
        (lambda: glob("STEM")(NAMES), "glob = 'STEM' matches no name"),
        (lambda: glob("x*", "y*", where="module")(NAMES), "module = 'x* or y*' matches no name"),
        (lambda: glob()(NAMES), "glob = '' matches no name"),
        (lambda: regex("backbone")(NAMES), "regex = 'backbone' matches no name"),
        (lambda: alias("audio", {"vision": ["*"]})(NAMES), "alias = 'audio' matches no name"),
        (lambda: alias("vision", {"vision": []})(NAMES), "alias = '' matches no name"),
        (lambda: except_for(everything(), prefix(""))(["b", "a"]), "except = ['a', 'b'] matches no name"),
        (lambda: except_for(exactly())(NAMES), "except = [] matches no name"),
        (lambda: any_of(prefix("stem"), prefix("x"))(NAMES), "prefix = 'x' matches no name"),
        (lambda: except_for(everything(), prefix("x"))(NAMES), "prefix = 'x' matches no name"),
    ],
)
def test_NAM_3_a_selector_that_matches_nothing_is_an_error(select, message):
    with pytest.raises(EmptySelection) as caught:
        select()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            lambda: exactly("stme", "head", "tail")(NAMES),
            "names: unknown 'stme' (did you mean 'stem'?), 'tail'; "
            "known are stem, backbone/conv1, backbone/conv10, backbone/Conv2, head",
        ),
        (
            lambda: under("bakbone", "zzz", where="layers")(NAMES),
            "layers: unknown 'bakbone' (did you mean 'backbone', 'backbone/conv1', 'backbone/Conv2'?), 'zzz'; "
            "known are stem, backbone/conv1, backbone/conv10, backbone/Conv2, head, backbone",
        ),
        (
            lambda: exactly("backbone")(["backbone/a"]),
            "names: unknown 'backbone' (did you mean 'backbone/a'?); known are backbone/a",
        ),
        (lambda: under("b")(["a/b"]), "names: unknown 'b'; known are a/b, a"),
        (lambda: group(0, [["x"]], where="groups")(["a"]), "groups: unknown 'x'; known are a"),
    ],
)
def test_NAM_2_all_missing_names_are_listed_with_close_matches(select, message):
    with pytest.raises(UnknownName) as caught:
        select()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            lambda: exactly("head", "stem", "head")(NAMES),
            "names = ['head', 'stem', 'head'] must be distinct names (repeated: 'head')",
        ),
        (
            lambda: under("a", "a/b", where="layers")(["a/b", "a/c"]),
            "layers = ['a/b', 'a/c', 'a/b'] must be distinct names (repeated: 'a/b')",
        ),
        (
            lambda: distinct(iter("abcab"), "x"),
            "x = ['a', 'b', 'c', 'a', 'b'] must be distinct names (repeated: 'a', 'b')",
        ),
        (
            lambda: regex("conv("),
            "regex = 'conv(' must be a regular expression (missing ), unterminated subpattern at position 4)",
        ),
        (lambda: group(2, [["a"], ["b"]]), "group = 2 must be an integer in -2..1"),
        (lambda: group(-3, [["a"], ["b"]], where="n"), "n = -3 must be an integer in -2..1"),
        (lambda: group(True, [["a"], ["b"]]), "group = True must be an integer in -2..1"),
    ],
)
def test_a_bad_selector_is_rejected_with_what_is_allowed(select, message):
    with pytest.raises(InvalidSpec) as caught:
        select()
    assert str(caught.value) == message
