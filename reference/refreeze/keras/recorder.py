"""Records what ``fit`` really does, step by step, for ``refreeze audit``; on each backend of Keras."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from refreeze.audit.record import Header, Start, Step, Writer, check_run, named
from refreeze.errors import InvalidSpec
from refreeze.keras import backends, private
from refreeze.keras import model as models
from refreeze.policy import check_int
from refreeze.selectors import paths_to


class Recorder(keras.callbacks.Callback):
    """Writes a record after each batch of ``fit(..., callbacks=[Recorder("run.jsonl")])``.

    It looks on: at checksums of all variables that can be trained, of their slots in the optimizer, and of the
    statistics of batch normalizations; and at flags. It changes nothing. Epochs are those of the first ``fit``, and
    count on through all that follow with the same recorder, whatever they call theirs.

    Args:
        path: the file to write.
        epoch: the first epoch, from 0; None for that of ``fit``.
        epochs, steps_per_epoch: of the whole run, if known; the audit asks for what is not.
        every: write each so many-th batch of an epoch, >= 1.
        append: whether to go on behind what an earlier process of the run has written to the file.
        probe: a small batch ``(x, y)`` of the data. Callbacks do not see gradients. If a variable does not move and is
            trainable, its gradient on this batch says whether it should have; without, the audit cannot blame it.

    Raises ``InvalidSpec`` for a number or a file that is not allowed; when the training begins, ``Unsupported`` for a
    model as ``FreezeSchedule`` does.
    """

    def __init__(
        self,
        path: str | Path = "run.jsonl",
        *,
        epoch: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        every: int = 1,
        append: bool = False,
        probe: tuple[Any, Any] | None = None,
    ) -> None:
        super().__init__()
        if epoch is not None:
            check_int("epoch", epoch)
        check_run(epochs, steps_per_epoch, every)
        if probe is not None and not (isinstance(probe, tuple) and len(probe) == 2):
            raise InvalidSpec("probe", type(probe).__name__, "a tuple (x, y), or None")
        self._path, self._append, self._probe = path, append, probe
        self._first, self._epochs, self._per_epoch = epoch, epochs, steps_per_epoch
        self._every = every
        self._writer: Writer | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        if self._writer is not None:
            return
        self._tree = tree = models.read(self.model)
        names: dict[int, set[str]] = {}
        for path, node in tree.named.items():
            for variable in node.variables:
                name = path + node.name_of(variable).removeprefix(node.path)
                names.setdefault(id(variable), set()).update({name}, paths_to(path))
        self._variables = list(tree.variables.values())
        statistics: dict[str, list[str]] = {}
        self._statistics: list[Any] = []
        for node in tree.nodes:
            for part in node.batch_norms:
                self._statistics += part.non_trainable_variables[-2:]
                for statistic in part.non_trainable_variables[-2:]:
                    statistics[node.name_of(statistic)] = sorted(paths_to(node.path), key=node.path.__ne__)
        every = max(self._every, self.model.steps_per_execution)
        per_epoch = self._per_epoch or self.params.get("steps")
        header = Header(
            framework=f"keras {keras.__version__} on {keras.backend.backend()}",
            checksum=f"{keras.backend.backend()}-1",
            layers=tuple(tree.layer_names),
            aliases={**tree.layer_names.aliases, **tree.variable_names.aliases},
            parameters=named({name: sorted(names[id(variable)]) for name, variable in tree.variables.items()}),
            statistics=named(statistics),
            every=every,
            epochs=self._epochs,
            steps_per_epoch=per_epoch,
        )
        self._checksums = _checksums()
        self._writer = Writer("path", self._path, header, self._append)
        self._epoch: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        assert self._writer is not None
        self._probed: dict[int, str] = {}
        if self._epoch is None:
            self._epoch = epoch if self._first is None else self._first
            now = self._look()
            self._before = now["parameters"]
            self._writer.write(Start(epoch=self._epoch, step=0, **now))
        else:
            self._epoch += 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (batch + 1) % self._every:
            return
        assert self._writer is not None
        assert self._epoch is not None
        now = self._look()
        still = [i for i, pair in enumerate(zip(self._before, now["parameters"], strict=True)) if pair[0] == pair[1]]
        self._writer.write(Step(epoch=self._epoch, step=batch, still=self._causes(still, now), **now))
        self._before = now["parameters"]

    def _look(self) -> dict[str, Any]:
        """Return the fields that a start and a step share."""
        backends.current().settle(self.model)
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        slots = _slots(optimizer, self._variables)
        found = iter(self._checksums([*self._variables, *self._statistics, *(slot for slot, _, _ in slots)]))
        parameters = [next(found) for _ in self._variables]
        statistics = [next(found) for _ in self._statistics]
        by_name: dict[str, list[str | None]] = {}
        for _, index, name in slots:
            by_name.setdefault(name, [None] * len(parameters))[index] = next(found)
        trains = {id(variable) for variable in self.model.trainable_variables}
        held = {id(variable) for variable in private.built_over(optimizer)} if optimizer.built else None
        return {
            "parameters": parameters,
            "statistics": statistics,
            "slots": by_name,
            "frozen": [i for i, variable in enumerate(self._variables) if id(variable) not in trains],
            "missing": None if held is None else [i for i, v in enumerate(self._variables) if id(v) not in held],
        }

    def _causes(self, still: Sequence[int], now: dict[str, Any]) -> dict[Any, list[int]]:
        """Return by cause what did not move, as far as flags do not say it."""
        flagged = {*now["frozen"], *(now["missing"] or ())}
        asked = [index for index in still if index not in flagged]
        if not asked:
            return {}
        if float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)) == 0:
            return {"rate": asked}
        if self._probe is None or not len(still) < len(self._variables):
            return {}
        if new := [index for index in asked if index not in self._probed]:
            gradients = _gradients(self.model, [self._variables[index] for index in new], *self._probe)
            self._probed |= {i: "gradient" if any_ else "zero" for i, any_ in zip(new, gradients, strict=True)}
        found: dict[Any, list[int]] = {}
        for index in asked:
            found.setdefault(self._probed[index], []).append(index)
        return found


def _checksums() -> Any:
    """Return what computes the checksums of variables on this backend."""
    name = keras.backend.backend()
    compute = importlib.import_module(f"refreeze.audit.checksums.{name}").make()
    return compute if name == "tensorflow" else lambda every: compute([variable.value for variable in every])


def _slots(optimizer: Any, variables: Sequence[Any]) -> list[tuple[Any, int, str]]:
    """Return each slot that belongs to one of the variables, with the variable's index and the name of the slot.

    Keras names a slot by the path of its variable. Slots of variables with one path cannot be told apart: left out.
    """
    by_path: dict[str, list[int]] = {}
    for index, variable in enumerate(variables):
        by_path.setdefault(variable.path.replace("/", "_"), []).append(index)
    found = []
    for slot in optimizer.variables:
        name = slot.path.rpartition("/")[2]
        for place in (place for place in range(len(name) - 1, 0, -1) if name[place] == "_"):
            if len(owners := by_path.get(name[:place], [])) == 1:
                found.append((slot, owners[0], name[place + 1 :]))
                break
    return found


def _gradients(model: Any, variables: Sequence[Any], x: Any, y: Any) -> list[bool]:
    """Return for each variable whether the loss on a batch has a gradient there that is not 0; changes nothing."""

    def loss(values: Sequence[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return model.compute_loss(x=x, y=y, y_pred=model(x, training=False))

    values = [variable.value for variable in variables]
    if keras.backend.backend() == "jax":
        import jax

        found = jax.grad(loss)(values)
    elif keras.backend.backend() == "torch":
        import torch

        values = [value.detach().clone().requires_grad_() for value in values]
        found = torch.autograd.grad(loss(values), values, allow_unused=True)
    else:
        import tensorflow as tf

        values = [tf.convert_to_tensor(value) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = loss(values)
        found = tape.gradient(result, values)
    return [gradient is not None and bool(np.any(keras.ops.convert_to_numpy(gradient))) for gradient in found]
