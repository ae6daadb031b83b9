"""Objects that a command line names as ``module:name``, and what the user's code in them raises."""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from refreeze.errors import InvalidSpec, one_line

_FORM = re.compile(r"[\w-]+(\.[\w-]+)*:\w+")


def load_object(where: str, reference: str) -> Any:
    """Return what ``module:name`` refers to, where the module may lie in the current directory.

    Raises ``InvalidSpec`` if the form is another, or if there is no such module, or no such name in it. Whatever the
    module itself raises while it is imported passes through, a module that it cannot find included.

    >>> load_object("--model", "math:sqrt")(9)
    3.0
    """
    if not _FORM.fullmatch(reference):
        raise InvalidSpec(where, reference, "of the form module:name")
    module, _, name = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise InvalidSpec(where, reference, f"the name of something that exists ({error})") from None
    if not hasattr(found, name):
        raise InvalidSpec(
            where, reference, f"the name of something that exists (module {module!r} has no attribute {name!r})"
        )
    return getattr(found, name)


def call_object(where: str, reference: str) -> Any:
    """Return what the function ``module:name`` returns, called without arguments.

    Raises ``InvalidSpec`` as ``load_object`` does, and if it is no function, or if the module or the function raises or
    ends the program, with the exception as the cause.
    """
    try:
        function = load_object(where, reference)
        if not callable(function):
            raise InvalidSpec(where, reference, f"a function, not of the type {type(function).__name__}")
        return function()
    except (InvalidSpec, KeyboardInterrupt):
        raise
    except BaseException as error:
        reason = f"a function that needs no arguments and works ({described(error)})"
        raise InvalidSpec(where, reference, reason) from error


def described(error: BaseException) -> str:
    """Return an exception of the user's code in one line: its class, its message, and the last line of the user's own.

    That is the last one of the traceback that lies neither in Python, nor in an installed package, nor in this one.
    """
    try:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # its own __str__ fails
        said = type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    place = f", at {os.path.relpath(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{one_line(' '.join(said.split()), 800)}{place}"


def _is_library(file: str) -> bool:
    folders = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), str(Path(__file__).parent))
    return file.startswith(("<", *(f"{folder}{os.sep}" for folder in folders)))
