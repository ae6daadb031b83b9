"""Reading files that users name: regular files only, and never more than a stated number of bytes.

A named pipe would wait for ever, and ``/dev/zero`` never ends; both are refused at once. Whatever reads a file that a
user names reads it through this module.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from refreeze.errors import InvalidSpec

MEBIBYTE = 1 << 20
TEXT_LIMIT = 16 * MEBIBYTE
"""The bytes that a file of text may have: a specification, a case, known failures."""
NESTING_LIMIT = 100
"""How deep lists and objects may lie in one another, in data from outside."""


def open_regular(where: str, path: str | Path) -> BinaryIO:
    """Return a regular file, opened to read bytes.

    Raises ``InvalidSpec`` at once for what cannot be opened, and for a folder, a pipe or a device.
    """
    try:  # a pipe that nobody writes to is opened without waiting, and refused
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidSpec(where, str(path), f"a file that can be read ({reason})") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidSpec(where, str(path), "a regular file, not a pipe or a device")
    return file


def read_text(where: str, path: str | Path, limit: int = TEXT_LIMIT) -> str:
    """Return the text of a regular file in UTF-8, without a byte order mark.

    Raises ``InvalidSpec`` as ``open_regular`` does, and for a file of more than ``limit`` bytes or of another encoding.
    """
    with open_regular(where, path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InvalidSpec(where, str(path), f"a file of at most {limit / MEBIBYTE:g} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSpec(where, str(path), f"a file in UTF-8 ({error})") from None


def is_nested_deeper(data: Any, limit: int = NESTING_LIMIT) -> bool:
    """Return whether lists and dictionaries lie in one another more than ``limit`` deep; no recursion, linear time.

    >>> is_nested_deeper([[{}]], 3), is_nested_deeper([[{}]], 2)
    (False, True)
    """
    row = [data]
    for _ in range(limit + 1):
        row = [node for node in row if isinstance(node, list | dict)]
        if not row:
            return False
        row = [child for node in row for child in (node.values() if isinstance(node, dict) else node)]
    return True
