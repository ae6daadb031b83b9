"""What the kit sees of a run of an executor: every call of the fit function, or every step, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STEPS = 2
"""The batches of an epoch."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model and its optimizer at one moment."""

    weights: dict[str, bytes]
    """The bits of each weight, by ``layer path/name``."""
    slots: dict[str, bytes]
    """The bits of the optimizer's variables that belong to a weight, by ``layer path/name:slot``."""
    trainable: dict[str, bool]
    """Whether each name that can be frozen trains. A layer's own flag, its containers' and its variables' say so."""
    learning_rates: tuple[float, ...]
    """The different learning rates that there are, in ascending order."""
    iterations: int | None = None
    """The updates that the optimizer has counted; None if it counts them for each weight, as one of its slots."""


@dataclass(slots=True)
class TorchStep:
    """What is seen of a step besides the state before and after it."""

    number: int
    """Its number in the run, from 0."""
    batch: int
    """Which batch of an epoch was trained, from 0; -1: none of the kit's."""
    modes: dict[str, bool]
    """Whether each module but batch normalizations is in training mode, by its path; "" is the whole."""
    normalized_by: str = ""
    """Which statistics the batch normalization has used: "the batch" or "the moving ones"."""
    gradients: dict[str, bool] | None = None
    """Whether each weight had a gradient when the optimizer stepped, one of zeros too; None: no optimizer stepped."""
    groups: dict[str, list[str]] | None = None
    """The options, but for the learning rate, of each parameter group that held a weight then."""


@dataclass(slots=True)
class Call:
    """A call of the fit function, or a step of a framework that has none; nothing comes after one that failed.

    A step is from the beginning of one forward pass to that of the next, the update of the weights included.
    """

    tick: int
    """The one in which it begins."""
    length: int
    """The epochs that the fit function was asked for; 1 for a step."""
    before: ModelState
    after: ModelState | None = None
    """Weights and flags when the next step begins; slots and rates as the optimizer's update has left them."""
    history: dict[str, list[Any]] | None = None
    """What the History that it returned holds; the loss of a step."""
    step: TorchStep | None = None

    @property
    def where(self) -> str:
        """What messages call it."""
        if self.step is None:
            return f"fit({self.length}) at epoch {self.tick}"
        return f"step {self.step.number}, of tick {self.tick}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run: what was there at its begin and its end, and how it ended."""

    begun: ModelState
    calls: tuple[Call, ...]
    end: ModelState
    steps_per_tick: int | None = None
    """None where a call trains a segment, not a step."""
    history: dict[str, list[Any]] | None = None
    """The history that the executor returned; None if it did not return, or if its framework has none."""
    epochs: list[int] | None = None
    """The epochs that this history says it is of, if it does."""
    error: str | None = None
    """The id of the error that the executor refused with."""
    raised: str | None = None
    """The class of the exception that came out of the executor, after the fit function or the step failed."""
    afterwards: Call | None = None
    """One call more, after one failed: is the model usable?"""
