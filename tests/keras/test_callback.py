"""``FreezeSchedule``: one fit equals one fit per segment, bit for bit, and other callbacks see one training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import pytest
from refreeze import InvalidSpec, Policy, UnknownName, Unsupported, always, during, in_steps, rate, shift, stages, union
from refreeze.keras import FreezeSchedule, backends, execute
from refreeze.keras.model import layer_names
from refreeze.plan import Plan, configuration, plan
from small_models import BATCH, STEPS, TRACES, X, Y, build, count_traces, everything, fit, said, slots, weights

pytestmark = pytest.mark.engine

SPEC = [
    {"layers": ["norm"], "training_interval": [1, 2]},
    {
        "layers": ["one", "two"],
        "training_interval": [0, 4],
        "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 1},
        "initial_learning_rate": 0.02,
    },
]
EPOCHS = 4
# In steps, of which an epoch has three: boundaries inside of both epochs.
UNEVEN = union(during(always(["one"]), 1, 4), during(always(["two", "norm"]), 2, 4), shift(rate(0.02), 1))


def one_fit(model: keras.Model, callback: Any, epochs: int = EPOCHS, **options: Any) -> Any:
    callbacks = [callback, *options.pop("callbacks", [])]
    return fit(model, callbacks=callbacks, **options)(epochs)


def states(model: keras.Model) -> tuple[dict[str, bytes], dict[str, bytes]]:
    return weights(model), slots(model)


def planned(model: keras.Model, spec: list[dict[str, Any]] = SPEC) -> Plan:
    return plan(configuration(spec, "vl3d"), layer_names(model), total=EPOCHS)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_fit_equals_one_fit_per_segment(optimizer: str) -> None:
    model, other = build(optimizer=optimizer), build(optimizer=optimizer)
    traces = count_traces(model)
    history = one_fit(model, FreezeSchedule(SPEC))
    expected = execute(other, planned(other).policy, EPOCHS, fit(other))
    assert everything(model, history) == everything(other, expected)
    assert history.epoch == expected.epoch == list(range(EPOCHS))
    assert traces == [len({(s.frozen, s.bn_frozen) for s in planned(model).segments})] or not TRACES


def step_by_step(model: keras.Model, policy: Policy, total: int) -> None:
    """Train by the executor, with one batch as an "epoch": another way to run a schedule in steps."""
    batches = iter([(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, len(X), BATCH)] * total)

    def some_steps(steps: int) -> Any:
        for _ in range(steps):
            model.train_on_batch(*next(batches))
        history = keras.callbacks.History()
        history.epoch = list(range(steps))
        return history

    execute(model, policy, total, some_steps)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_inside_an_epoch_equal_one_fit_per_segment_of_steps(optimizer: str) -> None:
    model, other = build(optimizer=optimizer), build(optimizer=optimizer)
    one_fit(model, FreezeSchedule(UNEVEN, unit="steps"), epochs=2)
    step_by_step(other, UNEVEN, 2 * STEPS)
    assert states(model) == states(other)


def test_epochs_and_the_same_in_steps_are_the_same() -> None:
    model, other = build("dense"), build("dense")
    policy = planned(model, SPEC[1:]).policy
    history = one_fit(model, FreezeSchedule(policy))
    expected = one_fit(other, FreezeSchedule(in_steps(policy, STEPS), unit="steps"))
    assert everything(model, history) == everything(other, expected)


@pytest.mark.parametrize(("start", "optimizer_state"), [(1, "keep"), (2, "reset_unfrozen"), (3, "reset_unfrozen")])
def test_RES_1_initial_epoch_starts_in_the_middle_of_the_schedule(start: int, optimizer_state: str) -> None:
    """Boundaries are at 1 and 3; 2 is inside a segment. At 3 the frozen set changes, which resets slots."""
    policy = stages((0, always(["one"])), (1, union(always(["two"]), shift(rate(0.02), 1))), (3, always(["one"])))
    whole, parts = build("dense"), build("dense")
    one_fit(whole, FreezeSchedule(policy, optimizer_state=optimizer_state))
    for first, last in ((0, start), (start, EPOCHS)):
        one_fit(parts, FreezeSchedule(policy, optimizer_state=optimizer_state), epochs=last, initial_epoch=first)
    assert states(whole) == states(parts)


def test_RES_1_a_rate_that_was_set_before_initial_epoch_is_not_set_again() -> None:
    model = build("dense")
    one_fit(model, FreezeSchedule(rate(0.5)), epochs=2, initial_epoch=1)
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.01)


@pytest.mark.only_on("tensorflow", "jax")
def test_several_steps_per_execution_when_boundaries_align() -> None:
    batch = 8  # six steps in an epoch, in executions of two
    policy = union(during(always(["one"]), 2, 10), during(always(["two"]), 4, 6))
    results = []
    for at_once in (1, 2):
        model = build("dense", steps_per_execution=at_once)
        one_fit(model, FreezeSchedule(policy, unit="steps"), epochs=2, batch_size=batch)
        results.append(states(model))
    assert results[0] == results[1]


@pytest.mark.only_on("tensorflow", "jax")
def test_several_steps_per_execution_that_a_boundary_cuts_are_refused_before_anything_changes() -> None:
    model = build("dense", steps_per_execution=2)
    model.optimizer.build(model.trainable_variables)  # on JAX fit does it before any callback
    before = states(model)
    with pytest.raises(
        Unsupported, match="boundary at step 1, which is inside an execution of steps_per_execution = 2"
    ):
        one_fit(model, FreezeSchedule(during(always(["one"]), 1, 6), unit="steps"))
    assert states(model) == before
    assert all(layer.trainable for layer in model.layers)
    # The last execution of an epoch has one step only, and the next epoch begins with a new one: step 3 is fine.
    one_fit(model, FreezeSchedule(during(always(["one"]), 3), unit="steps"), epochs=2)


def test_configurations_come_as_data_with_their_dialect_or_as_a_file(tmp_path: Path) -> None:
    freezers = [{"names": ["one/kernel"], "until_step": 2}, {"name_starts_with": "two/", "until_epoch": 1}]
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps({"dialect": "lighter", "config": freezers}))
    assert FreezeSchedule(str(path)).schedule == ()
    found = []
    for callback in (FreezeSchedule(freezers, dialect="lighter"), FreezeSchedule(path)):
        model = build("dense")
        one_fit(model, callback, epochs=2)
        found.append(states(model))
        assert [(s.start, s.stop, sorted(s.frozen)) for s in callback.schedule] == [
            (0, 2, ["one/kernel", "two/bias", "two/kernel"]),
            (2, 3, ["two/bias", "two/kernel"]),
            (3, 6, []),
        ]
    assert found[0] == found[1]


def unknown_length() -> Any:
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_generator(
        lambda: ((X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, len(X), BATCH)),
        output_signature=(tf.TensorSpec((None, 8, 8, 1)), tf.TensorSpec((None,), tf.int64)),
    )


class MovedPerStep(keras.callbacks.Callback):
    """Notes for every step whether it has moved a weight."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.weight, self.moved, self._before = weight, [], b""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._before = self._now()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.moved.append(self._now() != self._before)

    def _now(self) -> bytes:
        backends.current().settle(self.model)
        return bytes(self.weight.numpy().tobytes())


