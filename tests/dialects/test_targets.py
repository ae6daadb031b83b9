"""What the functions of kempner and fastai write on: mappings, PyTorch's looks, Keras models."""

import types

import pytest
from refreeze import InvalidSpec, Unsupported
from refreeze.dialects import fastai, kempner, targets
from refreeze.dialects.targets import Target


class Tensor:
    """A parameter of PyTorch by its looks: ``size`` is a method there."""

    def __init__(self, *shape):
        self.shape = shape
        self.requires_grad = True

    def size(self):
        raise AssertionError("not to be called")


class Module:
    def __init__(self, **parameters):
        self.parameters = parameters

    def named_parameters(self):
        return self.parameters.items()


def test_a_module_of_pytorch_is_asked_for_its_parameters():
    module = Module(weight=Tensor(3, 4), bias=Tensor(4), scale=Tensor())
    assert kempner.freeze_params(module, ["weight", "scale"]) == 12 + 1
    assert [tensor.requires_grad for tensor in module.parameters.values()] == [False, True, False]
    assert kempner.freeze_params(dict(module.named_parameters()), ["*"], frozen=False) == 13


def test_a_mapping_is_taken_as_it_is():
    model = {"a": Target(size=7), "b": Target()}
    assert targets.parameters(model) is targets.layers(model) is model
    assert kempner.freeze_params(model, ["a"]) == 7


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def nested(keras):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, name="conv"), layers.BatchNormalization(name="bn")])
    inner.name = "backbone"
    shared = layers.Dense(5, name="shared")
    entry = keras.Input((6,))
    x = shared(layers.Dropout(0.1)(inner(entry)))
    x = layers.MultiHeadAttention(2, 2, name="mha")(x[:, None], x[:, None])
    again = keras.Sequential([keras.Input((1, 5)), shared], name="again")
    return keras.Model(entry, layers.Dense(3, name="head")(again(x)))


@pytest.mark.engine
def test_kempner_freezes_variables_of_a_keras_model(keras):
    model = nested(keras)
    backbone = 6 * 5 + 5 + 5 + 5
    specs = [kempner.FreezeSpec("backbone/*"), kempner.FreezeSpec("*/bias", False)]
    variables = targets.parameters(model)
    assert not any("moving" in name or "seed" in name for name in variables)
    assert kempner.apply_freeze_specs(model, specs, {}) == {"backbone/*": backbone, "*/bias": 5}
    frozen = {name for name, variable in variables.items() if not variable.trainable}
    assert frozen == {"backbone/conv/kernel", "backbone/bn/gamma", "backbone/bn/beta"}
    assert len(model.trainable_variables) == len(variables) - 3
    kempner.freeze_params(model, ["*"], frozen=False)
    moving = [variable for variable in model.variables if "moving" in variable.path]
    assert len(moving) == 2
    assert not any(variable.trainable for variable in moving), "statistics do not become parameters"


@pytest.mark.engine
def test_fastai_freezes_layers_of_a_keras_model(keras):
    model = nested(keras)
    groups = fastai.layer_groups(model, ["shared", "head"])
    assert groups == [["backbone/conv", "backbone/bn"], ["shared", "mha"], ["head"]]
    fastai.freeze(model, groups)
    assert [layer.trainable for layer in targets.layers(model).values()] == [False] * 4 + [True]
    assert fastai.in_inference_mode(model) == {"backbone/bn"}
    fastai.unfreeze(model, groups)
    fastai.bn_freeze(model, True)
    assert all(layer.trainable for layer in targets.layers(model).values())
    assert fastai.in_inference_mode(model) == {"backbone/bn"}
    fastai.bn_freeze(model, False)
    assert fastai.in_inference_mode(model) == set()


@pytest.mark.parametrize(
    ("write", "allowed"),
    [
        (lambda m: kempner.freeze_params(m, ["*"]), "a Keras model, a PyTorch module, or parameters by name"),
        (lambda m: fastai.freeze(m, [["a"]]), "a Keras model, or layers by name"),
    ],
)
def test_anything_else_is_refused(write, allowed):
    class Other:
        def __repr__(self) -> str:
            return "Other()"

    only_layers, only_fit = Other(), Other()
    only_layers.layers, only_fit.fit = [], None
    for model in (Other(), only_layers, only_fit):
        with pytest.raises(InvalidSpec) as caught:
            write(model)
        assert str(caught.value) == f"model = Other() must be {allowed}"


def test_what_looks_like_a_model_of_keras_is_read_by_the_engine(monkeypatch):
    class Model:
        layers = fit = None

    read, model = [], Model()

    def engine(name):
        return types.SimpleNamespace(read=lambda given: read.append((name, given)) or known)

    known = types.SimpleNamespace(layers={"a": Target()}, variables={"a/w": Target()})
    monkeypatch.setattr(targets.importlib, "import_module", engine)
    assert targets.layers(model) is known.layers
    assert targets.parameters(model) is known.variables
    assert read == [("refreeze.keras.model", model)] * 2


@pytest.mark.engine
def test_a_keras_model_that_is_not_built_is_refused(keras):
    with pytest.raises(Unsupported, match="is not built"):
        fastai.freeze(keras.Sequential([keras.layers.Dense(2)]), [["a"]])
