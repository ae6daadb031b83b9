"""A run resumed at any tick ends like one that was never interrupted (RES-1..3)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Policy, ScheduleMismatch, always, during, rate, segments, shift, union
from refreeze.keras import FreezeTrainingExecutor, execute
from refreeze.keras.checkpoint import Checkpointer
from refreeze.keras.report import SegmentReport

pytestmark = pytest.mark.engine
TOTAL = 7
# Segments [0, 2), [2, 3) with a rate, [3, 5), [5, 7): boundaries with and without a rate, ticks inside of segments.
POLICY = union(
    during(always(["one"]), 0, 3), shift(rate(0.02), 2), during(always(["two"]), 3, 5), during(always(["norm"]), 3)
)
X = np.linspace(-1, 1, 96, dtype=np.float32).reshape(24, 4)
Y = np.stack([X.sum(1), X[:, 0] * X[:, 1]], 1)


def network(seed: int = 0, rate: float = 0.05, run_eagerly: bool = True) -> keras.Model:
    """Return a compiled model with momentum, Dropout and moving statistics; eager, as traces take most of the time."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, "tanh", name="one"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="two"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"], run_eagerly=run_eagerly)
    return model


class Run:
    """One run: its calls of the fit function, and all that it ends with."""

    def __init__(
        self, model: keras.Model, policy: Policy = POLICY, total: int = TOTAL, callbacks: Any = (), **options: Any
    ) -> None:
        self.model, self.calls, self.reports = model, [], list[SegmentReport]()

        def fit(epochs: int) -> Any:
            self.calls.append(epochs)
            return model.fit(X, Y, **{
                "batch_size": 8, "epochs": epochs, "shuffle": shuffle, "verbose": 0, "callbacks": list(callbacks)
            })  # fmt: skip

        shuffle = options.pop("shuffle", False)
        self.history = execute(model, policy, total, fit, reports=self.reports, **options)
        variables = [*model.variables, *model.optimizer.variables]
        self.end = (
            [variable.numpy().tobytes() for variable in variables],
            [(layer.trainable, getattr(layer.call, "mode", "")) for layer in model.layers],
            repr(self.history.history),
            self.history.epoch,
            model.stop_training,
        )


def only(folder: Path, epoch: int, there: Path) -> Path:
    """Copy the checkpoint after ``epoch`` epochs to a folder of its own."""
    there.mkdir()
    shutil.copy(folder / f"epoch-{epoch:08}.npz", there)
    return there


@pytest.mark.parametrize(("eager", "at", "options"), [
    (False, range(1, TOTAL + 1), {}),
    (True, [3, 4, 5], {"optimizer_state": "reset"}),
    (True, [3, 5], {"optimizer_state": "reset_unfrozen", "switch": "rebuild"}),
    (True, [4, 7], {"batch_norm": "batch"}),
    (False, [4], {"switch": "masked", "optimizer_state": "per_variable"}),
], ids=str)  # fmt: skip
def test_RES_1_2_resumed_at_any_tick_the_end_is_that_of_the_uninterrupted_run(
    eager: bool, at: list[int], options: Any, tmp_path: Path
) -> None:
    through = Run(network(run_eagerly=eager), **options)
    assert through.calls == [2, 1, 2, 2]
    # Saving at every epoch trains in parts, and changes nothing else.
    parts = Run(network(run_eagerly=eager), checkpoint=Checkpointer(tmp_path / "all", every=1, keep=TOTAL), **options)
    assert parts.calls == [1] * TOTAL
    assert parts.end == through.end
    for epoch in at:
        folder = only(tmp_path / "all", epoch, tmp_path / str(epoch))
        # Another seed and another rate: all that counts is in the checkpoint. Saved at the ends of segments, for once.
        resumed = Run(network(1, 0.5, eager), checkpoint=folder, resume=True, **options)
        assert resumed.end == through.end, epoch
        assert resumed.calls == [s.stop - max(s.start, epoch) for s in segments(POLICY, TOTAL) if s.stop > epoch]
        first = [report.segment.learning_rate for report in resumed.reports][:1]
        assert first == ([] if epoch == TOTAL else [0.02 if epoch == 2 else None])


