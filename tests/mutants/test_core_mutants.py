"""Laws that can fail: small errors in the core and in vl3d, each with the test that finds it.

The table is checked in every run; the mutants themselves run, each in a process of its own on a copy of the package,
with ``pytest -m slow tests/mutants``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import refreeze

PACKAGE, TESTS = Path(refreeze.__file__).parent, Path(__file__).parents[1]
MODULES = ("errors", "policy", "schedule", "windows", "selectors", "segments_json", "vl3d")


class Mutant(NamedTuple):
    file: str
    old: str
    """Occurs once in the file."""
    new: str
    killer: str
    """The test of the file of the same name that fails; with another file's, ``module::test``."""


P, S, W, N, J, V = "policy", "schedule", "windows", "selectors", "segments_json", "dialects/vl3d"
MUTANTS = [
    # errors
    Mutant("errors", "super().__init__(where, value, allowed)", "super().__init__(where, value)",
           "test_an_error_travels_between_processes"),
    Mutant("errors", "tuple(sorted(rates))", "tuple(sorted(rates, reverse=True))",
           "test_an_error_has_an_id_a_message_and_attributes"),
    Mutant("errors", "n=3)", "n=4)", "test_close_matches_come_closest_first_and_are_three_at_most"),
    Mutant("errors", "<= 200", "<= 201", "test_a_long_value_is_shortened_to_200_characters"),
    Mutant("errors", 'id = "empty-selection"', 'id = "unknown-name"',
           "test_every_error_class_is_a_schedule_error_with_its_own_id_and_a_row_above"),
    # policies
    Mutant(P, "if tick >= by else SILENT", "if tick > by else SILENT",
           "test_a_policy_means_what_its_expression_means_at_every_tick"),
    Mutant(P, "bisect.bisect_right(starts, tick)", "bisect.bisect_left(starts, tick)",
           "test_a_policy_means_what_its_expression_means_at_every_tick"),
    Mutant(P, "bn_frozen |= state.bn_frozen", "bn_frozen = state.bn_frozen",
           "test_a_policy_means_what_its_expression_means_at_every_tick"),
    Mutant(P, "names - state.frozen, names,", "state.frozen - names, names,",
           "test_a_policy_means_what_its_expression_means_at_every_tick"),
    Mutant(P, "if len(rates) > 1:", "if len(rates) > 2:",
           "test_SCH_6_a_tick_conflicts_exactly_if_two_rates_are_set_at_it"),
    Mutant(P, "raise Conflict(tick, conflict.rates) from None", "raise",
           "test_SCH_6_a_conflict_names_the_tick_in_the_clock_of_the_one_who_asks"),
    Mutant(P, "names - state.frozen, names,", "names - state.frozen, state.mentioned,",
           "test_frozen_names_are_mentioned_and_mentioned_names_are_declared"),
    Mutant(P, "if tick > start)", "if tick > start + 1)",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "range(0, total, span) if span else ()", "range(0, total, 2 * span) if span else ()",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "(by, *(by + tick", "(0, *(by + tick",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "policy.boundaries(max(0, total - by))", "policy.boundaries(max(0, total - by - 1))",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "yield from starts", "yield from starts[1:]",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "policy.boundaries(min(stop, total))", "policy.boundaries(min(stop, total) - 1)",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "strict=bool(parts)", "strict=True",
           "test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(P, "mentioned |= state.mentioned", "mentioned = state.mentioned",
           "test_union_and_override_are_associative"),
    Mutant(P, "_together(policies, later_wins=False)", "_together(policies, later_wins=True)",
           "test_union_is_commutative"),
    Mutant(P, "frozen |= state.frozen\n", "frozen ^= state.frozen\n",
           "test_union_and_override_are_idempotent"),
    Mutant(P, "frozen |= state.frozen\n", "frozen |= state.frozen - mentioned\n",
           "test_frozen_at_of_a_union_is_the_union_of_frozen_at"),
    Mutant(P, "rates.pop() if rates else None\n", "None\n",
           "test_the_union_of_nothing_is_neutral"),
    Mutant(P, "_together(policies, later_wins=True)", "_together(policies, later_wins=False)",
           "test_override_lets_the_last_that_mentions_a_name_decide"),
    Mutant(P, "not 0 < learning_rate < math.inf", "not 0 < learning_rate",
           "test_a_bad_argument_is_rejected_with_what_is_allowed"),
    Mutant(P, "type(value) is not int", "not isinstance(value, int)",
           "test_a_bad_argument_is_rejected_with_what_is_allowed"),
    Mutant(P, "start + 1), constant(SILENT)", "start), constant(SILENT)",
           "test_a_bad_argument_is_rejected_with_what_is_allowed"),
    # schedules
    Mutant(S, "if 0 < tick < total)})", "if 0 < tick < total - 1)})",
           "test_segments_are_what_a_scan_of_every_tick_finds"),
    Mutant(S, "merged[-1] = replace(before, stop=now.stop)", "merged[-1] = replace(before, stop=now.start)",
           "test_SCH_1_segments_are_contiguous_and_lengths_sum_to_total"),
    Mutant(S, 'if check_int("total", total) == 0:', 'if check_int("total", total) < 0:',
           "test_SCH_1_no_ticks_no_segments"),
    Mutant(S, "if before and now ==", "if not before and now ==",
           "test_SCH_2_adjacent_segments_differ_or_the_later_sets_a_rate"),
    Mutant(S, "stop=now.stop, learning_rate=None)", "stop=now.stop, frozen=now.frozen, learning_rate=None)",
           "test_SCH_3_frozen_is_frozen_at_of_each_tick_and_the_rate_is_set_once"),
    Mutant(S, "else replace(s, stop=min(s.stop, end))", "else s",
           "test_SCH_4_a_shorter_run_is_the_longer_one_cut"),
    Mutant(S, "unfreeze=frozen - now.frozen", "unfreeze=NOTHING",
           "test_SCH_5_replaying_the_operations_gives_the_segments"),
    Mutant(S, "frozen = [], initial.frozen, initial.bn_frozen", "frozen = [], NOTHING, NOTHING",
           "test_SCH_5_replaying_the_operations_gives_the_segments"),
    Mutant(S, "freeze=now.frozen - frozen", "freeze=now.frozen",
           "test_SCH_5_the_operations_of_a_replay_are_those_replayed"),
    Mutant(S, "[operation] if operation != Operation(tick=now.start) else []", "[operation]",
           "test_SCH_5_the_operations_of_a_replay_are_those_replayed"),
    Mutant(S, "(state.frozen | self.freeze)", "(state.frozen ^ self.freeze)",
           "test_SCH_5_an_operation_done_twice_equals_once"),
    Mutant(S, "start=now.start, stop=now.stop, learning_rate=None)", "start=now.start, stop=now.stop)",
           "test_canonical_is_the_same_for_every_encoding"),
    Mutant(S, "merged[-1] = replace(before, stop=now.stop)", "merged[-1] = replace(now, start=before.start)",
           "test_canonical_is_idempotent"),
    Mutant(S, "stop=now.stop, learning_rate=None)", "stop=now.stop, bn_frozen=now.bn_frozen, learning_rate=None)",
           "test_SCH_2_canonical_keeps_each_difference"),
    Mutant(S, "stop=min(s.stop, end), learning_rate=None)", "stop=min(s.stop, end))",
           "test_RES_1_what_is_left_at_any_tick_is_the_suffix"),
    Mutant(S, "if max(s.start, start) < min(s.stop, end)", "if s.start < end and s.stop > start",
           "test_a_cut_is_its_ticks"),
    Mutant(S, "past[odd : odd + 2]", "past[odd : odd + 1]", "test_RES_3_the_first_differing_tick_is_named"),
    Mutant(S, "in enumerate(zip_longest(*pasts))", "in enumerate(zip(*pasts))",
           "test_RES_3_the_first_differing_tick_is_named"),
    Mutant(S, "canonical(cut(run, 0, stop))", "canonical(cut(run, 0))", "test_RES_3_the_future_may_differ"),
    Mutant(S, "past[odd : odd + 2]", "past", "test_RES_3_checking_the_past_looks_at_each_segment_once"),
    Mutant(S, "(epoch * per for epoch", "(epoch * per + 1 for epoch",
           "test_in_steps_then_in_epochs_is_where_it_began"),
    Mutant(S, "if step % per else state", "if step % per > 1 else state",
           "policy::test_a_policy_means_what_its_expression_means_at_every_tick"),
    Mutant(S, "policy.boundaries(-(-total // per))", "policy.boundaries(total // per)",
           "policy::test_boundaries_list_every_tick_where_the_answer_changes_or_a_rate_is_set"),
    Mutant(S, '-(-check_int("examples", examples, 1) // check_int("batch_size", batch_size, 1))',
           'check_int("examples", examples, 1) // check_int("batch_size", batch_size, 1)',
           "test_steps_per_epoch_counts_the_batches"),
    Mutant(S, "step // per, step - step % per)", "step // per, step)",
           "test_SCH_6_in_steps_a_conflict_names_the_step_at_which_the_rates_are_set"),
    Mutant(S, "ticks = sorted({0, *(tick for tick in policy.boundaries(total) if 0 < tick < total)})",
           "ticks = range(total)", "test_the_cost_is_linear_in_the_boundaries"),
    Mutant(S, "ticks[-1] >= total", "ticks[-1] > total", "test_a_bad_argument_is_rejected_with_what_is_allowed"),
    # windows
    Mutant(W, "(k * window + j) % n for", "(k + j) % n for",
           "test_RR_1_the_window_of_span_k_is_k_windows_from_the_first_layer"),
    Mutant(W, "positions(tick // span)", "positions((tick + 1) // span)",
           "test_RR_1_a_policy_freezes_its_window_during_its_span"),
    Mutant(W, "(k * window + j) % n for", "(k * window + j) % max(n - 1, 1) for",
           "test_RR_3_a_cycle_freezes_every_layer_equally_often"),
    Mutant(W, "np.array([0, k, 0, 0], np.uint64)", "np.array([k, 0, 0, 0], np.uint64)",
           "test_RND_1_the_words_are_philox_blocks_from_the_first"),
    Mutant(W, "np.array([seed, stream], np.uint64)", "np.array([stream, seed], np.uint64)",
           "test_RND_1_the_words_are_philox_blocks_from_the_first"),
    Mutant(W, "m = n - j", "m = n", "test_RND_2_check_values"),
    Mutant(W, "places[j], places[other] = places[other], places[j]", "places[j] = places[other]",
           "test_RND_2_the_draw_is_that_of_the_second_definition"),
    Mutant(W, "if word < _WORDS - _WORDS % m", "if word < _WORDS",
           "test_RND_2_words_that_would_favour_a_position_are_rejected"),
    Mutant(W, "if word < _WORDS - _WORDS % m", "if word <= _WORDS - _WORDS % m",
           "test_RND_2_rejection_is_that_of_the_second_definition"),
    Mutant(W, "random_window(len(layers), window, k, seed, stream)", "random_window(len(layers), window, k, seed, 0)",
           "test_RND_1_a_policy_freezes_what_is_drawn_for_its_span"),
    Mutant(W, "seed: int = 0, stream: int = 0) -> Policy", "seed: int = 1, stream: int = 0) -> Policy",
           "test_RND_3_the_seed_is_0_if_absent"),
    # A counter, or a generator that goes on, in place of the time.
    Mutant(W, "lambda k: round_robin_window(len(layers), window, k)",
           "lambda k, calls=[]: calls.append(k) or round_robin_window(len(layers), window, len(calls) - 1)",
           "policy::test_RES_1_a_policy_answers_the_same_whatever_was_asked_before"),
    Mutant(W, "lambda k: random_window(len(layers), window, k, seed, stream)",
           "lambda k, calls=[]: calls.append(k) or random_window(len(layers), window, len(calls), seed, stream)",
           "test_RND_3_a_longer_run_changes_no_earlier_draw"),
    Mutant(W, "np.random.Philox(key=key, counter=counter)", "np.random.Philox(int(np.random.randint(2**31)))",
           "test_RND_3_no_global_random_state_is_read_or_moved"),
    Mutant(W, "layers = tuple(layers)", "layers = tuple(set(layers))",
           "test_RND_3_every_process_computes_the_same_whatever_its_hash_seed"),
    Mutant(W, "> check_int(\"n\", n, 1)", ">= check_int(\"n\", n, 1)",
           "test_RR_1_the_window_of_span_k_is_k_windows_from_the_first_layer"),
    Mutant(W, "if check_int(where, value) >= _WORDS", "if check_int(where, value) > _WORDS",
           "test_a_bad_argument_is_rejected_with_what_is_allowed"),
    Mutant(W, "range(span, total, span)", "range(span, total - 1, span)",
           "vl3d::test_boundaries_list_every_epoch_where_the_answer_changes_or_a_rate_is_set"),
    # selectors
    Mutant(N, "selector(names)[::-1]", "selector(names)",
           "test_NAM_1_everything_is_every_name_in_declaration_order_and_the_reverse"),
    Mutant(N, "return distinct(wanted, where)", "return distinct((n for n in names if n in wanted), where)",
           "test_NAM_2_exactly_keeps_the_order_wanted"),
    Mutant(N, "setdefault(name[:end], []).append(name)", "setdefault(name[:end], [name])",
           "test_NAM_3_a_container_stands_for_the_names_in_it"),
    Mutant(N, "fnmatch.fnmatchcase(name, p)", "fnmatch.fnmatchcase(name.lower(), p.lower())",
           "test_a_glob_is_fnmatch_case_sensitive"),
    Mutant(N, "if not chosen:\n            raise EmptySelection(where, shown)",
           "if chosen is None:\n            raise EmptySelection(where, shown)",
           "test_NAM_3_a_selector_that_matches_nothing_is_an_error"),
    Mutant(N, "if not chosen:\n            raise EmptySelection(where, sorted(dropped))",
           "if chosen is None:\n            raise EmptySelection(where, sorted(dropped))",
           "test_NAM_3_a_selector_that_matches_nothing_is_an_error"),
    Mutant(N, "raise UnknownName(where, missing, names)", "raise UnknownName(where, missing[:1], names)",
           "test_NAM_2_all_missing_names_are_listed_with_close_matches"),
    Mutant(N, "compiled.fullmatch", "compiled.match", "test_a_selector_chooses"),
    Mutant(N, "if count > 1]", "if count > 2]", "test_a_bad_selector_is_rejected_with_what_is_allowed"),
    # segments as JSON
    Mutant(J, '"frozen": sorted(segment.frozen)', '"frozen": sorted(segment.bn_frozen)',
           "test_any_encoding_arrives_as_the_canonical_segments"),
    Mutant(J, '"frozen": sorted(segment.frozen)', '"frozen": list(segment.frozen - set("a")) + ["a"]',
           "test_the_form_is_plain_and_its_names_are_sorted"),
    Mutant(J, "if len(set(names)) != len(names)", "if not names",
           "test_SCH_1_segments_that_are_no_schedule_are_rejected"),
    Mutant(J, "forbid_unknown_fields=True, ", "", "test_what_is_not_segments_is_rejected_with_the_place"),
    # vl3d
    Mutant(V, "during(shift(frozen, start), start, stop)", "during(frozen, start, stop)",
           "test_the_segments_are_what_a_scan_of_every_epoch_finds"),
    Mutant(V, "rate(spec.initial_learning_rate, every=span)", "rate(spec.initial_learning_rate)",
           "test_the_segments_are_what_a_scan_of_every_epoch_finds"),
    Mutant(V, "during(shift(frozen, start), start, stop)", "shift(frozen, start)",
           "test_RR_2_an_interval_that_ends_early_leaves_a_trailing_unfrozen_segment"),
    Mutant(V, "sorted(op.freeze, key=place.__getitem__)", "sorted(op.freeze)",
           "test_SCH_5_compute_schedule_says_what_changes_and_when"),
    Mutant(V, "[op.learning_rate for op in found]", "[found[0].learning_rate for op in found]",
           "test_SCH_5_compute_schedule_says_what_changes_and_when"),
    Mutant(V, "policy(config, names), training_epochs)", "policy(config, names), training_epochs + 1)",
           "test_SCH_4_a_shorter_run_has_the_first_operations_of_a_longer_one"),
    Mutant(V, "(spec, index, names) for index", "(spec, len(config) - 1 - index, names) for index",
           "test_RND_3_an_added_later_spec_changes_no_earlier_draw"),
    Mutant(V, "how.seed, stream=index)", "how.seed + stop, stream=index)",
           "test_RND_3_a_longer_interval_changes_no_earlier_draw"),
    Mutant(V, "how.seed, stream=index)", "how.seed)", "test_RND_1_the_number_of_the_spec_is_part_of_the_key"),
    Mutant(V, 'if layers == "all_reverse" else every', 'if layers == "all" else every',
           "test_NAM_1_all_is_every_name_in_declaration_order_and_all_reverse_the_reverse"),
    Mutant(V, "under(*layers, where=where)(names)", "[name for name in names if name in layers]",
           "test_NAM_3_resolve_layers_keeps_the_order_of_the_entry_and_opens_containers"),
    Mutant(V, "spec.training_interval[1] + 1)", "spec.training_interval[1])",
           "test_the_handlers_say_what_compute_schedule_says"),
    Mutant(V, "_spec_policy(spec, spec_index, None)", "_spec_policy(spec, 0, None)",
           "test_the_handlers_say_what_compute_schedule_says"),
    Mutant(V, "if start >= stop", "if start > stop",
           "test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed"),
    Mutant(V, "if how.seed >= 2**64", "if how.seed > 2**64",
           "test_a_bad_configuration_is_rejected_with_the_place_and_what_is_allowed"),
    Mutant(V, "if names is None:\n            raise NeedsModel(where, layers)", "if not names:\n            return []",
           "test_a_bad_call_is_rejected_with_what_is_allowed"),
]  # fmt: skip


