"""The pages of the documentation, as the tests read them: fenced blocks, clauses, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^(?P<fence>```+|:::+)\{?(?P<kind>[\w-]*)\}?(?: (?P<argument>.*))?$")
_FILE = re.compile(r"(?:#|//) (?P<name>[\w.-]+\.(?:py|ya?ml|toml|json))$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    """What follows the fence: ``pycon``, ``console``, ``yaml``, ``clause``, …"""
    argument: str
    """What follows that, such as the id of a clause."""
    text: str
    line: int
    """The line of its first line of text, from 1."""

    @property
    def file(self) -> str | None:
        """The name of the file that it shows, if its first line is a comment with one."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["name"] if found else None


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order, not those within others."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if opening := _BLOCK.match(line):
            inside = []
            for _, following in lines:
                if following.strip() == opening["fence"]:
                    break
                inside.append(following)
            else:
                raise AssertionError(f"line {number}: the block {line!r} has no end")
            yield Block(opening["kind"], opening["argument"] or "", "\n".join(inside) + "\n", number + 1)


def written() -> list[Path]:
    """Return the pages that people write: the README and its siblings, and all of docs but what is built."""
    found = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return [*sorted(ROOT.glob("*.md")), *found]


def title(page: Path) -> str:
    """Return what a page is called in the name of a test."""
    return page.relative_to(ROOT).as_posix()
