"""Names on real Keras models (NAM-1..3), and flags: written where scheduled, put back, nothing else touched (EXE-2)."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from refreeze import EmptySelection, InvalidSpec, NeedsModel, UnknownName, Unsupported
from refreeze.keras import FreezeSchedule, FreezeTrainingExecutor
from refreeze.keras.flags import Flags
from refreeze.keras.model import layer_names, layers_within, read
from small_models import MODELS, build, named_weights

pytestmark = pytest.mark.engine

resolve = FreezeTrainingExecutor.resolve_layers


def flags_of(model: keras.Model) -> list[bool]:
    return [holder.trainable for holder in [*layers_within(model), *read(model).trainable]]


def test_NAM_1_all_layers_that_own_weights_in_declaration_order() -> None:
    model = MODELS["cnn"]()
    assert resolve("all", 0, model) == ["one", "norm", "two", "head"]
    assert resolve("all_reverse", 0, model) == ["head", "two", "norm", "one"]


def test_NAM_1_without_a_model_all_is_an_error() -> None:
    with pytest.raises(NeedsModel, match=r"^freeze_training\[3\]\.layers = 'all' can be resolved only with a model"):
        resolve("all", 3)


def test_NAM_3_a_nested_layer_has_a_path_and_a_container_stands_for_its_layers() -> None:
    model = MODELS["nested"]()
    assert layer_names(model) == ("backbone/one", "backbone/inner/deep", "backbone/inner/norm", "head")
    assert resolve(["backbone/inner", "head"], 0, model) == ["backbone/inner/deep", "backbone/inner/norm", "head"]
    assert resolve(["backbone"], 0, model) == ["backbone/one", "backbone/inner/deep", "backbone/inner/norm"]


def test_NAM_2_unknown_layers_are_listed_with_close_matches_before_anything_changes() -> None:
    model = build("nested")
    before = flags_of(model)
    spec = [{"layers": ["head", "backbone/inner/dep", "backbone/none"], "training_interval": [0, 2]}]
    with pytest.raises(UnknownName) as raised:
        FreezeTrainingExecutor(spec).run(model, 4, lambda epochs: pytest.fail("trained"))
    assert raised.value.missing == ("backbone/inner/dep", "backbone/none")
    assert "'backbone/inner/dep' (did you mean 'backbone/inner/deep', " in str(raised.value)
    assert flags_of(model) == before


def test_NAM_2_validate_layers_looks_at_every_operation() -> None:
    model = MODELS["cnn"]()
    FreezeTrainingExecutor.validate_layers(model, [{"freeze": ["one"], "unfreeze": ["head"]}])
    with pytest.raises(UnknownName, match=r"'hed' \(did you mean 'head'\?\), 'tow' \(did you mean 'two'\?\)"):
        FreezeTrainingExecutor.validate_layers(
            model, [{"freeze": ["one"], "unfreeze": ["hed"]}, {"freeze": ["tow"], "unfreeze": []}]
        )


def test_NAM_3_a_model_without_weights_has_nothing_to_select() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
    with pytest.raises(EmptySelection, match=r"^freeze_training\[0\]\.layers = 'all' matches no name$"):
        resolve("all", 0, model)


def test_names_do_not_depend_on_flags_or_on_nesting_twice() -> None:
    shared = keras.layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    start = keras.Input((4,))
    model = keras.Model(start, inner(shared(start)))
    assert layer_names(model) == ("shared",)
    model.trainable = False
    assert layer_names(model) == ("shared",)
    assert read(model).declared("parameters") == ("shared/kernel", "shared/bias")


def test_a_layer_that_holds_layers_is_one_layer_with_variables_inside() -> None:
    start = keras.Input((3, 4))
    model = keras.Model(start, keras.layers.MultiHeadAttention(1, 2, name="attention")(start, start))
    assert layer_names(model) == ("attention",)
    assert "attention/query/kernel" in read(model).declared("parameters")


def test_a_model_that_is_not_built_is_refused() -> None:
    with pytest.raises(Unsupported, match="'lazy' is not built: give it an Input, or call it once"):
        layer_names(keras.Sequential([keras.layers.Dense(1)], name="lazy"))


def test_two_layers_of_one_name_are_refused() -> None:
    class Twice(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="twice")
            self.a, self.b = keras.layers.Dense(1, name="same"), keras.layers.Dense(1, name="same")

        def call(self, x):
            return self.b(self.a(x))

    model = Twice()
    model(keras.ops.zeros((1, 1)))
    with pytest.raises(Unsupported, match="'twice' has several layers of one name: 'same'"):
        layer_names(model)


@pytest.mark.parametrize("kind", MODELS)
def test_writing_twice_equals_writing_once_and_restore_puts_everything_back(kind: str) -> None:
    model = MODELS[kind]()
    names = layer_names(model)
    model.get_layer("head").trainable = False
    before = flags_of(model)
    flags = Flags(read(model), names[:2])
    flags.write(frozenset(names[:1]))
    once = flags_of(model)
    flags.write(frozenset(names[:1]))
    assert flags_of(model) == once
    assert read(model).frozen_layers() == [names[0], "head"]
    flags.restore()
    assert flags_of(model) == before


def test_a_frozen_container_over_a_scheduled_layer_is_opened_and_the_rest_in_it_stays_frozen() -> None:
    model = MODELS["nested"]()
    model.get_layer("backbone").trainable = False
    before = flags_of(model)
    named = named_weights(model)
    flags = Flags(read(model), ["backbone/inner/deep"])
    flags.write(frozenset())
    expected = [named[f"{layer}/{v}"] for layer in ("backbone/inner/deep", "head") for v in ("kernel", "bias")]
    assert set(map(id, model.trainable_variables)) == set(map(id, expected))
    assert read(model).frozen_layers() == ["backbone/one", "backbone/inner/norm"]
    flags.write(frozenset(["backbone/inner/deep"]))
    assert read(model).frozen_layers() == ["backbone/one", "backbone/inner/deep", "backbone/inner/norm"]
    flags.restore()
    assert flags_of(model) == before


def test_restore_puts_back_flags_of_single_variables() -> None:
    model = MODELS["dense"]()
    model.get_layer("one").kernel.trainable = False
    before = flags_of(model)
    flags = Flags(read(model), [])
    model.trainable = False
    model.trainable = True
    assert flags_of(model) != before
    flags.restore()
    assert flags_of(model) == before


LORA = {"one/lora_kernel_a", "one/lora_kernel_b", "one/bias"}


@pytest.mark.parametrize(
    ("names", "whole", "released"),
    [
        (["one"], False, LORA),
        (["one"], True, LORA | {"one/kernel"}),
        (["one", "one/kernel"], False, LORA | {"one/kernel"}),
        (["one/bias"], False, LORA),
    ],
)
def test_EXE_2_what_the_user_froze_in_a_layer_is_released_only_if_it_is_named(
    names: list[str], whole: bool, released: set[str]
) -> None:
    """The kernel under an adapter (LoRA), which Keras freezes."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="one")])
    model.get_layer("one").enable_lora(1)
    if whole:
        model.get_layer("one").trainable = False
    before, flags, tree = flags_of(model), Flags(read(model), names), read(model)
    for frozen in (frozenset(names), frozenset[str]()) * 2:
        flags.write(frozen)
    assert {name for name, variable in tree.variables.items() if variable.trainable} == released
    flags.restore()
    assert flags_of(model) == before


