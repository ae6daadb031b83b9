"""Records what a training loop on PyTorch really does, step by step, for ``refreeze audit``."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from refreeze.audit.record import Header, Start, Step, Writer, check_run, named
from refreeze.errors import InvalidSpec, Unsupported
from refreeze.policy import check_int
from refreeze.torch.modules import layer_names, parameter_names
from refreeze.torch.observe import Observation, Observer, around_steps


class Recorder:
    """Writes a record after each ``optimizer.step()``, until ``close``; use it as a context, or call ``close`` at last.

    It looks on: at checksums of all parameters, of what the optimizer keeps for each, and of the statistics of batch
    normalizations; at flags; and, for what did not move, at gradients. It changes nothing, in the run or in its random
    numbers. Steps count from the ``epoch`` and ``step`` given; with ``steps_per_epoch`` epochs follow from them, else
    call ``begin(epoch)`` at the start of each epoch.

    Args:
        model: the module; or a ``DistributedDataParallel``, on one of its processes.
        optimizer: the one whose steps count; None for every optimizer that holds a parameter of the module, as for
            trainers that make it themselves, or make it anew.
        path: the file to write.
        epoch, step: where the training begins, from 0; those of a resumed one are where it goes on.
        epochs, steps_per_epoch: of the whole run, if known; the audit asks for what is not.
        every: write each so many-th step of an epoch, >= 1.
        append: whether to go on behind what an earlier process of the run has written to the file.

    Raises ``InvalidSpec`` for a number or a file that is not allowed, ``Unsupported`` for what is no optimizer, and for
    a module as ``FreezeSchedule`` does.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        path: str | Path = "run.jsonl",
        *,
        epoch: int = 0,
        step: int = 0,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        every: int = 1,
        append: bool = False,
    ) -> None:
        check_run(epochs, steps_per_epoch, every)
        self._epoch, self._step = check_int("epoch", epoch), check_int("step", step)
        self._every, self._per_epoch = every, steps_per_epoch
        inner = getattr(optimizer, "optimizer", optimizer)  # that inside of accelerate's
        if inner is not None and not isinstance(inner, torch.optim.Optimizer):
            raise Unsupported(f"optimizer is a {type(inner).__name__}, and must be a torch.optim.Optimizer")
        self._observer = Observer(model)
        self._optimizers = [] if inner is None else [inner]
        seen = self._observer.named
        paths, own = layer_names(model), parameter_names(model)
        header = Header(
            framework=f"torch {torch.__version__}",
            checksum="torch-1",
            layers=tuple(paths),
            aliases={**paths.aliases, **own.aliases},
            parameters=named({seen.shown[p]: sorted(names) for p, names in seen.parameters.items()}),
            statistics=named(self._observer.statistic_names),
            every=every,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
        )
        self._writer = Writer("path", path, header, append)
        self._before: Observation | None = None
        self._watching = around_steps(self._observer, self._before_step, self._after_step, inner)
        self._watching.__enter__()
        self._open = True

    def begin(self, epoch: int, step: int = 0) -> None:
        """Say where the training is: before the first step of an epoch, or before any step. Saying it again is well.

        Raises ``InvalidSpec`` for a place before that of a step that is recorded.
        """
        now = check_int("epoch", epoch), check_int("step", step)
        if self._before is not None and now < (self._epoch, self._step):
            raise InvalidSpec("epoch, step", now, f"({self._epoch}, {self._step}) or later")
        self._epoch, self._step = now
        if self._optimizers:
            self._start(statistics=True)

    def _start(self, statistics: bool) -> None:
        if self._before is None:
            now = self._before = self._observer.look(self._optimizers)
            self._writer.write(Start(
                epoch=self._epoch, step=self._step, parameters=now.parameters, slots=now.slots,
                statistics=now.statistics if statistics else [],  # the first forward pass has moved them
                frozen=now.frozen, missing=now.missing,
            ))  # fmt: skip

    def _before_step(self, optimizer: Any) -> None:
        if optimizer not in self._optimizers:  # a new one takes the place of those that hold the same parameters
            held = self._observer.held(optimizer)
            self._optimizers = [other for other in self._optimizers if held.isdisjoint(self._observer.held(other))]
            self._optimizers.append(optimizer)
        self._start(statistics=False)

    def _after_step(self, optimizer: Any) -> None:
        epoch, step = self._epoch, self._step
        self._step += 1
        if self._step == self._per_epoch:
            self._epoch, self._step = epoch + 1, 0
        if (step + 1) % self._every:
            return
        before, now = self._before, self._observer.look(self._optimizers)
        assert before is not None
        still: dict[Any, list[int]] = {}
        for index, (was, checksum) in enumerate(zip(before.parameters, now.parameters, strict=True)):
            if was == checksum:
                still.setdefault(self._observer.why_still(index, self._optimizers), []).append(index)
        self._writer.write(Step(
            epoch=epoch, step=step, parameters=now.parameters, slots=now.slots, statistics=now.statistics,
            frozen=now.frozen, missing=now.missing, still=still,
        ))  # fmt: skip
        self._before = now

    def close(self) -> None:
        """Stop recording; closing it again changes nothing."""
        if self._open:
            self._open = False
            self._watching.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
