"""Schedules of single variables, alone and mixed with layers: which train, by definition, and that they do."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refreeze import UnknownName, always, during, stages, union
from refreeze.keras import execute
from refreeze.keras.flags import Flags
from refreeze.keras.guard import FrozenGuard
from refreeze.keras.model import layer_names, layers_within, read
from small_models import MODELS, Probe, build, everything, fit, weights

pytestmark = pytest.mark.engine


def test_names_of_variables_are_those_of_their_layers_and_the_rest_of_their_paths() -> None:
    layers = keras.layers
    start = keras.Input((3, 4))
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(start)
    x = layers.MultiHeadAttention(1, 2, use_bias=False, name="attention")(x, x)
    x = layers.BatchNormalization(center=False, name="norm")(x)
    names = [*read(keras.Model(start, x)).declared("parameters")]
    assert names[:3] == [f"both/forward_lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")]
    assert names[6:] == [f"attention/{name}/kernel" for name in ("query", "key", "value", "attention_output")] + [
        "norm/gamma"
    ]


def test_a_schedule_of_layers_needs_no_names_of_variables() -> None:
    class Twice(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.a, self.b = (self.add_weight(shape=(4,), name="same") for _ in range(2))

        def call(self, x: Any) -> Any:
            return x + self.a + self.b

    model = keras.Sequential([keras.Input((4,)), Twice(name="twice")])
    flags = Flags(read(model), ["twice"])
    flags.write(frozenset(["twice"]))
    assert read(model).frozen_layers() == ["twice"]


def test_NAM_2_unknown_variables_are_listed_with_close_matches() -> None:
    with pytest.raises(UnknownName, match=r"unknown 'one/kernal' \(did you mean 'one/kernel', "):
        Flags(read(MODELS["cnn"]()), ["one/kernal", "norm"])


def governors(model: keras.Model, names: set[str]) -> dict[int, set[str]]:
    """Return, by the id of a variable, those of ``names`` that decide about it; the definition, looked up slowly."""
    found: dict[int, set[str]] = {id(variable): set() for variable in read(model).trainable}
    for name, variable in read(model).variables.items():
        found[id(variable)] |= {name} & names
    for node in read(model).nodes:
        for variable in node.layer.weights:
            if id(variable) in found:
                found[id(variable)] |= {node.path} & names
    return found


@pytest.mark.parametrize("kind", ["cnn", "nested", "tied", "holding"])
def test_EXE_2_what_trains_for_any_mixture_of_names_and_any_flags_of_the_user(kind: str) -> None:
    model = {"tied": tied, "holding": holding, **MODELS}[kind]()
    every = [*layer_names(model), *read(model).declared("parameters")]
    holders = [*layers_within(model), *read(model).trainable]

    @settings(deadline=None)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        for holder in holders:
            holder.trainable = True
        for holder in data.draw(
            st.lists(st.sampled_from(range(1, len(holders))), max_size=4), label="frozen by the user"
        ):
            holders[holder].trainable = False
        before = [holder.trainable for holder in holders]
        trained_before = set(map(id, model.trainable_variables))
        names = set(data.draw(st.lists(st.sampled_from(every), unique=True), label="scheduled"))
        governing = governors(model, names)
        frozen = {node.path for node in read(model).nodes if not node.layer.trainable}
        whole = frozen | {*read(model).declared("parameters")}
        flags = Flags(read(model), names)
        for _ in range(data.draw(st.integers(1, 3), label="segments")):
            frozen = names & set(data.draw(st.lists(st.sampled_from(every)), label="frozen"))
            flags.write(frozenset(frozen))
            expected = {
                v
                for v, found in governing.items()
                if found.isdisjoint(frozen) and (v in trained_before or not found.isdisjoint(whole))
            }
            assert set(map(id, model.trainable_variables)) == expected
        flags.restore()
        assert [holder.trainable for holder in holders] == before

    law()


class Transposed(keras.layers.Layer):
    """Multiplies with the transposed kernel of another layer, as the output of a language model does."""

    def __init__(self, other: keras.layers.Dense, name: str) -> None:
        super().__init__(name=name)
        self._tracker.unlock()
        self.kernel = other.kernel
        self.scale = self.add_weight(shape=(1,), name="scale")

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel)) * self.scale


def tied() -> keras.Model:
    start, first = keras.Input((3,)), keras.layers.Dense(2, name="a")
    x = first(start)
    return keras.Model(start, Transposed(first, name="b")(x))


def holding() -> keras.Model:
    """A model of layers that hold layers, and one with an adapter."""
    start = keras.Input((3, 4))
    x = keras.layers.MultiHeadAttention(1, 2, name="attention")(start, start)
    model = keras.Model(start, keras.layers.Dense(2, name="adapted")(x))
    model.get_layer("adapted").enable_lora(1)
    return model


def test_a_variable_of_two_layers_is_frozen_if_either_is() -> None:
    model = tied()
    kernel, flags = model.get_layer("a").kernel, Flags(read(model), ["a", "b"])
    seen = []
    for frozen in ([], ["b"], ["a"], ["a", "b"], []):
        flags.write(frozenset(frozen))
        seen.append(kernel.trainable)
    assert seen == [True, False, False, False, True]


def test_variables_in_a_whole_run_move_exactly_when_they_are_scheduled_to() -> None:
    """Layers and variables of one schedule; statistics of the normalization have no name of their own, and move."""
    sets = [{"one/bias", "norm/gamma", "norm/beta"}, {"one", "two/kernel"}, {"one/bias", "one", "head/bias"}]
    policy = union(
        stages(*((epoch, always(names)) for epoch, names in enumerate(sets))), during(always(["two/bias"]), 0, 2)
    )
    results = []
    for switch in ("cached", "rebuild"):
        model = build(optimizer="adam")
        probe = Probe(model, callbacks=[FrozenGuard()])
        history = execute(model, policy, 3, probe, switch=switch)
        results.append(everything(model, history))
        for call, names, bias in zip(probe.calls, sets, (True, True, False), strict=True):
            names = names | ({"two/bias"} if bias else set())
            frozen = {weight for weight in weights(model) if weight in names or weight.partition("/")[0] in names}
            assert call.moved == set(weights(model)) - frozen
            assert not {slot for slot in call.slots_moved if slot.partition(":")[0] in frozen}
    assert results[0] == results[1]


def test_a_variable_inside_a_layer_that_the_user_froze_trains_alone() -> None:
    model = build("dense", "sgd")
    model.get_layer("two").trainable = False
    before = weights(model)
    execute(model, stages((0, always([])), (1, always(["two/bias"]))), 1, fit(model))
    assert {name for name, now in weights(model).items() if now == before[name]} == {"two/kernel"}
