"""Wrong dialects and wrong functions, by one small edit each, which a law of these tests must catch.

A law that holds whatever the code does is no law: every property of the other modules fails on a line here at least.
"""

import importlib
import inspect
import sys
import types

import pytest
import test_composer as composer
import test_cross as cross
import test_fastai as fastai
import test_freezeout as freezeout
import test_gradual as gradual
import test_kempner as kempner
import test_lighter as lighter
import test_lightning as lightning
import test_lisa as lisa
import test_rates as rates
from hypothesis import HealthCheck, given, settings
from refreeze import ScheduleError
from refreeze.dialects import dialect
from test_agreement import check_agreement
from twins import TWINS

WRONG_DIALECTS = [
    ("lighter", "epoch * steps_per_epoch for epoch in epochs", "epoch for epoch in epochs"),
    ("lighter", "min((*steps,", "max((*steps,"),
    ("lighter", "entry * (every or 0)", "(entry + 1) * (every or 0)"),
    ("lighter", "start if start is not None else every or 0", "start or 0"),
    ("lighter", "for name in entry if name not in dropped", "for name in entry"),
    ("lighter", "name: stop for name", "name: stops.get(name, stop) for name"),
    ("lighter", "enumerate(entries)", "enumerate(reversed(entries))"),
    ("lighter", "name: stop for name", "name: max(stop, 1) for name"),
    ("kempner", "return override(trainable,", "return __import__('refreeze').union(trainable,"),
    ("kempner", "always if s.frozen else never", "always"),
    ("kempner", "active[spec.module] = spec", "active.pop(spec.module, None); active[spec.module] = spec"),
    ("kempner", "stage.start_step <= step)", "stage.start_step < step)"),
    ("kempner", "in sorted(steps)", "in sorted(steps)[:2]"),
    ("kempner", "for s in active", "for s in reversed(active)"),
    ("fastai", "groups[n:] for name", "groups[:n] for name"),
    ("fastai", "groups[n:] for name", "groups[max(0, n):] for name"),
    ("fastai", "n: ClassVar[int] = -1", "n: ClassVar[int] = 0"),
    ("fastai", "sorted(config.calls, key=lambda call: call.at)", "config.calls"),
    ("fastai", "sorted(config.calls, key=lambda call: call.at)", "sorted(config.calls, key=lambda c: (c.at, repr(c)))"),
    ("fastai", "batch_norm if bn_freeze else", "() if bn_freeze else"),
    ("fastai", "frozen.intersection(batch_norm)", "()"),
    ("composer", '"layers")[:-1]', '"layers")'),
    ("composer", "math.ceil(total", "math.floor(total"),
    ("composer", "math.ceil(total * (start + i * pace))", "math.ceil(float(total * (start + i * pace)) + 1e-9)"),
    ("composer", "enumerate(layers, start=1)", "enumerate(layers, start=0)"),
    ("composer", "pace = (1 - start)", "pace = 1"),
    ("freezeout", "math.floor(t * total) + 1", "math.ceil(t * total)"),
    ("freezeout", "Fraction(i, last)", "Fraction(i, last + 1)"),
    ("freezeout", '"cubic": 3', '"cubic": 2'),
    ("freezeout", "| {layers[-1]: Fraction(1)}", "| {layers[-1]: t_0}"),
    ("gradual", "reversed(_groups(config, names))", "_groups(config, names)"),
    ("gradual", "in enumerate(groups) for", "in enumerate(groups, start=1) for"),
    ("gradual", "d * config.every", "d"),
    ("chain_thaw", "layers[-1:] if config.new", "layers[:1] if config.new"),
    ("chain_thaw", "for name in layers if name not in new", "for name in layers"),
    ("chain_thaw", "[config.initial_learning_rate, *[", "[config.learning_rate, *["),
    ("chain_thaw", "itertools.accumulate(lengths, initial=0)", "itertools.accumulate(sorted(lengths), initial=0)"),
    ("lisa", "invert(drawn, layers)", "drawn"),
    ("lisa", "config.step_interval, config.seed)", "config.step_interval)"),
    ("lisa", "if name not in always_on)", "if True)"),
    ("lightning", "(never if config.train_bn else always)", "(always if config.train_bn else never)"),
    ("lightning", "(backbone, config.unfreeze_backbone_at_epoch)", "(backbone, 1 + config.unfreeze_backbone_at_epoch)"),
    ("lightning", "{*backbone} - batch_norm, batch_norm", "{*backbone}, batch_norm"),
]


