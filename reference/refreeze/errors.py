"""What can be wrong with a schedule: one class per cause, each with a stable id.

The id is what a conformance adapter answers on the wire. The message says what is wrong, where, and what is
allowed; the same values are attributes, so that nobody has to parse a sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class ScheduleError(ValueError):
    """Base of every error that refreeze raises on purpose; never raised itself."""

    id: ClassVar[str]


class InvalidSpec(ScheduleError):
    """A value of a configuration or of a call is not allowed: ``where = value must be allowed``."""

    id = "invalid-spec"

    def __init__(self, where: str, value: object, allowed: str) -> None:
        super().__init__(where, value, allowed)
        self.where, self.value, self.allowed = where, value, allowed

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 200 else f"{shown[:199]}…"
        return f"{self.where} = {shown} must be {self.allowed}"


class UnknownName(ScheduleError):
    """Names that the model, or the list of names, does not have (NAM-2); all of them, with close matches."""

    id = "unknown-name"

    def __init__(self, where: str, missing: Sequence[str], known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(where, tuple(missing), known)
        self.where, self.missing, self.known = where, tuple(missing), known

    def close_matches(self, name: str) -> list[str]:
        """Return up to three known names that resemble ``name``, the closest first."""
        return difflib.get_close_matches(name, self.known, n=3)

    def __str__(self) -> str:
        parts = []
        for name in self.missing:
            close = self.close_matches(name)
            parts.append(f"{name!r} (did you mean {', '.join(map(repr, close))}?)" if close else repr(name))
        known = ", ".join(self.known[:8]) + (", …" if len(self.known) > 8 else "")
        return f"{self.where}: unknown {', '.join(parts)}; known are {known or 'no names'}"


class NeedsModel(ScheduleError):
    """The configuration refers to "all" names, and neither names nor a model were given (NAM-1)."""

    id = "needs-model"

    def __init__(self, where: str, value: object) -> None:
        super().__init__(where, value)
        self.where, self.value = where, value

    def __str__(self) -> str:
        return f"{self.where} = {self.value!r} can be resolved only with a model or a list of names"


class EmptySelection(ScheduleError):
    """A selector matches nothing (NAM-3): a typo that would otherwise freeze nothing, silently."""

    id = "empty-selection"

    def __init__(self, where: str, selector: object) -> None:
        super().__init__(where, selector)
        self.where, self.selector = where, selector

    def __str__(self) -> str:
        return f"{self.where} = {self.selector!r} matches no name"


class Conflict(ScheduleError):
    """Two different learning rates are set at one tick (SCH-6)."""

    id = "conflict"

    def __init__(self, tick: int, rates: Iterable[float]) -> None:
        rates = tuple(sorted(rates))
        super().__init__(tick, rates)
        self.tick, self.rates = tick, rates

    def __str__(self) -> str:
        return f"tick {self.tick}: learning rates {', '.join(map(repr, self.rates))} are set at once; one may be"


class ScheduleMismatch(ScheduleError):
    """A checkpoint was written under a schedule with a different past (RES-3)."""

    id = "schedule-mismatch"

    def __init__(self, tick: int, recorded: object, given: object) -> None:
        super().__init__(tick, recorded, given)
        self.tick, self.recorded, self.given = tick, recorded, given

    def __str__(self) -> str:
        return f"the schedules differ at tick {self.tick}: recorded {self.recorded}, given {self.given}"


class CheckpointError(ScheduleError):
    """A checkpoint cannot be used or written: it is damaged, of another version or model, or the disk is full."""

    id = "checkpoint"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"checkpoint {self.path} {self.why}"


class Unsupported(ScheduleError):
    """The engine cannot run this model, optimizer or schedule exactly, so it refuses to (EXE-5, EXE-12)."""

    id = "unsupported"
