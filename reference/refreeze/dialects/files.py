"""Configuration files: JSON, YAML or TOML, by their ending, with exactly the keys ``dialect`` and ``config``."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from refreeze.dialects import Dialect, dialect
from refreeze.errors import InvalidSpec


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 1e-3 is a number, 1:30, 010, 1_000, yes and dates are texts, as in YAML 1.2.

    What YAML has besides JSON's kinds of values, such as sets, is an error, and so is a key that is given twice.
    """


_KINDS = [f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq")]
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_KINDS, None)}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    _check_unique([loader.construct_object(key, deep=True) for key, _ in node.value if not key.tag.endswith(":merge")])
    return loader.construct_mapping(node, deep=True)  # what is merged in by << gives way to the node's own keys


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _kind, _pattern, _starts in (
    ("merge", r"<<$", ["<"]),
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("int", r"[-+]?(0|[1-9]\d*)$", [*"-+0123456789"]),
    ("float", r"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$", [*"-+.0123456789"]),
    ("float", r"\.(nan|NaN|NAN)$", ["."]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _starts)


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


def read(path: str | os.PathLike[str]) -> tuple[Dialect, Any]:
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
    except (ValueError, LookupError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidSpec("file", str(path), f"well-formed {path.suffix[1:].upper()} ({reason})") from None
    if not isinstance(data, dict) or set(data) != {"dialect", "config"}:
        raise InvalidSpec(str(path), data, "an object with exactly the keys 'dialect' and 'config'")
    if not isinstance(data["dialect"], str):
        raise InvalidSpec(f"{path}: dialect", data["dialect"], "a string")
    return dialect(data["dialect"]), data["config"]