@pytest.fixture
def mutant(monkeypatch):
    """From a module's name, a text in its source and another, the module with the other text."""

    def edit(name, old, new):
        source = inspect.getsource(importlib.import_module(name))
        assert source.count(old) == 1
        module = types.ModuleType(f"mutant_of_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)  # msgspec looks its annotations up there
        exec(source.replace(old, new), vars(module))
        return module

    return edit


@pytest.mark.parametrize(("name", "old", "new"), WRONG_DIALECTS, ids=lambda text: text)
def test_a_wrong_dialect_does_not_agree_with_its_twin(name, old, new, mutant):
    wrong = mutant(f"refreeze.dialects.{name}", old, new).DIALECT

    @settings(settings.get_profile("mutants"), suppress_health_check=list(HealthCheck))
    @given(case=TWINS[name].cases)
    def check(case):
        check_agreement(wrong, TWINS[name], case)

    with pytest.raises((AssertionError, ScheduleError)):
        check()


KEMPNER = "refreeze.dialects.kempner"
FASTAI = "refreeze.dialects.fastai"
LIGHTER = "refreeze.dialects.lighter"
WRONG_FUNCTIONS = [
    (
        kempner.test_freeze_params_flips_only_what_differs_and_returns_how_many_elements,
        *("freeze_params", KEMPNER, "targets.is_trainable(parameter) == frozen and any(", "any("),
    ),
    (
        kempner.test_freeze_params_flips_only_what_differs_and_returns_how_many_elements,
        *("freeze_params", KEMPNER, "flipped += targets.size(parameter)", "flipped += 1"),
    ),
    (
        kempner.test_freeze_params_twice_flips_nothing_the_second_time,
        *("freeze_params", KEMPNER, "targets.is_trainable(parameter) == frozen and any(", "any("),
    ),
    (
        kempner.test_applying_twice_changes_nothing_the_second_time,
        *("apply_freeze_specs", KEMPNER, "targets.is_trainable(parameter) == frozen and any(", "any("),
    ),
    (
        kempner.test_canonical_freeze_meta_is_sorted_deduplicated_and_blind_to_order,
        *(
            "canonical_freeze_meta",
            KEMPNER,
            "sorted({(s.module, s.frozen) for s in specs})",
            "sorted((s.module, s.frozen) for s in specs)",
        ),
    ),
    (
        kempner.test_canonical_freeze_meta_is_sorted_deduplicated_and_blind_to_order,
        *(
            "canonical_freeze_meta",
            KEMPNER,
            "sorted({(s.module, s.frozen) for s in specs})",
            "{(s.module, s.frozen): 0 for s in specs}",
        ),
    ),
    (
        kempner.test_KMP_1_equal_metadata_implies_equal_masks_where_no_two_specifications_disagree,
        *(
            "apply_freeze_specs",
            KEMPNER,
            "for spec in specs:\n        flipped",
            "for spec in [*specs][:2]:\n        flipped",
        ),
    ),
    (
        kempner.test_KMP_1_and_only_there,
        *("apply_freeze_specs", KEMPNER, "[spec.module]), frozen=spec.frozen)", "[spec.module]), frozen=True)"),
    ),
    (
        kempner.test_KMP_2_equal_canonical_forms_imply_equal_masks_whatever_the_state_before,
        *("canonical_freeze_form", KEMPNER, "last.pop(patterns, None)", "pass"),
    ),
    (
        kempner.test_KMP_2_equal_canonical_forms_imply_equal_masks_whatever_the_state_before,
        *("canonical_freeze_form", KEMPNER, "groupby(last,", "groupby(sorted(last),"),
    ),
    (
        kempner.test_KMP_2_the_canonical_form_is_blind_to_harmless_order_duplicates_and_aliases,
        *("canonical_freeze_form", KEMPNER, "in sorted(run)", "in run"),
    ),
    (
        kempner.test_KMP_2_the_canonical_form_is_blind_to_harmless_order_duplicates_and_aliases,
        *("canonical_freeze_form", KEMPNER, "tuple(sorted(set(", "tuple(list(list("),
    ),
    (
        kempner.test_the_order_in_which_stages_are_given_is_irrelevant,
        *("effective_freeze", KEMPNER, "key=lambda stage: stage.start_step)", "key=lambda stage: 0)"),
    ),
    (
        kempner.test_one_specification_per_module_is_active_the_last_one_written,
        *("effective_freeze", KEMPNER, "active[spec.module] = spec", "active.setdefault(spec.module, spec)"),
    ),
    (
        kempner.test_stages_that_begin_later_are_ignored,
        *("effective_freeze", KEMPNER, "stage.start_step <= step)", "stage.start_step <= step + 1)"),
    ),
    (
        kempner.test_the_schedule_freezes_what_the_functions_freeze,
        *("DIALECT", KEMPNER, "alias(module, config.module_patterns, where)(names)", "names"),
    ),
    (
        fastai.test_the_schedule_is_what_the_calls_do_one_after_the_other,
        *("in_inference_mode", FASTAI, "or not targets.is_trainable(layer)", ""),
    ),
    (
        fastai.test_the_schedule_is_what_the_calls_do_one_after_the_other,
        *("freeze_to", FASTAI, "(True, found[n:])", "(True, found[max(n, 0) :])"),
    ),
    (
        fastai.test_only_the_order_within_an_epoch_counts,
        *("DIALECT", FASTAI, "sorted(config.calls, key=lambda call: call.at)", "config.calls"),
    ),
    (
        lighter.test_freezers_commute_and_repeat_nothing,
        *(
            "DIALECT",
            LIGHTER,
            "return union(*(_freezer_policy",
            "return __import__('refreeze').override(*(_freezer_policy",
        ),
    ),
    (
        lighter.test_a_string_means_a_list_of_one,
        *("DIALECT", LIGHTER, "return (value,) if isinstance", "return tuple(value) if isinstance"),
    ),
    (
        lighter.test_epochs_convert_by_the_steps_in_an_epoch,
        *("DIALECT", LIGHTER, "epoch * steps_per_epoch for", "epoch + steps_per_epoch - 1 for"),
    ),
    (
        composer.test_what_is_frozen_stays_frozen_from_the_input_on,
        *("DIALECT", "refreeze.dialects.composer", "enumerate(layers, start=1)", "enumerate(layers[::-1], start=1)"),
    ),
    (
        composer.test_a_share_is_exact,
        *("exactly_share", "refreeze.dialects.fields", "Fraction(str(value))", "Fraction(value)"),
    ),
    (
        freezeout.test_the_rates_are_those_of_the_script_while_a_layer_trains,
        *("DIALECT", "refreeze.dialects.freezeout", "peak / t if config.scale_lr else peak", "peak"),
    ),
    (
        freezeout.test_the_rates_are_those_of_the_script_while_a_layer_trains,
        *("DIALECT", "refreeze.dialects.freezeout", "t * total) for name, t in found", "total) for name, t in found"),
    ),
    (
        gradual.test_each_group_learns_by_the_factor_slower_than_the_one_after_it,
        *(
            "DIALECT",
            "refreeze.dialects.gradual",
            "discriminative(_groups(config, names)",
            "discriminative(_groups(config, names)[::-1]",
        ),
    ),
    (
        rates.test_a_cosine_falls_from_its_peak_to_nothing_and_then_ends,
        *("cosine", "refreeze.rates", "if tick <= horizon", "if tick < horizon"),
    ),
    (
        rates.test_a_cosine_falls_from_its_peak_to_nothing_and_then_ends,
        *("cosine", "refreeze.rates", "math.pi * float(tick", "3.0 * float(tick"),
    ),
    (
        rates.test_between_boundaries_no_rate_changes,
        *("cosine", "refreeze.rates", "range(1, total)", "range(2, total)"),
    ),
    (
        lisa.test_as_many_layers_train_as_asked_for_and_some_always,
        *("DIALECT", "refreeze.dialects.lisa", "union(invert(drawn, layers), never(always_on))", "drawn"),
    ),
    (
        lisa.test_a_longer_run_begins_like_a_shorter_one,
        *(
            "DIALECT",
            "refreeze.dialects.lisa",
            "chosen(config.layers, names,",
            "chosen(config.layers, names[:: run.total or 1],",
        ),
    ),
    (
        lightning.test_the_backbones_rate_is_that_of_the_callback,
        *("DIALECT", "refreeze.dialects.lightning", "now = min(initial * config.multiplier**k, top)", "now = top"),
    ),
    (
        lightning.test_the_backbones_rate_is_that_of_the_callback,
        *("DIALECT", "refreeze.dialects.lightning", "range(max(until, 1), total)", "range(until + 1, total)"),
    ),
]


@pytest.mark.parametrize(("law", "attribute", "module", "old", "new"), WRONG_FUNCTIONS)
def test_a_wrong_function_breaks_its_law(law, attribute, module, old, new, mutant, monkeypatch):
    wrong = getattr(mutant(module, old, new), attribute)
    monkeypatch.setattr(inspect.getmodule(law), attribute, wrong)
    if hasattr(law, "hypothesis"):
        monkeypatch.setattr(law, "_hypothesis_internal_use_settings", settings.get_profile("mutants"))
    with pytest.raises((AssertionError, ScheduleError, ExceptionGroup)):
        law()


def test_a_wrong_dialect_differs_from_the_same_schedule_in_another(mutant, monkeypatch):
    wrong = mutant("refreeze.dialects.gradual", "in enumerate(groups) for", "in enumerate(groups, start=1) for").DIALECT
    monkeypatch.setattr(cross, "dialect", lambda name: wrong if name == "gradual" else dialect(name))
    with pytest.raises(AssertionError):
        cross.test_two_ways_to_write_it_have_the_same_segments(family=cross.one_by_one_from_the_end)
