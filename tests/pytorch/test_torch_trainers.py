"""Lightning's and Hugging Face's trainers, where they are installed: the same ticks, resume, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from refreeze import InvalidSpec, ScheduleMismatch, Unsupported, always, during, round_robin, union
from small_nets import batch, moved, net, values
from torch import nn
from torch.utils.data import DataLoader, Dataset

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # those of trainers are theirs
INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("lightning", "transformers", "accelerate")}
INSTALLED["transformers"] &= INSTALLED["accelerate"]
EPOCHS, BATCHES, WINDOW = 4, 5, 2
STEPS = 3
"""In an epoch: 5 batches in windows of 2."""
ROUND = union(round_robin(["stem", "body"], window=1, span=2), during(always(["head"]), 3, 4))
CYCLE = round_robin(["stem", "body", "head"], window=1, span=2)


class Batches(Dataset):
    def __len__(self):
        return 8 * BATCHES

    def __getitem__(self, index):
        return {"x": batch(index // 8)[index % 8]}


class Recorder:
    """Notes what moved in each step."""

    def __init__(self):
        self.steps = []
        self._before = None

    def look(self, model):
        now, before = values(model), self._before
        self._before = now
        if before is not None:
            self.steps.append({name.partition(".")[0] for name in moved(before, now)})


def lightning(folder, spec, recorder=None, *, fresh, epochs=EPOCHS, resume=False, make=None, several=False, **options):
    """Train under Lightning and return the module."""
    import lightning.pytorch as pl
    from refreeze.torch.lightning import FreezeScheduleCallback

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.stem, self.body, self.head = fresh.stem, fresh.body, fresh.head
            self.automatic_optimization = not several

        def training_step(self, batch, index):
            return self.head(self.body(self.stem(batch["x"]))).square().mean()

        def configure_optimizers(self):
            optimizer = make(self) if make else torch.optim.AdamW(self.parameters(), 0.05)
            return [optimizer, torch.optim.SGD(self.head.parameters(), 0.1)] if several else optimizer

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            if recorder is not None and index % WINDOW == 0:
                recorder.look(module)

        def on_train_end(self, trainer, module):
            if recorder is not None:
                recorder.look(module)

    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    save = pl.callbacks.ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=9, filename="{step}")
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu",
        **({} if several else {"accumulate_grad_batches": WINDOW, "gradient_clip_val": 1.0}),
        callbacks=[FreezeScheduleCallback(spec, **options), Look(), save], **quiet,
    )  # fmt: skip
    trainer.fit(module := Module(), DataLoader(Batches(), 8), ckpt_path=f"{folder}/step=9.ckpt" if resume else None)
    return module


def transformers(folder, spec, recorder=None, *, fresh, epochs=EPOCHS, resume=False, make=None, **options):
    """Train under Hugging Face's Trainer and return the module."""
    from refreeze.torch.transformers import FreezeScheduleTrainerCallback
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body, self.head = fresh.stem, fresh.body, fresh.head

        def forward(self, x):
            return {"loss": self.head(self.body(self.stem(x))).square().mean()}

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **given):
            if recorder is not None:
                recorder.look(model)

        on_train_end = on_step_begin

    class InOrder(Trainer):
        def _get_train_sampler(self, *args):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=8, learning_rate=0.05,
        use_cpu=True, lr_scheduler_type="constant", gradient_accumulation_steps=WINDOW, report_to=[], save_steps=4,
        disable_tqdm=True,
    )  # fmt: skip
    model = Model()
    optimizers = (make(model), None) if make else (None, None)
    callbacks = [FreezeScheduleTrainerCallback(spec, **options), Look()]
    trainer = InOrder(model, arguments, train_dataset=Batches(), callbacks=callbacks, optimizers=optimizers)
    trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-8" if resume else None)
    return model


@pytest.fixture(params=[lightning, transformers], ids=lambda trainer: trainer.__name__)
def trainer(request):
    if not INSTALLED[request.param.__name__]:
        pytest.skip(f"{request.param.__name__} is not installed")
    return request.param


