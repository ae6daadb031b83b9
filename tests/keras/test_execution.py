"""The execution clauses (EXE) on real small Keras models, real digits and three optimizers."""

from __future__ import annotations

import logging
import math

import keras
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from refreeze import Segment, always, during, rate, segments, stages, union
from refreeze.dialects import vl3d
from refreeze.keras import DLFreezeTrainingExecutor, FreezeTrainingExecutor, execute
from refreeze.keras.model import layer_names
from small_models import (
    MODELS,
    OPTIMIZERS,
    STEPS,
    TRACES,
    Probe,
    X,
    Y,
    build,
    count_traces,
    everything,
    fit,
    said,
    weights,
)

pytestmark = pytest.mark.engine
# Training is slow, so few examples, and no shrinking: a failure names the whole configuration anyway.
FEW = settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@st.composite
def specs(draw: st.DrawFn, names: list[str]) -> list[dict]:
    """One to three specifications of vl3d over ``names``, learning rates in at most one of them."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        layers = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        start = draw(st.integers(0, 3))
        spec = {"layers": layers, "training_interval": [start, start + draw(st.integers(1, 4))]}
        if draw(st.booleans()):
            spec["strategy"] = {
                "type": draw(st.sampled_from(["round_robin", "random"])),
                "window_size": draw(st.integers(1, len(layers))),
                "iterative_span": draw(st.integers(1, 2)),
            }
        if number == 0 and draw(st.booleans()):
            spec["initial_learning_rate"] = draw(st.sampled_from([0.02, 0.005]))
        found.append(spec)
    return found


def run(model: keras.Model, spec: list[dict] | None, total: int, **options):
    probe = Probe(model)
    executor = FreezeTrainingExecutor(spec, **options)
    history = executor.run(model, total, probe)
    return probe, executor, history


def scheduled(model: keras.Model, spec: list[dict], total: int) -> tuple[Segment, ...]:
    return segments(vl3d.policy(vl3d.DIALECT.parse(spec), layer_names(model)), total)


def frozen_weights(model: keras.Model, segment: Segment) -> set[str]:
    return {name for name in weights(model) if name.rpartition("/")[0] in segment.frozen}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_segment_does_what_is_scheduled_and_nothing_else(kind: str, optimizer: str) -> None:
    """EXE-1, 2, 3, 4 and 7, for random schedules: one run shows them all, and training is what takes the time."""
    names = layer_names(MODELS[kind]())

    @FEW
    @given(specs(names), st.integers(1, 6))
    def law(spec: list[dict], total: int) -> None:
        model = build(kind, optimizer)
        traces = count_traces(model)
        probe, executor, history = run(model, spec, total)
        run_segments = scheduled(model, spec, total)

        # A train step is traced once for each distinct frozen set.
        distinct = len({segment.frozen for segment in run_segments})
        assert traces == [distinct] or not TRACES
        assert sum(report.new_step for report in executor.reports) == distinct
        # EXE-1
        assert [call.epochs for call in probe.calls] == [segment.length for segment in run_segments]
        for segment, call, report in zip(run_segments, probe.calls, executor.reports, strict=True):
            frozen = frozen_weights(model, segment)
            # EXE-2, EXE-3: exactly what is not frozen moves; a gradient reaches every weight of these models.
            assert call.moved == set(call.before) - frozen
            # EXE-4: no slot of a frozen variable moves; the counter of steps does.
            assert not {slot for slot in call.slots_moved if slot.partition(":")[0] in frozen}
            assert ("iteration" in call.slots_moved) == (len(frozen) < len(weights(model)))
            assert report.segment == segment
        # EXE-4: the counter counts on; a step that has nothing to train (EXE-10) is none of the optimizer's.
        trained = [segment.length for segment in run_segments if segment.frozen < set(names)]
        assert int(model.optimizer.iterations) == sum(trained) * STEPS

        # EXE-7
        other = build(kind, optimizer)
        _, _, other_history = run(other, spec, total, switch="rebuild")
        assert everything(model, history) == everything(other, other_history)

    law()


def test_EXE_1_zero_epochs_call_nothing() -> None:
    model = build()
    before = weights(model)
    probe, _, history = run(model, [{"layers": ["one"], "training_interval": [0, 2]}], 0)
    assert (probe.calls, history.epoch, history.history, weights(model)) == ([], [], {}, before)


def test_without_specifications_it_is_one_plain_fit() -> None:
    model, plain = build(), build()
    plain_history = fit(plain)(3)
    probe, _, history = run(model, None, 3)
    assert [call.epochs for call in probe.calls] == [3]
    assert everything(model, history) == everything(plain, plain_history)


def test_EXE_2_a_layer_trains_as_the_schedule_says_if_it_names_it_and_else_as_the_user_gave() -> None:
    model = build()
    model.get_layer("one").trainable = model.get_layer("two").trainable = False
    probe, _, _ = run(model, [{"layers": ["one"], "training_interval": [1, 2]}], 3)
    assert [(call.flags["two"], call.flags["one"]) for call in probe.calls] == [
        (False, True), (False, False), (False, True),
    ]  # fmt: skip
    assert ["one/kernel" in call.moved for call in probe.calls] == [True, False, True]
    assert not any(path.startswith("two/") for call in probe.calls for path in call.moved)


def test_EXE_4_segments_that_freeze_nothing_are_one_uninterrupted_training() -> None:
    model, plain = build(optimizer="adamw"), build(optimizer="adamw")
    same_rate = rate(float(model.optimizer.learning_rate.numpy()), every=2)
    history = execute(model, same_rate, 6, fit(model))
    assert len(segments(same_rate, 6)) == 3
    assert everything(model, history) == everything(plain, fit(plain)(6))


@pytest.mark.parametrize("policy", ["keep", "reset", "reset_unfrozen"])
def test_EXE_4_optimizer_state_policies(policy: str) -> None:
    model = build("dense")
    probe, _, _ = run(
        model, [{"layers": ["one"], "training_interval": [1, 2]}], 3, optimizer_state=policy
    )  # segments: all, without "one", all
    left, entered = probe.calls[1].slots_after, probe.calls[2].slots_before
    changed = {slot for slot in left if left[slot] != entered[slot]}
    one = {slot for slot in left if slot.startswith("one/")}
    if policy == "keep":
        assert changed == set()
    elif policy == "reset_unfrozen":
        assert changed == one
    else:
        assert changed == set(left) - one - {"learning_rate"}  # those of "one" were reset when it froze
    assert {byte for slot in changed for byte in entered[slot]} <= {0}


def test_EXE_5_a_rate_is_set_once_at_the_start_of_its_segment() -> None:
    model = build()
    seen = []

    def lower(epochs: int):
        seen.append(float(model.optimizer.learning_rate.numpy()))
        history = fit(model)(epochs)
        model.optimizer.learning_rate = seen[-1] / 2  # as a callback such as ReduceLROnPlateau does
        return history

    policy = union(
        rate(0.08), stages((0, always(["one"])), (1, always(["two"])), (2, rate(0.02)), (3, always(["one"])))
    )
    execute(model, policy, 4, lower)
    assert seen == pytest.approx([0.08, 0.04, 0.02, 0.01])


def test_EXE_6_histories_merge_and_an_absent_metric_is_nan() -> None:
    model = build()
    calls = iter([{}, {"validation_data": (X, Y)}, {}])
    history = execute(model, during(always(["one"]), 2, 3), 4, lambda epochs: fit(model, **next(calls))(epochs))
    assert history.epoch == [0, 1, 2, 3]
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [math.isnan(value) for value in history.history["val_loss"]] == [True, True, False, True]
    assert not any(map(math.isnan, history.history["loss"]))
    assert isinstance(history, keras.callbacks.History)


def test_EXE_7_a_small_cache_changes_nothing_but_the_traces() -> None:
    turns = {"type": "round_robin", "window_size": 2, "iterative_span": 1}
    results, traces = [], []
    for size in (16, 1):
        model = build()
        traces.append(count_traces(model))
        _, _, history = run(
            model, [{"layers": "all", "training_interval": [0, 8], "strategy": turns}], 8, cache_size=size
        )
        results.append(everything(model, history))
    assert results[0] == results[1]
    assert (traces[0], traces[1]) == ([2], [8]) or not TRACES


def test_a_compile_in_between_is_noticed() -> None:
    """The kept train functions hold the old optimizer; after a compile they must not be used again."""
    model = build("dense")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    moved = []

    def compiling(epochs: int):
        if len(moved) == 2:
            model.compile(keras.optimizers.SGD(0.1), loss)
        before = weights(model)
        history = fit(model)(epochs)
        after = weights(model)
        moved.append({path for path in after if after[path] != before[path]})
        return history

    turns = enumerate(["one", "two", "one", "two"])
    spec = [{"layers": [name], "training_interval": [epoch, epoch + 1]} for epoch, name in turns]
    FreezeTrainingExecutor(spec).run(model, 4, compiling)
    one, two, head = ({f"{layer}/kernel", f"{layer}/bias"} for layer in ("one", "two", "head"))
    assert moved == [two | head, one | head, two | head, one | head]
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert int(model.optimizer.iterations) == 2 * STEPS


def test_EXE_8_stop_training_ends_the_run() -> None:
    model = build()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = len(probe.calls) == 2

    probe = Probe(model, callbacks=[Stop()])
    executor = FreezeTrainingExecutor([{"layers": ["one"], "training_interval": [2, 5]}])
    history = executor.run(model, 9, probe)
    assert [call.epochs for call in probe.calls] == [2, 3]
    assert history.epoch == [0, 1, 2]
    assert [report.trained for report in executor.reports] == [2, 1]
    assert int(model.optimizer.iterations) == 3 * STEPS


def test_EXE_9_an_exception_passes_and_the_model_stays_usable_in_that_segment() -> None:
    model = build()

    def failing(epochs: int):
        if epochs == 3:
            raise RuntimeError("out of patience")
        return fit(model)(epochs)

    with pytest.raises(RuntimeError, match="out of patience"):
        FreezeTrainingExecutor([{"layers": ["one"], "training_interval": [2, 5]}]).run(model, 9, failing)
    assert [layer.name for layer in model.layers if not layer.trainable] == ["one"]
    before = weights(model)
    fit(model)(1)
    after = weights(model)
    assert {path for path in after if after[path] == before[path]} == {"one/kernel", "one/bias"}


def test_EXE_10_a_segment_with_everything_frozen_has_metrics_and_moves_nothing() -> None:
    model = build()
    probe, _, history = run(model, [{"layers": "all", "training_interval": [0, 2]}], 3)
    assert not probe.calls[0].moved
    assert probe.calls[1].moved
    assert all(math.isfinite(value) for value in history.history["loss"] + history.history["accuracy"])


def test_EXE_11_progress_and_summary_are_logged_and_restore_puts_the_flags_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="refreeze")
    spec = [{"layers": ["one", "head"], "training_interval": [1, 9], "initial_learning_rate": 0.5}]
    for restore, frozen in ((False, ["one", "head"]), (True, ["head"])):
        model = build("dense")
        model.get_layer("head").trainable = False
        caplog.clear()
        run(model, spec, 2, restore=restore)
        assert said(caplog) == [
            "segment 1/2: epochs [0, 1), 0 names frozen, 1066 of 1066 parameters trainable",
            "segment 2/2: epochs [1, 2), 2 names frozen, 156 of 1066 parameters trainable, learning rate set to 0.5",
            "2 of 3 layers remain frozen: one, head",
        ]
        assert [layer.name for layer in model.layers if not layer.trainable] == frozen
        before = weights(model)
        fit(model)(1)
        after = weights(model)
        assert {path.partition("/")[0] for path in after if after[path] == before[path]} == {*frozen}
    FreezeTrainingExecutor.log_frozen_summary(model)
    assert said(caplog)[-1] == "1 of 3 layers remain frozen: head"


def test_the_name_of_vl3d_is_a_drop_in() -> None:
    strategy = {"window_size": 1, "iterative_span": 2}
    spec = [
        {"layers": ["one", "two"], "training_interval": [1, 5], "strategy": {"type": "round_robin", **strategy}},
    ]
    executor = DLFreezeTrainingExecutor(spec)
    assert DLFreezeTrainingExecutor is FreezeTrainingExecutor
    assert executor.freeze_training is spec
    epochs, ops, rates = executor.prepare_schedule(9, nn=build("dense"))
    assert (epochs, rates) == ([1, 3, 5], [None] * 3)
    assert [(op["freeze"], op["unfreeze"]) for op in ops] == [(["one"], []), (["two"], ["one"]), ([], ["two"])]
    assert executor.prepare_schedule(9) == DLFreezeTrainingExecutor.compute_schedule(spec, 9) == (epochs, ops, rates)
    assert executor.handle_round_robin_freezing(["one", "two"], [1, 5], strategy) == (epochs, ops)
    epochs, ops = executor.handle_random_freezing(["one", "two"], [1, 5], {**strategy, "seed": 3})
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 5, len(ops))
