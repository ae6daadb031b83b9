"""Every dialect against its twin."""

import pytest
from hypothesis import event, given
from per_tick import encode
from refreeze import segments
from refreeze.dialects import Dialect, dialect
from twins import TWINS, Case, Twin


def policy_of(found: Dialect, case: Case):
    return found.policy(case.config, case.names, total=case.total, steps_per_epoch=case.steps_per_epoch)


def check_agreement(found: Dialect, twin: Twin, case: Case) -> None:
    got = segments(policy_of(found, case), case.total)
    assert got == encode(lambda tick: twin.says(case, tick), case.total)
    event(f"segments: {min(len(got), 4)}")


@pytest.mark.parametrize("name", TWINS)
def test_the_segments_are_those_of_the_per_tick_definition(name):
    @given(case=TWINS[name].cases)
    def check(case):
        check_agreement(dialect(name), TWINS[name], case)

    check()


@pytest.mark.parametrize("name", TWINS)
def test_an_unmentioned_name_keeps_the_state_it_had(name):
    """A policy governs only the names that its configuration means; whoever applies it touches no other."""

    @given(case=TWINS[name].cases)
    def check(case):
        policy = policy_of(dialect(name), case)
        mentioned = TWINS[name].says(case, 0).mentioned if case.total else policy.names
        assert policy.names <= mentioned
        assert all(policy.frozen_at(tick) <= policy.names for tick in range(case.total))

    check()
