"""KempnerForge: every statement of its docstrings, KMP-1 and KMP-2, errors."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refreeze import InvalidSpec, UnknownName
from refreeze.conformance.catalogue import CASES
from refreeze.dialects.kempner import (
    DEFAULT_MODULE_PATTERNS,
    DIALECT,
    FreezeSpec,
    FreezeStage,
    apply_freeze_specs,
    canonical_freeze_form,
    canonical_freeze_meta,
    effective_freeze,
    freeze_params,
)
from refreeze.dialects.targets import Target

PARAMETERS = ("enc.1.w", "enc.1.b", "enc.10.w", "emb.w", "dec.w", "head.w", "head.b")
PATTERNS = {"encoder": ["enc.*", "emb.*"], "ones": ["enc.1*", "nothing"], "tail": ["head.*", "dec.*"]}
MODULES = (*PATTERNS, "*.w", "enc.1.?", "[eh]*", "enc.*", "head.b")

SIZES = dict(zip(PARAMETERS, (1, 2, 4, 8, 16, 32, 64), strict=True))


def model(frozen=()):
    return {name: Target(size, name not in frozen) for name, size in SIZES.items()}


def frozen_of(target):
    return {name for name, parameter in target.items() if not parameter.trainable}


def mask(specs, patterns=PATTERNS, frozen=()):
    target = model(frozen)
    apply_freeze_specs(target, specs, patterns)
    return frozen_of(target)


specs = st.builds(FreezeSpec, st.sampled_from(MODULES), st.booleans())
spec_lists = st.lists(specs, max_size=5)
patterns = st.lists(st.sampled_from(["enc.*", "*.b", "head.w", "nothing"]), max_size=3)
states = st.sets(st.sampled_from(PARAMETERS))


# freeze_params -------------------------------------------------------------------------------------------------------
@given(patterns=patterns, frozen=st.booleans(), before=states)
def test_freeze_params_flips_only_what_differs_and_returns_how_many_elements(patterns, frozen, before):
    target = model(before)
    flipped = freeze_params(target, patterns, frozen=frozen)
    after = frozen_of(target)
    assert flipped == sum(SIZES[name] for name in before ^ after)
    assert after <= before if not frozen else before <= after


@given(patterns=patterns, frozen=st.booleans(), before=states)
def test_freeze_params_twice_flips_nothing_the_second_time(patterns, frozen, before):
    target = model(before)
    freeze_params(target, patterns, frozen=frozen)
    after = frozen_of(target)
    assert freeze_params(target, patterns, frozen=frozen) == 0
    assert frozen_of(target) == after


def test_freeze_params_matches_full_names_by_any_pattern_and_freezes_by_default():
    target = model()
    assert freeze_params(target, ["enc.?.b", "head*"]) == SIZES["enc.1.b"] + SIZES["head.w"] + SIZES["head.b"]
    assert frozen_of(target) == {"enc.1.b", "head.w", "head.b"}
    assert freeze_params(target, ["HEAD*", "ead"], frozen=False) == 0
    assert freeze_params(target, []) == 0
    assert freeze_params(target, iter(["head*"]), frozen=False) == SIZES["head.w"] + SIZES["head.b"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: freeze_params({}, "enc.*"), r"patterns = 'enc\.\*' must be a list of names"),
        (lambda: apply_freeze_specs({}, [FreezeSpec("a")], {"a": "a*"}), r"patterns = 'a\*' must be a list of names"),
        (lambda: canonical_freeze_form([FreezeSpec("a")], {"a": "a*"}), r"a = 'a\*' must be a list of names"),
        (lambda: effective_freeze(0, [], [], "abc"), "valid_modules = 'abc' must be a list of names"),
        (lambda: freeze_params({}, ["a"], frozen="no"), "frozen = 'no' must be True or False"),
        (lambda: freeze_params({}, ["a"], frozen=1), "frozen = 1 must be True or False"),
    ],
)
def test_no_function_coerces_anything(call, message):
    with pytest.raises(InvalidSpec, match=message):
        call()


# apply_freeze_specs --------------------------------------------------------------------------------------------------
def test_apply_freeze_specs_looks_aliases_up_and_passes_raw_patterns_through():
    target = model()
    totals = apply_freeze_specs(
        target, [FreezeSpec("tail"), FreezeSpec("*.1.w"), FreezeSpec("head.b", False)], PATTERNS
    )
    assert totals == {"tail": 16 + 32 + 64, "*.1.w": 1, "head.b": 64}
    assert frozen_of(target) == {"dec.w", "head.w", "enc.1.w"}


def test_apply_freeze_specs_adds_up_what_one_module_flipped():
    assert apply_freeze_specs(model(), [FreezeSpec("head.b"), FreezeSpec("head.b", False)], {}) == {"head.b": 128}


@given(specs=spec_lists, before=states)
def test_applying_twice_changes_nothing_the_second_time(specs, before):
    """Without contradictions nothing is even flipped; with them the same mask comes out again."""
    target = model(before)
    apply_freeze_specs(target, specs, PATTERNS)
    after = frozen_of(target)
    flipped = apply_freeze_specs(target, specs, PATTERNS)
    assert frozen_of(target) == after
    if not disagreement(specs):
        assert not any(flipped.values())


# canonical_freeze_meta -----------------------------------------------------------------------------------------------
@given(specs=spec_lists, data=st.data())
def test_canonical_freeze_meta_is_sorted_deduplicated_and_blind_to_order(specs, data):
    meta = canonical_freeze_meta(specs)
    pairs = [(entry["module"], entry["frozen"]) for entry in meta]
    assert pairs == sorted(set(pairs))
    assert set(pairs) == {(spec.module, spec.frozen) for spec in specs}
    again = data.draw(st.permutations(specs + specs[:2]))
    assert json.dumps(canonical_freeze_meta(again)) == json.dumps(meta)


def disagreement(specs, patterns=PATTERNS):
    """Return the names that are matched by two specifications that disagree."""
    signs = {True: set(), False: set()}
    for spec in specs:
        signs[spec.frozen] |= mask([FreezeSpec(spec.module)], patterns)
    return signs[True] & signs[False]


@given(specs=spec_lists, data=st.data())
def test_KMP_1_equal_metadata_implies_equal_masks_where_no_two_specifications_disagree(specs, data):
    other = data.draw(st.permutations(specs + specs[:2]))
    before = data.draw(states)
    differing = mask(specs, frozen=before) ^ mask(other, frozen=before)
    assert differing <= disagreement(specs)


@given(specs=spec_lists.filter(disagreement))
def test_KMP_1_and_only_there(specs):
    """Wherever two disagree about a name, two lists with this metadata give it different states."""
    name = min(disagreement(specs))
    lasts = [
        next(s for s in specs if s.frozen is sign and name in mask([FreezeSpec(s.module)])) for sign in (True, False)
    ]
    lists = [[*specs, last] for last in lasts]
    assert canonical_freeze_meta(lists[0]) == canonical_freeze_meta(lists[1]) == canonical_freeze_meta(specs)
    assert [name in mask(specs) for specs in lists] == [True, False]


# canonical_freeze_form -----------------------------------------------------------------------------------------------
ALL_LISTS = [
    [FreezeSpec(module, frozen) for module, frozen in pairs]
    for length in range(5)
    for pairs in itertools.product(itertools.product(["enc.*", "*.w", "ones"], [True, False]), repeat=length)
]


def groups_by(form):
    found = {}
    for specs in ALL_LISTS:
        found.setdefault(json.dumps(form(specs)), []).append(specs)
    return found.values()


def test_KMP_2_equal_canonical_forms_imply_equal_masks_whatever_the_state_before():
    """All 1,555 lists of up to four out of six specifications, three patterns that overlap."""
    for group in groups_by(lambda specs: canonical_freeze_form(specs, PATTERNS)):
        for before in ((), PARAMETERS):
            assert len({frozenset(mask(specs, frozen=before)) for specs in group}) == 1


def test_KMP_2_does_not_hold_for_the_metadata():
    groups = groups_by(canonical_freeze_meta)
    assert any(len({frozenset(mask(specs)) for specs in group}) > 1 for group in groups)


@given(specs=spec_lists, data=st.data())
def test_KMP_2_the_canonical_form_is_blind_to_harmless_order_duplicates_and_aliases(specs, data):
    form = canonical_freeze_form(specs, PATTERNS)
    runs = [list(run) for _, run in itertools.groupby(specs, key=lambda spec: spec.frozen)]
    shuffled = [spec for run in runs for spec in data.draw(st.permutations(run))]
    assert canonical_freeze_form(shuffled, PATTERNS) == form
    assert canonical_freeze_form(specs[:1] + specs, PATTERNS) == form
    renamed = [FreezeSpec({"tail": "end"}.get(spec.module, spec.module), spec.frozen) for spec in specs]
    assert canonical_freeze_form(renamed, PATTERNS | {"end": ["dec.*", "head.*", "dec.*"]}) == form


def test_KMP_2_the_canonical_form_can_be_written_as_json():
    form = canonical_freeze_form([FreezeSpec("tail"), FreezeSpec("*.b", False)], PATTERNS)
    assert form == [{"patterns": ["dec.*", "head.*"], "frozen": True}, {"patterns": ["*.b"], "frozen": False}]
    assert json.loads(json.dumps(form)) == form


# effective_freeze ----------------------------------------------------------------------------------------------------
schedules = st.lists(
    st.builds(FreezeStage, st.integers(0, 9), st.lists(specs, min_size=1, max_size=3).map(tuple)),
    max_size=4,
    unique_by=lambda stage: stage.start_step,
)


@given(step=st.integers(0, 10), base=spec_lists, schedule=schedules, data=st.data())
def test_the_order_in_which_stages_are_given_is_irrelevant(step, base, schedule, data):
    shuffled = data.draw(st.permutations(schedule))
    assert effective_freeze(step, base, schedule) == effective_freeze(step, iter(base), iter(shuffled))


@given(step=st.integers(0, 10), base=spec_lists, schedule=schedules)
def test_one_specification_per_module_is_active_the_last_one_written(step, base, schedule):
    active = effective_freeze(step, base, schedule)
    written = [*base, *(s for t in range(step + 1) for stage in schedule if stage.start_step == t for s in stage.specs)]
    assert {spec.module: spec.frozen for spec in active} == {spec.module: spec.frozen for spec in written}
    assert [spec.module for spec in active] == list(dict.fromkeys(spec.module for spec in written))


@given(base=spec_lists, schedule=schedules, step=st.integers(0, 10))
def test_stages_that_begin_later_are_ignored(base, schedule, step):
    later = [FreezeStage(step + 1, (FreezeSpec("later"),))]
    assert effective_freeze(step, base, schedule + later) == effective_freeze(step, base, schedule)


def test_an_override_keeps_its_place_so_a_later_overlapping_base_entry_still_wins():
    base = [FreezeSpec("enc.*"), FreezeSpec("*.w", False)]
    stage = FreezeStage(5, (FreezeSpec("enc.*", True),))
    assert effective_freeze(5, base, [stage]) == base


@pytest.mark.parametrize("step", [4, 5])
def test_modules_are_checked_in_the_base_and_in_applied_stages(step):
    schedule = [FreezeStage(5, (FreezeSpec("hed"),))]
    assert effective_freeze(4, [FreezeSpec("enc")], schedule, {"enc", "head"}) == [FreezeSpec("enc")]
    with pytest.raises(UnknownName, match=r"FreezeStage\(start_step=5\): unknown 'hed' \(did you mean 'head'\?\)"):
        effective_freeze(5, [FreezeSpec("enc")], schedule, {"enc", "head"})
    with pytest.raises(ValueError, match="base: unknown 'enc'; known are head"):
        effective_freeze(step, [FreezeSpec("enc")], schedule, ["head"])


# The dialect ---------------------------------------------------------------------------------------------------------
@given(CASES["kempner"].requests)
def test_the_schedule_freezes_what_the_functions_freeze(request):
    config = DIALECT.parse(request["config"])
    policy = DIALECT.policy(config, request["names"], total=request["total"])
    for step in range(request["total"]):
        target = {name: Target(1) for name in request["names"]}
        active = effective_freeze(step, config.freeze, config.freeze_schedule, config.valid_modules)
        apply_freeze_specs(target, active, config.module_patterns)
        assert policy.frozen_at(step) == frozen_of(target)


def test_the_aliases_of_kempnerforge_are_the_default():
    names = ["vision_encoder.patch.w", "vision_encoder_2.w", "adapter", "transformer.h.0"]
    policy = DIALECT.policy({"freeze": [{"module": "vision_encoder"}]}, names, total=1)
    assert policy.frozen_at(0) == {"vision_encoder.patch.w"}
    assert DEFAULT_MODULE_PATTERNS["adapter"] == ("adapter", "adapter.*")
