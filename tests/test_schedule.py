"""Schedules: segments, canonical form, cutting, operations, the same past, epochs and steps; and what they cost."""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from per_tick import Says, encode, outcome, says
from refreeze import (
    Conflict,
    InvalidSpec,
    Operation,
    Policy,
    ScheduleMismatch,
    Segment,
    State,
    always,
    canonical,
    check_same_past,
    cut,
    during,
    in_epochs,
    in_steps,
    inference_mode,
    operations,
    override,
    rate,
    replay,
    round_robin,
    segments,
    shift,
    stages,
    steps_per_epoch,
    union,
)
from strategies import NAMES, TOTALS, clashes, encodings, expressions, policy_of, runs

A, B, NONE = frozenset("a"), frozenset("b"), frozenset()
ONE_RATE = st.just(0.1)
# A drawn schedule without conflicts: its expression, and its segments.
schedules = st.tuples(expressions(ONE_RATE), TOTALS)


def segments_of(schedule):
    expression, total = schedule
    return segments(policy_of(expression), total)


@given(expressions() | clashes(), TOTALS)
def test_segments_are_what_a_scan_of_every_tick_finds(expression, total):
    """Or a conflict, at the first tick of [0, total) that has one (SCH-6)."""
    scanned = outcome(lambda: encode(lambda tick: says(expression, tick), total))
    assert outcome(lambda: segments(policy_of(expression), total)) == scanned


@given(schedules)
def test_SCH_1_segments_are_contiguous_and_lengths_sum_to_total(schedule):
    found, total = segments_of(schedule), schedule[1]
    assert [s.start for s in found] == [0, *(s.stop for s in found[:-1])][: len(found)]
    assert all(s.length >= 1 for s in found)
    assert sum(s.length for s in found) == total


@pytest.mark.parametrize("policy", [always(["a"]), union(), rate(0.1), union(rate(0.1), rate(0.2))])
def test_SCH_1_no_ticks_no_segments(policy):
    assert segments(policy, 0) == ()


@given(schedules)
def test_SCH_2_adjacent_segments_differ_or_the_later_sets_a_rate(schedule):
    found = segments_of(schedule)
    for before, now in pairwise(found):
        assert (before.frozen, before.bn_frozen) != (now.frozen, now.bn_frozen) or now.learning_rate is not None


@given(schedules)
def test_SCH_3_frozen_is_frozen_at_of_each_tick_and_the_rate_is_set_once(schedule):
    policy = policy_of(schedule[0])
    for s in segments_of(schedule):
        for tick in range(s.start, s.stop):
            assert s.frozen == policy.frozen_at(tick), f"tick {tick}"
            assert (s.learning_rate if tick == s.start else None) == policy.learning_rate_at(tick), f"tick {tick}"


@given(schedules, st.integers(0, 24))
def test_SCH_4_a_shorter_run_is_the_longer_one_cut(schedule, n):
    expression, total = schedule
    assert segments_of((expression, min(n, total))) == cut(segments_of(schedule), 0, n)


@given(schedules, st.data())
def test_SCH_5_replaying_the_operations_gives_the_segments(schedule, data):
    found, initial = segments_of(schedule), data.draw(initials)
    assert replay(operations(found, initial), schedule[1], initial) == found


sets = st.frozensets(st.sampled_from(NAMES))
initials = st.builds(State, frozen=sets, bn_frozen=sets)


@st.composite
def operation_lists(draw: st.DrawFn) -> tuple[list[Operation], int, State]:
    """Return operations of which none says what is so already, a total and the initial state."""
    initial, total = draw(initials), draw(st.integers(1, 12))
    frozen, bn_frozen, found = initial.frozen, initial.bn_frozen, []
    for tick in sorted(draw(st.sets(st.integers(0, total - 1)))):
        flip, bn_flip, rate = draw(sets), draw(sets), draw(st.none() | st.just(0.1))
        if flip or bn_flip or rate:
            here = {"freeze": flip - frozen, "unfreeze": flip & frozen}
            there = {"bn_freeze": bn_flip - bn_frozen, "bn_unfreeze": bn_flip & bn_frozen}
            found.append(Operation(tick=tick, learning_rate=rate, **here, **there))
            frozen, bn_frozen = frozen ^ flip, bn_frozen ^ bn_flip
    return found, total, initial


@given(operation_lists())
def test_SCH_5_the_operations_of_a_replay_are_those_replayed(given_operations):
    found, total, initial = given_operations
    assert operations(replay(found, total, initial), initial) == tuple(found)


