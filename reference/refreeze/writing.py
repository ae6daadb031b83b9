"""Writing files that users name: whole or not at all, and never over what was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from refreeze.errors import InvalidSpec


def write_whole(where: str, path: str | Path, content: Iterable[bytes], read: Iterable[str | Path] = ()) -> None:
    """Write the parts of ``content`` to a new file beside ``path``, and move it there when all of it is on the disk.

    What was there before stays whole until then, and also if the disk is full. Raises ``InvalidSpec`` if the file
    cannot be written, if it is a folder, a pipe or a device, and if it is one of the files that were ``read``.
    """
    try:
        target = Path(os.path.realpath(path))
        same = target.exists() and any(os.path.samefile(target, other) for other in read)
        odd = target.exists() and not target.is_file()
        if not same and not odd:
            _replace(target, content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidSpec(where, str(path), f"a file that can be written ({reason})") from None
    if same:
        raise InvalidSpec(where, str(path), "another file than the one that is read")
    if odd:
        kind = "Is a directory" if target.is_dir() else "a pipe or a device"
        raise InvalidSpec(where, str(path), f"a file that can be written ({kind})")


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
