"""Objects that a command line names as ``module:name``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from refreeze.errors import InvalidSpec


def load_object(where: str, reference: str) -> Any:
    """Return what ``module:name`` refers to, where the module may lie in the current directory.

    Raises ``InvalidSpec`` if the form is another, or if the module or the name in it does not exist. An exception that
    the module itself raises while it is imported passes through.

    >>> load_object("--model", "math:sqrt")(9)
    3.0
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        raise InvalidSpec(where, reference, "of the form module:name")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidSpec(where, reference, f"the name of something that exists ({error})") from None


def call_object(where: str, reference: str) -> Any:
    """Return what the function ``module:name`` returns, called without arguments.

    Raises ``InvalidSpec`` as ``load_object`` does, and if the module cannot be imported, or it is no function or
    raises, with the exception as the cause.
    """
    try:
        function = load_object(where, reference)
        if not callable(function):
            raise InvalidSpec(where, reference, f"a function, not of the type {type(function).__name__}")
        return function()
    except InvalidSpec:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InvalidSpec(where, reference, f"a function that needs no arguments and works ({reason})") from error
