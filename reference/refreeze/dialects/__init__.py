"""Dialects: the configuration of a real system, checked, and its meaning as a policy.

A dialect is one module with one ``DIALECT``. A third party adds one through an entry point in the group
``refreeze.dialects`` whose object is a ``Dialect``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import msgspec

from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, check_int
from refreeze.rates import Rates

BUILT_IN = (
    "vl3d", "lighter", "kempner", "fastai", "composer", "freezeout", "gradual", "chain_thaw", "lisa", "lightning",
)  # fmt: skip
_GROUP = "refreeze.dialects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a configuration may depend on besides the names: the run that it is for."""

    total: int
    """The ticks of the run, in the dialect's unit."""
    steps_per_epoch: int = 1
    """The steps in an epoch, the last, partial batch included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A configuration language for schedules."""

    name: str
    """The name under which a configuration file asks for it."""
    source: str
    """The system it is the language of, with the version that was read, or the paper."""
    config: Any
    """The type of a configuration: built of msgspec Structs, immutable."""
    root: str = ""
    """What a configuration is called in error messages, such as ``freeze_training``; "" if its keys say enough."""
    unit: Literal["epochs", "steps"]
    """What a tick is."""
    names: Literal["layers", "parameters"]
    """What a name stands for."""
    build: Callable[[Any, Sequence[str] | None, Run], Policy]
    """From a configuration, the declared names (None: not known) and the run, to the policy."""
    rates: Callable[[Any, Sequence[str] | None, Run], Rates | None] | None = None
    """The same to the learning rate of each name, for a dialect that has such; None if the configuration sets none."""
    unwrap: Callable[[Any], Any] | None = None
    """From another form in which users have their configurations, such as a whole file of the system, to this one."""
    wrapped: dict[str, Any] | None = None
    """The JSON Schema of that other form."""

    def parse(self, raw: object) -> Any:
        """Return the checked configuration; ``raw`` is plain data, as from JSON, or a configuration already.

        Raises ``InvalidSpec`` with the place of the first value that is not allowed: an unknown or missing key, a
        wrong type (a bool is no int), an empty list, a number out of range.
        """
        plain = msgspec.to_builtins(raw) if isinstance(raw, msgspec.Struct) or _holds_structs(raw) else raw
        if self.unwrap is not None:
            plain = self.unwrap(plain)
        _check_plain(plain, self.root)
        try:
            return msgspec.convert(plain, self.config)
        except msgspec.ValidationError as error:
            raise self._explain(str(error), plain) from None

    def policy(
        self, raw: object, names: Sequence[str] | None = None, *, total: int, steps_per_epoch: int = 1
    ) -> Policy:
        """Return the policy that a configuration means for ``names`` in a run of ``total`` ticks.

        ``names`` are all that can be frozen, in declaration order; None means that they are not known. Raises the
        ``ScheduleError`` that says what is wrong with the configuration.
        """
        run = Run(total=check_int("total", total), steps_per_epoch=check_int("steps_per_epoch", steps_per_epoch, 1))
        return self.build(self.parse(raw), names, run)

    def learning_rates(
        self, raw: object, names: Sequence[str] | None = None, *, total: int, steps_per_epoch: int = 1
    ) -> Rates | None:
        """Return the learning rate of each name over time, None if the configuration sets none; as ``policy`` else."""
        run = Run(total=check_int("total", total), steps_per_epoch=check_int("steps_per_epoch", steps_per_epoch, 1))
        config = self.parse(raw)
        return None if self.rates is None else self.rates(config, names, run)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a configuration."""
        return msgspec.json.schema(self.config)

    def file_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a configuration file, ``{"dialect": ..., "config": ...}``."""
        config = self.json_schema()
        definitions = config.pop("$defs", {})
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"A refreeze configuration in the dialect {self.name}",
            "description": f"Source: {self.source}. Names are {self.names}, ticks are {self.unit}.",
            "type": "object",
            "properties": {
                "dialect": {"const": self.name},
                "config": {"anyOf": [config, self.wrapped]} if self.wrapped else config,
            },
            "required": ["dialect", "config"],
            "additionalProperties": False,
            "$defs": definitions,
        }

    def _explain(self, message: str, raw: Any) -> InvalidSpec:
        problem, found, path = message.replace(" - at `key` in `$", " - at `$").rpartition(" - at `$")
        problem, path = (problem, path) if found else (message, "")
        tokens: list[int | str] = []
        value = raw
        for key, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
            if index == "...":  # some entry of a mapping: the first one that is wrong by itself
                key = next(name for name in value if self._fails(_replaced(raw, tokens, {name: value[name]}), message))
                path = path.replace("[...]", f"[{key!r}]", 1)
            tokens.append(int(index) if index.isdigit() else key)
            value = value[tokens[-1]]
        if field := re.search(r"(missing required|unknown) field `(.+)`", problem):
            missing = field[1] != "unknown"
            allowed = f"an object with{'' if missing else 'out'} the key {field[2]!r}"
            if not missing:
                known = [keys for keys in self._at(tokens, "properties") if _has_tag(value, keys)]
                allowed += f" (known are {', '.join(sorted({key for keys in known for key in keys}))})"
        elif problem.startswith("Invalid"):
            allowed = "one of " + ", ".join(repr(value) for values in self._at(tokens, "enum") for value in values)
            allowed += ", or a list" * ("array" in self._at(tokens, "type"))
        elif problem == "Number out of range":
            allowed = "a number that a float can hold"
        elif "`key` in" in message:
            allowed = "an object whose keys are strings"
        else:
            allowed = problem.removeprefix("Expected ").partition(", got")[0].replace("`", "")
        return InvalidSpec((self.root + path.rstrip("`")).lstrip(".") or "config", value, allowed)

    def _fails(self, raw: Any, message: str) -> bool:
        try:
            msgspec.convert(raw, self.config)
        except msgspec.ValidationError as error:
            return str(error) == message
        return False

    def _at(self, path: Sequence[int | str], keyword: str) -> list[Any]:
        """Return all that the schema has under ``keyword`` for the place ``path``, of each alternative there."""
        schema = self.json_schema()

        def alternatives(node: Any) -> Iterator[dict[str, Any]]:
            if "$ref" in node:
                node = schema["$defs"][node["$ref"].rpartition("/")[2]]
            yield node
            for option in node.get("anyOf", []):
                yield from alternatives(option)

        nodes = list(alternatives(schema))
        for token in path:
            inner = [
                n["properties"].get(token) if isinstance(token, str) and "properties" in n
                else n.get("items") or (n.get("prefixItems") or [None])[0] if isinstance(token, int)
                else n.get("additionalProperties")
                for n in nodes
            ]  # fmt: skip
            nodes = [option for n in inner if isinstance(n, dict) for option in alternatives(n)]
        return [n[keyword] for n in nodes if keyword in n]


