"""Known failures: laws that an implementation is known to break, each with a case that shows it still does.

The file, JSON or TOML, lies with the implementation: ``{"failures": [{"law", "dialect", "reason", "case"}]}``, where
the case may be a string of JSON, as TOML has no null.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
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


def text(entries: Iterable[KnownFailure], path: Path) -> str:
    """Return the text of a file with these entries, in TOML if ``path`` ends so, else in JSON; ``read`` reads both."""
    if path.suffix != ".toml":
        return json.dumps({"failures": msgspec.to_builtins([*entries])}, indent=1) + "\n"
    return "\n".join(map(_as_toml, entries)) or "failures = []\n"


def _as_toml(entry: KnownFailure) -> str:
    case = json.dumps(entry.case)
    case = json.dumps(case) if "'''" in case else f"'''{case}'''"
    texts = (f"{key} = {json.dumps(getattr(entry, key), ensure_ascii=False)}\n" for key in ("law", "dialect", "reason"))
    return f"[[failures]]\n{''.join(texts)}case = {case}\n".replace("\x7f", "\\u007f")


def read(path: Path) -> list[KnownFailure]:
    """Return the entries of a file; raises ``InvalidSpec`` for one that cannot be read or is malformed."""
    content = read_text("--known-failures", path)
    try:
        data = tomllib.loads(content) if path.suffix == ".toml" else msgspec.json.decode(content)
        entries = msgspec.convert(data, _File).failures
        for entry in entries:
            if isinstance(entry.get("case"), str):
                entry["case"] = msgspec.json.decode(entry["case"])
        return msgspec.convert(entries, list[KnownFailure])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidSpec("--known-failures", str(path), f"a file of known failures ({error})") from None
