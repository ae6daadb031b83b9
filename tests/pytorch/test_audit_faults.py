"""The audit finds, unaided, what real packages silently do otherwise than the schedule of the user says.

Each test is a training as a user would write it, in which no error is raised and the loss goes down; the numbers are
those of reports of users. Next to it stands what the schedule was meant to be.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from refreeze import always, during, union
from refreeze.audit import AuditOptions, audit
from refreeze.torch import Recorder
from small_nets import STEPS, batch, net
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # those of trainers are theirs
EPOCHS = 4
THAW = during(always(["stem"]), 0, 2)
"""The stem thaws at epoch 2."""


def needs(*packages):
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


def found(path, policy=THAW, **options):
    """Return (kind, the first epoch, what) of all that is found, and the kinds of parameters together."""
    verdict = audit(path, policy, epochs=EPOCHS, options=AuditOptions(**options))
    kinds: dict[tuple[str, int], set[str]] = {}
    for fault in verdict.faults:
        kinds.setdefault((fault.kind, fault.epoch), set()).add(fault.name)
    return kinds


def flags(model, epoch):
    for parameter in model.stem.parameters():
        parameter.requires_grad = epoch >= 2


def loop(path, model, optimizer, before_epoch, forward=None, zero_grad=None, start=0, **options):
    """Train in a plain loop, with a record."""
    forward, zero_grad = forward or model, zero_grad or optimizer.zero_grad
    with Recorder(model, optimizer, path, epoch=start, steps_per_epoch=STEPS, **options):
        for epoch in range(start, EPOCHS):
            model.train()
            before_epoch(model, epoch)
            for step in range(STEPS):
                zero_grad()
                forward(batch(epoch * STEPS + step)).square().mean().backward()
                optimizer.step()


# PyTorch itself


def test_momentum_moves_what_is_frozen_if_gradients_are_zeroed_in_place(path):
    """``requires_grad`` is False, and the gradient an old one of zeros: momentum and decay go on."""
    model = net(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)

    def freeze(model, epoch):
        for parameter in model.stem.parameters():
            parameter.requires_grad = epoch < 2

    loop(path, model, optimizer, freeze, zero_grad=lambda: optimizer.zero_grad(set_to_none=False))
    assert found(path, during(always(["stem"]), 2, None)) == {("moved-while-frozen", 2): {"stem.weight", "stem.bias"}}


def test_an_optimizer_over_what_is_trainable_does_not_know_what_thaws(path):
    """``filter(lambda p: p.requires_grad, …)``, as in many examples (LMFlow issue 726)."""
    model = net(norm=False)
    flags(model, 0)
    loop(path, model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad]), flags)
    assert found(path) == {("missing-in-optimizer", 2): {"stem.weight", "stem.bias"}}


def test_a_compiled_frame_goes_on_with_old_flags(path):
    """What pytorch issue 139476 reports: a frame is used again after the flags have changed."""
    model = net(norm=False)
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    forward = torch.compile(model, backend="aot_eager", options=options)
    loop(path, model, torch.optim.SGD(model.parameters(), 0.1), flags, forward)
    torch._dynamo.reset()
    assert found(path) == {("never-moved", 2): {"stem.weight", "stem.bias"}}


def test_a_reentrant_checkpoint_behind_a_frozen_layer_trains_nothing_inside(path):
    """transformers issues 21381 and 23170: its input needs no gradient while the stem is frozen."""
    model = net(norm=False)

    def forward(x):
        return model.head(checkpoint(model.body, model.stem(x), use_reentrant=True))

    loop(path, model, torch.optim.SGD(model.parameters(), 0.1), flags, forward)
    policy = union(THAW, during(always(["body"]), 90, 91))  # the schedule speaks of the body, too
    assert found(path, policy) == {("released-late", 0): {"body.0.weight", "body.0.bias"}}


def test_batch_norm_statistics_move_in_a_layer_that_is_frozen_by_flags(path):
    """pytorch issues 66073 and 86590: ``eval()`` is undone by the next ``train()``."""
    model = net()

    def freeze(model, epoch):
        model.body.eval()
        for parameter in model.body.parameters():
            parameter.requires_grad = False
        model.train()

    loop(path, model, torch.optim.SGD(model.parameters(), 0.1), freeze)
    statistics = {f"body.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert found(path, always(["body"])) == {("statistics-drifted", 0): statistics}
    assert found(path, always(["body"]), batch_norm="batch") == {}


def test_a_resume_without_the_optimizer_loses_its_state(path):
    model = net(norm=False)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with Recorder(model, optimizer, path, steps_per_epoch=STEPS):
        for step in range(STEPS):
            optimizer.zero_grad()
            model(batch(step)).square().mean().backward()
            optimizer.step()
    loop(path, model, torch.optim.Adam(model.parameters(), 0.1), lambda *_: None, start=1, append=True)
    assert found(path, during(always(["stem"]), 90, 91)) == {
        ("slots-lost", 1): {n for n, _ in model.named_parameters()}
    }


# Trainers


class Batches(Dataset):
    def __len__(self):
        return 8 * STEPS

    def __getitem__(self, index):
        return {"x": batch(index // 8)[index % 8]}


def lightning(path, callback, epochs=EPOCHS, **fit):
    """Train under Lightning's Trainer; its stem and body together are the backbone."""
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            made = net()
            self.backbone = nn.Sequential(made.stem, made.body)
            self.head = made.head

        def training_step(self, batch, index):
            return self.head(self.backbone(batch["x"])).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 0.1, momentum=0.9)

    class Record(pl.Callback):
        def on_train_start(self, trainer, module):
            start = trainer.current_epoch
            self.recorder = Recorder(module, None, path, epoch=start, steps_per_epoch=STEPS, append=start > 0)

        def on_train_end(self, trainer, module):
            self.recorder.close()

    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    save = pl.callbacks.ModelCheckpoint(path.parent, filename="last", save_top_k=-1)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[callback, Record(), save], **quiet)
    trainer.fit(Module(), DataLoader(Batches(), 8), **fit)


