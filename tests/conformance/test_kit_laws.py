"""Right implementations pass, wrong ones are caught by the laws that must catch them; every clause has its law."""

import collections
import functools

import brute_force
import encodings_of_answers as encodings
import pytest
import refreeze.conformance.reference
from refreeze.conformance import vectors as kit_vectors
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks, laws
from refreeze.conformance.clauses import clauses
from refreeze.conformance.runner import PROFILES, Profile, run, run_check
from wrong_ones import SOURCE, WRONG, module

RIGHT = {
    "reference": refreeze.conformance.reference.respond,
    "every tick by itself": brute_force.respond,
    "by operations": encodings.by_operations,
    "split in halves": encodings.split_in_halves,
}
FEW = Profile(5, 0)
NO_SHRINKING = Profile(40, 0)


@functools.cache
def adapter_of(respond):
    return load(respond)


def broken(respond, chosen, profile, seed=0):
    return [check.id for check in chosen if run_check(adapter_of(respond), check, profile, seed).verdict != "holds"]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_passes(name):
    assert broken(RIGHT[name], checks(), FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_implementation_passes_in_every_profile(name, profile):
    found = run(adapter_of(RIGHT[name]), checks(), profile, seed=1)
    assert found.exit_code == 0, found.as_json()
    assert {result.verdict for result in found.results} == {"holds"}


def caught_by(wrong):
    """Return the checks that must catch a wrong implementation."""
    every = checks(dialects=[wrong.dialect])
    every = [check for check in every if check.law.id in laws() or check.law.id in wrong.laws.split()]
    found = [check for check in every if any(check.law.id.startswith(law) for law in wrong.laws.split())]
    for law in wrong.laws.split():
        assert any(check.law.id.startswith(law) for check in found), f"{wrong.dialect} has no law {law}"
    return found


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.id)
def test_a_wrong_implementation_breaks_the_laws_that_it_should(wrong):
    must = caught_by(wrong)
    assert broken(module(wrong.old, wrong.new).respond, must, NO_SHRINKING) == [check.id for check in must]


def test_an_error_in_place_of_an_answer_breaks_the_law():
    due = checks(dialects=["kempner"], only=["SCH-1", "SCH-5-applying_again_changes_nothing", "KMP-2", "KMP-8"])
    assert broken(lambda request: {"id": request["id"], "error": "conflict"}, due, FEW) == [check.id for check in due]


def test_every_law_catches_a_wrong_implementation():
    assert {check.law.id for wrong in WRONG for check in caught_by(wrong) if check.law.id in laws()} == {
        law.id for law in laws().values() if law.level == "schedule"
    }
    assert len({(wrong.old, wrong.new, wrong.dialect) for wrong in WRONG}) == len(WRONG) >= 40
    assert {wrong.dialect for wrong in WRONG} == {check.dialect for check in checks()}
    for wrong in WRONG:
        assert SOURCE.count(wrong.old) == 1, wrong.old


def test_clauses_have_laws_or_vectors_or_a_reason():
    by_laws = {law.clause for law in laws().values()}
    by_vectors = {name.partition("/")[0] for name in kit_vectors.vectors()}
    untestable = {clause.id for clause in clauses().values() if clause.untestable is not None}
    assert set(clauses()) == by_laws | by_vectors | untestable
    assert not untestable & (by_laws | by_vectors)
    for law in laws().values():
        assert law.id.startswith(f"{law.clause}-")
        assert law.level == "execution" or clauses()[law.clause].level == "schedule"
    assert {clause.level for clause in clauses().values()} == {"schedule", "execution"}


SEEDS = range(25)
QUICK = Profile(PROFILES["quick"].examples, 0)


@pytest.mark.slow
def test_in_25_quick_runs_no_wrong_implementation_slips_through_twice(capsys):
    """A run is one of all laws of the dialect; those that should catch it come first, and one that does is enough."""
    slipped, missed, tries = collections.Counter(), collections.Counter(), 0
    for wrong in WRONG:
        respond, must = module(wrong.old, wrong.new).respond, caught_by(wrong)
        others = [check for check in checks(dialects=[wrong.dialect]) if check not in must]
        for seed in SEEDS:
            caught = broken(respond, must, QUICK, seed)
            missed.update(f"{check.id} {wrong.id}" for check in must if check.id not in caught)
            tries += len(must)
            if not caught and not any(broken(respond, [check], QUICK, seed) for check in others):
                slipped[wrong.id] += 1
    with capsys.disabled():
        print(f"\n{len(WRONG)} wrong implementations, {len(SEEDS)} quick runs of each: slipped through {dict(slipped)}")
        print(f"single laws missed what they should catch {missed.total()} times of {tries}: {missed.most_common()}")
    assert all(times <= 1 for times in slipped.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_in_25_quick_runs_no_right_implementation_is_blamed(name):
    assert [found for seed in SEEDS for found in broken(RIGHT[name], checks(), QUICK, seed)] == []
