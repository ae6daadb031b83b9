"""What does a frozen batch normalization normalize by, and do its moving statistics move?"""

from __future__ import annotations

from typing import Any

import lab


def _answer(by_batch: bool, moved: bool) -> tuple[str, dict[str, Any]]:
    observed = {"the output has mean 0": by_batch, "moving mean moved": moved}
    return f"{'the batch' if by_batch else 'moving statistics'}; they {'move' if moved else 'stay'}", observed


def keras() -> tuple[str, dict[str, Any]]:
    import keras as k
    import numpy as np

    model = lab.keras_model(batch_norm=True)
    layer = model.get_layer("bn")
    layer.trainable = False
    model.compile("sgd", "mse")
    lab.keras_fit(model)
    moved = bool(np.any(k.ops.convert_to_numpy(layer.moving_mean) != 0))
    output = k.ops.convert_to_numpy(layer(np.full((4, 3), 5.0, "float32"), training=True))
    return _answer(bool(abs(output.mean()) < 0.1), moved)


def _torch(norm: Any, step: Any) -> tuple[str, dict[str, Any]]:
    outputs: list[Any] = []
    norm.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    before = norm.running_mean.clone()
    step()
    return _answer(bool(abs(outputs[-1].mean()) < 0.1), not norm.running_mean.equal(before))


def pytorch() -> tuple[str, dict[str, Any]]:
    import torch

    model = lab.torch_model(batch_norm=True)
    model.stem.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    by_flag = _torch(model.stem, lambda: lab.torch_step(model, optimizer))
    model = lab.torch_model(batch_norm=True)
    model.stem.eval()
    by_eval = _torch(model.stem, lambda: lab.torch_step(model, optimizer))
    return f"`requires_grad_(False)`: {by_flag[0]}. `eval()`: {by_eval[0]}", {"flag": by_flag[1], "eval": by_eval[1]}


def lightning() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning()
    from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning

    class Freeze(BaseFinetuning):
        def freeze_before_training(self, module: Any) -> None:
            self.freeze(module.backbone, train_bn=False)

        def finetune_function(self, module: Any, epoch: int, optimizer: Any) -> None:
            pass

    found: dict[str, tuple[str, dict[str, Any]]] = {}
    moved = {}
    for name, callback in (
        ("`BackboneFinetuning(train_bn=False)`", BackboneFinetuning(train_bn=False)),
        ("`freeze(..., train_bn=False)`", Freeze()),
    ):
        module = lab.lightning_module(pl, batch_norm=True)
        norm = module.backbone[0]
        found[name] = _torch(norm, lambda m=module, c=callback: lab.lightning_fit(pl, m, [c], 1))
        moved[name] = "backbone" in module.moved[0]
    words = [f"{name}: {answer}{', its weights train' * moved[name]}" for name, (answer, _) in found.items()]
    observed = {name: values | {"its weights moved": moved[name]} for name, (_, values) in found.items()}
    return ". ".join(words), observed


def lighter() -> tuple[str, dict[str, Any]]:
    pl = lab.lightning("pytorch_lightning")
    from lighter.callbacks import Freezer

    module = lab.lightning_module(pl, batch_norm=True)
    return _torch(module.backbone[0], lambda: lab.lightning_fit(pl, module, [Freezer(name_starts_with="backbone")], 1))


def refreeze() -> tuple[str, dict[str, Any]]:
    import keras as k
    import numpy as np
    from refreeze import always
    from refreeze.keras import execute

    words, observed = [], {}
    for policy in ("keras", "inference", "batch", "batch_fixed"):
        model = lab.keras_model(batch_norm=True)
        layer, outputs = model.get_layer("bn"), []

        def fit(epochs: int, model: Any = model, layer: Any = layer, outputs: list[Any] = outputs) -> Any:
            outputs.append(k.ops.convert_to_numpy(layer(np.full((4, 3), 5.0, "float32"), training=True)))
            layer.moving_mean.assign(layer.moving_mean * 0)  # that call was ours
            return lab.keras_fit(model, epochs)

        execute(model, always(["bn"]), 1, fit, batch_norm=policy)
        moved = bool(np.any(k.ops.convert_to_numpy(layer.moving_mean) != 0))
        answer, observed[policy] = _answer(bool(abs(outputs[0].mean()) < 0.1), moved)
        words.append(f"`{policy}`: {answer}")
    return ". ".join(words), observed


EXPERIMENTS = {"keras": keras, "pytorch": pytorch, "lightning": lightning, "lighter": lighter, "refreeze": refreeze}
if __name__ == "__main__":
    lab.main(__doc__, EXPERIMENTS)
