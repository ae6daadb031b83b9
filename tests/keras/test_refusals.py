"""What the engine refuses: each with its message, and before anything is changed or trained."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Conflict, InvalidSpec, ScheduleError, Unsupported, always
from refreeze.keras import FreezeSchedule, FreezeTrainingExecutor, execute
from small_models import build, fit, said, slots, weights

pytestmark = pytest.mark.engine

SPEC = [{"layers": ["one"], "training_interval": [1, 3], "initial_learning_rate": 0.1}]


def refused(model: Any, spec: Any = SPEC, total: Any = 4, fit_fn: Any = None, **options: Any) -> ScheduleError:
    """Return the error of a run that must be refused, after looking that nothing has changed."""
    flags = [layer.trainable for layer in model._flatten_layers()]
    before = weights(model) if model.built else {}
    with pytest.raises(ScheduleError) as raised:
        FreezeTrainingExecutor(spec, **options).run(model, total, fit_fn or (lambda epochs: pytest.fail("trained")))
    assert [layer.trainable for layer in model._flatten_layers()] == flags
    assert (weights(model) if model.built else {}) == before
    return raised.value


def recompiled(optimizer: Any) -> keras.Model:
    model = build("dense")
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def of_two_optimizers() -> keras.Model:
    model = build("dense")
    model.name, model.critic_optimizer = "two", keras.optimizers.Adam(0.1)
    return model


DECAY = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
MODELS_REFUSED = {
    "not built": (
        lambda: keras.Sequential([keras.layers.Dense(2)], name="lazy"),
        "model 'lazy' is not built: give it an Input, or call it once, before scheduling it",
    ),
    "not compiled": (
        lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one")], name="raw"),
        "model 'raw' is not compiled with an optimizer: call compile(...) before the run",
    ),
    "EXE-5, a learning rate schedule when a rate is set": (
        lambda: recompiled(keras.optimizers.SGD(DECAY, name="sgd")),
        "the schedule sets learning rates, but optimizer 'sgd' computes its own, with ExponentialDecay; "
        "give it a number, or take the rates out of the schedule",
    ),
    "EXE-12, use_ema": (
        lambda: recompiled(keras.optimizers.Adam(use_ema=True, name="adam")),
        "optimizer 'adam' has use_ema=True, with which Keras writes the averages into the wrong variables "
        "as soon as one is frozen; use_ema=False is needed",
    ),
    "several optimizers": (
        of_two_optimizers,
        "model 'two' has optimizers of its own besides the one that it is compiled with: critic_optimizer; "
        "a schedule needs a single one",
    ),
}


@pytest.mark.parametrize("kind", MODELS_REFUSED)
def test_models_and_optimizers(kind: str) -> None:
    make, message = MODELS_REFUSED[kind]
    error = refused(make())
    assert isinstance(error, Unsupported)
    assert str(error) == message


def test_EXE_5_a_learning_rate_schedule_is_fine_when_no_rate_is_set() -> None:
    model, spec = recompiled(keras.optimizers.SGD(DECAY)), [{"layers": ["one"], "training_interval": [1, 2]}]
    assert FreezeTrainingExecutor(spec).run(model, 2, fit(model)).epoch == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total": -1}, "training_epochs = -1 must be an integer >= 0"),
        ({"total": 2.0}, "training_epochs = 2.0 must be an integer >= 0"),
        ({"fit_fn": 3}, "fit_fn = 3 must be callable with a number of epochs"),
    ],
)
def test_arguments_of_run(arguments: dict[str, Any], message: str) -> None:
    error = refused(build("dense"), **arguments)
    assert isinstance(error, InvalidSpec)
    assert str(error) == message


@pytest.mark.parametrize(
    ("dialect", "config"),
    [
        ("freezeout", {"layers": ["one", "two", "head"]}),
        ("lightning", {"backbone": ["one"], "learning_rate": 0.1}),
    ],
)
def test_learning_rates_of_single_layers(dialect: str, config: dict[str, Any]) -> None:
    model = build("dense")
    before = weights(model)
    with pytest.raises(Unsupported, match=r"^the schedule has learning rates of their own for .*one.*, and a Keras"):
        fit(model, callbacks=[FreezeSchedule(config, dialect=dialect)])(1)
    assert weights(model) == before


def test_learning_rates_of_single_layers_may_be_ignored_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = build("dense")
    schedule = FreezeSchedule({"layers": ["one", "two", "head"], "t_0": 0.5}, dialect="freezeout", rates="ignore")
    before = weights(model)
    fit(model, callbacks=[schedule])(2)
    assert [(s.start, sorted(s.frozen)) for s in schedule.schedule] == [(0, []), (1, ["one"]), (3, ["one", "two"])]
    assert all(value != before[name] for name, value in weights(model).items())
    assert said(caplog, logging.WARNING) == [
        "the learning rates of head, one, two are ignored: the optimizer's own is that of all that trains"
    ]


def test_a_dialect_that_could_have_rates_of_single_layers_runs_without_them() -> None:
    model = build("dense")
    config = {"backbone": ["one"], "unfreeze_backbone_at_epoch": 1}
    before = weights(model)
    fit(model, callbacks=[FreezeSchedule(config, dialect="lightning")])(1)
    after = weights(model)
    assert {name for name in after if after[name] == before[name]} == {"one/kernel", "one/bias"}


def test_SCH_6_overlapping_rates() -> None:
    spec = [*SPEC, {"layers": ["two"], "training_interval": [1, 3], "initial_learning_rate": 0.2}]
    error = refused(build("dense"), spec)
    assert isinstance(error, Conflict)
    assert str(error) == "tick 1: learning rates 0.1, 0.2 are set at once; one may be"


def test_a_fit_function_that_returns_no_history_or_trains_another_model_or_number_of_epochs() -> None:
    model = build("dense")
    for wrong in (None, keras.callbacks.History()):
        with pytest.raises(InvalidSpec, match=r"^fit_fn\(1\) = .* must be the History that model\.fit returns$"):
            FreezeTrainingExecutor(SPEC).run(model, 4, lambda epochs, wrong=wrong: wrong)
    executor, other = FreezeTrainingExecutor(SPEC), build("dense")
    executor.run(model, 1, fit(model))
    with pytest.raises(Unsupported):
        executor.run(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one")]), 4, fit(model))
    assert [report.trained for report in executor.reports] == [1]
    with pytest.raises(InvalidSpec, match=r"^fit_fn\(1\) = '.*' must be a History of the model that the run is for, '"):
        FreezeTrainingExecutor(SPEC).run(model, 4, fit(other))
    with pytest.raises(InvalidSpec, match=r"^epochs of fit_fn\(1\) = 2 must be 1, if nothing stops training$"):
        FreezeTrainingExecutor(SPEC).run(model, 4, lambda epochs: fit(model)(2))


def test_an_optimizer_built_over_fewer_variables_is_extended_and_loses_nothing() -> None:
    """The usual beginning: the base frozen by hand, the head trained; then a schedule thaws the base (EXE-4)."""
    model = build("dense")
    model.get_layer("one").trainable = False
    fit(model)(2)
    before = slots(model)
    seen: dict[str, bytes] = {}

    def watched(epochs: int) -> Any:
        seen.update(slots(model))
        return fit(model)(epochs)

    FreezeTrainingExecutor([{"layers": ["one"], "training_interval": [5, 6]}]).run(model, 1, watched)
    assert {name: seen[name] for name in before} == before
    assert {name for name in seen if name not in before} == {
        f"one/{weight}:{slot}" for weight in ("kernel", "bias") for slot in ("momentum", "velocity")
    }
    assert slots(model)["one/kernel:momentum"] != seen["one/kernel:momentum"]


def twice_the_name() -> keras.Model:
    """A model with two slots of one name: the optimizer was built while the head was frozen."""
    start = keras.Input((3,))
    parts = [keras.Model(start, keras.layers.Dense(3, name="dense")(start), name=name) for name in ("one", "two")]
    model = keras.Sequential([start, *parts, keras.layers.Dense(3, name="head")])
    model.get_layer("head").trainable = False
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


@pytest.mark.parametrize(
    "start",
    [
        lambda model, fit: execute(model, always(["head"]), 1, fit),
        lambda model, fit: fit(1, callbacks=[FreezeSchedule(always(["head"]))]),
    ],
    ids=["execute", "callback"],
)
def test_a_refused_run_leaves_the_optimizer_as_it_was(start: Any) -> None:
    model, x = twice_the_name(), np.ones((4, 3))

    def train(epochs: int, **options: Any) -> Any:
        return model.fit(x, x, epochs=epochs, verbose=0, **options)

    train(1)
    before, function = [(id(v), v.numpy().tolist()) for v in model.optimizer.variables], model.train_function
    with pytest.raises(Unsupported, match="it cannot be known which of its slots are whose"):
        start(model, train)
    assert [(id(v), v.numpy().tolist()) for v in model.optimizer.variables] == before
    assert all(np.any(values) for _, values in before[2:])
    assert model.train_function is function
    train(1)
    assert [(id(v), v.numpy().tolist()) for v in model.optimizer.variables] != before


class Unnamed(keras.optimizers.SGD):
    """An optimizer that no configuration can make."""

    def __init__(self, rate: float, *, wanted: int) -> None:
        super().__init__(rate, name="unnamed")


def test_an_optimizer_that_cannot_be_made_anew_is_refused_for_resets_alone() -> None:
    model = recompiled(Unnamed(0.1, wanted=1))
    spec = [{"layers": ["one"], "training_interval": [1, 2]}]
    for state in ("reset", "reset_unfrozen", "per_variable"):
        message = str(refused(model, spec, optimizer_state=state))
        assert message.startswith("optimizer 'unnamed' cannot be made anew from its configuration (")


@pytest.mark.only_on("torch")
def test_what_torch_cannot_do_is_refused_by_name() -> None:
    model = build("dense", steps_per_execution=2)
    with pytest.raises(Unsupported, match="is compiled with steps_per_execution = 2, and Keras executes one step"):
        execute(model, always(["one"]), 1, fit(model))
    assert all(layer.trainable for layer in model.layers)
