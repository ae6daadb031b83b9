"""Windows: round robin (RR) and random (RND), against a second definition with a Philox of its own."""

import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from brute_force import draw, philox, words
from hypothesis import example, given
from hypothesis import strategies as st
from refreeze import (
    InvalidSpec,
    always,
    random_order,
    random_window,
    random_windows,
    round_robin,
    round_robin_window,
    segments,
    union,
)
from refreeze import windows as windows_module
from strategies import WORDS

SIZES = st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
LAYERS = ["a", "b", "c", "d", "e"]
TOP = 2**64


@given(SIZES, st.integers(0, 40))
def test_RR_1_the_window_of_span_k_is_k_windows_from_the_first_layer(size, k):
    n, window = size
    assert round_robin_window(n, window, k) == tuple((k * window + j) % n for j in range(window))


@given(SIZES, st.integers(1, 6), st.integers(0, 60))
def test_RR_1_a_policy_freezes_its_window_during_its_span(size, span, tick):
    n, window = size
    layers = [f"layer{place}" for place in range(n)]
    frozen = {layers[(tick // span * window + j) % n] for j in range(window)}
    assert round_robin(layers, window, span).frozen_at(tick) == frozen


@given(SIZES, st.integers(0, 40))
def test_RR_3_a_cycle_freezes_every_layer_equally_often(size, first):
    n, window = size
    cycle = n // math.gcd(n, window)
    frozen = [place for k in range(first, first + cycle) for place in round_robin_window(n, window, k)]
    assert [frozen.count(place) for place in range(n)] == [window // math.gcd(n, window)] * n


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ([TOP - 1] * 4, [TOP - 1] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    ],
)
def test_RND_1_the_philox_of_these_tests_gives_the_known_answers(counter, key, block):
    """Source: Random123, file kat_vectors, lines "philox4x64 10"."""
    assert " ".join(f"{word:016x}" for word in philox(counter, key)) == block


@given(WORDS, WORDS, WORDS)
@example(TOP - 1, TOP - 1, TOP - 1)
def test_RND_1_the_words_are_philox_blocks_from_the_first(seed, stream, k):
    ours, theirs = windows_module._words(seed, stream, k), words(seed, stream, k)
    assert [next(ours) for _ in range(12)] == [next(theirs) for _ in range(12)]


@pytest.mark.parametrize(
    ("seed", "stream", "k", "n", "window", "positions"),
    [
        (0, 0, 0, 5, 2, (4, 3)),
        (0, 0, 2, 5, 2, (4, 1)),
        (7, 2, 5, 10, 4, (5, 1, 0, 9)),
        (TOP - 1, 0, 0, 3, 3, (0, 2, 1)),
    ],
)
def test_RND_2_check_values(seed, stream, k, n, window, positions):
    assert random_window(n, window, k, seed, stream) == positions


@given(SIZES, WORDS, WORDS, WORDS)
def test_RND_2_the_draw_is_that_of_the_second_definition(size, k, seed, stream):
    n, window = size
    drawn = random_window(n, window, k, seed, stream)
    assert drawn == tuple(draw(n, window, words(seed, stream, k)))
    assert len(set(drawn)) == window


@pytest.fixture
def scripted(monkeypatch):
    """Let the draws use given words; almost no word is rejected otherwise, one in 2^60 or fewer."""

    def use(given_words):
        rest = iter(given_words)
        monkeypatch.setattr(windows_module, "_words", lambda seed, stream, k: rest)
        return rest

    return use


@pytest.mark.parametrize(
    ("n", "first", "position"),
    [
        (6, [TOP - 1, TOP - 4, TOP - 5], 5),  # 2^64 mod 6 = 4: the last four words are rejected, not the fifth last
        (6, [TOP - 4, 2], 2),
        (3, [TOP - 1, 1], 1),
        (3, [TOP - 2], 2),
        (4, [TOP - 1], 3),  # 2^64 mod 4 = 0: none is
    ],
)
def test_RND_2_words_that_would_favour_a_position_are_rejected(scripted, n, first, position):
    rest = scripted([*first, 77])
    assert random_window(n, 1, 0, 0, 0) == (position,)
    assert list(rest) == [77]


@given(SIZES, st.lists(st.integers(TOP - 12, TOP - 1), max_size=8), st.lists(WORDS, min_size=12, max_size=12))
def test_RND_2_rejection_is_that_of_the_second_definition(size, high, rest):
    n, window = size
    source = [*high, *rest, *range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_module, "_words", lambda seed, stream, k: iter(source))
        assert random_window(n, window, 0, 0, 0) == tuple(draw(n, window, iter(source)))


@given(SIZES, st.integers(1, 4), WORDS, st.integers(0, 5), st.integers(0, 30))
def test_RND_1_a_policy_freezes_what_is_drawn_for_its_span(size, span, seed, stream, tick):
    n, window = size
    layers = [f"layer{place}" for place in range(n)]
    drawn = draw(n, window, words(seed, stream, tick // span))
    assert random_windows(layers, window, span, seed, stream).frozen_at(tick) == {layers[place] for place in drawn}


@given(SIZES, st.integers(1, 4), WORDS, st.integers(0, 5), st.integers(0, 5))
def test_RND_4_a_cycle_freezes_each_unit_once_in_an_order_of_its_own(size, span, seed, stream, cycle):
    n, _ = size
    layers = [f"layer{place}" for place in range(n)]
    policy = random_order(layers, span, seed, stream)
    found = [policy.frozen_at((cycle * n + place) * span + span - 1) for place in range(n)]
    assert found == [{layers[place]} for place in draw(n, n, words(seed, stream, cycle))]


def test_RND_3_the_seed_is_0_if_absent():
    assert segments(random_order(LAYERS, 1), 30) == segments(random_order(LAYERS, 1, 0, 0), 30)
    assert segments(random_windows(LAYERS, 2, 1), 30) == segments(random_windows(LAYERS, 2, 1, 0, 0), 30)


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 1}])
def test_RND_1_another_seed_or_stream_gives_another_schedule(other):
    """Twelve draws of 2 in 5 agree by chance in one of 10^12 cases; these, being fixed, do not."""
    assert segments(random_windows(LAYERS, 2, 1, **other), 12) != segments(random_windows(LAYERS, 2, 1), 12)


@given(st.integers(0, 20), st.integers(0, 20), WORDS)
def test_RND_3_a_longer_run_changes_no_earlier_draw(total, more, seed):
    policy = random_windows(LAYERS, 2, 3, seed)
    longer = segments(policy, total + more)
    assert [policy.frozen_at(tick) for tick in range(total)] == [
        s.frozen for s in longer for tick in range(s.start, s.stop) if tick < total
    ]


def test_RND_3_no_global_random_state_is_read_or_moved():
    """numpy's and the standard library's generators stand where they stood, and where they stand does not matter."""
    found = []
    numpy_state, state = np.random.get_state(), random.getstate()
    try:
        for seed in (0, 1):
            np.random.seed(seed)
            random.seed(seed)
            before = np.random.get_state(), random.getstate()
            found.append(segments(random_windows(LAYERS, 2, 1, seed=3), 50))
            after = np.random.get_state(), random.getstate()
            assert before[1] == after[1]
            assert all(np.array_equal(was, now) for was, now in zip(before[0], after[0], strict=True))
    finally:
        np.random.set_state(numpy_state)
        random.setstate(state)
    assert found[0] == found[1]


PROGRAM = """
import json, sys
from refreeze.dialects.vl3d import compute_schedule
random = {"type": "random", "window_size": 2, "iterative_span": 1, "seed": 5}
config = [{"layers": "all_reverse", "training_interval": [0, 9], "strategy": random, "initial_learning_rate": 0.1},
          {"layers": ["e", "a", "c"], "training_interval": [2, 30], "strategy": random}]
json.dump(compute_schedule(config, 20, list("abcde")), sys.stdout)
"""


def test_RND_3_every_process_computes_the_same_whatever_its_hash_seed():
    answers = []
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        answers.append(run.stdout)
    assert answers[0] == answers[1] == answers[2]
    assert len(json.loads(answers[0])[0]) >= 10  # it did answer


@pytest.mark.parametrize("make", [round_robin, random_windows])
def test_a_window_policy_mentions_all_its_layers_always(make):
    policy = make(LAYERS, 2, 3)
    assert policy.names == policy.at(0).mentioned == frozenset(LAYERS)
    assert list(policy.boundaries(0, 10)) == [3, 6, 9]
    assert union(always(LAYERS), policy).frozen_at(4) == frozenset(LAYERS)


BOTH = (round_robin, random_windows)


def test_RR_1_a_unit_of_several_names_moves_as_a_whole():
    policy = round_robin([["b1/norm", "b1/q"], "head", ["b2/q"]], 2, 3)
    assert sorted(policy.frozen_at(0)) == ["b1/norm", "b1/q", "head"]
    assert sorted(policy.frozen_at(3)) == ["b1/norm", "b1/q", "b2/q"]
    assert policy.names == {"b1/norm", "b1/q", "head", "b2/q"}


BAD_CALLS = [
    *((lambda make=make: make(LAYERS, 0, 1), "window = 0 must be an integer >= 1") for make in BOTH),
    *((lambda make=make: make(LAYERS, 6, 1), "window = 6 must be in 1..5") for make in BOTH),
    *((lambda make=make: make(LAYERS, -1, 1), "window = -1 must be an integer >= 1") for make in BOTH),
    *((lambda make=make: make(LAYERS, True, 1), "window = True must be an integer >= 1") for make in BOTH),
    *(
        (lambda make=make: make(LAYERS, np.int64(2), 1), f"window = {np.int64(2)!r} must be an integer >= 1")
        for make in BOTH
    ),
    *((lambda make=make: make(LAYERS, 2, 0), "span = 0 must be an integer >= 1") for make in BOTH),
    *((lambda make=make: make(LAYERS, 2, 1.0), "span = 1.0 must be an integer >= 1") for make in BOTH),
    *((lambda make=make: make([], 1, 1), "layers = () must be one or more names, each once") for make in BOTH),
    *(
        (lambda make=make: make("aa", 1, 1), "layers = 'aa' must be a list of names, or of lists of names")
        for make in BOTH
    ),
    (lambda: random_windows(LAYERS, 2, 1, seed=-1), "seed = -1 must be an integer >= 0"),
    (lambda: random_windows(LAYERS, 2, 1, seed=TOP), f"seed = {TOP} must be an integer in [0, 2**64)"),
    (lambda: random_windows(LAYERS, 2, 1, seed=True), "seed = True must be an integer >= 0"),
    (lambda: random_windows(LAYERS, 2, 1, seed=1.0), "seed = 1.0 must be an integer >= 0"),
    (lambda: random_windows(LAYERS, 2, 1, stream=-1), "stream = -1 must be an integer >= 0"),
    (lambda: random_windows(LAYERS, 2, 1, stream=TOP), f"stream = {TOP} must be an integer in [0, 2**64)"),
    (lambda: random_order(LAYERS, 1, seed=-1), "seed = -1 must be an integer >= 0"),
    (lambda: random_order(LAYERS, 1, stream=TOP), f"stream = {TOP} must be an integer in [0, 2**64)"),
    (lambda: random_order(LAYERS, 0), "span = 0 must be an integer >= 1"),
    (lambda: random_window(3, 4, 0, 0, 0), "window = 4 must be in 1..3"),
    (lambda: random_window(0, 1, 0, 0, 0), "n = 0 must be an integer >= 1"),
    (lambda: random_window(3, 1, -1, 0, 0), "k = -1 must be an integer >= 0"),
    (lambda: random_window(3, 1, TOP, 0, 0), f"k = {TOP} must be an integer in [0, 2**64)"),
    (lambda: random_window(3, 1, 0, TOP, 0), f"seed = {TOP} must be an integer in [0, 2**64)"),
    (lambda: random_window(3, 1, 0, 0, TOP), f"stream = {TOP} must be an integer in [0, 2**64)"),
    (lambda: round_robin_window(3, 4, 0), "window = 4 must be in 1..3"),
    (lambda: round_robin({"a"}, 1, 1), "layers = {'a'} must be a list of names, or of lists of names"),
    (lambda: round_robin(["a", ["b", "a"]], 1, 1), "layers = ('a', ('b', 'a')) must be one or more names, each once"),
    (lambda: round_robin(["a", []], 1, 1), "layers = ('a', ()) must be one or more names, each once"),
    (lambda: round_robin(["a", ["b", 2]], 1, 1), "layers = ('b', 2) must be a collection of names"),
    (lambda: round_robin_window(3, 1, -1), "k = -1 must be an integer >= 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_a_bad_argument_is_rejected_with_what_is_allowed(call, message):
    with pytest.raises(InvalidSpec) as caught:
        call()
    assert str(caught.value) == message


def test_units_given_as_lists_make_the_same_value_as_tuples():
    policy = round_robin([["a", "b"], "c"], window=1, span=1)
    assert policy == round_robin((("a", "b"), "c"), 1, 1)
    assert hash(policy) == hash(round_robin((("a", "b"), "c"), 1, 1))
