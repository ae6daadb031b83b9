"""Every dialect against its twin, and wrong dialects, each of which the comparison must catch."""

import inspect
import sys
import types

import pytest
from hypothesis import HealthCheck, event, given, settings
from per_tick import encode
from refreeze import ScheduleError, segments
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


MUTANTS = [
    ("lighter", "epoch * steps_per_epoch for epoch in epochs", "epoch for epoch in epochs"),
    ("lighter", "min((*steps,", "max((*steps,"),
    ("lighter", "entry * (every or 0)", "(entry + 1) * (every or 0)"),
    ("lighter", "start if start is not None else every or 0", "start or 0"),
    ("lighter", "for name in entry if name not in dropped", "for name in entry"),
    ("lighter", "return union(*policies)", "return policies[-1]"),
    ("lighter", "enumerate(entries)", "enumerate(reversed(entries))"),
    ("lighter", "never(kept) if stop == 0", "always(kept) if stop == 0"),
    ("kempner", "return override(trainable,", "return __import__('refreeze').union(trainable,"),
    ("kempner", "always if s.frozen else never", "always"),
    ("kempner", "active[spec.module] = spec", "active.pop(spec.module, None); active[spec.module] = spec"),
    ("kempner", "stage.start_step <= step)", "stage.start_step < step)"),
    ("kempner", "sorted({0, *starts})", "sorted({0, *starts[:1]})"),
    ("kempner", "for s in active", "for s in reversed(active)"),
    ("fastai", "groups[n:] for name", "groups[:n] for name"),
    ("fastai", "groups[n:] for name", "groups[max(0, n):] for name"),
    ("fastai", "n = -1", "n = 0"),
    ("fastai", "sorted(config.calls, key=lambda call: call.at)", "config.calls"),
    ("fastai", "sorted(config.calls, key=lambda call: call.at)", "sorted(config.calls, key=lambda c: (c.at, repr(c)))"),
    ("fastai", "batch_norm if bn_freeze else", "() if bn_freeze else"),
    ("fastai", "frozen.intersection(batch_norm)", "()"),
    ("composer", '"layers")[:-1]', '"layers")'),
    ("composer", "math.ceil(total", "math.floor(total"),
    ("composer", "math.ceil(total * (start + i * pace))", "math.ceil(float(total * (start + i * pace)) + 1e-9)"),
    ("composer", "enumerate(layers, start=1)", "enumerate(layers, start=0)"),
    ("composer", "(1 - start) / (level", "1 / (level"),
    ("freezeout", "math.floor(t * total) + 1", "math.ceil(t * total)"),
    ("freezeout", "Fraction(i, last)", "Fraction(i, last + 1)"),
    ("freezeout", '"cubic": 3', '"cubic": 2'),
    ("freezeout", "| {layers[-1]: Fraction(1)}", "| {layers[-1]: t_0}"),
    ("gradual", "enumerate(reversed(lower), start=1)", "enumerate(lower, start=1)"),
    ("gradual", "enumerate(reversed(lower), start=1)", "enumerate(reversed(lower), start=2)"),
    ("gradual", "d * config.every", "d"),
    ("chain_thaw", "layers[-1:] if config.new", "layers[:1] if config.new"),
    ("chain_thaw", "for name in layers if name not in new", "for name in layers"),
    ("chain_thaw", "[config.initial_learning_rate, *[", "[config.learning_rate, *["),
    ("chain_thaw", "itertools.accumulate(lengths, initial=0)", "itertools.accumulate(sorted(lengths), initial=0)"),
    ("lisa", "invert(drawn, layers)", "drawn"),
    ("lisa", "config.step_interval, config.seed)", "config.step_interval)"),
    ("lisa", "if name not in always_on)", "if True)"),
    ("lightning", "(never if config.train_bn else always)", "(always if config.train_bn else never)"),
    ("lightning", "during(always(backbone), 0, until)", "during(always(backbone), 0, until + 1)"),
    ("lightning", "{*backbone} - batch_norm, batch_norm", "{*backbone}, batch_norm"),
]


def mutant(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> Dialect:
    """Return the dialect with ``new`` in place of ``old`` in its source."""
    source = inspect.getsource(inspect.getmodule(dialect(name).build))
    assert old in source
    module = types.ModuleType(f"mutant_of_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # msgspec looks its annotations up there
    exec(source.replace(old, new), vars(module))
    return module.DIALECT


@pytest.mark.parametrize(("name", "old", "new"), MUTANTS, ids=lambda text: text)
def test_a_wrong_dialect_is_caught(name, old, new, monkeypatch):
    wrong = mutant(name, old, new, monkeypatch)

    @settings(settings.get_profile("mutants"), suppress_health_check=list(HealthCheck))
    @given(case=TWINS[name].cases)
    def check(case):
        check_agreement(wrong, TWINS[name], case)

    with pytest.raises((AssertionError, ScheduleError)):
        check()
