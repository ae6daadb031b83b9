"""The arithmetic of the boundaries, proved for all numbers; each proof is shown to fail where a boundary is one off.

Each law runs the code itself on unknown numbers (``symbolic``) and compares it with the clause, or with the condition
of the original, as its source has it; ``docs/assurance.md`` says what is not proved.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

pytest.importorskip("z3")
from proofs import symbolic
from proofs.symbolic import Refuted, prove
from refreeze import (
    always,
    canonical,
    cut,
    during,
    in_epochs,
    in_steps,
    operations,
    policy,
    replay,
    segments,
    shift,
    stages,
    steps_per_epoch,
    windows,
)
from refreeze.dialects import (
    Run,
    badam,
    chain_thaw,
    composer,
    dialect,
    dino,
    fastai,
    freezeout,
    fts,
    gradual,
    kempner,
    lighter,
    lightning,
    lisa,
    luxonis,
    nemo,
    stop_after,
    two_phase,
    updates,
    vl3d,
)
from refreeze.policy import Policy, State

SHARE = Fraction(0)


def same(mine: Any, theirs: Any) -> bool:
    """Compare what the code says with what the original says, on one path."""
    return bool(mine) == bool(theirs) if isinstance(mine, bool) else bool(mine == theirs)


def refuted(law: Callable[..., None]) -> None:
    """Check that the proof of ``law`` fails, and that the numbers that Z3 gives make it fail without Z3."""
    with pytest.raises(Refuted) as found:
        prove(law)
    with pytest.raises(type(found.value.__cause__)):
        law(**found.value.values)


# Schedules -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Steps(Policy):
    """The sets of a policy with boundaries at any ticks."""

    ticks: tuple[Any, ...]
    sets: tuple[str, ...]
    names = frozenset("ab")

    def at(self, tick: Any) -> State:
        return State(frozenset(self.sets[len([1 for at in self.ticks if tick >= at])]), self.names)

    def boundaries(self, start: Any, stop: Any) -> list[Any]:
        return [at for at in self.ticks if start < at < stop]


POLICIES: dict[str, Callable[..., Policy]] = {
    "three boundaries": lambda x, y, z: Steps((x + 1, x + y + 2, x + y + z + 3), ("", "a", "a", "b")),
    "three others": lambda x, y, z: Steps((x + 1, x + y + 2, x + y + z + 3), ("a", "ab", "", "")),
    "during, shifted": lambda x, y, z: shift(during(always(["a"]), x, x + y + 1), z),
    "shifted back, during": lambda x, y, z: during(shift(during(always(["a"]), 0, x + 1), -y), z),
    "stages": lambda x, y, z: stages((x, always(["a"])), (x + y + 1, shift(always(["b"]), z))),
}


def partition(code: Callable[..., Any], make: Callable[..., Policy]) -> Callable[..., None]:
    """SCH-1 and SCH-3: what ``code`` makes of a policy covers [0, total) once, and says what the policy says."""

    def law(total=0, x=0, y=0, z=0, t=0):
        given = make(x, y, z)
        found = code(given, total)
        assert [0, *(s.stop for s in found)] == [*(s.start for s in found), total]
        assert all(s.start < s.stop for s in found)
        assert all(s.frozen == given.frozen_at(t) for s in found if s.start <= t < s.stop)
        assert canonical(found) == found

    return law


def truncation(code: Callable[..., Any], make: Callable[..., Policy]) -> Callable[..., None]:
    """SCH-4, SCH-5 and RES-1: a shorter run has the longer one's schedule, cut, and a resumed one its rest."""

    def law(total=0, more=0, x=0, y=0, z=0, t=0):
        given = make(x, y, z)
        whole = segments(given, total + more)
        assert code(whole, 0, total) == segments(given, total)
        rest = code(whole, total)
        assert [total, *(s.stop for s in rest)] == [*(s.start for s in rest), total + more]
        assert all(s.frozen == given.frozen_at(t) for s in rest if s.start <= t < s.stop)
        assert replay(operations(whole), total + more) == whole

    return law


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    ("law", "right", "wrong"),
    [
        (partition, segments, lambda policy, total: segments(policy, total + 1)),
        (truncation, cut, lambda found, start, *stop: cut(found, start, *(end + 1 for end in stop))),
    ],
    ids=["SCH-1", "SCH-4"],
)
def test_a_policy_is_cut_at_its_boundaries_for_any_total(law, right, wrong, make):
    assert prove(law(right, make)) > 3
    refuted(law(wrong, make))


