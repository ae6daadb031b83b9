"""Writing files that users name: whole or not at all, and never over what was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from refreeze.errors import InvalidSpec


def checked_target(where: str, path: str | Path, read: Iterable[str | Path] = ()) -> Path:
    """Return the file that ``path`` names, links followed, without writing anything.

    Raises ``InvalidSpec`` if its folder does not exist, if it is a folder, a pipe or a device, and if it is one of the
    files that were ``read``.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InvalidSpec(where, str(path), "a file that can be written (No such file or directory)")
    if target.exists() and any(os.path.samefile(target, other) for other in read):
        raise InvalidSpec(where, str(path), "another file than the one that is read")
    if target.exists() and not target.is_file():
        kind = "Is a directory" if target.is_dir() else "a pipe or a device"
        raise InvalidSpec(where, str(path), f"a file that can be written ({kind})")
    return target


def write_whole(where: str, path: str | Path, content: Iterable[bytes], read: Iterable[str | Path] = ()) -> None:
    """Write the parts of ``content`` to a new file beside ``path``, and move it there when all of it is on the disk.

    What was there before stays whole until then, and also if the disk is full. Raises ``InvalidSpec`` as
    ``checked_target`` does, and if the file cannot be written.
    """
    target = checked_target(where, path, read)
    try:
        _replace(target, content)
    except OSError as error:
        raise InvalidSpec(where, str(path), f"a file that can be written ({error.strerror})") from None


def _replace(target: Path, content: Iterable[bytes]) -> None:
    new = target.with_name(f"{target.name[:200]}.unfinished-{os.getpid()}")
    try:
        with new.open("xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            new.chmod(target.stat().st_mode & 0o777)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
