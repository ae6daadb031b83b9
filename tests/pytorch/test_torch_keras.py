"""The two engines agree: the same network, data and configuration on Keras and on PyTorch end with the same weights."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from refreeze.keras import FreezeSchedule as OnKeras
from refreeze.torch import FreezeSchedule
from small_nets import STEPS, batch
from torch import nn

pytestmark = [pytest.mark.torch, pytest.mark.engine]
EPOCHS, NAMES = 6, ["stem", "body", "head"]
CONFIGURATIONS = {
    "vl3d": [
        {"layers": ["stem", "head"], "training_interval": [1, 2]},
        {"layers": ["stem", "body"], "training_interval": [2, 6],
         "strategy": {"type": "round_robin", "window_size": 1, "iterative_span": 1}},
    ],
    "gradual": {"groups": [["stem"], ["body"], ["head"]], "every": 1},
    "chain_thaw": {"epochs": 1, "new": ["head"]},
}  # fmt: skip


@pytest.mark.parametrize("state", ["keep", "reset", "reset_unfrozen"])
@pytest.mark.parametrize("dialect", CONFIGURATIONS)
def test_keras_and_pytorch_end_with_the_same_weights(dialect, state):
    module = nn.Sequential()
    torch.manual_seed(0)
    for name in NAMES:
        module.add_module(name, nn.Linear(4, 4))
    layers = [keras.layers.Dense(4, name=name) for name in NAMES]
    model = keras.Sequential([keras.Input((4,)), *layers])
    for name, layer in zip(NAMES, layers, strict=True):
        linear = module.get_submodule(name)
        layer.set_weights([linear.weight.detach().numpy().T, linear.bias.detach().numpy()])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)

    config = CONFIGURATIONS[dialect]
    x = torch.cat([batch(step) for step in range(STEPS)])
    on_keras = OnKeras(config, dialect=dialect, optimizer_state=state)
    model.fit(x.numpy(), x.numpy(), batch_size=8, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[on_keras])
    schedule = FreezeSchedule(config, module, optimizer, epochs=EPOCHS, dialect=dialect, optimizer_state=state)
    for epoch in range(EPOCHS):
        schedule.begin(epoch)
        for part in x.split(8):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(part), part).backward()
            optimizer.step()
    assert schedule.plan.segments == on_keras.schedule
    for name, layer in zip(NAMES, layers, strict=True):
        kernel, bias = layer.get_weights()
        linear = module.get_submodule(name)
        np.testing.assert_allclose(linear.weight.detach().numpy().T, kernel, atol=1e-6, rtol=0)
        np.testing.assert_allclose(linear.bias.detach().numpy(), bias, atol=1e-6, rtol=0)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="this is that process")
def test_keras_on_torch_and_pytorch_do_too():
    """All of this file once more, in a process in which Keras runs on torch."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "torch"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2_000:]
    assert f"{3 * len(CONFIGURATIONS)} passed, 1 skipped" in done.stdout
