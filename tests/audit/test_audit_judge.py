"""The rules of the audit, each on a run that was made up: what is blamed, where it begins, and what never is."""

from __future__ import annotations

import pytest
from made_up import HEADER, NAMES, STEPS, MadeUp
from refreeze import always, during, union
from refreeze.audit import KINDS, AuditOptions, audit
from refreeze.errors import InvalidSpec, UnknownName

ALL = set(NAMES)
THAW = during(always(["stem", "body"]), 0, 3)
"""Stem and body are frozen in the epochs [0, 3), of 6."""


def right(epoch, step):
    return {"head"} if epoch < 3 else ALL


@pytest.fixture
def judged(tmp_path):
    """Return what is found in a run: kind, name, epoch, step; and the verdict."""

    def judged(run, policy=THAW, **options):
        verdict = audit(run.write(tmp_path / "run.jsonl"), policy, options=AuditOptions(**options))
        judged.verdict = verdict
        return [(fault.kind, fault.name, fault.epoch, fault.step) for fault in verdict.faults]

    return judged


def train(rule, **more):
    run = MadeUp()
    run.start()
    run.train(rule, **more)
    return run


def still(cause, **where):
    """A rule for a run in which the stem never moves, flags say that it trains, and ``cause`` says why it does not."""
    run = MadeUp()
    run.start()
    for epoch in range(6):
        for step in range(STEPS):
            flags = [0, 1] if epoch < 3 else []
            causes = {cause: [0]} if epoch >= 3 and cause else {}
            run.step(epoch, step, right(epoch, step) - {"stem"}, frozen=flags, still=causes, **where)
    return run


def test_a_right_run_is_not_blamed(judged):
    assert judged(train(right)) == []
    assert judged.verdict.records == 6 * STEPS
    assert judged.verdict.held


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (lambda e, s: ALL, ("moved-while-frozen", "stem.w", 0, 0)),
        (lambda e, s: right(e, s) | ({"stem"} if (e, s) == (1, 0) else set()), ("moved-while-frozen", "stem.w", 1, 0)),
        (lambda e, s: right(e, s) | ({"stem"} if e == 0 else set()), ("frozen-late", "stem.w", 0, 0)),
        (lambda e, s: right(e, s) | ({"stem"} if e == 2 else set()), ("released-early", "stem.w", 2, 0)),
        (lambda e, s: right(e, s) - {"stem"}, ("never-moved", "stem.w", 3, 0)),
        (lambda e, s: right(e, s) - ({"stem"} if (e, s) == (3, 0) else set()), ("released-late", "stem.w", 3, 0)),
        (lambda e, s: right(e, s) - ({"stem"} if e == 4 else set()), ("not-moved", "stem.w", 4, 0)),
    ],
)
def test_what_differs_has_a_kind_and_a_first_tick(judged, rule, found):
    assert [fault for fault in judged(train(rule)) if fault[1] == "stem.w"] == [found]
    assert found[0] in KINDS


def test_a_layer_that_stops_before_its_freeze_is_frozen_early(judged):
    policy = during(always(["stem"]), 3, 6)
    run = train(lambda e, s: ALL if e < 2 else {"body", "head"})
    assert judged(run, policy) == [("frozen-early", "stem.w", 2, 0)]


def test_the_first_fault_says_what_should_have_moved_and_what_did(judged):
    judged(train(lambda e, s: {"head", "stem"} if e == 1 else right(e, s)), union(THAW, during(always(["head"]), 4, 5)))
    assert (judged.verdict.should_move, judged.verdict.did_move) == (["head.w"], ["stem.w", "head.w"])
    assert "First, at tick 1 (epoch 1, step 0):" in judged.verdict.lines()


@pytest.mark.parametrize("cause", ["none", "gradient", "rate"])
def test_what_never_moves_while_others_do_is_blamed_by_its_cause(judged, cause):
    assert judged(still(cause)) == [("never-moved", "stem.w", 3, 0)]


@pytest.mark.parametrize("cause", ["zero", "small"])
def test_a_gradient_of_zero_and_an_update_lost_in_rounding_are_not_blamed(judged, cause):
    assert judged(still(cause)) == []
    assert judged.verdict.unclear == []


def test_without_a_cause_it_is_unclear_and_not_blamed(judged):
    assert judged(still(None)) == []
    assert [fault.name for fault in judged.verdict.unclear] == ["stem.w"]


def test_one_gradient_of_zero_excuses_a_range_and_one_step_without_any_update_does_not(judged):
    for first, blamed in (("zero", False), ("idle", True)):
        run = still("gradient")
        line = next(line for line in run.lines if line.get("epoch") == 3)
        if first == "zero":
            line["still"] = {"zero": [0]}
        else:
            before = run.lines[run.lines.index(line) - 1]
            later = [other for other in run.lines if other.get("epoch", 0) >= 3]
            for other in later:  # the whole step is taken back
                for index in (1, 2):
                    other["parameters"][index] = str(int(other["parameters"][index]) - 1)
            assert line["parameters"] == before["parameters"]
        assert bool(judged(run)) == blamed


