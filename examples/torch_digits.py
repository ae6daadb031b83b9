"""Fine-tune on scikit-learn's digits under one schedule, in three loops of PyTorch.

``python examples/torch_digits.py plain|lightning|transformers``: pretrains a small network on the digits 0 to 4, then
fine-tunes it on 5 to 9 while the head trains alone in epochs [0, 2), the body joins it at 2, and all trains from 4 on.
Lightning needs ``pip install lightning``, Hugging Face's Trainer ``pip install transformers accelerate``.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

EPOCHS = 6
SCHEDULE = [{"layers": ["stem"], "training_interval": [0, 4]}, {"layers": ["body"], "training_interval": [0, 2]}]


class Net(nn.Module):
    """The names ``stem``, ``body`` (a container) and ``head`` are what the schedule is about."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(64, 32)
        self.body = nn.Sequential(nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 5)

    def forward(self, x, labels=None):
        logits = self.head(self.body(self.stem(x)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}  # as Hugging Face's Trainer wants it


def digits(low):
    """Return the inputs and classes of the digits low, ..., low + 4."""
    x, y = load_digits(return_X_y=True)
    chosen = (y >= low) & (y < low + 5)
    return torch.tensor(x[chosen] / 16, dtype=torch.float32), torch.tensor(y[chosen] - low)


def pretrained():
    """Return a network that knows the digits 0 to 4."""
    torch.manual_seed(0)
    model, (x, y) = Net(), digits(0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        model(x, y)["loss"].backward()
        optimizer.step()
    return model


def plain(model, data):
    """A loop of one's own: one line more than without a schedule, ``begin``."""
    from refreeze.torch import FreezeSchedule

    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    schedule = FreezeSchedule(SCHEDULE, model, optimizer, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        schedule.begin(epoch)
        model.train()
        for x, y in torch.utils.data.DataLoader(data, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            model(x, y)["loss"].backward()
            optimizer.step()


def lightning(model, data):
    """Lightning's Trainer, with a callback."""
    import lightning.pytorch as pl
    from refreeze.torch.lightning import FreezeScheduleCallback

    class Module(pl.LightningModule):
        forward = Net.forward

        def __init__(self):
            super().__init__()
            self.stem, self.body, self.head = model.stem, model.body, model.head

        def training_step(self, batch, index):
            return self(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 0.01)

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", callbacks=[FreezeScheduleCallback(SCHEDULE)], **quiet)
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=32, shuffle=True))


def transformers(model, data):
    """Hugging Face's Trainer, with a callback."""
    from refreeze.torch.transformers import FreezeScheduleTrainerCallback
    from transformers import Trainer, TrainingArguments

    options = TrainingArguments(
        num_train_epochs=EPOCHS, per_device_train_batch_size=32, learning_rate=0.01, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, output_dir="trainer-out",
    )  # fmt: skip
    examples = [{"x": x, "labels": y} for x, y in data]
    Trainer(model, options, train_dataset=examples, callbacks=[FreezeScheduleTrainerCallback(SCHEDULE)]).train()


def main(loop):
    """Fine-tune, and print the share of the digits 5 to 9 that are told right before and after."""
    model, (x, y) = pretrained(), digits(5)

    def right():
        with torch.no_grad():
            return (model.eval()(x)["logits"].argmax(1) == y).float().mean().item()

    before = right()
    {"plain": plain, "lightning": lightning, "transformers": transformers}[loop](
        model.train(), torch.utils.data.TensorDataset(x, y)
    )
    print(f"{loop}: {before:.0%} right before, {right():.0%} after")
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
