"""Selectors: which names are meant, in which order, and that a selector that means nothing fails (NAM-1..5)."""

import copy
import fnmatch
import pickle
import re
import time

import brute_force
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import EmptySelection, InvalidSpec, NeedsModel, UnknownName
from refreeze.selectors import Each, Exactly, Glob, Layers, Names, Prefix, distinct, indexed, listed
from strategies import LAYERS

NAMES = ["stem", "backbone/conv1", "backbone/conv10", "backbone/Conv2", "head"]
ENTRIES = [*LAYERS, "body", "body/deep", "*conv?", "b*", "body/*", "*e*", "[!b]*", "body*conv1", "STEM*"]
declared = st.lists(st.sampled_from(LAYERS), unique=True, min_size=1)


@given(declared)
def test_NAM_1_all_is_every_name_in_declaration_order_and_all_reverse_the_reverse(names):
    assert Layers("all")(names) == tuple(names)
    assert Layers("all_reverse")(names) == tuple(names[::-1])
    assert set(map(len, Layers("all").units(names))) == {1}


@given(declared, st.data())
def test_NAM_2_exactly_keeps_the_order_wanted(names, data):
    wanted = tuple(data.draw(st.lists(st.sampled_from(names), unique=True)))
    assert Exactly(wanted)(names) == wanted


@given(
    declared, st.lists(st.sampled_from(ENTRIES).flatmap(lambda e: st.sampled_from([e, {"each": f"{e}*"}])), max_size=3)
)
def test_NAM_4_the_units_are_those_of_the_second_definition(names, wanted):
    """Or an error: an entry means nothing, or a layer is meant twice."""
    layers = Layers([Each(entry["each"]) if isinstance(entry, dict) else entry for entry in wanted])
    try:
        expected = brute_force.select(wanted, names)
    except brute_force.Wrong:
        with pytest.raises((EmptySelection, InvalidSpec, UnknownName)):
            layers.units(names)
    else:
        assert layers.units(names) == tuple(map(tuple, expected))


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (Exactly(["head", "stem"]), ["head", "stem"]),
        (Prefix("backbone/conv1"), ["backbone/conv1", "backbone/conv10"]),
        (Prefix(""), NAMES),
        (Glob(["*conv?"]), ["backbone/conv1"]),
        (Glob(["head", "st*"]), ["stem", "head"]),
        (Layers(["head", "backbone"]), ["head", "backbone/conv1", "backbone/conv10", "backbone/Conv2"]),
        (Layers(["head", "backbone/conv1"]), ["head", "backbone/conv1"]),
        (Layers(Each("back*")), NAMES[1:4]),
        (Layers(()), []),
    ],
)
def test_a_selector_chooses_and_is_a_value(selector, chosen):
    assert selector(NAMES) == tuple(chosen)
    assert eval(repr(selector)) == selector == copy.copy(selector) == pickle.loads(pickle.dumps(selector))
    assert hash(eval(repr(selector))) == hash(selector)


def test_a_tuple_that_knows_more_is_kept_as_it_is():
    class Paths(tuple):
        """Has the units of a model, too."""

    paths = Paths("ab")
    assert listed(paths, "names") is distinct(paths, "names") is paths
    assert listed(iter("ab"), "names") == distinct(iter("ab"), "names") == ("a", "b")


def test_a_list_is_kept_as_a_tuple_so_that_a_selector_can_be_a_key():
    assert Exactly(["b", "a"]).wanted == Glob(["b", "a"]).patterns == Layers(["b", "a"]).entries == ("b", "a")


@pytest.mark.parametrize(
    ("start", "found"), [("b", ["b", "b/1", "ba"]), ("b/", ["b/1"]), ("", [*"abc", "b/1", "ba"]), ("x", []), ("bb", [])]
)
def test_the_paths_with_a_beginning_are_found(start, found):
    assert indexed(["c", "ba", "b/1", "a", "b"]).beginning(start) == sorted(found)


@pytest.mark.parametrize(
    ("entries", "names", "found"),
    [
        (["body"], ["body", "body/conv", "bodyguard"], [("body", "body/conv")]),  # it owns weights, and holds a layer
        ([Each("*")], ["a/x/1", "a/x/2", "b", "a/y"], [("a/x/1", "a/x/2", "a/y"), ("b",)]),
        ([Each("*/x")], ["a/x/1", "a/x/2", "b/x", "x"], [("a/x/1", "a/x/2"), ("b/x",)]),
        (["*1"], ["a/x/1", "b/c1/d", "b/e"], [("a/x/1", "b/c1/d")]),
        (["w[1]", "w[2]"], ["w[1]", "w1", "w2"], [("w[1]",), ("w2",)]),  # a name that is known is no pattern
        (["c?"], ["c?/a", "c1"], [("c?/a",)]),
        ([Each("w[1]")], ["w[1]", "w1"], [("w1",)]),
        (["head", "stem"], None, [("head",), ("stem",)]),
    ],
)
def test_NAM_5_what_a_pattern_matches_and_what_is_none(entries, names, found):
    assert Layers(entries).units(names) == tuple(found)


SHARED = Names(["left/shared", "left/own", "head"], {"right/shared": "left/shared"})


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (Layers(["right"]), ("left/shared",)),
        (Layers(["left", "right"]), ("left/shared", "left/own")),
        (Layers(["r*"]), ("left/shared",)),
        (Layers(["*/shared"]), ("left/shared",)),
        (Layers("all"), tuple(SHARED)),
        (Exactly(["right/shared"]), ("left/shared",)),
        (Prefix("r"), ("left/shared",)),
    ],
)
def test_NAM_3_a_shared_layer_is_one_layer_in_each_of_its_containers(selector, chosen):
    assert selector(SHARED) == chosen