def clocks(law_per: Callable[..., Any]) -> Callable[..., None]:
    def law(start=0, length=1, per=1, epoch=0, step=0, total=0):
        given = during(always(["a"]), start, start + length)
        t = epoch * per + step
        frozen = bool(in_steps(given, law_per(per)).frozen_at(t))
        assert same(frozen, per * start <= t < per * (start + length))
        whole = segments(in_steps(given, per), total * per)
        assert in_epochs(whole, per) == segments(given, total)

    return law


def test_a_schedule_in_epochs_is_the_same_in_steps_for_any_epoch():
    prove(clocks(lambda per: per))
    refuted(clocks(lambda per: per + 1))


@pytest.mark.parametrize("more", [0, 1])
def test_the_last_partial_batch_is_a_step_for_any_batch_size(more):
    def law(examples=1, batch=1):
        steps = steps_per_epoch(examples, batch) + more
        assert same(True, (steps - 1) * batch < examples)
        assert same(True, examples <= steps * batch)

    refuted(law) if more else prove(law)


# Round robin ---------------------------------------------------------------------------------------------------------
def elements(monkeypatch, module, at):
    """Let ``range`` in ``module`` give one element, number ``at``: that is unknown, so what holds for it, for all."""
    monkeypatch.setattr(module, "range", lambda *of: Range(at, *of), raising=False)


class Range:
    def __init__(self, at: Any, *of: Any) -> None:
        start, stop, step = of if len(of) == 3 else (0, *of, 1)
        self.start, self.stop, self.step, self.element = start, stop, step, start + at * step

    def __iter__(self) -> Any:
        return iter([self.element] if self.element < self.stop else [])


@pytest.mark.parametrize("less", [0, 1])
def test_RR_1_the_boundaries_of_a_span_are_its_multiples(monkeypatch, less):
    def law(span=1, spans=0, more=0, length=0, at=0, m=0):
        start = spans * span + more  # any start can be written so
        if more >= span:
            return
        elements(monkeypatch, policy, at)
        found = policy.multiples(span, start, start + length - less)
        for tick in found:
            assert same(True, start < tick)
            assert same(True, tick < start + length)
            assert tick % span == 0
        multiple = m * span  # any in (start, stop) is found: its number in the range is one of 0, 1, 2, …
        if start < multiple < start + length:
            assert same(True, found.start <= multiple)
            assert same(True, multiple < found.stop)
            assert (multiple - found.start) % span == 0

    refuted(law) if less else prove(law)


def window(code, monkeypatch):
    """RR-3 for any n, w and k: the windows are a run of integers mod n, of which L * n have each value L times."""

    def law(n=1, w=1, k=0, j=0):
        elements(monkeypatch, windows, j)
        if w <= n:
            for position in code(n, w, k):
                assert position == (k * w + j) % n
                assert same(True, position < n)

    return law


def before(x, c, n):
    """Return how many of 0, 1, ..., x - 1 are c mod n."""
    return (x - c + n - 1) // n


def count(wrong):
    def law(n=1, c=0, x=0):
        if c < n:
            assert before(0, c, n) == 0
            assert before(x + 1, c, n) - before(x, c, n) == (1 if x % n == c + wrong else 0)

    return law


def fair(wrong):
    def law(n=1, c=0, first=0, times=1):
        if c < n:
            assert before(first + times * n, c, n) - before(first, c, n) == times + wrong

    return law


def cycle(wrong):
    def law(w=1, g=1, k=0, n=1):  # n = g * (n / g) and w = g * (w / g): the windows k .. k + n / g - 1 are w / g * n
        assert (k + n) * (g * w) - k * (g * w) == w * (g * n) + wrong  # long, and window k + 1 begins where k ends
        assert (k + 1) * (g * w) == k * (g * w) + (g * w - 1) + 1

    return law


def test_RR_3_every_unit_is_frozen_equally_often_for_any_units_and_window(monkeypatch):
    prove(window(windows.round_robin_window, monkeypatch))
    for lemma in (count, fair, cycle):
        prove(lemma(0))
        refuted(lemma(1))
    refuted(window(lambda n, w, k: windows.round_robin_window(n, w, k + 1), monkeypatch))