@given(operation_lists(), initials)
def test_SCH_5_an_operation_done_twice_equals_once(given_operations, state):
    for operation in given_operations[0]:
        once = operation(state)
        assert operation(once) == once
        assert once.frozen == (state.frozen - operation.unfreeze) | operation.freeze
        assert once.bn_frozen == (state.bn_frozen - operation.bn_unfreeze) | operation.bn_freeze
        assert (once.mentioned, once.learning_rate) == (once.frozen, operation.learning_rate)


def test_SCH_5_an_operation_says_only_what_changes():
    run = [Segment(0, 2, NONE), Segment(2, 4, A, None, B), Segment(4, 6, B, 0.1, B)]
    assert operations(run) == (
        Operation(tick=2, freeze=A, bn_freeze=B),
        Operation(tick=4, freeze=B, unfreeze=A, learning_rate=0.1),
    )
    assert operations(run, State(A)) == (Operation(tick=0, unfreeze=A), *operations(run))


@given(runs(), st.data())
def test_canonical_is_the_same_for_every_encoding(run, data):
    assert canonical(data.draw(encodings(run))) == encode(run.__getitem__, len(run))


@given(runs(), st.data())
def test_canonical_is_idempotent(run, data):
    once = canonical(data.draw(encodings(run)))
    assert canonical(once) == once


def test_SCH_2_canonical_keeps_each_difference():
    for other in (Segment(2, 4, B, None, A), Segment(2, 4, A, None, B), Segment(2, 4, A, 0.1, A)):
        assert len(canonical([Segment(0, 2, A, 0.1, A), other])) == 2
    assert canonical([Segment(0, 2, A, 0.1, A), Segment(2, 4, A, None, A)]) == (Segment(0, 4, A, 0.1, A),)


@given(schedules)
def test_RES_1_what_is_left_at_any_tick_is_the_suffix(schedule):
    expression, total = schedule
    whole = segments_of(schedule)
    for start in range(total + 1):
        assert cut(whole, start) == encode(lambda tick: says(expression, tick), total, start), f"from {start}"


@given(runs(max_size=8), st.data())
def test_a_cut_is_its_ticks(run, data):
    whole = data.draw(encodings(run))
    for start in range(len(run) + 2):
        for stop in range(start, len(run) + 2):
            assert canonical(cut(whole, start, stop)) == encode(run.__getitem__, min(stop, len(run)), start)
            assert all(s.length for s in cut(whole, start, stop))


@given(st.data(), runs(), runs(), st.integers(0, 12))
def test_RES_3_the_first_differing_tick_is_named(data, recorded, given_, stop):
    length = data.draw(st.integers(0, 10))
    given_ = recorded[:length] + given_[length:]  # mostly they share a beginning

    def at(run: list[Says], tick: int) -> dict | None:
        if tick >= len(run):
            return None
        rate = min(run[tick].rates, default=None)
        return {"frozen": sorted(run[tick].frozen), "learning_rate": rate, "bn_frozen": sorted(run[tick].bn_frozen)}

    differing = [tick for tick in range(stop) if at(recorded, tick) != at(given_, tick)]
    one, other = data.draw(encodings(recorded)), data.draw(encodings(given_))
    if not differing:
        check_same_past(one, other, stop)
        return
    with pytest.raises(ScheduleMismatch) as caught:
        check_same_past(one, other, stop)
    tick, found = differing[0], caught.value
    assert (found.tick, found.recorded, found.given) == (tick, at(recorded, tick), at(given_, tick))


def test_RES_3_the_message_says_what_each_does():
    with pytest.raises(ScheduleMismatch) as caught:
        check_same_past([Segment(0, 5, A)], [Segment(0, 3, A), Segment(3, 5, frozenset("ba"), 0.1, B)], 4)
    assert str(caught.value) == (
        "the schedules differ at tick 3: "
        "recorded {'frozen': ['a'], 'learning_rate': None, 'bn_frozen': []}, "
        "given {'frozen': ['a', 'b'], 'learning_rate': 0.1, 'bn_frozen': ['b']}"
    )


def test_RES_3_the_future_may_differ():
    check_same_past([Segment(0, 5, A)], [Segment(0, 3, A), Segment(3, 9, B)], 3)