def test_NAM_4_a_shared_layer_cannot_move_with_two_units():
    with pytest.raises(InvalidSpec, match=r"repeated: 'left/shared'"):
        Layers(["left", "right"]).units(SHARED)
    assert Layers(["*"]).units(SHARED) == (("left/shared", "left/own", "head"),)


@given(declared, st.sampled_from(["*", "body/*", "*conv?", "[!b]*", "STEM", "body*conv1"]))
def test_a_glob_is_fnmatch_case_sensitive(names, pattern):
    matched = tuple(name for name in names if re.fullmatch(fnmatch.translate(pattern), name))
    if matched:
        assert Glob([pattern])(names) == matched
    else:
        with pytest.raises(EmptySelection):
            Glob([pattern])(names)


NEEDS_MODEL = "can be resolved only with a model or a list of names"
DISTINCT = "must be distinct names (repeated:"
LIST = "must be a list of names"
LAYERS_LIST = "must be a list of layers, 'all' or 'all_reverse'"
TWO = [Each("*"), Each("*")]
ERRORS = [
    # nothing is matched
    (lambda: Layers("all").units([]), EmptySelection, "layers = 'all' matches no name"),
    (lambda: Layers(["stem", "Stem*"])(NAMES), EmptySelection, "layers[1] = 'Stem*' matches no name"),
    (lambda: Layers(Each("a*"))(NAMES, "groups[2]"), EmptySelection, "groups[2] = 'a*' matches no name"),
    (lambda: Prefix("Stem")(NAMES, "freezers[0]"), EmptySelection, "freezers[0] = 'Stem' matches no name"),
    (lambda: Glob(["x*", "y*"])(NAMES, "module"), EmptySelection, "module = 'x* or y*' matches no name"),
    (lambda: Glob([])(NAMES), EmptySelection, "names = '' matches no name"),
    # names are needed
    (lambda: Layers("all").units(None), NeedsModel, f"layers = 'all' {NEEDS_MODEL}"),
    (lambda: Layers(["a", "b*"])(None), NeedsModel, f"layers[1] = 'b*' {NEEDS_MODEL}"),
    (lambda: Layers([Each("b*")])(None), NeedsModel, f"layers[0] = 'b*' {NEEDS_MODEL}"),
    (lambda: Layers(["a/b", "a"])(None), NeedsModel, f"layers = ['a', 'a/b'] {NEEDS_MODEL}"),
    # all missing names, with close matches
    (
        lambda: Exactly(("stme", "head", "tail"))(NAMES),
        UnknownName,
        "names: unknown 'stme' (did you mean 'stem'?), 'tail'; "
        "known are stem, backbone/conv1, backbone/conv10, backbone/Conv2, head",
    ),
    (
        lambda: Layers(["bakbone", "b*", "zzz"])(NAMES),
        UnknownName,
        "layers: unknown 'bakbone' (did you mean 'backbone', 'backbone/conv1', 'backbone/Conv2'?), 'zzz'; "
        "known are stem, backbone/conv1, backbone/conv10, backbone/Conv2, head, backbone",
    ),
    (lambda: Layers(["b"])(["a/b"]), UnknownName, "layers: unknown 'b'; known are a/b, a"),
    # a name twice, and what is no list of names
    (lambda: Exactly(["b", "a", "b"])(["b", "a"]), InvalidSpec, f"names = ['b', 'a', 'b'] {DISTINCT} 'b')"),
    (lambda: Layers(["a", "*/b"])(["a/b", "a/c"]), InvalidSpec, f"layers = ['a/b', 'a/c', 'a/b'] {DISTINCT} 'a/b')"),
    (lambda: Layers(TWO)(NAMES), InvalidSpec, f"layers = {TWO} {DISTINCT} Each(pattern='*'))"),
    (lambda: distinct(iter("abcab"), "x"), InvalidSpec, f"x = ['a', 'b', 'c', 'a', 'b'] {DISTINCT} 'a', 'b')"),
    (lambda: distinct("abc", "x"), InvalidSpec, f"x = 'abc' {LIST}"),
    (lambda: Exactly("stem"), InvalidSpec, f"wanted = 'stem' {LIST}"),
    (lambda: Exactly(["stem", 1]), InvalidSpec, f"wanted = ['stem', 1] {LIST}"),
    (lambda: Glob("stem"), InvalidSpec, f"patterns = 'stem' {LIST}"),
    (lambda: Prefix("s")("stem"), InvalidSpec, f"names = 'stem' {LIST}"),
    (lambda: Layers("all")("stem"), InvalidSpec, f"names = 'stem' {LIST}"),
    (lambda: Layers("stem")(NAMES), InvalidSpec, f"layers = 'stem' {LAYERS_LIST}"),
    (lambda: Layers([1])(NAMES), InvalidSpec, f"layers = (1,) {LAYERS_LIST}"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_a_selector_that_means_nothing_is_an_error_with_its_place(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_a_pattern_cannot_take_longer_than_its_length_times_that_of_the_names():
    """Patterns that make a backtracking matcher try 2^n ways."""
    began = time.process_time()
    with pytest.raises(EmptySelection):
        Layers(["*a" * 499 + "b"])([f"{'a' * 100}{number}" for number in range(100)])
    assert time.process_time() - began < 5