# Dialects ------------------------------------------------------------------------------------------------------------
def frozen(name: str, config: Any, t: Any, total: Any = 1, per: Any = 1) -> tuple[bool, ...]:
    """Return which of the names are frozen at t in a run of ``total`` ticks."""
    names = ("u", "v", "last_layer")
    now = dialect(name).build(config, names, Run(total=total, steps_per_epoch=per)).frozen_at(t)
    return tuple(n in now for n in names)


def of_nemo(t, said):
    modules = nemo.FreezeUpdates(enabled=True, modules={"u": said})
    return frozen("nemo", nemo.NemoConfig(freeze_updates=modules), t)[0]


def of_updates(t, f, key, **boundary):
    return frozen("updates", updates.UpdatesConfig(modules=("u",), **{key: f}, **boundary), t)[0]


def of_luxonis(t, after, total):
    node = luxonis.NodeFreezing(name="u", freezing=luxonis.Freezing(active=True, unfreeze_after=after))
    return frozen("luxonis", (node,), t, total)[0]


def of_stop(t, total=1, per=1, **key):
    return frozen("stop_after", stop_after.StopAfterConfig(part=("u",), **key), t, total, per)[0]


def of_two_phase(t, init, until):
    config = two_phase.TwoPhaseConfig(freeze_layers=1, Init_Epoch=init, Freeze_Epoch=until, UnFreeze_Epoch=until)
    return frozen("two_phase", config, t)[0]


def of_lighter(t, per, **until):
    return frozen("lighter", (lighter.Freezer(names=("u", "v"), **until),), t, per=per)[:2]


def of_vl3d(t, start, length, span, w):
    how = vl3d.RoundRobin(window_size=w, iterative_span=span)
    spec = vl3d.Spec(layers="all", training_interval=(start, start + length), strategy=how)
    return frozen("vl3d", (spec,), t)


def of_kempner(t, first, gap):
    stages = [
        kempner.FreezeStage(at, (kempner.FreezeSpec("u", on),)) for at, on in ((first, False), (first + gap, True))
    ]
    config = kempner.KempnerConfig(freeze=(kempner.FreezeSpec("u"),), freeze_schedule=tuple(stages), module_patterns={})
    return frozen("kempner", config, t)[0]


def of_fastai(t, first, second):
    calls = (fastai.FreezeTo(at=first, n=-1), fastai.Unfreeze(at=second))
    return frozen("fastai", fastai.FastaiConfig(groups=(("u",), ("v",)), calls=calls), t)[:2]


def of_badam(t, K, mode):
    """Return by how much the number of the block that trains changes from step t - 1 to t."""
    config = badam.BAdamConfig(block_prefix_list=(("u",), ("v",), ("last",)), switch_block_every=K, switch_mode=mode)
    now, then = (frozen("badam", config, step).index(False) for step in (t, t - 1))
    return (now - then) % 3


def of_lisa(t, K, variant):
    """Return how many draws later the draw of step t is than that of step t - 1."""
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "random_window", lambda n, window, k, seed, stream: drawn.append(k) or (0,))
        for step in (t - 1, t):
            frozen("lisa", lisa.LisaConfig(n_layers=1, step_interval=K, variant=variant), step)
    return drawn[1] - drawn[0]


def of_fts(t, ends):
    """Return the number of the last phase that has begun by epoch t."""
    params = zip(("u", "v", "last"), (*ends, -1), strict=True)
    phases = {str(d): fts.Phase(params=(name,), max_transition_epoch=end) for d, (name, end) in enumerate(params)}
    return 2 - sum(frozen("fts", fts.FtsConfig(ft_schedule=phases), t))


def fts_next(t, ends, depth):
    return depth + 1 if depth < 2 and ends[depth] <= t else depth


def composer_depth(t, total, start, level):
    share = t / total
    return math.floor(level * (share - start) / (1 - start) * 2) if share > start else 0


