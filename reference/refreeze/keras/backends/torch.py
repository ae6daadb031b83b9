"""torch: a step does what the flags say when it runs; one that torch compiles does so for one frozen set alone."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import torch

from refreeze.errors import Unsupported
from refreeze.keras import private
from refreeze.keras.backends import Backend


class Torch(Backend):
    """torch in one process, step by step."""

    def check(self, model: Any) -> None:
        if model.steps_per_execution > 1:
            raise Unsupported(
                f"model {model.name!r} is compiled with steps_per_execution = {model.steps_per_execution}, and Keras "
                "executes one step at a time on torch"
            )
        if model.jit_compile and "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
            raise Unsupported(
                f"model {model.name!r} is compiled with jit_compile=True, and torch {torch.__version__} cannot keep "
                "what it compiles for one frozen set apart from another; jit_compile=False or torch 2.13 is needed"
            )
        if keras.distribution.distribution() is not None:
            raise Unsupported("a distribution of Keras is set, which does nothing on torch; set it to None")

    def make(self, model: Any) -> None:
        if not model.jit_compile or model.run_eagerly:
            super().make(model)
            return
        # One region of torch's compiler per frozen set: in one for all, torch compiles eight variants and then none.
        # Flags are put back outside of it, for what it traces is Python that runs no more.
        plain = getattr(model.train_step, "plain", model.train_step)
        compiled = torch.compile(lambda data: plain(data[0]), isolate_recompiles=True)

        def train(data: Any) -> Any:
            if put_back := getattr(model.train_step, "put_back", None):
                put_back()
            return compiled(data)

        model.train_function = train

    def count(self, optimizer: Any, counts: list[Any]) -> Callable[[], None]:
        return private.update_one_by_one(optimizer)

    def watch(self, model: Any, put_back: Callable[[], None]) -> None:
        super().watch(model, put_back)
        private.within(model, "Model._symbolic_build", self._drawing_nothing)

    def unwatch(self, model: Any) -> None:
        super().unwatch(model)
        private.within(model, "Model._symbolic_build", None)

    @contextlib.contextmanager
    def _drawing_nothing(self) -> Iterator[None]:
        # The first fit of a process builds metrics, and draws for it: a run that is resumed would draw once more.
        before = self.random_state()
        yield
        self.set_random_state(before)

    def wait(self, outcome: Any) -> None:
        super().wait(outcome)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def random_state(self) -> bytes:
        # Dropout without a seed of its own draws from these; first the processor's, then one per device.
        states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]
        return b"".join(state.numpy().tobytes() for state in states)

    def set_random_state(self, state: bytes) -> None:
        values = torch.frombuffer(bytearray(state), dtype=torch.uint8)
        size, devices = len(torch.get_rng_state()), torch.cuda.device_count()
        torch.set_rng_state(values[:size])
        if devices and len(values) > size:
            torch.cuda.set_rng_state_all(list(values[size:].chunk(devices)))


BACKEND = Torch()
