"""The embedded example: a small convolutional network, pretrained on the digits 0-4, to be fine-tuned on 5-9.

The images are scikit-learn's digits (8x8 grey values of the UCI "Optical Recognition of Handwritten Digits" test set),
which the package ships.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 24

SCHEDULE: list[dict[str, Any]] = [
    # Gradual: the head alone, then the second block too, the first, the stem.
    {"layers": ["stem_conv", "stem_bn"], "training_interval": [0, 9]},
    {"layers": ["block1_conv", "block1_bn"], "training_interval": [0, 6]},
    {"layers": ["block2_conv", "block2_bn"], "training_interval": [0, 3], "initial_learning_rate": 0.003},
    # Round robin: stem, first, second block in turn, at a lower rate.
    {
        "layers": ["stem_conv", "stem_bn", "block1_conv", "block1_bn", "block2_conv", "block2_bn"],
        "training_interval": [12, 22],
        "strategy": {"type": "round_robin", "window_size": 2, "iterative_span": 2},
        "initial_learning_rate": 0.001,
    },
]
"""What ``refreeze run`` does without ``--spec``: a configuration of vl3d."""


def data(first: int) -> Any:
    """Return ``(x, y), (x_test, y_test)`` of the digits first..first+4: float32 images (n, 8, 8, 1), labels 0..4."""
    images, labels = load_digits(return_X_y=True)
    chosen = (labels >= first) & (labels < first + 5)
    x, y = (images[chosen] / 16).astype(np.float32).reshape(-1, 8, 8, 1), labels[chosen] - first
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return (x, y), (x_test, y_test)


def model() -> Any:
    """Return the network, compiled: a stem and two blocks of convolution and batch normalization, and a head."""
    stack: list[Any] = [keras.Input((8, 8, 1))]
    for name, filters in (("stem", 16), ("block1", 24), ("block2", 32)):
        stack += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv"),
            keras.layers.BatchNormalization(name=f"{name}_bn"),
            keras.layers.ReLU(name=f"{name}_relu"),
        ]
        if name != "stem":
            stack.append(keras.layers.MaxPooling2D(name=f"{name}_pool"))
    stack += [keras.layers.Flatten(), keras.layers.Dropout(0.2), keras.layers.Dense(5, name="head")]
    network = keras.Sequential(stack, name="digits")
    compile_fresh(network)
    return network


def compile_fresh(network: Any) -> None:
    """Compile with a new Adam optimizer."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])


def pretrain(network: Any, epochs: int = 8) -> None:
    """Train the network on the digits 0-4; then its head and its optimizer are made new."""
    (x, y), _ = data(first=0)
    network.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
    head = network.get_layer("head")
    head.kernel.assign(head.kernel_initializer(head.kernel.shape))
    head.bias.assign(head.bias_initializer(head.bias.shape))
    compile_fresh(network)
