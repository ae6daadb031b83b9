"""Training on two logical devices, in a process of its own: they must be made before TensorFlow has begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TOTAL = 3


def train(folder: str) -> dict[str, Any]:
    """Train in many ways and return, by way, what each ended with; ``folder`` is for checkpoints."""
    import keras
    import numpy as np
    import tensorflow as tf
    from refreeze import Unsupported, always, rate, shift, stages, union
    from refreeze.keras import FreezeSchedule, execute, own_counts

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    turns = stages(*((epoch, always([name])) for epoch, name in enumerate(["one", "norm", "one"])))
    policy = union(turns, shift(rate(0.02), 1))
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(16, 4)

    def network(synchronized: bool = True, adam: bool = False) -> Any:
        keras.utils.set_random_seed(0)
        with strategy.scope():
            norm = keras.layers.BatchNormalization(name="norm", synchronized=synchronized)
            dense = keras.layers.Dense(5, name="one"), keras.layers.Dense(2, name="two")
            stack = [keras.Input((4,)), dense[0], keras.layers.Dropout(0.2), norm, dense[1]]
            model = keras.Sequential(stack, name="network")
            model.compile(keras.optimizers.Adam(0.05) if adam else keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        return model

    def state(variables: Any) -> dict[str, list[bytes]]:
        """Return the bits of variables on each replica."""
        return {
            f"{number} {variable.name}": [
                local.numpy().tobytes() for local in strategy.experimental_local_results(variable.value)
            ]
            for number, variable in enumerate(variables)
        }

    def run(way: str, model: Any, total: int = TOTAL, **options: Any) -> Any:
        traces, epochs, step = [0], list[Any](), model.train_step

        def counting(data: Any) -> Any:
            traces[0] += 1
            return step(data)

        class Watch(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                frozen = [layer.name for layer in model.layers if not layer.trainable]
                weights = {layer.name: state(layer.weights) for layer in model.layers if layer.weights}
                epochs.append((frozen, weights, traces[0] / strategy.num_replicas_in_sync))

        def fit(epochs: int, *callbacks: Any) -> Any:
            data = {"x": x, "y": x[:, :2] ** 2, "batch_size": 8, "shuffle": False, "verbose": 0}
            return model.fit(**data, epochs=epochs, callbacks=[*callbacks, Watch()])

        model.train_step = counting
        begun = {layer.name: state(layer.weights) for layer in model.layers if layer.weights}
        in_one = way == "callback"
        history = fit(total, FreezeSchedule(policy)) if in_one else execute(model, policy, total, fit, **options)
        variables = [*model.variables, *model.optimizer.variables, *own_counts.counts(model.optimizer)]
        end = state(variables), repr(history.history)
        return {"begun": begun, "epochs": epochs, "end": end}

    def refused(model: Any) -> str:
        try:
            run("refused", model, checkpoint=Path(folder, "refused"))
        except Unsupported as error:
            return str(error)
        return "nothing"

    run("begun", network(), 1, checkpoint=folder)
    return {
        "executor": run("executor", network()),
        "rebuild": run("rebuild", network(), switch="rebuild"),
        "masked": run("masked", network(), switch="masked"),
        "callback": run("callback", network()),
        "resumed": run("resumed", network(), checkpoint=folder, resume=True),
        "batch": run("batch", network(), batch_norm="batch", optimizer_state="reset"),
        "counts": run("counts", network(adam=True), optimizer_state="per_variable"),
        "masked apart": run("masked apart", network(False), switch="masked"),
        "cached apart": run("cached apart", network(False), switch="cached"),
        "apart": run("apart", network(False), 1),
        "refused": refused(network(False)),
    }