BACKBONE = during(always(["backbone"]), 0, 2)


@needs("lightning")
def test_lightning_trains_the_batch_norm_of_a_frozen_backbone(path):
    """BackboneFinetuning, by default (lightning issues 21531 and 20629)."""
    from lightning.pytorch.callbacks import BackboneFinetuning

    lightning(path, BackboneFinetuning(unfreeze_backbone_at_epoch=2))
    kinds = found(path, BACKBONE)
    assert kinds[("moved-while-frozen", 0)] == {"backbone.1.1.weight", "backbone.1.1.bias"}
    assert "backbone.1.1.running_mean" in kinds[("statistics-drifted", 0)]


@needs("lightning")
def test_lightning_freezes_again_on_a_resume_what_it_had_released(path):
    """lightning issue 21901: it is in the optimizer, with a learning rate, and never moves."""
    from lightning.pytorch.callbacks import BackboneFinetuning

    policy, batch_norm = during(always(["backbone"]), 0, 1), {"batch_norm": "batch"}
    lightning(path, BackboneFinetuning(1, train_bn=False), epochs=2)
    assert not any(epoch == 1 for _, epoch in found(path, policy, **batch_norm))
    lightning(path, BackboneFinetuning(1, train_bn=False), ckpt_path=path.parent / "last.ckpt")
    kinds = found(path, policy, **batch_norm)
    assert kinds[("never-moved", 2)] == {"backbone.0.weight", "backbone.1.0.weight"}  # its biases are too large to move


class Model(nn.Module):
    """What Hugging Face's Trainer trains."""

    def __init__(self):
        super().__init__()
        made = net()
        self.stem, self.body, self.head = made.stem, made.body, made.head

    def forward(self, x):
        return {"loss": self.head(self.body(self.stem(x))).square().mean()}


