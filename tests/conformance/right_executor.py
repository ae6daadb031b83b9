"""A second executor, written from the clauses alone: it compiles at every boundary, with one optimizer for all of them.

Nothing is shared with the engine; the schedule is that of ``brute_force``. ``wrong_executors`` makes the wrong ones out
of its text.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import brute_force
import keras


class Refused(Exception):
    def __init__(self, error):
        super().__init__(error)
        self.id = error


def layers_of(model, prefix=""):
    """Return the layers with weights by path."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= layers_of(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            found[prefix + layer.name] = layer
    return found


def schedule_of(dialect, config, names, total):
    """Return [start, stop, frozen, rate, layers in inference mode] of each segment."""
    request = {"dialect": dialect, "names": names, "config": config, "total": total, "steps_per_epoch": 1, "start": 0}
    found = []
    for tick in brute_force.segments(request):
        state = [set(tick["frozen"]), tick["learning_rate"], set(tick["bn_frozen"])]
        if found and state[1] is None and [found[-1][2], found[-1][4]] == [state[0], state[2]]:
            found[-1][1] += 1
        else:
            found.append([tick["start"], tick["stop"], *state])
    return found


def scheduled(dialect, config, names):
    """Return the names that the configuration mentions."""
    if dialect == "fastai":
        return {name for group in config["groups"] for name in group}
    return {name for spec in config for unit in brute_force.layers_of(spec, names) for name in unit}


def in_inference_mode(layer, on):
    if on:
        layer.call = lambda inputs, training=None, mask=None: type(layer).call(layer, inputs, training=False, mask=mask)
    elif "call" in vars(layer):
        del layer.call


def watching(model, flags):
    """Return a train step that begins with these flags, whatever callbacks have made of them."""

    def step(data):
        for layer, flag in flags:
            layer.trainable = flag
        return type(model).train_step(model, data)

    return step


class Compiling:
    def resume(self, model, dialect, config, total, fit, folder):
        return self.run(model, dialect, config, total, fit, Path(folder, "newest"))

    def run(self, model, dialect, config, total, fit, file=None):
        layers = layers_of(model)
        try:
            segments = schedule_of(dialect, config, [*layers], total)
        except brute_force.Wrong as wrong:
            raise Refused(str(wrong)) from None
        optimizer, governed = model.optimizer, scheduled(dialect, config, [*layers])
        if optimizer.use_ema and any(frozen for _, _, frozen, _, _ in segments):
            raise Refused("unsupported")
        if isinstance(optimizer.get_config()["learning_rate"], dict) and any(rate for *_, rate, _ in segments):
            raise Refused("unsupported")
        given = {name: layer.trainable for name, layer in layers.items()}
        for layer in layers.values():
            layer.trainable = True
        optimizer.build(model.trainable_variables)
        done, history = 0, {}
        if file is not None and file.exists():
            done, history, past, weights, slots = pickle.loads(file.read_bytes())
            if past != [segment for segment in segments if segment[0] < done]:
                raise Refused("schedule-mismatch")
            model.set_weights(weights)
            for variable, value in zip(optimizer.variables, slots, strict=True):
                variable.assign(value)
        for start, stop, frozen, rate, inference in segments:
            if start < done:
                continue
            for name, layer in layers.items():
                layer.trainable = name not in frozen if name in governed else given[name]
                in_inference_mode(layer, name in inference)
            model.train_step = watching(model, [(layer, layer.trainable) for layer in layers.values()])
            model.compile(optimizer, model.loss)
            if rate is not None:
                optimizer.learning_rate = rate
            found = fit(stop - start)
            columns, epochs = found.history, len(found.epoch)
            for key in [*history, *columns]:
                history.setdefault(key, [math.nan] * done)
            for key, values in history.items():
                values += columns.get(key, [math.nan] * epochs)
            done += epochs
            if model.stop_training:
                break
            if file is not None:
                past = [segment for segment in segments if segment[0] < done]
                state = model.get_weights(), [variable.numpy() for variable in optimizer.variables]
                file.write_bytes(pickle.dumps((done, history, past, *state)))
        merged = keras.callbacks.History()
        merged.history, merged.epoch = history, [*range(done)]
        return merged
