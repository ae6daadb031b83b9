"""Dialects: the configuration of a real system, checked, and its meaning as a policy.

A dialect is one module with one ``DIALECT``. A third party adds one through an entry point in the group
``refreeze.dialects`` whose object is a ``Dialect``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from refreeze.errors import InvalidSpec
from refreeze.policy import Policy, check_int

_BUILT_IN = ("vl3d",)
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
    root: str
    """What a configuration is called in error messages, such as ``freeze_training``."""
    unit: Literal["epochs", "steps"]
    """What a tick is."""
    names: Literal["layers", "parameters"]
    """What a name stands for."""
    build: Callable[[Any, Sequence[str] | None, Run], Policy]
    """From a configuration, the declared names (None: not known) and the run, to the policy."""

    def parse(self, raw: object) -> Any:
        """Return the checked configuration; ``raw`` is plain data, as from JSON, or a configuration already.

        Raises ``InvalidSpec`` with the place of the first value that is not allowed: an unknown or missing key, a
        wrong type (a bool is no int), an empty list, a number out of range.
        """
        plain = msgspec.to_builtins(raw) if isinstance(raw, msgspec.Struct) or _holds_structs(raw) else raw
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

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a configuration."""
        return msgspec.json.schema(self.config)

    def _explain(self, message: str, raw: Any) -> InvalidSpec:
        problem, path, *_ = *re.split(r" - at (?:key in )?`\$", message), ""
        tokens = [int(i) if i else key for key, i in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
        value = raw
        for token in tokens:
            value = value[token]
        if field := re.search(r"(missing required|unknown) field `(.+)`", problem):
            missing = field[1] != "unknown"
            allowed = f"an object with{'' if missing else 'out'} the key {field[2]!r}"
            if not missing:
                allowed += f" (known are {', '.join(sorted(set(self._at(tokens, 'properties'))))})"
        elif problem.startswith("Invalid"):
            allowed = "one of " + ", ".join(map(repr, self._at(tokens, "enum")))
        else:
            allowed = problem.removeprefix("Expected ").partition(", got")[0].replace("`", "")
        return InvalidSpec(self.root + path.rstrip("`"), value, allowed)

    def _at(self, path: Sequence[int | str], keyword: str) -> list[str]:
        """Return all that the schema lists under ``keyword`` for the place ``path``."""
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
        return [item for n in nodes for item in n.get(keyword, [])]


def _holds_structs(raw: object) -> bool:
    return isinstance(raw, list | tuple) and any(isinstance(item, msgspec.Struct) for item in raw)


def dialects() -> dict[str, Dialect]:
    """Return every dialect by name: the built-in ones in a fixed order, then those of installed entry points."""
    found = {name: importlib.import_module(f"{__name__}.{name}").DIALECT for name in _BUILT_IN}
    for entry in importlib.metadata.entry_points(group=_GROUP):
        if entry.name in found:
            raise InvalidSpec(f"entry point {entry.value}", entry.name, "a name that no other dialect has")
        found[entry.name] = entry.load()
    return found


def dialect(name: str) -> Dialect:
    """Return the dialect called ``name``; raises ``InvalidSpec`` with the known ones if there is none."""
    known = dialects()
    if name not in known:
        raise InvalidSpec("dialect", name, f"one of {', '.join(map(repr, known))}")
    return known[name]