def test_steps_in_which_nothing_at_all_moves_blame_nobody(judged):
    run = MadeUp()
    run.start()
    for epoch in range(6):
        run.step(epoch, 0, {"head"} if epoch < 3 else (), still={"gradient": [0, 1]} if epoch >= 3 else {})
    assert judged(run) == []


def test_a_gradient_that_begins_at_a_boundary_of_other_layers_was_missing_before_it(judged):
    run = MadeUp()
    run.start()
    for epoch in range(6):
        for step in range(STEPS):
            run.step(epoch, step, {"head"} if epoch < 3 else ALL, still={"none": [0]} if epoch < 3 else {})
    policy = union(during(always(["body"]), 0, 3), during(always(["stem"]), 6, 7))
    assert judged(run, policy) == [("released-late", "stem.w", 0, 0)]


def test_what_was_wrong_before_a_resume_is_told_apart_from_what_came_after(judged):
    run = MadeUp()
    run.start()
    run.train(lambda epoch, step: {"head", "body"} if epoch >= 3 else {"head"}, range(4))
    run.start(4)
    run.train(right, range(4, 6))
    assert judged(run) == [("never-moved", "stem.w", 3, 0)]


def test_the_first_findings_are_listed_and_all_are_counted(judged, monkeypatch):
    monkeypatch.setattr("refreeze.audit.judge.MOST_FAULTS", 2)
    found = [("moved-while-frozen", "stem.w", 0, 0), ("moved-while-frozen", "body.w", 0, 0)]
    assert judged(train(lambda e, s: ALL)) == found
    assert judged.verdict.counts.total() == 3
    assert judged.verdict.lines()[-1] == "and 1 more"


def test_the_loss_may_not_use_a_parameter(judged):
    run = MadeUp()
    run.start()
    for epoch in range(6):
        for step in range(STEPS):
            run.step(epoch, step, {"body", "head"}, still={"none": [0]})
    policy = during(always(["head"]), 6, 7)
    assert judged(run, union(policy, during(always(["stem"]), 6, 7))) == []  # it never had a gradient
    assert [fault.name for fault in judged.verdict.unclear] == ["stem.w"]
    assert judged(still("none"), unused=["stem"]) == []
    with pytest.raises(UnknownName, match="--unused: unknown 'stam'"):
        judged(run, unused=["stam"])


def test_a_parameter_that_no_optimizer_holds_is_missing(judged):
    run = train(lambda e, s: right(e, s) - {"stem"})
    for line in run.lines[1:]:
        line |= {"missing": [0], "frozen": [0, 1] if line["epoch"] < 3 else []}
    assert judged(run) == [("missing-in-optimizer", "stem.w", 3, 0)]


def test_statistics_of_what_is_frozen_stay_unless_the_policy_lets_them_move(judged):
    run = MadeUp()
    run.start()
    for epoch in range(6):
        for step in range(STEPS):
            run.mean += 1
            run.step(epoch, step, right(epoch, step))
    assert judged(run) == [("statistics-drifted", "body.mean", 0, 0)]
    assert judged(run, batch_norm="batch") == []


def test_a_statistic_that_moves_at_the_first_step_after_a_boundary_may_have_moved_before_it(judged):
    policy = during(always(["body"]), 3, 6)
    run = MadeUp()
    run.start()
    for epoch in range(6):
        for step in range(STEPS):
            run.mean += (epoch, step) == (3, 0)
            run.step(epoch, step, {"head", "stem", *(["body"] if epoch < 3 else [])})
    assert judged(run, policy) == []


def test_slots_of_what_is_frozen_neither_move_nor_go(judged):
    policy = during(always(["stem"]), 3, 6)
    for slot, kind in (("9", "slots-moved"), (None, "slots-lost")):
        run = train(lambda e, s: ALL if e < 3 else {"body", "head"})
        for line in run.lines[1:]:
            if line["epoch"] >= 4:
                line["slots"]["momentum"][0] = slot
        assert judged(run, policy) == [(kind, "stem.w", 4, 0)]
        assert judged(run, policy, ignore=[kind]) == []


def test_a_policy_that_resets_slots_at_a_switch_may(judged):
    policy = during(always(["stem"]), 3, 6)
    run = train(lambda e, s: ALL if e < 3 else {"body", "head"})
    for line in run.lines[1:]:
        if line["epoch"] >= 3:
            line["slots"]["momentum"][0] = None
    assert judged(run, policy, optimizer_state="reset") == []
    assert judged(run, policy) == [("slots-lost", "stem.w", 3, 0)]


def resumed(change=lambda start: None, again=right, at=4):
    """A run that ends in the middle of epoch 4 and goes on from its beginning, or from another."""
    run = MadeUp()
    run.start()
    run.train(right, range(at))
    kept = dict(run.values), dict(run.slots), run.mean
    run.step(at, 0, right(at, 0))
    run.values, run.slots, run.mean = kept
    run.start(at)
    change(run.lines[-1])
    run.train(again, range(at, 6))
    return run


