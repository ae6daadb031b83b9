"""Installed PyTorch implementations as executors: each trains the kit's module in its own trainer.

Each class is what ``refreeze verify peers.executors:NAME --level execution`` takes, and answers one dialect. What a
framework needs besides, such as a wrapper around the module, is as its documentation says; it holds the module's own
layers, so that the kit sees what is done with them. Packages are imported when they are used.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from refreeze import random_window
from refreeze.dialects.common import chosen
from torch import nn

from peers import originals, stand_in

warnings.filterwarnings("ignore")
for package in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "finetuning_scheduler", "composer"):
    logging.getLogger(package).setLevel("ERROR")
LAYERS = ("stem", "norm", "body.a", "body.b", "head")


class Executor:
    """One that answers one dialect; ``train`` has a folder for checkpoints, or None."""

    framework = "torch"
    dialect: str

    def run(self, module: Any, make_optimizer: Any, dialect: str, config: Any, epochs: int, loader: Any) -> None:
        """Train the module."""
        self.resume(module, make_optimizer, dialect, config, epochs, loader, None)

    def resume(
        self, module: Any, make_optimizer: Any, dialect: str, config: Any, epochs: int, loader: Any, folder: str | None
    ) -> None:
        """Train the module, with checkpoints in a folder."""
        if dialect != self.dialect:
            raise NotImplementedError
        self.train(module, make_optimizer, config, epochs, loader, folder)

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        raise NotImplementedError


def loss_of(module: Any, x: Any, y: Any) -> Any:
    """Return what is minimized."""
    return nn.functional.cross_entropy(module(x), y)


# Lightning ------------------------------------------------------------------------------------------------------------
def with_lightning(
    pl: Any, module: Any, optimizer_of: Any, callbacks: list[Any], epochs: int, loader: Any, folder: Any,
    checkpoint: Any = None, **parts: Any,
) -> None:  # fmt: skip
    """Train under a real trainer, with a checkpoint after each epoch if there is a folder."""

    class Wrapped(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            for name, part in parts.items():
                setattr(self, name, part)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = loss_of(self.module, *batch)
            self.log("loss", loss.detach(), on_step=False, on_epoch=True)
            return loss

        def on_train_epoch_end(self) -> None:
            self.trainer.should_stop |= module.stop_training

        def configure_optimizers(self) -> Any:
            return optimizer_of(self)

    newest = None if folder is None else Path(folder, "last.ckpt")
    if newest is not None or checkpoint is not None:
        saving = {"save_last": True, "save_top_k": -1, "monitor": "loss", "save_on_train_epoch_end": True}
        callbacks.append((checkpoint or pl.callbacks.ModelCheckpoint)(dirpath=folder or "unused", **saving))
    going_on = str(newest) if newest is not None and newest.exists() else None
    with tempfile.TemporaryDirectory() as unused:
        trainer = pl.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, callbacks=callbacks,
            enable_checkpointing=newest is not None or checkpoint is not None, default_root_dir=unused,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Wrapped(), loader, ckpt_path=going_on, **({"weights_only": False} if going_on else {}))


class BackboneFinetuning(Executor):
    """Lightning's callback; the optimizer is made of what is trainable, as its documentation says."""

    dialect = "lightning"

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        import lightning.pytorch as pl

        options = {key: value for key, value in config.items() if key not in ("backbone", "batch_norm")}
        names = [path.replace(".", "/") for path in LAYERS]
        layers = [
            module.get_submodule(name.replace("/", ".")) for name in chosen(config["backbone"], names, "backbone")
        ]
        callback = pl.callbacks.BackboneFinetuning(**options)

        def optimizer_of(wrapped: Any) -> Any:
            return make_optimizer([p for p in wrapped.parameters() if p.requires_grad])

        with_lightning(pl, module, optimizer_of, [callback], epochs, loader, folder, backbone=nn.ModuleList(layers))


class FinetuningScheduler(Executor):
    """finetuning-scheduler, with transitions by epochs alone; its names begin with that of the wrapper's attribute."""

    dialect = "fts"

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        import finetuning_scheduler as fts
        import lightning.pytorch as pl

        phases = {
            int(number): phase | {"params": [f"module.{name}" for name in phase["params"]]}
            for number, phase in config["ft_schedule"].items()
        }
        phases[max(phases)].setdefault("max_transition_epoch", epochs)
        callback = fts.FinetuningScheduler(ft_schedule=phases, epoch_transitions_only=True, restore_best=False)

        def optimizer_of(wrapped: Any) -> Any:
            return make_optimizer([p for p in wrapped.parameters() if p.requires_grad])

        checkpoint = None if folder is None else fts.FTSCheckpoint
        with_lightning(pl, module, optimizer_of, [callback], epochs, loader, folder, checkpoint)


class LighterFreezer(Executor):
    """Lighter's callback under Lightning's trainer, as Lighter runs it, with an optimizer of all parameters."""

    dialect = "lighter"

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        from peers import lighter_freezer  # with what stands in for torchvision

        pl = __import__("pytorch_lightning")
        texts = ("names", "name_starts_with", "except_names", "except_name_starts_with")
        named = [
            {key: [f"module.{name}" for name in value] if key in texts else value for key, value in entry.items()}
            for entry in config
        ]
        callbacks = lighter_freezer.callbacks(named)
        with_lightning(
            pl, module, lambda wrapped: make_optimizer(wrapped.parameters()), callbacks, epochs, loader, folder
        )