def of_freezeout(t, total, *shares):
    """The layers but the last have any shares, whose powers have laws of their own: Z3 may lose its way in both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(freezeout, "shares", lambda config, names: dict(zip(names, (*shares, 1), strict=True)))
        return frozen("freezeout", freezeout.FreezeOutConfig(), t, total)


CHAIN = [(1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 0)]  # what is frozen in the stages of a chain-thaw
SHARES = (Fraction(1, 3), Fraction(1, 2)), (Fraction(0), Fraction(1)), (Fraction(9, 10), Fraction(4, 5))

# Each law returns what the code says and what the original's condition says, or False where it says nothing. ``x`` is
# 0, and 1 in the law that must be refuted. A tick is written epoch * per + step, with step < per, where that helps.
# fmt: off
RULES: dict[str, Callable[[int], Callable[..., Any]]] = {
    "nemo N": lambda x: lambda t=0, N=None: (of_nemo(t, N), t + 1 + x <= N or N == -1),
    "nemo [a, b]": lambda x: lambda t=0, a=None, b=-1: (
        of_nemo(t, (a, b)), t + 1 + x >= a and (t + 1 <= b or b == -1)),
    "fairseq freeze_finetune_updates": lambda x: lambda t=0, F=None: (
        of_updates(t, F, "freeze_finetune_updates"), not t + x >= F),
    "fairseq encoder_freezing_updates": lambda x: lambda t=0, F=None: (
        of_updates(t, F, "encoder_freezing_updates"), t + x < F),
    "fairseq w2v_freezing_updates": lambda x: lambda t=0, F=None: (
        of_updates(t, F, "w2v_freezing_updates"), not t + x > F),
    "SpeechBrain CTC": lambda x: lambda t=0, F=None: (of_updates(t, F, "warmup_steps"), not t + x >= F),
    "SpeechBrain Whisper": lambda x: lambda t=0, F=None: (
        of_updates(t, F, "warmup_steps", boundary=">"), not t + x > F),
    "luxonis epoch": lambda x: lambda t=0, E=0: (of_luxonis(t, E, 1), t + x < E),
    "luxonis share": lambda x: lambda t=0, f=SHARE, total=0: (of_luxonis(t, f, total), t + x < math.floor(f * total)),
    "luxonis None": lambda x: lambda t=0, total=0: (of_luxonis(t, None, total), t + x < total),
    "sd-scripts": lambda x: lambda t=0, D=None, more=1: (
        of_stop(t, t + more, stop_text_encoder_training=D), not t + x < D),
    # OneTrainer sets the flag after a step, by the number of that step: what the dialect says of it holds in the next.
    "OneTrainer STEP": lambda x: lambda t=0, D=0: (
        of_stop(t, t + 1, stop_training_after=D, stop_training_after_unit="STEP"), t + x + 1 > D),
    "OneTrainer EPOCH": lambda x: lambda epoch=0, step=0, per=1, D=0: step < per and (
        of_stop(epoch * per + step, (epoch + 1) * per, per, stop_training_after=D), epoch + x + 1 > D),
    "diffusers": lambda x: lambda epoch=0, step=0, per=1, f=SHARE, epochs=0: step < per and epoch < epochs and (
        of_stop(epoch * per + step, epochs * per, per, train_text_encoder_frac=f), epoch + x >= math.floor(f * epochs)),
    "two phases": lambda x: lambda t=0, init=0, until=0: (
        of_two_phase(t, init, until), t >= init and not t + x >= until),
    "DINO": lambda x: lambda t=0, F=None: (
        frozen("dino", dino.DinoConfig(freeze_last_layer=F), t)[2], not t + x >= F),
    "Lightning": lambda x: lambda t=0, E=0: (
        frozen("lightning", lightning.LightningConfig(backbone=("u",), unfreeze_backbone_at_epoch=E), t)[0], t + x < E),
    "Lighter until": lambda x: lambda epoch=0, step=0, per=1, s=0, e=0: step < per and (
        of_lighter(epoch * per + step, per, until_step=s, until_epoch=e)[0],
        not (epoch * per + step + x >= s or epoch >= e)),
    "Lighter gradual": lambda x: lambda epoch=0, step=0, per=1, S=0, N=1: step < per and (
        of_lighter(epoch * per + step, per, start_epoch=S, unfreeze_every_n_epochs=N), (epoch + x < S, epoch < S + N)),
    "gradual": lambda x: lambda k=0, more=0, every=1: more < every and (
        frozen("gradual", gradual.GradualConfig(every=every), k * every + more), [k + 1 + x < 3 - i for i in range(3)]),
    "chain-thaw": lambda x: lambda k=0, more=0, every=1: more < every and (
        frozen("chain_thaw", chain_thaw.ChainThawConfig(epochs=every), k * every + more),
        CHAIN[k + x if k + x < 3 else 3]),
    "kempner": lambda x: lambda t=0, first=1, gap=1: (
        of_kempner(t, first, gap), not first + x <= t or first + gap <= t),
    "fastai": lambda x: lambda t=0, first=0, second=0: (
        of_fastai(t, first, second), (first + x <= t and not first <= second <= t, False)),
    **{f"badam {mode}": partial(lambda mode, by, x: lambda k=1, more=0, K=1: more < K and k * K + more >= 2 and (
        of_badam(k * K + more - 1, K, mode), by if (k * K + more + x) % K == 0 else 0), mode, by)
        for mode, by in (("ascending", 1), ("descending", 2))},
    "lisa, LMFlow": lambda x: lambda k=0, more=0, K=1: more < K and k * K + more >= 1 and (
        of_lisa(k * K + more, K, "paper"), 1 if (more + x) % K == 0 else 0),
    "lisa, axolotl": lambda x: lambda k=0, more=0, K=2: more < K and k * K + more >= 1 and (  # K = 1 leaves draw 1 out
        of_lisa(k * K + more, K, "axolotl"), 1 if (more + x) % K == 0 or k * K + more == 1 else 0),
    "fts first": lambda x: lambda m0=0, m1=0: (of_fts(0, (m0, m1)), fts_next(x, (m0, m1), 0)),
    "fts": lambda x: lambda t=1, m0=0, m1=0: (of_fts(t, (m0, m1)), fts_next(t + x, (m0, m1), of_fts(t - 1, (m0, m1)))),
    **{f"composer {start} {level}": partial(lambda start, level, x: lambda t=0, more=1: (
        frozen("composer", composer.ComposerConfig(freeze_start=start, freeze_level=level), t, t + more),
        [i < composer_depth(t + x, t + more, start, level) for i in range(3)]), start, level)
        for start, level in SHARES},
    **{f"freezeout {how}": partial(lambda how, power, x: lambda t_0=SHARE: t_0 > 0 and ([True] * 3, [
        found == (t_0 + (1 - t_0) * Fraction(i + x, 2)) ** power for i, found in enumerate(
            freezeout.shares(freezeout.FreezeOutConfig(t_0=t_0, how_scale=how), [*"uvw"]).values())]), how, power)
        for power, how in enumerate(("linear", "squared", "cubic"), 1)},
    "freezeout": lambda x: lambda j=0, more=1, first=SHARE, second=SHARE: (
        of_freezeout(j, j + more, first, second), (j + x > first * (j + more), j + x > second * (j + more), False)),
    **{f"vl3d window {w}": partial(lambda w, x: lambda start=0, k=0, more=0, span=1, length=1: more < span and (
        of_vl3d(start + k * span + more, start, length, span, w), (k * span + more < length and [
            any((i - (k + x) * w - j) % 3 == 0 for j in range(w)) for i in range(3)]) or (0, 0, 0)), w)
        for w in (1, 2)},
    "vl3d before": lambda x: lambda t=0, after=1, length=1, span=1: (
        of_vl3d(t, t + after - x, length, span, 1), (0, 0, 0)),
}
# fmt: on


def rule(law, off):
    pair_of = law(off)

    def check(**unknowns):
        if pair := pair_of(**unknowns):
            mine, theirs = ([*map(bool, one)] if isinstance(one, list | tuple) else one for one in pair)
            assert same(mine, theirs)

    check.__signature__ = inspect.signature(pair_of)
    return check


@pytest.fixture
def unknown_shares(monkeypatch):
    """A share that is unknown has no digits to be read."""
    for module in (luxonis, stop_after, composer, freezeout):
        monkeypatch.setattr(module, "exactly_share", lambda where, value, *bounds, **more: value)


@pytest.mark.parametrize("law", RULES.values(), ids=RULES)
def test_a_dialect_starts_and_stops_as_its_original_does_for_any_numbers(law, unknown_shares):
    prove(rule(law, 0))
    refuted(rule(law, 1))


def test_a_proof_takes_the_same_way_whatever_was_proved_before():
    """Z3's own count of its work says so. Without that a proof that takes a second may take for ever on another day."""

    def effort(name):
        prove(rule(RULES[name], 0))
        return symbolic._Run.now.solver.statistics().get_key_value("rlimit count")

    first = effort("Lighter until")
    kept = [symbolic.z3.FreshInt("q") + number for number in range(100)]
    assert effort("kempner") != first
    assert effort("Lighter until") == first
    del kept
