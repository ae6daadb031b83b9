"""What differs between the backends of Keras: all that the rest of the engine asks of one is a method of ``Backend``.

Everything else is the same on the three: what is frozen when, the flags, the modes of batch normalizations, the state
of the optimizer, and when a train function is made, kept and dropped.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import keras

from refreeze.errors import Unsupported

NAMES = ("tensorflow", "jax", "torch")
LIMITS = {
    "jax": {
        "flax.nnx": "refused: Keras' train step is another there",
        "several processes": "refused: the engine runs in one, on any number of devices",
        "switch='masked', 'auto' with jit_compile=False": "each frozen set is kept instead, and the log says so",
        "switch='auto'": (
            "a step for a set is compiled in the background, for batches of one shape; equal to rounding; "
            "on few cores steps are longer meanwhile"
        ),
    },
    "torch": {
        "steps_per_execution > 1": "refused: Keras executes one step at a time",
        "jit_compile=True": (
            "needs torch 2.13, and is refused before; each frozen set is compiled for itself, for seconds to minutes, "
            "and what torch has compiled for a set stays in memory when the set is dropped"
        ),
        "keras.distribution": "refused: Keras has none on torch",
        "switch='masked', 'auto'": "steps run as they are, so there is nothing to mask, and the log says so",
    },
    "jax and torch": {
        "a checkpoint of another backend": "resumes; Dropout without a seed of its own draws other masks than there",
    },
}
"""By backend: what works on TensorFlow and not there, or not in the same way, and what comes of it."""


class Backend:
    """What a backend does in its own way; a method that is not overridden says what most of them do."""

    def check(self, model: Any) -> None:
        """Raise ``Unsupported`` for a model that cannot be trained under a schedule on this backend; change nothing."""

    def settle(self, model: Any) -> None:
        """Let the variables of the model and its optimizer hold their values, also in the middle of an epoch."""

    def watch(self, model: Any, put_back: Callable[[], None]) -> None:
        """Have ``put_back`` called before flags decide what a train step does; in place of what was called so far.

        A step is traced at its first batch, and again for data of another shape: callbacks may come before.
        """
        tracing, plain = 0, getattr(model.train_step, "plain", model.train_step)

        def watched(*args: Any) -> Any:
            nonlocal tracing
            if not tracing:  # replicas are traced inside of each other's calls
                put_back()
            tracing += 1
            try:
                return plain(*args)
            finally:
                tracing -= 1

        watched.plain, watched.put_back = plain, put_back  # type: ignore[attr-defined]
        model.train_step = watched

    def unwatch(self, model: Any) -> None:
        """Undo ``watch``."""
        if plain := getattr(model.train_step, "plain", None):
            del model.train_step
            if model.train_step != plain:  # the user had given the model another one
                model.train_step = plain

    def resumed(self, model: Any) -> None:
        """Let what Keras does at a compiled model's first fit alone be without effect, until ``unwatch``."""

    def make(self, model: Any) -> None:
        """Give the model a new train function, for the flags that it has when the function is first called."""
        model.make_train_function(force=True)

    def masked(self, *parts: Any) -> Any:
        """Return the step of a model for all states of a schedule, ``MaskedStep``, or None where there is none."""
        return None

    def forget(self, train_function: Any) -> None:
        """Let what the traces of a train function have left in the backend go; the function stays usable."""

    def build_metrics_first(self, model: Any) -> None:
        """See to it that the first call of the model's train function needs one trace, not two."""

    def count(self, optimizer: Any, counts: list[Any]) -> Callable[[], None]:
        """Let ``update_step`` update one variable, and find ``counts`` where it runs; return what undoes it."""
        return lambda: None

    def wait(self, outcome: Any) -> None:
        """Wait until what a train function has returned is there."""
        for value in keras.tree.flatten(outcome):
            keras.ops.convert_to_numpy(value)

    def scope(self, model: Any) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which variables that belong to the model are made."""
        return contextlib.nullcontext()

    def replicas(self, model: Any) -> int:
        """Return how many replicas of the model there are, each with variables of its own."""
        return 1

    def writes(self, model: Any) -> bool:
        """Return whether this process is the one that writes checkpoints."""
        return True

    def random_state(self) -> bytes:
        """Return the state of random numbers that are drawn for the whole process; nothing if layers have their own."""
        return b""

    def set_random_state(self, state: bytes) -> None:
        """Let random numbers be drawn as they were after ``random_state`` returned ``state``."""


def current() -> Backend:
    """Return what runs Keras in this process; raises ``Unsupported`` for a backend that cannot train."""
    name = keras.backend.backend()
    if name not in NAMES:
        raise Unsupported(f"the engine runs on Keras' backends {', '.join(NAMES)}, and this is {name}")
    found: Backend = importlib.import_module(f"refreeze.keras.backends.{name}").BACKEND
    return found
