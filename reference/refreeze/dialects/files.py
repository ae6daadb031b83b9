"""Configuration files: JSON, YAML or TOML, by their ending, with exactly the keys ``dialect`` and ``config``."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from refreeze.dialects import Dialect, dialect
from refreeze.errors import InvalidSpec
from refreeze.limits import MOST_VALUES
from refreeze.reading import MEBIBYTE, NESTING_LIMIT, read_text

MOST_BYTES = 2 * MEBIBYTE
"""The bytes that a configuration file may have."""

_SYNTAX = {
    "merge": ("<<", "<"),
    "null": ("~|null|Null|NULL|", "~nN"),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
"""What a plain text is taken for: the core schema of YAML 1.2 (10.3.2), and the merge key of YAML 1.1."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2: 1e-3 is a number, 010 is ten, 0o10 eight; 1:30, 1_000, yes and dates are texts.

    What YAML has besides JSON's kinds of values, such as sets, is an error, and so is a key that is given twice.
    """

    merged = 0
    """The keys that merges have copied."""
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (*(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "str", "seq")), None)
    }


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own, merged = [], []
    for key, value in node.value:
        built = loader.construct_object(value, deep=True)
        if key.tag.endswith(":merge"):
            merged += built if isinstance(built, list) else [built]
        else:
            own.append((loader.construct_object(key, deep=True), built))
    found: dict[Any, Any] = {}
    for other in reversed(merged):  # the first one that is merged wins, and the mapping's own keys over all
        if not isinstance(other, dict):
            raise ValueError("what << merges in must be an object or a list of objects")
        loader.merged += len(other)
        if loader.merged > MOST_VALUES:
            raise ValueError(f"<< merges in more than {MOST_VALUES:,} keys")
        found |= other
    return found | _unique(own)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text, kind = loader.construct_scalar(node), node.tag.rpartition(":")[2]
    if not re.fullmatch(_SYNTAX[kind][0], text):
        raise ValueError(f"{text!r} is no {kind}")
    if kind == "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _kind, (_pattern, _starts) in _SYNTAX.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), [*_starts] + [""] * (_kind == "null")
    )
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)


def _yaml(text: str) -> Any:
    """Return the data in ``text``; what nests too deep would end the process, so the events are counted first."""
    depth = values = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        if depth > NESTING_LIMIT or values > MOST_VALUES:
            raise ValueError(f"more than {NESTING_LIMIT} levels, or more than {MOST_VALUES:,} values")
    return yaml.load(text, _Loader)  # noqa: S506 (it is a SafeLoader)


_PART = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{NESTING_LIMIT}}}")


def _toml(text: str) -> Any:
    """Return the data in ``text``; tomllib is slow with dotted keys of many parts, so these are counted first."""
    if _DEEP_KEY.search(text):
        raise ValueError(f"a dotted key of more than {NESTING_LIMIT} parts")
    return tomllib.loads(text)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if isinstance(key, list | dict):
            raise ValueError("a key that is a list or an object")
        if key in found:
            raise ValueError(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


class _Dumper(yaml.SafeDumper):
    """Quotes every text that a reader of YAML 1.1 or 1.2 could take for something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _start, _found in _Loader.yaml_implicit_resolvers.items():
    for _tag, _expression in _found:
        _Dumper.add_implicit_resolver(_tag, _expression, [_start])


def text(dialect: Dialect, config: object, kind: str = ".yaml") -> str:
    """Return a configuration, as plain data, as the text of a file with the ending ``kind``: .json, .yaml or .yml.

    Raises ``InvalidSpec`` for another ending.

    >>> from refreeze.dialects import dialect
    >>> print(text(dialect("dino"), {"freeze_last_layer": 1}), end="")
    dialect: dino
    config: {freeze_last_layer: 1}
    """
    file = {"dialect": dialect.name, "config": config}
    if kind == ".json":
        return json.dumps(file, indent=1) + "\n"
    if kind not in (".yaml", ".yml"):
        raise InvalidSpec("file", kind, "named .json, .yaml or .yml to be written")
    return yaml.dump(file, Dumper=_Dumper, default_flow_style=None, sort_keys=False, width=120)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": lambda text: json.loads(text, object_pairs_hook=_unique),
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
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
    text = read_text("file", path, MOST_BYTES)
    try:
        data = parser(text)
    except (ValueError, LookupError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidSpec("file", str(path), f"well-formed {path.suffix[1:].upper()} ({reason})") from None
    if not isinstance(data, dict) or data.keys() != {"dialect", "config"}:
        raise InvalidSpec(str(path), data, "an object with exactly the keys 'dialect' and 'config'")
    if not isinstance(data["dialect"], str):
        raise InvalidSpec(f"{path}: dialect", data["dialect"], "a string")
    return dialect(data["dialect"]), data["config"]