def test_a_resumed_run_goes_on_with_weights_statistics_and_slots(judged):
    assert judged(resumed()) == []
    assert judged.verdict.parts == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda start: start["slots"].clear(), "slots-lost"),
        (lambda start: start.update(parameters=["9", *start["parameters"][1:]]), "changed-at-resume"),
        (lambda start: start.update(statistics=["77"]), "changed-at-resume"),
    ],
)
def test_what_a_resume_loses_is_found(judged, change, found):
    run = resumed(change)
    assert {kind for kind, *_ in judged(run)} >= {found}
    assert {(epoch, step) for kind, _, epoch, step in judged(run) if kind == found} == {(4, 0)}


def test_a_resume_that_freezes_again_what_was_released_never_moves_it(judged):
    run = resumed(again=lambda epoch, step: {"head"})
    assert judged(run) == [("never-moved", "stem.w", 4, 0), ("never-moved", "body.w", 4, 0)]


def test_a_resume_from_what_is_not_recorded_is_not_compared(judged):
    run = resumed()
    run.lines = [line for line in run.lines if line.get("epoch") != 3 or line["step"] == 0]
    assert judged(run) == []
    assert "not recorded" in judged.verdict.notes[0]


def test_what_the_user_had_frozen_and_the_schedule_does_not_name_stays_frozen(judged):
    run = MadeUp()
    run.start(frozen=[0, 1, 2])
    run.train(lambda e, s: right(e, s) | ({"head"} if e < 5 else set()))
    assert judged(run)[0][:2] == ("moved-while-frozen", "head.w")


@pytest.mark.parametrize("moves", [True, False])
def test_who_has_frozen_a_part_of_what_is_named_before_the_record_began_shows_when_it_moves(judged, moves):
    """Stem and body are in the backbone; at first the stem alone is frozen, as the schedule says of both."""
    entries = [{**entry, "names": [*entry["names"], *["backbone"] * (entry["name"] != "head.w")]}
               for entry in HEADER["parameters"]]  # fmt: skip
    run = MadeUp(parameters=entries, statistics=[])
    run.start(frozen=[0], statistics=[])
    for epoch in range(6):
        moved = {"head"} if epoch < 3 else ALL if moves and epoch == 3 else {"body", "head"}
        for step in range(STEPS):
            flags = [i for i, name in enumerate(NAMES) if name not in moved]
            run.step(epoch, step, moved, frozen=flags, statistics=[])
    found = judged(run, during(always(["backbone"]), 0, 3))
    assert found == ([("not-moved", "stem.w", 4, 0)] if moves else [])
    assert len(judged.verdict.unclear) == (not moves)


def test_every_second_step_is_enough_to_see_a_layer_move(judged):
    run = MadeUp(every=2)
    run.start()
    for epoch in range(6):  # the first step of an epoch is not recorded
        run.step(epoch, 1, right(epoch, 0))
    assert judged(run) == []
    run = MadeUp(every=2)
    run.start()
    for epoch in range(6):  # what moved at the end of epoch 2 shows in the record of epoch 3
        run.step(epoch, 0, ALL if epoch <= 3 else {"body", "head"})
    assert judged(run, during(always(["stem"]), 3, 6)) == []
    run = MadeUp(every=2)
    run.start()
    for epoch in range(6):
        run.step(epoch, 1, ALL)
    assert judged(run)[0] == ("moved-while-frozen", "stem.w", 0, 1)


def test_a_schedule_in_steps_has_them_as_ticks(judged, tmp_path):
    policy = during(always(["stem"]), 0, 3)
    run = train(lambda e, s: ALL if e * STEPS + s >= 4 else {"body", "head"})
    verdict = audit(run.write(tmp_path / "run.jsonl"), policy, unit="steps")
    assert [(f.kind, f.name, f.tick) for f in verdict.faults] == [("released-late", "stem.w", 3)]


def test_a_run_longer_than_said_and_a_schedule_of_other_names_are_refused(tmp_path):
    path = train(right).write(tmp_path / "run.jsonl")
    with pytest.raises(InvalidSpec, match=r"RUN, line 11 = 4 must be a tick of the run, which has 4 epochs"):
        audit(path, THAW, epochs=4)
    with pytest.raises(UnknownName, match="--spec: unknown 'stam'"):
        audit(path, always(["stam"]))
    run = train(right)
    run.lines[0] = run.header | {"epochs": None}
    with pytest.raises(InvalidSpec, match="--epochs = None must be given"):
        audit(run.write(path), THAW)


def test_memory_does_not_grow_with_the_run(tmp_path):
    """Faults are counted, and the first ones kept; here each epoch has some."""
    import tracemalloc

    run = MadeUp(epochs=1_000)
    run.start()
    run.train(lambda e, s: ALL, range(1_000))
    path = run.write(tmp_path / "run.jsonl")
    del run
    policy = union(*(during(always([name]), place, None) for place, name in enumerate(NAMES)))
    peaks = []
    for epochs in (300, 1_000):
        lines = path.read_text().splitlines(keepends=True)[: 2 + epochs * STEPS]
        (tmp_path / "part.jsonl").write_text("".join(lines))
        tracemalloc.start()
        audit(tmp_path / "part.jsonl", policy)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000 * STEPS * 40