def _holds_structs(raw: object) -> bool:
    return isinstance(raw, list | tuple) and any(isinstance(item, msgspec.Struct) for item in raw)


def _check_plain(value: Any, where: str) -> None:
    """Raise ``InvalidSpec`` for what msgspec takes for a list or a number: a set has no order, a Decimal no bits."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_plain(item, f"{where}[{number}]")
    elif isinstance(value, set | frozenset | Decimal):
        raise InvalidSpec(where or "config", value, "plain data, as in JSON")


def _has_tag(value: Any, properties: dict[str, Any]) -> bool:
    """Return whether no key with few possible values, such as the tag of a tagged alternative, says otherwise."""
    return all(value[key] in schema["enum"] for key, schema in properties.items() if key in value and "enum" in schema)


def _replaced(raw: Any, path: Sequence[int | str], new: Any) -> Any:
    """Return a copy of ``raw`` with ``new`` in the place ``path``."""
    if not path:
        return new
    copy: Any = dict(raw) if isinstance(raw, dict) else list(raw)
    copy[path[0]] = _replaced(raw[path[0]], path[1:], new)
    return copy


def _built_in(name: str) -> Dialect:
    found: Dialect = importlib.import_module(f"{__name__}.{name}").DIALECT
    return found


def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=_GROUP):
        if entry.name in (*BUILT_IN, *found):
            raise InvalidSpec(f"entry point {entry.value}", entry.name, "a name that no other dialect has")
        found[entry.name] = entry
    return found


def _load(entry: importlib.metadata.EntryPoint) -> Dialect:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidSpec(f"entry point {entry.name}", entry.value, f"a Dialect to import ({error})") from error
    if not isinstance(found, Dialect) or found.name != entry.name:
        raise InvalidSpec(f"entry point {entry.name}", found, f"a Dialect with the name {entry.name!r}")
    return found


def dialects() -> dict[str, Dialect]:
    """Return every dialect by name: the built-in ones in a fixed order, then those of installed entry points.

    Raises ``InvalidSpec`` for an entry point that has a name already taken, cannot be imported, or is no ``Dialect``.
    """
    return {name: _built_in(name) for name in BUILT_IN} | {n: _load(entry) for n, entry in _installed().items()}


def dialect(name: str) -> Dialect:
    """Return the dialect called ``name``; raises ``InvalidSpec`` with the known ones if there is none.

    Only that dialect is imported: a broken entry point does not hinder the others.

    >>> dialect("lighter").unit
    'steps'
    """
    if name in BUILT_IN:
        return _built_in(name)
    installed = _installed()
    if name not in installed:
        raise InvalidSpec("dialect", name, f"one of {', '.join(map(repr, (*BUILT_IN, *installed)))}")
    return _load(installed[name])
