"""Installed implementations break exactly the laws that their files of known failures say."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from peers import findings  # noqa: E402

pytestmark = pytest.mark.peers
REQUEST = {"op": "segments", "refreeze": 1, "id": "c1", "steps_per_epoch": 1, "start": 0}


def needs(*modules):
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs(*peer.needs)) for name, peer in findings.PEERS.items()]
)
def test_a_peer_breaks_what_is_known_and_nothing_else(name):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    arguments = [*findings.PEERS[name].arguments, "--known-failures", str(findings.known_failures_of(name))]
    done = subprocess.run(
        [sys.executable, "-m", "refreeze.cli", "verify", *arguments, "--timeout", "300"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": path, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# The stand-ins for the trainers see what the real ones do ------------------------------------------------------------
def seen(pl, module, callbacks, request, look, at, resume=None):
    """Return what ``look`` says in the hook ``at`` of each epoch or step of a real run, and the trainer."""
    import torch

    found = []
    recorder = type("Recorder", (pl.Callback,), {at: lambda self, *_: found.append(look(module))})
    data = torch.utils.data.TensorDataset(torch.ones(request["steps_per_epoch"] * 2, 1))
    trainer = pl.Trainer(
        max_epochs=request["total"] // request["steps_per_epoch"], accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[*callbacks, recorder()],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2), ckpt_path=resume)
    return found, trainer


def frozen(answer):
    return [segment["frozen"] for segment in answer["segments"]]


@needs("lightning")
@pytest.mark.parametrize("start", [0, 1, 2, 3])
@pytest.mark.parametrize("train_bn", [True, False])
def test_lightning_is_called_as_its_trainer_calls_it(start, train_bn, tmp_path):
    import lightning.pytorch as pl

    peer = importlib.import_module("peers.lightning_finetuning")
    config = {"backbone": ["a", "b"], "batch_norm": ["b"], "unfreeze_backbone_at_epoch": 2, "train_bn": train_bn}
    request = REQUEST | {"dialect": "lightning", "names": ["a", "b", "c"], "config": config, "total": 5, "start": start}

    def fit(total, resume=None):
        module, callback = peer.module_and_callback(request)
        look = lambda module: sorted(module.frozen())  # noqa: E731
        return seen(pl, module, [callback], request | {"total": total}, look, "on_train_epoch_start", resume)

    resume = None
    if start:
        resume = str(tmp_path / "checkpoint.ckpt")
        fit(start)[1].save_checkpoint(resume)
    assert fit(5, resume)[0] == frozen(peer.respond(request))


@needs("lighter")
@pytest.mark.parametrize(
    "config",
    [
        [{"names": "a.w", "until_step": 3}],
        [{"name_starts_with": ["a", "b"], "except_names": "b.w", "until_epoch": 1}],
        [{"names": "a.w", "until_step": 3}, {"names": "b.w"}],
    ],
)
def test_lighter_is_called_as_its_trainer_calls_it(config):
    peer = importlib.import_module("peers.lighter_freezer")
    import pytorch_lightning as pl
    import torch

    names = ["a.w", "b.w", "b.v"]
    request = REQUEST | {"dialect": "lighter", "names": names, "config": config, "total": 6, "steps_per_epoch": 2}

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            for name, child in peer.module_of([*names, "spare.w"]).named_children():
                self.add_module(name, child)

        def training_step(self, batch, index):
            return sum(parameter.sum() for parameter in self.parameters())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    look = lambda module: sorted(peer.frozen(module))  # noqa: E731
    found, _ = seen(pl, Module(), peer.callbacks(config), request, look, "on_train_batch_start")
    assert found == frozen(peer.respond(request))