def hugging_face(path, model, *callbacks):
    """Train under Hugging Face's Trainer."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(path.parent), num_train_epochs=EPOCHS, per_device_train_batch_size=8, learning_rate=0.05,
        use_cpu=True, lr_scheduler_type="constant", report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    with Recorder(model, None, path, steps_per_epoch=STEPS):
        Trainer(model, arguments, train_dataset=Batches(), callbacks=list(callbacks)).train()


@needs("transformers", "accelerate")
def test_hugging_face_moves_statistics_of_what_is_frozen(path):
    """transformers issue 24479: the trainer calls ``train()`` before each step."""
    model = Model()
    model.body.requires_grad_(False).eval()
    hugging_face(path, model)
    assert {kind for kind, _ in found(path, always(["body"]))} == {"statistics-drifted"}


@needs("transformers", "accelerate")
def test_a_callback_that_freezes_when_it_is_made_keeps_layers_out_of_the_trainers_optimizer(path):
    """ms-swift pull request 10140: the Trainer makes its optimizer of what is trainable when it begins."""
    from transformers import TrainerCallback

    class Lisa(TrainerCallback):
        def __init__(self, model):
            flags(model, 0)

        def on_epoch_begin(self, args, state, control, model=None, **given):
            flags(model, round(state.epoch))

    model = Model()
    hugging_face(path, model, Lisa(model))
    assert found(path) == {("missing-in-optimizer", 2): {"stem.weight", "stem.bias"}}


# JAX and Keras


@needs("jax", "optax")
def test_decay_outside_of_the_mask_moves_what_is_frozen_on_optax(path):
    """fairseq issue 4702, Muon issue 54: updates are masked, and decay is added behind the mask."""
    import jax
    import jax.numpy as jnp
    import optax
    from refreeze.jax import Recorder as OnJax

    params = {name: {"kernel": jnp.eye(3)} for name in ("stem", "head")}
    mask = {"stem": {"kernel": True}, "head": {"kernel": False}}
    freeze, momentum = optax.masked(optax.set_to_zero(), mask), optax.trace(0.9)
    optimizer = optax.chain(freeze, momentum, optax.add_decayed_weights(0.01), optax.scale(-0.1))
    state, x = optimizer.init(params), jnp.arange(6.0).reshape(2, 3)
    loss = jax.jit(jax.grad(lambda p: jnp.square(x @ p["stem"]["kernel"] @ p["head"]["kernel"]).mean()))
    recorder = OnJax(params, state, path)
    for epoch in range(EPOCHS):
        grads = loss(params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        recorder.record(epoch, 0, params, state, grads=grads)
    assert found(path, always(["stem"])) == {("moved-while-frozen", 0): {"stem/kernel"}}


KERAS = """
import sys
import keras, numpy as np
from refreeze.keras import Recorder

keras.utils.set_random_seed(0)
layers = [keras.layers.Dense(4, name=name, activation="tanh") for name in ("stem", "body", "head")]
model = keras.Sequential([keras.Input((4,)), *layers])
x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


def train(path, change, at):
    recorder = Recorder(path, probe=(x, x), epochs=4)
    model.get_layer("stem").trainable = True
    model.compile(keras.optimizers.Adam(0.01), "mse")
    for epoch in range(4):
        if epoch in at:
            change(epoch)
        model.fit(x, x, batch_size=8, epochs=1, verbose=0, shuffle=False, callbacks=[recorder])


def flip(epoch):
    model.get_layer("stem").trainable = False


def compile(epoch):
    model.get_layer("stem").trainable = epoch in (0, 3)
    model.compile(keras.optimizers.Adam(0.01), "mse")


train(sys.argv[1] + ".flip", flip, [2])
train(sys.argv[1] + ".compile", compile, range(4))
"""


@needs("keras", "tensorflow")
def test_keras_on_tensorflow(path):
    """Flags that change after the first ``fit`` are ignored (keras issue 6405); ``compile`` forgets slots (9477)."""
    done = subprocess.run(
        [sys.executable, "-c", KERAS, str(path)], capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    stem = {"stem/kernel", "stem/bias"}
    assert found(f"{path}.flip", during(always(["stem"]), 2, None)) == {("moved-while-frozen", 2): stem}
    assert found(f"{path}.compile", during(always(["stem"]), 1, 3)) == {("slots-lost", 1): stem}