def killer(mutant: Mutant) -> tuple[str, str]:
    """Return the module and the name of the test that finds ``mutant``."""
    module, found, test = mutant.killer.rpartition("::")
    return f"test_{module if found else Path(mutant.file).name}", test


def source(mutant: Mutant) -> str:
    return (PACKAGE / f"{mutant.file}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.new}")
def test_a_mutant_changes_one_place_and_names_a_test_that_exists(mutant):
    assert source(mutant).count(mutant.old) == 1
    assert mutant.new != mutant.old
    module, test = killer(mutant)
    assert callable(getattr(importlib.import_module(module), test))


def test_every_property_finds_a_mutant():
    properties = {
        (module, name)
        for module in (f"test_{name}" for name in MODULES)
        for name, test in vars(importlib.import_module(module)).items()
        if getattr(test, "is_hypothesis_test", False) and name.startswith("test_")
    }
    assert len(properties) > 30
    assert properties - set(map(killer, MUTANTS)) == set()


def run_on_a_copy(folder: Path, tests: set[str], mutant: Mutant | None) -> subprocess.CompletedProcess[str]:
    copy = shutil.copytree(PACKAGE, folder / "refreeze", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        changed = source(mutant).replace(mutant.old, mutant.new)
        (copy / f"{mutant.file}.py").write_text(changed, encoding="utf-8")
    # PYTHONPATH comes before what is installed, an editable install too.
    environment = {**os.environ, "PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "mutants"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *sorted(tests)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def path(mutant: Mutant) -> str:
    module, test = killer(mutant)
    return f"{TESTS / module}.py::{test}"


@pytest.mark.slow
def test_without_a_mutant_the_tests_pass(tmp_path):
    found = run_on_a_copy(tmp_path, set(map(path, MUTANTS)), None)
    assert found.returncode == 0, found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.new}")
def test_a_mutant_is_found(mutant, tmp_path):
    found = run_on_a_copy(tmp_path, {path(mutant)}, mutant)
    assert found.returncode == 1, found.stdout  # 0: it survived; else: it did not even run
