"""What the kit sees of a run of an executor: every call of the fit function, and the model before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model and its optimizer at one moment."""

    weights: dict[str, bytes]
    """The bits of each weight, by ``layer path/name``."""
    slots: dict[str, bytes]
    """The bits of the optimizer's variables that belong to a weight, by ``layer path/name:slot``."""
    trainable: dict[str, bool]
    """Whether each layer trains, by its path: its own flag, its containers' and its variables' say so."""
    learning_rate: float
    iterations: int


@dataclass(slots=True)
class Call:
    """A call of the fit function; nothing comes after one that failed."""

    epochs: int
    before: ModelState
    after: ModelState | None = None
    history: dict[str, list[Any]] | None = None
    """What the History that it returned holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run: what was there at its begin and its end, and how it ended."""

    begun: ModelState
    calls: tuple[Call, ...]
    end: ModelState
    history: dict[str, list[Any]] | None = None
    """The history that the executor returned; None if it did not return."""
    epochs: list[int] | None = None
    """The epochs that this history says it is of, if it does."""
    error: str | None = None
    """The id of the error that the executor refused with."""
    raised: str | None = None
    """The class of the exception that came out of the executor, after the fit function failed."""
    afterwards: Call | None = None
    """One more epoch, after the fit function failed: is the model usable?"""