@pytest.mark.parametrize(("policy", "unit"), [(ROUND, "epochs"), (CYCLE, "steps")], ids=["epochs", "steps"])
def test_SCH_3_each_step_trains_what_the_policy_says(trainer, tmp_path, policy, unit):
    recorder = Recorder()
    trainer(tmp_path, policy, recorder, fresh=net(), unit=unit)
    should = [policy.frozen_at(step if unit == "steps" else step // STEPS) for step in range(EPOCHS * STEPS)]
    assert recorder.steps == [{"stem", "body", "head"} - frozen for frozen in should]


@pytest.mark.parametrize(("policy", "unit"), [(ROUND, "epochs"), (CYCLE, "steps")], ids=["epochs", "steps"])
def test_RES_2_a_resumed_run_ends_with_the_same_bits(trainer, tmp_path, policy, unit):
    """From a checkpoint in the middle of a segment; under Hugging Face, and not Lightning, in that of an epoch too."""
    options = {"unit": unit, "optimizer_state": "reset_unfrozen", "restore": True}
    whole = trainer(tmp_path, policy, fresh=net(), **options)
    resumed = trainer(tmp_path, policy, fresh=net(norm=True), resume=True, **options)
    assert moved(values(whole), values(resumed)) == set()
    assert all(parameter.requires_grad for parameter in resumed.parameters())


def test_RES_3_a_checkpoint_of_another_schedule_is_refused(trainer, tmp_path):
    trainer(tmp_path, ROUND, fresh=net())
    with pytest.raises(ScheduleMismatch, match="the schedules differ at tick 1"):
        trainer(tmp_path, during(always(["stem"]), 0, 1), fresh=net(), resume=True)


def grouped(model):
    return torch.optim.SGD([{"params": [*part.parameters()]} for part in (model.stem, model.head)], 0.1)


def test_rates_of_single_names(trainer, tmp_path):
    """FreezeOut: both trainers end where the plain loop does."""
    config = {"dialect": "freezeout", "steps_per_epoch": STEPS}
    spec = {"layers": ["stem", "head"], "t_0": 0.7, "learning_rate": 0.3}
    model = trainer(tmp_path, spec, fresh=net(norm=False), make=grouped, **config)
    if trainer is lightning:
        resumed = trainer(tmp_path, spec, fresh=net(norm=False), make=grouped, resume=True, **config)
        assert moved(values(model), values(resumed)) == set()
    else:
        with pytest.raises(Unsupported, match="'stem' needs a parameter group of its own"):
            trainer(tmp_path, spec, fresh=net(), make=lambda m: torch.optim.SGD(m.parameters(), 0.1), **config)
    from refreeze.torch import FreezeSchedule

    plain = net(norm=False)
    optimizer = grouped(plain)
    schedule = FreezeSchedule(spec, plain, optimizer, epochs=EPOCHS, **config)
    for step in range(EPOCHS * STEPS):
        schedule.begin(*divmod(step, STEPS))
        window = range(step % STEPS * WINDOW, min(step % STEPS * WINDOW + WINDOW, BATCHES))
        optimizer.zero_grad()
        for number in window:
            (plain(batch(number)).square().mean() / (WINDOW if trainer is lightning else len(window))).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    for name, value in values(plain).items():
        assert torch.allclose(value, model.state_dict()[name], atol=1e-6), name


def test_a_segment_in_which_nothing_trains_is_refused_at_the_start(trainer, tmp_path):
    model = net()
    before = values(model)
    with pytest.raises(Unsupported, match=r"in epochs \[2, 3\) everything is frozen, and this trainer cannot do"):
        trainer(tmp_path, during(always(["stem", "body", "head"]), 2, 3), fresh=model)
    assert moved(before, values(model)) == set()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_wrong_configuration_is_refused_when_the_callback_is_made(trainer, tmp_path):
    with pytest.raises(InvalidSpec, match=r"freeze_training\[0\]"):
        trainer(tmp_path, [{"layers": []}], fresh=net())


@pytest.mark.skipif(not INSTALLED["lightning"], reason="Lightning is not installed")
def test_lightning_with_several_optimizers_is_refused(tmp_path):
    with pytest.raises(Unsupported, match="automatic_optimization is False, of 2 optimizers"):
        lightning(tmp_path, ROUND, fresh=net(), several=True)


@pytest.mark.parametrize("loop", ["plain", "lightning", "transformers"])
def test_the_example_learns(loop, tmp_path, monkeypatch, capsys):
    if not INSTALLED.get(loop, True):
        pytest.skip(f"{loop} is not installed")
    monkeypatch.chdir(tmp_path)
    path = Path(__file__).parents[2] / "examples" / "torch_digits.py"
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("torch_digits", path))
    spec.loader.exec_module(module)
    model = module.main(loop)
    shown = capsys.readouterr().out.splitlines()[-1]
    assert int(shown.rpartition(", ")[2].partition("%")[0]) > 90, shown
    assert all(parameter.requires_grad for parameter in model.parameters())
