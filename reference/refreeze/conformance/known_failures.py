"""Known failures: laws that an implementation is known to break, each with a case that shows it still does.

The file, JSON or TOML, lies with the implementation: ``{"failures": [{"law", "dialect", "reason", "case"}]}``, where
the case may be a string of JSON, as TOML has no null.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec
from refreeze.reading import read_text


class KnownFailure(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One entry."""

    law: str
    """The id of the law."""
    dialect: str
    """In which dialect."""
    reason: Annotated[str, Meta(min_length=1)]
    """Why, and perhaps until when."""
    case: dict[str, Any]
    """A case that breaks the law, as the failure printed it."""

    @property
    def check_id(self) -> str:
        """The id of the check it is about."""
        return f"{self.law}[{self.dialect}]"


class _File(Struct, forbid_unknown_fields=True):
    failures: list[dict[str, Any]]


def read(path: Path) -> list[KnownFailure]:
    """Return the entries of a file; raises ``InvalidSpec`` for one that cannot be read or is malformed."""
    text = read_text("--known-failures", path)
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else msgspec.json.decode(text)
        entries = msgspec.convert(data, _File).failures
        for entry in entries:
            if isinstance(entry.get("case"), str):
                entry["case"] = msgspec.json.decode(entry["case"])
        return msgspec.convert(entries, list[KnownFailure])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidSpec("--known-failures", str(path), f"a file of known failures ({error})") from None
