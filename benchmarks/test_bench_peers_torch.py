"""What do PyTorch's ways to freeze cost on the same models and schedules?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from refreeze.keras.model import layer_names
from test_bench_run import EPOCHS, STEPS
from workload import BATCH, CLASSES, IMPLEMENTATIONS, WINDOWS, build, describe, fit, schedule

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other projects are theirs
THAWS, GRADUAL = 3, 6


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", exc_type=ImportError)


class Network:
    """The counterpart of a model of ``workload`` in PyTorch, with what trains it."""

    def __init__(self, torch: Any, model: str) -> None:
        nn, layers, shape = torch.nn, [], (64,)
        if model == "mlp":
            for _ in range(7):
                layers += [nn.Linear(64, 64), nn.ReLU()]
            layers.append(nn.Linear(64, CLASSES))
        else:
            shape, channels = (3, 16, 16), 3
            for index, filters in enumerate((16, 16, 32, 32)):
                layers.append(nn.Conv2d(channels, filters, 3, stride=1 + index % 2, padding=1, bias=False))
                layers += [nn.BatchNorm2d(filters), nn.ReLU()]
                channels = filters
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(0)
        self.module = nn.Sequential(*layers).to(device)
        self.layers = [layer for layer in layers if list(layer.parameters())]
        self.names = [str(index) for index in range(len(self.layers))]
        self.forward: Callable[[Any], Any] = self.module
        self._loss, self._torch = nn.CrossEntropyLoss(), torch
        self._optimizer = torch.optim.SGD(self.module.parameters(), 0.01, momentum=0.9)
        generator = np.random.default_rng(0)
        self.x = torch.tensor(generator.random((BATCH, *shape), np.float32)).to(device)
        self.y = torch.tensor(generator.integers(0, CLASSES, BATCH)).to(device)
        self.step()  # the first one imports and allocates

    def freeze(self, frozen: frozenset[str]) -> None:
        for name, layer in zip(self.names, self.layers, strict=True):
            for parameter in layer.parameters():
                parameter.requires_grad_(name not in frozen)
                parameter.grad = None  # an old gradient would go on moving it

    def step(self) -> float:
        self._optimizer.zero_grad()
        loss = self._loss(self.forward(self.x), self.y)
        loss.backward()
        self._optimizer.step()
        return float(loss)

    def compile(self) -> None:
        """Compile, or skip where that does not work."""
        self._torch._dynamo.reset()
        self._torch._inductor.config.force_disable_caches = True  # else only the first process pays for a first visit
        self.forward = self._torch.compile(self.module)
        try:
            self.step()
        except Exception as error:
            pytest.skip(f"torch.compile does not work here: {type(error).__name__}: {error}")

    def moved(self) -> set[str]:
        """Do a step and return the names of the layers that it changed."""
        before = [[parameter.detach().clone() for parameter in layer.parameters()] for layer in self.layers]
        self.step()
        return {
            name
            for name, layer, values in zip(self.names, self.layers, before, strict=True)
            if any(not parameter.equal(value) for parameter, value in zip(layer.parameters(), values, strict=True))
        }


@pytest.mark.parametrize("how", ["eager", "torch.compile, first visit", "torch.compile, revisit"])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_switch(benchmark: Any, rounds: Any, torch: Any, network: str, how: str) -> None:
    """Timed: ``requires_grad`` of every parameter; with torch.compile, which looks at them later, and one step."""
    peer = Network(torch, network)
    sets = [segment.frozen for segment in schedule(peer.names, WINDOWS)]
    turns = itertools.cycle(sets)

    def switch_and_step(frozen: frozenset[str]) -> None:
        peer.freeze(frozen)
        peer.step()

    if how != "eager":
        peer.compile()
    for frozen in sets if "revisit" in how else ():
        switch_and_step(frozen)
    switch, most = (peer.freeze, 50) if how == "eager" else (switch_and_step, len(sets) if "first" in how else 20)
    benchmark.pedantic(switch, setup=lambda: ((next(turns),), {}), rounds=rounds(most))
    for frozen in sets:
        peer.freeze(frozen)
        assert peer.moved() == set(peer.names) - frozen
    case = "torch requires_grad, eager" if how == "eager" else how
    describe(benchmark, "switch", network, case)


@pytest.mark.parametrize("how", ["eager", "compile"])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_run(benchmark: Any, torch: Any, network: str, how: str) -> None:
    """Timed: the round robin of the other benchmarks."""
    peer = Network(torch, network)
    run = schedule(peer.names, EPOCHS)
    if how == "compile":
        peer.compile()

    def train() -> float:
        for segment in run:
            peer.freeze(segment.frozen)
            for _ in range(segment.length * STEPS):
                loss = peer.step()
        return loss

    assert np.isfinite(benchmark.pedantic(train))
    assert peer.moved() == set(peer.names) - run[-1].frozen
    describe(benchmark, "run, round robin", network, f"torch, {how}")


def test_gradual(benchmark: Any, implementation: str) -> None:
    """Timed: the same as Lightning's below, under the dialect of that name."""
    model = build("cnn")
    config = {"unfreeze_backbone_at_epoch": THAWS, "backbone": layer_names(model)[:-1]}
    run = IMPLEMENTATIONS[implementation].run
    history = benchmark.pedantic(run, args=(model, "lightning", config, GRADUAL, fit(model, STEPS)))
    assert len(history.history["loss"]) == GRADUAL
    baseline = implementation == "keras compile per segment"
    describe(benchmark, "run, gradual", "cnn", implementation, baseline=baseline)


def test_gradual_with_lightning(benchmark: Any, torch: Any) -> None:
    """Timed: Lightning's BackboneFinetuning; the backbone thaws once."""
    lightning = pytest.importorskip("lightning.pytorch", exc_type=ImportError)
    peer = Network(torch, "cnn")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = peer.module[:-1], peer.module[-1]
            self.trained: list[int] = []

        def training_step(self, batch: Any, index: int) -> Any:
            self.trained.append(sum(parameter.requires_grad for parameter in self.parameters()))
            return torch.nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.head.parameters(), 0.01, momentum=0.9)

    batches = torch.utils.data.TensorDataset(peer.x.repeat(STEPS, 1, 1, 1), peer.y.repeat(STEPS))
    loader = torch.utils.data.DataLoader(batches, batch_size=BATCH)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    modules: list[Any] = []

    def fresh() -> Any:
        finetuning = lightning.callbacks.BackboneFinetuning(unfreeze_backbone_at_epoch=THAWS)
        modules.append(Module())
        return (lightning.Trainer(max_epochs=GRADUAL, callbacks=[finetuning], **quiet), modules[-1]), {}

    benchmark.pedantic(lambda trainer, module: trainer.fit(module, loader), setup=fresh, warmup_rounds=1)
    module = modules[-1]
    assert len(module.trained) == GRADUAL * STEPS
    assert module.trained[0] < module.trained[-1] == len(list(module.parameters()))
    describe(benchmark, "run, gradual", "cnn", "Lightning BackboneFinetuning")