def test_EXE_2_a_sublayer_that_the_user_froze_stays_frozen() -> None:
    start = keras.Input((3, 4))
    model = keras.Model(start, keras.layers.MultiHeadAttention(1, 2, name="attention")(start, start))
    tree = read(model)
    (query,) = [part for part in tree.inside if part.name == "query"]
    query.trainable = False
    flags = Flags(tree, ["attention"])
    for frozen in (frozenset(["attention"]), frozenset[str]()):
        flags.write(frozen)
    assert not query.trainable
    assert {name for name, variable in tree.variables.items() if not variable.trainable} == {
        "attention/query/kernel", "attention/query/bias",
    }  # fmt: skip


@pytest.mark.parametrize("make", [keras.applications.EfficientNetV2B0, keras.applications.MobileNetV3Small])
def test_EXE_2_a_nested_network_thaws_but_for_what_the_user_froze(make: Any) -> None:
    """A backbone of keras.applications in a model, all of it scheduled, under LoRA in the head."""
    backbone = make(input_shape=(32, 32, 3), weights=None, include_top=False, pooling="avg")
    start = keras.Input((32, 32, 3))
    model = keras.Model(start, keras.layers.Dense(2, name="head")(backbone(start)))
    model.get_layer("head").enable_lora(1)
    before, tree = flags_of(model), read(model)
    names = resolve([backbone.name, "head"], 0, model)
    assert tuple(names) == layer_names(model)
    flags = Flags(tree, names)
    for frozen in (frozenset(names), frozenset(names[::2]), frozenset[str]()):
        flags.write(frozen)
        trained = {node.path for node in tree.nodes if node.variables and not node.is_frozen}
        assert trained == {node.path for node in tree.nodes if node.variables} - frozen
    assert flags_of(model) == before
    assert [name for name, variable in tree.variables.items() if not variable.trainable] == ["head/kernel"]