@pytest.mark.filterwarnings("ignore:.*ran out of data")  # Keras says so of all data of unknown length
def test_data_of_unknown_length() -> None:
    data, policy, model = unknown_length(), during(always(["one"]), 3, 5), build("dense")
    flags: list[bool] = []
    one = model.get_layer("one")
    watch = MovedPerStep(one.kernel)
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: flags.append(one.trainable))
    options = {"epochs": 3, "shuffle": False, "verbose": 0}
    with pytest.raises(InvalidSpec, match="steps_per_epoch = None must be given"):
        model.fit(data, callbacks=[FreezeSchedule(policy, unit="steps")], **options)
    model.fit(data, callbacks=[FreezeSchedule(policy, unit="steps", steps_per_epoch=STEPS), watch, note], **options)
    assert watch.moved == [True] * 3 + [False] * 2 + [True] * 4
    assert flags == [True] * 3  # at the end of an epoch its last segment holds, not yet the next one


@pytest.mark.parametrize("said", [2, 4])
@pytest.mark.filterwarnings("ignore:.*ran out of data")
def test_a_wrong_number_of_steps_is_noticed(said: int) -> None:
    callback = FreezeSchedule(always(["one"]), unit="steps", steps_per_epoch=said)
    with pytest.raises(InvalidSpec, match=f"steps_per_epoch = {said} must be 3, the batches that epoch 0 had"):
        build("dense").fit(unknown_length(), epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    with pytest.raises(InvalidSpec, match=f"steps_per_epoch = {said} must be 3, the batches that the data have"):
        one_fit(build("dense"), callback)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FreezeSchedule(SPEC, unit="epochs"), "unit = 'epochs' must be None: the dialect says it"),
        (lambda: FreezeSchedule(UNEVEN, unit="batches"), "unit = 'batches' must be 'epochs' or 'steps'"),
        (lambda: FreezeSchedule(UNEVEN, steps_per_epoch=0), "steps_per_epoch = 0 must be an integer >= 1"),
        (lambda: FreezeSchedule("nowhere.json"), "a file that can be read"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        make()


def test_what_is_wrong_for_the_model_is_refused_before_anything_changes() -> None:
    model = build("dense")
    model.optimizer.build(model.trainable_variables)  # as fit does, on some backends before any callback
    before = states(model)
    for callback in (FreezeSchedule(always(["tow"])), FreezeSchedule(SPEC)):  # this model has no layer "norm"
        with pytest.raises(UnknownName):
            one_fit(model, callback)
    assert states(model) == before
    assert all(layer.trainable for layer in model.layers)


def test_early_stopping_counts_across_segments() -> None:
    """Every segment has one epoch: with one fit for each, patience would never end."""
    model = build("dense")
    stop = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=100.0)
    history = one_fit(model, FreezeSchedule(SPEC[1:]), callbacks=[stop])
    assert history.epoch == [0, 1, 2]
    assert [layer.name for layer in model.layers if not layer.trainable] == ["one"]


