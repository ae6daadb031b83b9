"""Configuration files: JSON, YAML or TOML, by their ending, with exactly the keys ``dialect`` and ``config``."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from refreeze.dialects import Dialect, dialect
from refreeze.errors import InvalidSpec


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 1e-3 is a number (YAML 1.2), and a key given twice is an error."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    _check_unique([loader.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")])
    return loader.construct_mapping(node, deep=True)  # what is merged in by << gives way to the node's own keys


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _check_unique(keys: list[Any]) -> None:
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise ValueError(f"the key {key!r} is given twice in one object")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_unique([key for key, _ in pairs])
    return dict(pairs)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": lambda text: json.loads(text, object_pairs_hook=_unique),
    ".yaml": lambda text: yaml.load(text, _Loader),  # noqa: S506 (it is a SafeLoader)
    ".yml": lambda text: yaml.load(text, _Loader),  # noqa: S506
    ".toml": tomllib.loads,
}


def read(path: str | Path) -> tuple[Dialect, Any]:
    """Return the dialect of the file at ``path`` and its configuration as plain data, not yet checked.

    Raises ``InvalidSpec``, with the place where the parser gives one, for a file that cannot be read, is malformed, has
    another ending, or is not an object with exactly ``dialect`` and ``config``.
    """
    path = Path(path)
    parser = _PARSERS.get(path.suffix.lower())
    if parser is None:
        raise InvalidSpec("file", str(path), f"named {', '.join(_PARSERS)}")
    try:
        data = parser(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidSpec("file", str(path), f"a file that can be read ({error.strerror})") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidSpec("file", str(path), f"well-formed {path.suffix[1:].upper()} ({reason})") from None
    if not isinstance(data, dict) or set(data) != {"dialect", "config"}:
        raise InvalidSpec(str(path), data, "an object with exactly the keys 'dialect' and 'config'")
    if not isinstance(data["dialect"], str):
        raise InvalidSpec(f"{path}: dialect", data["dialect"], "a string")
    return dialect(data["dialect"]), data["config"]