# Composer -------------------------------------------------------------------------------------------------------------
class ComposerLayerFreezing(Executor):
    """Composer's algorithm under its own trainer, which sees the layers with parameters in their order."""

    dialect = "composer"

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        stand_in.for_torchvision()
        from composer import Callback, Trainer
        from composer.algorithms import LayerFreezing
        from composer.models import ComposerModel

        class Model(ComposerModel):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList(module.get_submodule(name) for name in LAYERS)

            def train(self, mode: bool = True) -> Any:
                module.train(mode)
                return super().train(mode)

            def forward(self, batch: Any) -> Any:
                return module(batch[0])

            def loss(self, outputs: Any, batch: Any, *_: Any, **__: Any) -> Any:
                return nn.functional.cross_entropy(outputs, batch[1])

        class Stop(Callback):  # type: ignore[misc]
            def epoch_end(self, state: Any, logger: Any) -> None:
                if module.stop_training:
                    state.stop_training()

        newest = None if folder is None else Path(folder, "latest-rank0.pt")
        saving = {} if folder is None else {"save_folder": folder, "save_interval": "1ep", "save_overwrite": True}
        going_on = {"load_path": str(newest)} if newest is not None and newest.exists() else {}
        model = Model()
        trainer = Trainer(
            model=model, train_dataloader=loader, max_duration=f"{epochs}ep", device="cpu", progress_bar=False,
            optimizers=make_optimizer(model.parameters()), algorithms=[LayerFreezing(**config)], callbacks=[Stop()],
            run_name="run", **saving, **going_on,
        )  # fmt: skip
        try:
            trainer.fit()
        except KeyError as error:  # the key is an address, which no other run has
            raise RuntimeError("Composer cannot save the state of parameters that it has removed") from error
        finally:
            trainer.close()


# Hugging Face's Trainer -----------------------------------------------------------------------------------------------
class _LISA(Executor):
    """A LISA callback under Hugging Face's Trainer; its draws are those of RND-2, a number for each redraw."""

    dialect = "lisa"

    def callback(self, trainer: Any, n_layers: int, interval: int) -> Any:
        """Return the callback."""
        raise NotImplementedError

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        import numpy as np
        import transformers

        class Model(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.norm, self.head = module.stem, module.norm, module.head
                self.layers = nn.ModuleList([module.body.a, module.body.b])

            def train(self, mode: bool = True) -> Any:
                module.train(mode)
                return super().train(mode)

            def forward(self, x: Any, labels: Any) -> Any:
                logits = module(x)
                return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

        class InOrder(transformers.Trainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> Any:
                rows = [{"x": x, "labels": y} for x, y in loader.dataset]
                return torch.utils.data.DataLoader(rows, batch_size=loader.batch_size)

        model, interval = Model(), config["step_interval"]
        optimizer = make_optimizer(model.parameters())
        arguments = transformers.TrainingArguments(
            output_dir=folder or "unused", num_train_epochs=epochs, save_strategy="no" if folder is None else "epoch",
            report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no", max_grad_norm=0.0,
            per_device_train_batch_size=loader.batch_size, remove_unused_columns=False,
        )  # fmt: skip
        constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        trainer = InOrder(model, arguments, train_dataset=loader.dataset, optimizers=(optimizer, constant))
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.add_callback(self.callback(trainer, config["n_layers"], interval))

        def choice(positions: range, size: int, **_: bool) -> list[int]:
            step = trainer.state.global_step
            return [*random_window(len(positions), size, step // interval + (step > 0), config.get("seed", 0), 0)]

        newest = None if folder is None else transformers.trainer_utils.get_last_checkpoint(folder)
        with patch.object(np.random, "choice", choice):
            trainer.train(resume_from_checkpoint=newest)


class SwiftLISA(_LISA):
    """ms-swift's callback, of which one file is loaded."""

    def callback(self, trainer: Any, n_layers: int, interval: int) -> Any:
        """Return the callback."""
        import transformers

        found = originals.load("swift.callbacks.lisa")
        base = transformers.TrainerCallback  # ms-swift's own, which is stood in for, derives from it
        given = SimpleNamespace(tuner_type="full", lisa_activated_layers=n_layers, lisa_step_interval=interval)
        return type("LISACallback", (found.LISACallback, base), {})(given, trainer)


class AxolotlLISA(_LISA):
    """axolotl's callback, of which one file is loaded."""

    def callback(self, trainer: Any, n_layers: int, interval: int) -> Any:
        """Return the callback."""
        found = originals.load("axolotl.utils.callbacks.lisa", "axolotl.utils.logging")
        found.LOG = logging.getLogger("axolotl")
        given = {"lisa_n_layers": n_layers, "lisa_step_interval": interval, "lisa_layers_attribute": "layers"}
        seen = SimpleNamespace(model=trainer.model, args=SimpleNamespace(**given))
        return found.lisa_callback_factory(seen)


# BAdam ----------------------------------------------------------------------------------------------------------------
class BAdam(Executor):
    """BAdam's optimizer around that of the kit, in a plain loop, as its README has it."""

    dialect = "badam"

    def train(self, module: Any, make_optimizer: Any, config: Any, epochs: int, loader: Any, folder: Any) -> None:
        """Train."""
        from badam import BlockOptimizer

        optimizer = make_optimizer(module.parameters())
        newest, done = None if folder is None else Path(folder, "newest.pt"), 0
        blocks = BlockOptimizer(optimizer, [*module.named_parameters()], verbose=0, **config)
        if newest is not None and newest.exists():
            done, weights, slots = torch.load(newest)
            module.load_state_dict(weights)
            blocks.load_state_dict(slots)
        for _ in range(done, epochs):
            module.train()
            for x, y in loader:
                blocks.zero_grad()
                loss_of(module, x, y).backward()
                blocks.step()
            done += 1
            if newest is not None:
                torch.save((done, module.state_dict(), blocks.state_dict()), newest)
            if module.stop_training:
                break