@given(expressions(ONE_RATE), st.integers(1, 5), st.integers(0, 8))
def test_in_steps_then_in_epochs_is_where_it_began(expression, per, epochs):
    policy = policy_of(expression)
    assert in_epochs(segments(in_steps(policy, per), epochs * per), per) == segments(policy, epochs)


@given(st.integers(1, 40), st.integers(1, 40))
def test_steps_per_epoch_counts_the_batches(examples, batch_size):
    assert steps_per_epoch(examples, batch_size) == len(range(0, examples, batch_size))


def test_SCH_6_in_steps_a_conflict_names_the_step_at_which_the_rates_are_set():
    policy = in_steps(shift(union(rate(0.1), rate(0.2)), 2), 3)
    for step in (6, 8):
        with pytest.raises(Conflict, match=r"^tick 6: learning rates 0\.1, 0\.2 are set at once; one may be$"):
            policy.at(step)


def test_segments_and_operations_are_values():
    assert {Segment(0, 1, A), Segment(0, 1, A)} == {Segment(0, 1, A)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        Segment(0, 1, A).stop = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Operation(tick=0).tick = 1


BAD_CALLS = [
    (lambda: segments(always(["a"]), -1), "total = -1 must be an integer >= 0"),
    (lambda: segments(always(["a"]), True), "total = True must be an integer >= 0"),
    (lambda: segments(always(["a"]), 5.0), "total = 5.0 must be an integer >= 0"),
    (lambda: canonical([Segment(0, 0, A)]), "segments[0].stop = 0 must be an integer >= 1"),
    (lambda: canonical([Segment(0, 1, A), Segment(4, 3, A)]), "segments[1].stop = 3 must be an integer >= 5"),
    (lambda: canonical([Segment(-1, 3, A)]), "segments[0].start = -1 must be an integer >= 0"),
    (lambda: canonical([Segment(0, True, A)]), "segments[0].stop = True must be an integer >= 1"),
    (
        lambda: canonical([Segment(0, 2, A), Segment(3, 4, A)]),
        "segments[1].start = 3 must be 2, where the one before stops",
    ),
    (
        lambda: canonical([Segment(0, 2, A), Segment(1, 4, A)]),
        "segments[1].start = 1 must be 2, where the one before stops",
    ),
    (lambda: cut([Segment(0, 9, A)], -1), "start = -1 must be an integer >= 0"),
    (lambda: cut([Segment(0, 9, A)], 5, 4), "stop = 4 must be an integer >= 5"),
    (lambda: cut([Segment(0, 9, A)], 0, True), "stop = True must be an integer >= 0"),
    (lambda: replay((), -1), "total = -1 must be an integer >= 0"),
    (lambda: replay((), True), "total = True must be an integer >= 0"),
    (lambda: replay([Operation(tick=-1)], 3), "operations[0].tick = -1 must be an integer >= 0"),
    (lambda: replay([Operation(tick=3)], 3), "ticks = [3] must be strictly increasing in [0, 3)"),
    (lambda: replay([Operation(tick=2), Operation(tick=1)], 3), "ticks = [2, 1] must be strictly increasing in [0, 3)"),
    (lambda: replay([Operation(tick=1), Operation(tick=1)], 3), "ticks = [1, 1] must be strictly increasing in [0, 3)"),
    (lambda: check_same_past([], [], -1), "stop = -1 must be an integer >= 0"),
    (lambda: steps_per_epoch(0, 5), "examples = 0 must be an integer >= 1"),
    (lambda: steps_per_epoch(5, 0), "batch_size = 0 must be an integer >= 1"),
    (lambda: in_steps(always(["a"]), 0), "steps_per_epoch = 0 must be an integer >= 1"),
    (lambda: in_epochs([], True), "steps_per_epoch = True must be an integer >= 1"),
    (
        lambda: in_epochs([Segment(0, 4, A), Segment(4, 9, B)], 3),
        "boundary = 4 must be a multiple of steps_per_epoch = 3",
    ),
    (lambda: in_epochs([Segment(0, 7, A)], 3), "boundary = 7 must be a multiple of steps_per_epoch = 3"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_a_bad_argument_is_rejected_with_what_is_allowed(call, message):
    with pytest.raises(InvalidSpec) as caught:
        call()
    assert str(caught.value) == message


@dataclass(frozen=True)
class Counted(Policy):
    """A policy that notes in ``calls`` each state that it is asked for, and each boundary taken from it."""

    policy: Policy
    calls: list[str]

    @property
    def names(self):
        return self.policy.names

    def at(self, tick: int) -> State:
        self.calls.append("at")
        return self.policy.at(tick)

    def boundaries(self, start: int, stop: int):
        for tick in self.policy.boundaries(start, stop):
            self.calls.append("boundary")
            yield tick


LAYERS = [f"layer{number}" for number in range(100)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda policy: policy,
        lambda policy: during(shift(policy, 7), 7),
        lambda policy: union(always(["other"]), override(policy, rate(0.1))),
        lambda policy: stages((0, policy)),
        lambda policy: in_steps(policy, 4),
    ],
    ids=["itself", "shifted", "combined", "in stages", "in steps"],
)
def test_the_cost_is_linear_in_the_boundaries(wrap):
    """Count what is asked, from 10^4 to 2 * 10^4 boundaries of 100 layers, whatever the ticks between them are."""

    def asked(boundaries: int, span: int) -> int:
        calls: list[str] = []
        segments(wrap(Counted(round_robin(LAYERS, 7, span), calls)), boundaries * span)
        return len(calls)

    once = asked(10_000, 1)
    assert once <= 3 * 10_000  # its boundaries are counted first
    assert abs(asked(20_000, 1) - 2 * once) <= 40
    assert abs(asked(10_000, 50) - once) <= 40


def test_a_hundred_thousand_boundaries_of_a_hundred_layers_are_asked_once_each():
    calls: list[str] = []
    found = segments(Counted(round_robin(LAYERS, 7, 1), calls), 100_000)
    assert len(found) == calls.count("at") == 100_000
    assert calls.count("boundary") == 2 * 99_999  # they are counted before anything is computed


def test_ten_thousand_policies_cost_what_they_say():
    calls: list[str] = []
    some = [Counted(during(always([f"layer{i % 100}"]), i, i + 50), calls) for i in range(1, 10_001)]
    for combine in (union, override):
        calls.clear()
        assert len(segments(combine(*some), 20_000)) > 10_000
        assert calls.count("at") <= 3 * 10_000


def test_more_than_a_million_boundaries_are_refused_before_any_state_is_asked_for():
    calls: list[str] = []
    policy = Counted(round_robin(["a", "b"], 1, 1), calls)
    with pytest.raises(InvalidSpec, match=r"total = 10{18} must be a run in .* at most 1,000,000 boundaries"):
        segments(policy, 10**18)
    assert calls.count("at") == 0
    assert calls.count("boundary") == 10**6 + 1
    assert len(segments(during(always(["a"]), 10**17, 10**18 - 1), 10**18)) == 3


@pytest.mark.parametrize(("total", "allowed"), [(6, True), (7, False)])
def test_as_many_boundaries_as_are_allowed_are_computed(monkeypatch, total, allowed):
    monkeypatch.setattr("refreeze.schedule.MOST_BOUNDARIES", 5)
    policy = round_robin(["a", "b"], 1, 1)
    if allowed:
        assert len(segments(policy, total)) == 6
    else:
        with pytest.raises(InvalidSpec, match="at most 5 boundaries"):
            segments(policy, total)


@pytest.mark.parametrize(("most", "allowed"), [(4, True), (3, False)])
def test_the_names_of_different_sets_are_counted_once(monkeypatch, most, allowed):
    monkeypatch.setattr("refreeze.schedule.MOST_FROZEN", most)
    both, one = always(["a", "b"]), always(["c"])
    policy = stages((0, both), (1, one), (2, both), (3, union(one, inference_mode(["d"]))))
    if allowed:
        assert [len(s.frozen) for s in segments(policy, 4)] == [2, 1, 2, 1]
    else:
        with pytest.raises(InvalidSpec) as caught:
            segments(policy, 4)
        said = "total = 4 must be a run whose different frozen sets have together at most 3 names"
        assert str(caught.value) == said


def test_a_cut_begins_at_the_first_tick_if_nothing_else_is_said():
    run = segments(during(always(["a"]), 2, 4), 6)
    assert cut(run) == run
    assert cut(run, stop=1) == (Segment(0, 1, frozenset()),)


def test_in_epochs_ticks_are_integers_not_only_equal_to_them():
    ticks = [
        tick
        for s in in_epochs([Segment(0, 4, frozenset()), Segment(4, 6, frozenset())], 2)
        for tick in (s.start, s.stop)
    ]
    assert [(tick, type(tick)) for tick in ticks] == [(0, int), (2, int), (2, int), (3, int)]