def sharing() -> keras.Model:
    """Two containers that hold one layer, ``shared``, and one of their own each."""
    start, shared = keras.Input((4,)), keras.layers.Dense(4, name="shared")
    parts = [
        keras.Sequential([keras.Input((4,)), shared, keras.layers.Dense(4, name=own)], name=name)
        for name, own in (("A", "x"), ("B", "y"))
    ]
    model = keras.Model(start, parts[1](parts[0](start)))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("dialect", "config", "frozen"),
    [
        ("vl3d", [{"layers": ["A"], "training_interval": [0, 1]}], {"A/shared", "A/x"}),
        ("vl3d", [{"layers": ["B"], "training_interval": [0, 1]}], {"A/shared", "B/y"}),
        ("vl3d", [{"layers": ["B/shared"], "training_interval": [0, 1]}], {"A/shared"}),
        ("vl3d", [{"layers": ["A", "B"], "training_interval": [0, 1]}], {"A/shared", "A/x", "B/y"}),
        ("vl3d", [{"layers": "all", "training_interval": [0, 1]}], {"A/shared", "A/x", "B/y"}),
        ("lighter", [{"name_starts_with": "B/"}], {"A/shared", "B/y"}),
        ("lighter", [{"names": ["B/shared/kernel", "B/shared/bias"]}], {"A/shared"}),
        ("kempner", {"freeze": [{"module": "B/*"}]}, {"A/shared", "B/y"}),
        ("gradual", {"groups": [["B"], ["A/x"]], "every": 1}, {"A/shared", "B/y"}),
    ],
)
def test_NAM_3_a_container_stands_for_all_layers_that_it_holds_shared_ones_too(
    dialect: str, config: Any, frozen: set[str]
) -> None:
    model = sharing()
    assert layer_names(model) == ("A/shared", "A/x", "B/y")
    x = keras.ops.ones((4, 4))
    before = named_weights(model)
    before = {name: weight.numpy().tolist() for name, weight in before.items()}
    model.fit(x, x, verbose=0, callbacks=[FreezeSchedule(config, dialect=dialect)])
    moved = {name for name, weight in named_weights(model).items() if weight.numpy().tolist() != before[name]}
    assert {name.rpartition("/")[0] for name in moved} == {*layer_names(model)} - frozen


def test_NAM_3_a_path_twice_is_an_error_and_a_policy_may_use_any() -> None:
    model = sharing()
    with pytest.raises(InvalidSpec, match=r"repeated: 'B/shared'"):
        resolve(["B", "B/shared"], 0, model)
    flags = Flags(read(model), ["B/shared", "A/shared", "B/shared/kernel"])
    flags.write(frozenset(["B/shared"]))
    assert read(model).frozen_layers() == ["A/shared"]
    flags.write(frozenset())
    assert read(model).frozen_layers() == []