def test_RES_1_at_0_a_resumed_run_is_a_whole_one(tmp_path: Path) -> None:
    assert Run(network(), checkpoint=tmp_path, resume=True).end == Run(network()).end
    empty = Run(network(), total=0, checkpoint=tmp_path / "empty", resume=True)
    assert (empty.calls, empty.history.history, empty.history.epoch) == ([], {}, [])


def test_the_rate_that_a_callback_left_is_kept_until_the_schedule_sets_one(tmp_path: Path) -> None:
    halve = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(
            halve.model.optimizer, "learning_rate", halve.model.optimizer.learning_rate / 2
        )
    )
    through = Run(network(), callbacks=[halve])
    Run(network(), callbacks=[halve], total=4, checkpoint=tmp_path)
    resumed = Run(network(1, 0.5), callbacks=[halve], checkpoint=tmp_path, resume=True)
    assert resumed.end == through.end
    assert float(resumed.model.optimizer.learning_rate) == pytest.approx(0.02 / 2**5)


def test_shuffled_data_come_in_the_same_order_if_each_fit_is_seeded_by_its_start(tmp_path: Path) -> None:
    seeded = {"shuffle": True, "on_segment": lambda segment: keras.utils.set_random_seed(segment.start)}
    through = Run(network(), **seeded)
    Run(network(), total=3, checkpoint=tmp_path, **seeded)
    assert Run(network(1), checkpoint=tmp_path, resume=True, **seeded).end == through.end


def test_EXE_8_a_run_that_was_stopped_is_over(tmp_path: Path) -> None:
    def stopping() -> Any:
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 1)
        )
        return [stop]

    through = Run(network(), callbacks=stopping(), checkpoint=tmp_path)
    assert (through.calls, through.history.epoch, through.model.stop_training) == ([2], [0, 1], True)
    resumed = Run(network(1), callbacks=stopping(), checkpoint=tmp_path, resume=True)
    assert (resumed.calls, resumed.reports) == ([], [])
    assert resumed.end == through.end


def test_RES_3_another_past_is_refused_with_the_first_differing_tick_unless_overridden(tmp_path: Path) -> None:
    Run(network(), total=5, checkpoint=tmp_path)
    other = union(POLICY, during(always(["two"]), 2, 4))
    model = network(1)
    before = [variable.numpy().tobytes() for variable in model.variables]
    with pytest.raises(ScheduleMismatch) as caught:
        Run(model, other, checkpoint=tmp_path, resume=True)
    assert (caught.value.tick, caught.value.recorded["frozen"], caught.value.given["frozen"]) == (
        2, ["one"], ["one", "two"],
    )  # fmt: skip
    assert [variable.numpy().tobytes() for variable in model.variables] == before
    # What is to come may differ, and be longer or shorter; but not shorter than what was.
    later = union(POLICY, during(always(["one"]), 5, 8))
    assert Run(network(1), later, 8, checkpoint=tmp_path, resume=True).calls == [3]
    (tmp_path / "epoch-00000008.npz").unlink()
    with pytest.raises(ScheduleMismatch, match=r"differ at tick 4: .* given None"):
        Run(network(1), total=4, checkpoint=tmp_path, resume=True)
    overridden = Run(network(1), other, 6, checkpoint=Checkpointer(tmp_path, other_past=True), resume=True)
    assert (overridden.calls, overridden.history.epoch) == ([1], list(range(6)))


def test_the_executor_takes_a_checkpoint_and_restores_the_flags_of_the_user(tmp_path: Path) -> None:
    spec = [{"layers": ["one"], "training_interval": [0, 4]}]
    through = Run(network(), during(always(["one"]), 0, 4))

    def run(epochs: int, **options: Any) -> tuple[keras.Model, Any]:
        model = network()
        executor = FreezeTrainingExecutor(spec, checkpoint=tmp_path, **options)
        fit = lambda n: model.fit(X, Y, batch_size=8, epochs=n, shuffle=False, verbose=0)  # noqa: E731
        return model, executor.run(model, epochs, fit)

    run(2)
    model, history = run(TOTAL, resume=True, restore=True)
    assert repr(history.history) == through.end[2]
    assert [layer.trainable for layer in model.layers] == [True] * 4
