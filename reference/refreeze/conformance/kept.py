"""Kept cases: what broke a law, by its id, so that the command which replays it is short.

A case that failed is kept in the user's cache, ``$XDG_CACHE_HOME/refreeze/cases`` or ``~/.cache/refreeze/cases``, one
small file each. ``--replay`` takes such an id, ``REPORT.json#id`` for a case of a stored report, a file, or JSON.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from refreeze.errors import InvalidSpec
from refreeze.reading import read_text
from refreeze.writing import write_whole

MOST_KEPT = 1_000
"""Cases that are kept; the oldest go first."""
_ID = re.compile(r"[0-9a-f]{10}")
T = TypeVar("T")


class Kept(Struct, forbid_unknown_fields=True):
    """What the file of a kept case has."""

    law: str
    case: dict[str, Any]


class _Failure(Struct):
    id: str
    case: dict[str, Any]


class _Result(Struct):
    law: str
    failure: _Failure | None = None


class _Report(Struct):
    results: list[_Result]


def folder() -> Path:
    """Return the folder of kept cases, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "refreeze", "cases").expanduser()


def keep(cases: Iterable[tuple[str, Kept]]) -> bool:
    """Keep cases under their ids, and return whether that was possible: a cache may be read-only."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        for name, case in cases:
            write_whole("--replay", folder() / f"{name}.json", [msgspec.json.encode(case)])
        kept = sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MOST_KEPT:]:
            path.unlink(missing_ok=True)
    except (OSError, RuntimeError, InvalidSpec):  # RuntimeError: there is no home
        return False
    return True


def find(text: str) -> tuple[str | None, dict[str, Any]]:
    """Return the law of a case, if that is stored with it, and the case that ``--replay`` asks for.

    Raises ``InvalidSpec`` if there is none, and for what is malformed.
    """
    if text.lstrip().startswith("{"):
        return None, _read(text, text, dict[str, Any])
    file, hash_sign, name = text.rpartition("#")
    if hash_sign and not Path(text).exists():
        for result in _read(file, read_text("--replay", file), _Report).results:
            if result.failure is not None and result.failure.id == name:
                return result.law, result.failure.case
        raise InvalidSpec("--replay", text, "a report, and behind # the id of a case that failed in it")
    if _ID.fullmatch(text) and not Path(text).exists():
        path = folder() / f"{text}.json"
        if not path.exists():
            raise InvalidSpec("--replay", text, f"the id of a case that is kept in {folder()}")
        kept = _read(str(path), read_text("--replay", path), Kept)
        return kept.law, kept.case
    return None, _read(text, read_text("--replay", text), dict[str, Any])


def _read(shown: str, text: str, form: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        what = "a report of verify" if form is _Report else "a case in JSON"
        raise InvalidSpec("--replay", shown, f"{what} ({error})") from None
