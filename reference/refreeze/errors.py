"""What can be wrong with a schedule: one class per cause, each with a stable id.

The id is what a conformance adapter answers on the wire. The message says what is wrong, where, and what is
allowed; the same values are attributes, so that nobody has to parse a sentence. A message is one line of bounded length
that any terminal and file can take, whatever a configuration or a name holds.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

MOST_MESSAGE = 2_000
"""Characters of a message."""
MOST_VALUE = 200
"""Characters of a value in a message."""
MOST_GUESSED = 3
"""Unknown names for which close matches are looked for, among the first ``MOST_COMPARED`` known ones."""
MOST_COMPARED = 10_000
_LONGEST_COMPARED = 100
_MOST_ALIKE = 50


def one_line(text: str, most: int = MOST_MESSAGE) -> str:
    """Return ``text``, shortened, with what a terminal might obey, or a file not take, as Python writes it.

    >>> print(one_line("two\\nlines"))
    two\\nlines
    """
    if len(text) > most or not text.isprintable():
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shown(value: object, most: int = MOST_VALUE) -> str:
    """Return ``repr(value)``, shortened, at a cost that its size and its depth do not matter for.

    >>> shown(list(range(10**6)), 12)
    '[0, 1, 2, 3…'
    """
    text, length = [], 0
    for piece in _pieces(value, most, 0):
        text.append(piece)
        length += len(piece)
        if length > most:
            break
    return one_line("".join(text), most)


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Return the first names, for a message, and whether there are more.

    >>> first_few("abc", 2)
    'a, b, …'
    """
    found = list(itertools.islice(names, most + 1))
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


def _pieces(value: object, most: int, depth: int) -> Iterator[str]:
    """Yield the text of ``repr(value)`` in pieces; what lies deeper than a hundred levels is left out."""
    if depth > 100:
        yield "…"
    elif type(value) in (list, tuple, dict):
        brackets = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        opening, closing = brackets[0], brackets[1]
        yield opening
        for number, item in enumerate(value):  # type: ignore[arg-type, var-annotated]
            yield ", " if number else ""
            yield from _pieces(item, most, depth + 1)
            if isinstance(value, dict):
                yield ": "
                yield from _pieces(value[item], most, depth + 1)
        yield f",{closing}" if isinstance(value, tuple) and len(value) == 1 else closing
    elif type(value) is str:
        yield repr(value[: most + 1])
    else:
        try:
            yield repr(value)
        except Exception:  # an integer of thousands of digits, or an object whose own code fails
            yield f"<{type(value).__name__}>"


class ScheduleError(ValueError):
    """Base of every error that refreeze raises on purpose; never raised itself."""

    id: ClassVar[str]

    def __str__(self) -> str:
        return one_line(self._message())

    def _message(self) -> str:
        return super().__str__()


class InvalidSpec(ScheduleError):
    """A value of a configuration or of a call is not allowed: ``where = value must be allowed``."""

    id = "invalid-spec"

    def __init__(self, where: str, value: object, allowed: str) -> None:
        super().__init__(where, value, allowed)
        self.where, self.value, self.allowed = where, value, allowed

    def _message(self) -> str:
        return f"{one_line(self.where, MOST_VALUE)} = {shown(self.value)} must be {self.allowed}"


class UnknownName(ScheduleError):
    """Names that the model, or the list of names, does not have (NAM-2); all of them, with close matches."""

    id = "unknown-name"

    def __init__(self, where: str, missing: Sequence[str], known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(where, tuple(missing), known)
        self.where, self.missing, self.known = where, tuple(missing), known

    def close_matches(self, name: str) -> list[str]:
        """Return up to three known names that resemble ``name``, the closest first."""
        if len(name) > _LONGEST_COMPARED:
            return []
        known = [known for known in self.known[:MOST_COMPARED] if len(known) <= _LONGEST_COMPARED]
        pairs = {*itertools.pairwise(name)}  # difflib alone takes seconds for thousands of long names
        alike = heapq.nlargest(_MOST_ALIKE, known, key=lambda other: len(pairs.intersection(itertools.pairwise(other))))
        return difflib.get_close_matches(name, alike, n=3)

    def _message(self) -> str:
        parts = []
        for number, name in enumerate(self.missing[:8]):
            close = self.close_matches(name) if number < MOST_GUESSED else []
            parts.append(shown(name) + (f" (did you mean {', '.join(map(shown, close))}?)" if close else ""))
        more = f" and {len(self.missing) - 8:,} more" if len(self.missing) > 8 else ""
        known = first_few((one_line(name, MOST_VALUE) for name in self.known), 8)
        return f"{self.where}: unknown {', '.join(parts)}{more}; known are {known or 'no names'}"


class NeedsModel(ScheduleError):
    """The configuration refers to "all" names, and neither names nor a model were given (NAM-1)."""

    id = "needs-model"

    def __init__(self, where: str, value: object) -> None:
        super().__init__(where, value)
        self.where, self.value = where, value

    def _message(self) -> str:
        return f"{self.where} = {shown(self.value)} can be resolved only with a model or a list of names"


class EmptySelection(ScheduleError):
    """A selector matches nothing (NAM-3): a typo that would otherwise freeze nothing, silently."""

    id = "empty-selection"

    def __init__(self, where: str, selector: object) -> None:
        super().__init__(where, selector)
        self.where, self.selector = where, selector

    def _message(self) -> str:
        return f"{self.where} = {shown(self.selector)} matches no name"


class Conflict(ScheduleError):
    """Two different learning rates are set at one tick (SCH-6)."""

    id = "conflict"

    def __init__(self, tick: int, rates: Iterable[float]) -> None:
        rates = tuple(sorted(rates))
        super().__init__(tick, rates)
        self.tick, self.rates = tick, rates

    def _message(self) -> str:
        return f"tick {self.tick}: learning rates {', '.join(map(repr, self.rates))} are set at once; one may be"


class ScheduleMismatch(ScheduleError):
    """A checkpoint was written under a schedule with a different past (RES-3)."""

    id = "schedule-mismatch"

    def __init__(self, tick: int, recorded: object, given: object) -> None:
        super().__init__(tick, recorded, given)
        self.tick, self.recorded, self.given = tick, recorded, given

    def _message(self) -> str:
        recorded, given = shown(self.recorded, 800), shown(self.given, 800)
        return f"the schedules differ at tick {self.tick}: recorded {recorded}, given {given}"


class Inexpressible(ScheduleError):
    """A dialect cannot say a schedule: the first tick that it cannot, what the schedule has there, and of whom."""

    id = "inexpressible"

    def __init__(self, dialect: str, unit: str, tick: int, what: str, names: Sequence[str]) -> None:
        super().__init__(dialect, unit, tick, what, tuple(names))
        self.dialect, self.unit, self.tick, self.what, self.names = dialect, unit, tick, what, tuple(names)

    def _message(self) -> str:
        return f"{self.dialect} cannot say this schedule: at {self.unit} {self.tick} it has {self.what}"


class CheckpointError(ScheduleError):
    """A checkpoint cannot be used or written: it is damaged, of another version or model, or the disk is full."""

    id = "checkpoint"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def _message(self) -> str:
        return f"checkpoint {self.path} {self.why}"


class Unsupported(ScheduleError):
    """The engine cannot run this model, optimizer or schedule exactly, so it refuses to (EXE-5, EXE-12)."""

    id = "unsupported"