def test_reduce_on_plateau_lowers_the_rate_of_the_segment_until_one_sets_another() -> None:
    model = build("dense")
    lower = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100.0)
    policy = union(rate(0.08), during(always(["one"]), 2, 4), shift(rate(0.02), 4))
    history = one_fit(model, FreezeSchedule(policy), epochs=6, callbacks=[lower])
    # It logs the rate at the end of an epoch and lowers it after its first epoch, the best so far, at every one.
    assert history.history["learning_rate"] == pytest.approx([0.08, 0.08, 0.04, 0.02, 0.02, 0.01])


def test_model_checkpoints_and_the_progress_bar_work_across_segments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build()
    seen: list[dict[str, bytes]] = []
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights(model))),
    ]
    one_fit(model, FreezeSchedule(SPEC), epochs=2, callbacks=callbacks, verbose=1)
    other = build()
    other.optimizer.build(other.trainable_variables)
    for epoch, expected in enumerate(seen, start=1):
        other.load_weights(tmp_path / f"{epoch}.weights.h5")
        assert weights(other) == expected
        assert weights(keras.saving.load_model(tmp_path / f"{epoch}.keras", compile=False)) == expected
    assert slots(other) == slots(model)
    printed = capsys.readouterr().out
    assert [f"Epoch {epoch}/2" in printed for epoch in (1, 2)] == [True] * 2


def test_tensorboard_works_across_segments(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    model = build("dense")
    board = keras.callbacks.TensorBoard(tmp_path, update_freq=1, histogram_freq=1)
    one_fit(model, FreezeSchedule(SPEC[1:]), callbacks=[board])
    (events,) = (tmp_path / "train").glob("events.out.tfevents*")
    tf = pytest.importorskip("tensorflow")
    values = [value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value]
    assert values.count("epoch_loss") == EPOCHS
    assert values.count("batch_loss") == EPOCHS * STEPS


def test_restore_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="refreeze")
    model = build("dense")
    model.get_layer("one").trainable = False
    policy = stages((0, always(["one"])), (1, union(always(["two"]), shift(rate(0.5), 1))))
    one_fit(model, FreezeSchedule(policy, restore=True), epochs=2)
    assert said(caplog) == [
        "segment 1/2: epochs [0, 1), 1 names frozen",
        "segment 2/2: epochs [1, 2), 1 names frozen, learning rate set to 0.5",
        "1 of 3 layers remain frozen: two",
    ]
    assert [layer.name for layer in model.layers if not layer.trainable] == ["one"]
    before = weights(model)
    fit(model)(1)
    assert {name for name, now in weights(model).items() if now == before[name]} == {"one/kernel", "one/bias"}


def test_a_callback_may_be_used_again() -> None:
    model, callback = build("dense"), FreezeSchedule(during(always(["one"]), 1))
    watch = MovedPerStep(model.get_layer("one").kernel)
    for _ in range(2):
        one_fit(model, callback, epochs=2, callbacks=[watch])
    assert watch.moved == [*[True] * STEPS, *[False] * STEPS] * 2
