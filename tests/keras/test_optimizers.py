"""EXE-3, EXE-4 and EXE-7 for many optimizers, with clipping, decay, accumulation and loss scaling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from refreeze import Unsupported, always, during, rate, shift, stages, union
from refreeze.keras import FreezeSchedule, execute
from refreeze.keras import optimizer as optimizers
from refreeze.keras.model import read
from small_models import MODELS, STEPS, Probe, everything, fit, weights

pytestmark = pytest.mark.engine

Make = Callable[[], Any]
TRAINED: dict[str, Make] = {
    "sgd, nesterov, clipvalue": lambda: keras.optimizers.SGD(0.05, 0.9, nesterov=True, clipvalue=0.01),
    "adam, clipnorm": lambda: keras.optimizers.Adam(0.01, clipnorm=0.1),
    "adamw, decay": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.05),
    "rmsprop, global_clipnorm": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9, global_clipnorm=0.1),
    "lion, decay": lambda: keras.optimizers.Lion(0.01, weight_decay=0.05),
}
ALL: dict[str, Make] = {
    **TRAINED,
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "adam, amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "nadam": lambda: keras.optimizers.Nadam(0.01),  # has a scalar of its own, which begins at 1
    "adagrad": lambda: keras.optimizers.Adagrad(0.01),  # slots begin at 0.1
    "ftrl": lambda: keras.optimizers.Ftrl(0.01),
    "adam, accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}
BY_STEP = stages((0, always(["one"])), (1, always(["two", "head/bias"])), (2, always(["one"])), (3, always([])))


def compiled(make: Make, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = MODELS["dense"]()
    model.compile(make(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    return model


def frozen_names(model: keras.Model, names: frozenset[str]) -> set[str]:
    return {weight for weight in weights(model) if weight in names or weight.partition("/")[0] in names}


@pytest.mark.parametrize("name", TRAINED)
def test_frozen_stays_unfrozen_moves_and_slots_of_frozen_stay(name: str) -> None:
    model = compiled(TRAINED[name])
    probe = Probe(model)
    history = execute(model, BY_STEP, 3, probe)
    assert int(model.optimizer.iterations) == 3 * STEPS
    for epoch, call in enumerate(probe.calls):
        trained = set(weights(model)) - frozen_names(model, BY_STEP.frozen_at(epoch))
        assert call.moved == trained
        assert {slot.partition(":")[0] for slot in call.slots_moved if ":" in slot} == trained
    if name in ("lion, decay", "rmsprop, global_clipnorm"):  # EXE-7 has its own test, with the others
        other = compiled(TRAINED[name])
        assert everything(model, history) == everything(other, execute(other, BY_STEP, 3, fit(other), switch="rebuild"))


def scrambled(make: Make, built_over: list[Any]) -> Any:
    """Return an optimizer whose every variable, but for the learning rate, has a value that no new one has."""
    optimizer = make()
    optimizer.build(built_over)
    for number, variable in enumerate(optimizer.variables):
        if variable is not optimizer._learning_rate:
            variable.assign(keras.ops.full(variable.shape, 5 + number, variable.dtype))
    return optimizer


def values(optimizer: Any) -> list[list[float]]:
    return [variable.numpy().ravel().tolist() for variable in optimizer.variables]


@pytest.mark.parametrize("name", ALL)
def test_reset_is_the_state_of_a_new_optimizer(name: str) -> None:
    variables = read(MODELS["dense"]()).trainable
    optimizer, new = scrambled(ALL[name], variables), ALL[name]()
    new.build(variables)
    optimizer.learning_rate = 0.5
    optimizers.reset(optimizer)
    for slot, now, fresh in zip(optimizer.variables, values(optimizer), values(new), strict=True):
        assert now == ([0.5] if slot is optimizer._learning_rate else fresh)


@pytest.mark.parametrize("name", ALL)
def test_reset_unfrozen_resets_the_slots_of_some_variables(name: str) -> None:
    variables = read(MODELS["dense"]()).trainable
    optimizer, new = scrambled(ALL[name], variables), ALL[name]()
    new.build(variables)
    before = values(optimizer)
    chosen = variables[2]
    optimizers.reset(optimizer, {id(chosen)})
    prefix = chosen.path.replace("/", "_")
    for slot, was, now, fresh in zip(optimizer.variables, before, values(optimizer), values(new), strict=True):
        assert now == (fresh if slot.name.startswith(f"{prefix}_") else was)


@pytest.mark.parametrize("name", ALL)
def test_an_optimizer_that_was_built_over_fewer_variables_is_extended(name: str) -> None:
    model = compiled(ALL[name])
    variables = read(model).trainable
    new = ALL[name]()
    new.build(variables)
    fresh = dict(zip((v.name for v in new.variables), values(new), strict=True))
    model.compile(scrambled(ALL[name], variables[2:]), "mse")
    before = dict(zip((v.name for v in model.optimizer.variables), values(model.optimizer), strict=True))
    optimizers.prebuild(read(model))
    after = dict(zip((v.name for v in model.optimizer.variables), values(model.optimizer), strict=True))
    own = [name for name in before if name not in fresh]  # Nadam's scalar has another automatic name each time
    assert [before[name] for name in own] == [value for name, value in after.items() if name not in fresh]
    assert {name: after[name] for name in fresh if name in after} == {
        name: before.get(name, value) for name, value in fresh.items() if name in after
    }
    assert len(after) == len(fresh)


def test_slots_that_cannot_be_told_apart_are_refused_for_reset_unfrozen_alone() -> None:
    model = compiled(lambda: keras.optimizers.Adafactor(0.01, name="adafactor"))
    with pytest.raises(Unsupported, match="'adafactor' does not say which slots belong to which variable"):
        execute(model, BY_STEP, 3, fit(model), optimizer_state="reset_unfrozen")
    execute(model, during(always(["one"]), 1, 2), 3, fit(model), optimizer_state="reset")
    assert int(model.optimizer.iterations) == STEPS


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_an_optimizer_of_several_optimizers_is_refused() -> None:
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1)), name="several")
    with pytest.raises(Unsupported, match="'several' holds several optimizers; a schedule needs a single one"):
        execute(compiled(lambda: several), BY_STEP, 3, lambda epochs: pytest.fail("trained"))


class Gathered(keras.callbacks.Callback):
    """Notes, after every step, the bias of a layer and its accumulated gradient."""

    def __init__(self, model: keras.Model, layer: str) -> None:
        super().__init__()
        self.bias = model.get_layer(layer).bias
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        name = f"{self.bias.path.replace('/', '_')}_gradient_accumulator"
        (gathered,) = [variable for variable in self.model.optimizer.variables if variable.name == name]
        self.steps.append((self.bias.numpy(), gathered.numpy()))


def test_a_boundary_inside_of_an_accumulation_window() -> None:
    """Windows of two steps; frozen in steps 1-3: the first and the third window are each cut by a boundary."""
    model = compiled(lambda: keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))
    watch = Gathered(model, "one")
    begin = watch.bias.numpy()
    fit(model, callbacks=[FreezeSchedule(during(always(["one"]), 1, 5), unit="steps"), watch])(2)
    biases, gathered = zip(*watch.steps, strict=True)
    assert gathered[0].any()
    # What was gathered in step 0 is lost at the end of its window, and nothing has moved in the whole of [0, 5).
    assert not any(now.any() for now in gathered[1:])
    assert all((now == begin).all() for now in biases[:5])
    # Step 5 ends the third window, of which this variable saw only this half.
    assert (biases[5] != begin).any()
    assert int(model.optimizer._iterations) == 2 * STEPS


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("mixed_precision")
def test_loss_scaling() -> None:
    policy = union(BY_STEP, shift(rate(0.02), 1))
    results = []
    for switch in ("cached", "rebuild"):
        model = compiled(lambda: keras.optimizers.Adam(0.01))
        wrapper = model.optimizer
        assert isinstance(wrapper, keras.optimizers.LossScaleOptimizer)
        seen = [weights(model)]

        def watched(epochs: int, model: keras.Model = model, seen: list[dict[str, bytes]] = seen) -> Any:
            history = fit(model)(epochs)
            seen.append(weights(model))
            return history

        history = execute(model, policy, 3, watched, switch=switch)
        results.append((seen, [variable.numpy().tolist() for variable in wrapper.variables], history.history))
        assert model.optimizer is wrapper
        for epoch, (was, now) in enumerate(itertools.pairwise(seen)):
            assert {weight for weight in now if now[weight] == was[weight]} == frozen_names(
                model, policy.frozen_at(epoch)
            )
        # Steps with a gradient that is not finite halve the scale and are skipped; all others count.
        skipped = round(np.log2(wrapper.initial_scale / wrapper.dynamic_scale.numpy()))
        assert int(wrapper.inner_optimizer.iterations) == 3 * STEPS - skipped
        assert float(wrapper.inner_optimizer.learning_rate.numpy()) == pytest.approx(0.02)
    assert results[0] == results[1]

    wrapper.dynamic_scale.assign(8)
    optimizers.reset(wrapper, {id(model.layers[1].kernel)})
    assert float(wrapper.dynamic_scale.numpy()) == 8
    optimizers.reset(wrapper)
    assert float(wrapper.dynamic_scale.numpy()) == wrapper.initial_scale
    assert int(wrapper.inner_optimizer.iterations) == 0


@pytest.mark.usefixtures("mixed_precision")
def test_EXE_12_use_ema_inside_of_a_loss_scale() -> None:
    model = compiled(lambda: keras.optimizers.Adam(use_ema=True))
    with pytest.raises(Unsupported, match="use_ema=False is needed"):
        execute(model, BY_STEP, 3, lambda epochs: pytest.fail("trained"))
