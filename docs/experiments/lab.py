"""What the experiments share: the systems, small models and data, how a question is asked and its answer printed.

An experiment is a function without arguments that returns ``(answer, observed)``: a few words, and the values that they
were made from. ``python QUESTION.py SYSTEM`` runs one and prints a line of JSON; without a system, each in its turn.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Experiment = Callable[[], tuple[str, dict[str, Any]]]
SYSTEMS = {
    "keras-tensorflow": ("keras", "tensorflow-cpu"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
    "pytorch": ("torch",),
    "lightning": ("lightning", "torch"),
    "lighter": ("lighter", "pytorch-lightning", "torch"),
    "refreeze": ("refreeze", "keras", "tensorflow-cpu"),
}
"""The systems, and the packages whose versions matter."""


def main(question: str | None, experiments: dict[str, Experiment | str]) -> None:
    """Print the answers to ``question``: of the system that the command line names, or of all, each by itself.

    ``experiments`` has for each system the function, or says in words why there is nothing to run. ``keras`` stands for
    Keras on each backend.
    """
    if len(sys.argv) > 1:
        print(json.dumps(ask(str(question), experiments, sys.argv[1])))
        return
    for system in SYSTEMS:
        subprocess.run([sys.executable, sys.argv[0], system], check=True)


def ask(question: str, experiments: dict[str, Experiment | str], system: str) -> dict[str, Any]:
    """Return the answer of one system, with versions; if it is None, because nothing was run, ``why`` says why."""
    cell: dict[str, Any] = {"question": question.strip().partition("\n")[0], "system": system}
    experiment = experiments.get(system) or experiments[system.partition("-")[0]]
    if isinstance(experiment, str):
        return cell | {"answer": None, "why": experiment}
    prepare(system)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            answer, observed = experiment()
    except ImportError as error:
        return cell | {"answer": None, "why": f"not run: {error}"}
    versions = {"python": platform.python_version()}
    for name in SYSTEMS[system]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # another build of it
            versions[name] = importlib.metadata.version(name)
    return cell | {"answer": answer, "observed": observed, "versions": versions}


def prepare(system: str) -> None:
    """Choose Keras' backend, and quieten; where Lighter is concerned, stand in for torchvision, which it imports."""
    backend = system.partition("-")[2] if system.startswith("keras-") else "tensorflow"
    os.environ.setdefault("KERAS_BACKEND", backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if system == "lighter":
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from peers import stand_in

        stand_in.for_torchvision()
        with contextlib.suppress(ImportError):
            from loguru import logger

            logger.remove()
    if system in ("lightning", "lighter"):
        import logging

        for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric"):
            logging.getLogger(name).setLevel("ERROR")


# Keras -------------------------------------------------------------------------------------------------------------
def keras_model(optimizer: Any = "sgd", batch_norm: bool = False) -> Any:
    """Return a compiled model of the layers stem, body and head; stem and body have equal shapes."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(3, name="stem"),
        keras.layers.Dense(3, name="body"),
        keras.layers.Dense(1, name="head"),
    ]
    layers = [keras.layers.BatchNormalization(name="bn"), layers[-1]] if batch_norm else layers
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, "mse")
    return model


def keras_fit(model: Any, epochs: int = 1, **options: Any) -> Any:
    """Train on one batch an epoch."""
    import numpy as np

    x, y = np.random.default_rng(0).normal(5, 2, size=(8, 3)), np.ones((8, 1))
    return model.fit(x.astype("float32"), y.astype("float32"), epochs=epochs, shuffle=False, verbose=0, **options)


def keras_moved(model: Any, train: Callable[[], object]) -> list[str]:
    """Return the layers whose kernels ``train`` moves."""
    import keras
    import numpy as np

    def kernels() -> dict[str, Any]:
        found = {layer.name: getattr(layer, "kernel", None) for layer in model.layers}
        return {name: keras.ops.convert_to_numpy(kernel) for name, kernel in found.items() if kernel is not None}

    before = kernels()
    train()
    return [name for name, kernel in kernels().items() if not np.array_equal(kernel, before[name])]


# PyTorch -----------------------------------------------------------------------------------------------------------
def torch_model(batch_norm: bool = False) -> Any:
    """Return a module of the parts stem and head."""
    import torch

    torch.manual_seed(0)
    stem = torch.nn.BatchNorm1d(3) if batch_norm else torch.nn.Linear(3, 3)
    model = torch.nn.Sequential()
    model.add_module("stem", stem)
    model.add_module("head", torch.nn.Linear(3, 1))
    return model


def torch_step(model: Any, optimizer: Any, set_to_none: bool = True) -> None:
    """Do one step of training."""
    import torch

    torch.manual_seed(1)
    optimizer.zero_grad(set_to_none=set_to_none)
    ((model(5 + 2 * torch.randn(8, 3)) - 1) ** 2).mean().backward()
    optimizer.step()


def torch_moved(model: Any, train: Callable[[], object]) -> list[str]:
    """Return the parts of which ``train`` moves a parameter."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    train()
    moved = [name for name, value in model.named_parameters() if not value.equal(before[name])]
    return list(dict.fromkeys(name.partition(".")[0] for name in moved))


# Lightning, as itself and under Lighter ----------------------------------------------------------------------------
def lightning(package: str = "lightning.pytorch") -> Any:
    """Return the package, ``lightning.pytorch`` or its other name ``pytorch_lightning``."""
    return importlib.import_module(package)


def lightning_module(pl: Any, optimizer: Callable[[Any], Any] | None = None, batch_norm: bool = False) -> Any:
    """Return a LightningModule of the parts backbone and head, which keeps in ``moved`` what moved in each epoch."""
    import torch

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.backbone = torch.nn.Sequential(torch.nn.Linear(3, 3))
            if batch_norm:
                self.backbone = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
            self.head = torch.nn.Linear(3, 1)
            self.spare = torch.nn.Parameter(torch.zeros(()))  # so that there is always something to train
            self.moved: dict[int, list[str]] = {}

        def training_step(self, batch: Any, index: int) -> Any:
            return ((self.head(self.backbone(batch[0])) - 1) ** 2).mean() + self.spare

        def configure_optimizers(self) -> Any:
            wanted = [value for value in self.parameters() if value.requires_grad]
            return optimizer(self) if optimizer else torch.optim.SGD(wanted, lr=0.01)

        def on_train_epoch_start(self) -> None:
            self.before = {name: value.detach().clone() for name, value in self.named_parameters()}

        def on_train_epoch_end(self) -> None:
            moved = [name for name, value in self.named_parameters() if not value.equal(self.before[name])]
            parts = dict.fromkeys(name.partition(".")[0] for name in moved)
            self.moved[self.current_epoch] = [part for part in parts if part != "spare"]

    return Module()


def lightning_fit(pl: Any, module: Any, callbacks: list[Any], epochs: int, resume: str | None = None) -> Any:
    """Train for ``epochs`` epochs of two batches and return the trainer."""
    import torch

    torch.manual_seed(1)
    data = torch.utils.data.TensorDataset(5 + 2 * torch.randn(8, 3))
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4), ckpt_path=resume)
    return trainer
