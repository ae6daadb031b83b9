"""What is wrong with a configuration: the first place, the value there, and what is allowed there.

msgspec decides whether plain data are a configuration, but it says the place only inside of an English sentence. So
what it refuses is walked once more here, along the same types.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from refreeze.errors import InvalidSpec

_KINDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.LiteralType: "str",
    inspect.ListType: "array",
    inspect.TupleType: "array",
    inspect.VarTupleType: "array",
    inspect.DictType: "object",
    inspect.StructType: "object",
    inspect.NoneType: "null",
}
"""What each type is called in a message, in the order in which alternatives are listed."""
_ORDER = list(dict.fromkeys(_KINDS.values()))
_PYTHON: dict[str, type | tuple[type, ...]] = {
    "bool": bool, "int": int, "float": (int, float), "str": str, "array": (list, tuple), "object": Mapping,
    "null": type(None),
}  # fmt: skip
_LIMITS = (("gt", ">", operator.gt), ("ge", ">=", operator.ge), ("lt", "<", operator.lt), ("le", "<=", operator.le))


def explained(error: msgspec.ValidationError, plain: object, config: Any, root: str) -> InvalidSpec:
    """Return what is wrong with ``plain``, which is no ``config``; as msgspec says it where the types are others."""
    found = next(_wrong(plain, inspect.type_info(config), root), None)
    where, value, allowed = found or (root, plain, f"a configuration ({error})")
    return InvalidSpec(where.lstrip(".") or "config", value, allowed)


_Wrong = Iterator[tuple[str, object, str]]
"""Places that are wrong: where, the value there, and what is allowed."""


def _wrong(value: Any, kind: inspect.Type, where: str) -> _Wrong:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    options = tuple(option.type if isinstance(option, inspect.Metadata) else option for option in options)
    if not all(type(option) in _KINDS for option in options):
        return
    fitting = [option for option in options if _is(value, _KINDS[type(option)])]
    match fitting[0] if fitting else None:
        case None:
            names = {_KINDS[type(option)] for option in options}
            yield where, value, " | ".join(sorted(names, key=_ORDER.index))
        case inspect.StructType() as struct:
            yield from _wrong_struct(value, struct, [s for s in fitting if isinstance(s, inspect.StructType)], where)
        case inspect.DictType(value_type=inner):
            if not all(isinstance(key, str) for key in value):
                yield where, value, "an object whose keys are strings"
            for key, item in value.items():
                yield from _wrong(item, inner, f"{where}[{key!r}]")
        case inspect.TupleType(item_types=types):
            if len(value) != len(types):
                yield where, value, f"array of length {len(types)}"
            for index, (item, inner) in enumerate(zip(value, types, strict=False)):
                yield from _wrong(item, inner, f"{where}[{index}]")
        case inspect.ListType() | inspect.VarTupleType() as array:
            yield from _wrong_length(value, array, "array", where)
            for index, item in enumerate(value):
                yield from _wrong(item, array.item_type, f"{where}[{index}]")
        case inspect.LiteralType(values=values):
            if value not in values:
                or_a_list = ", or a list" if any(_KINDS[type(option)] == "array" for option in options) else ""
                yield where, value, f"one of {', '.join(map(repr, values))}{or_a_list}"
        case inspect.StrType() as text:
            yield from _wrong_length(value, text, "str", where)
            if text.pattern is not None and not re.search(text.pattern, value):
                yield where, value, f"str matching regex {text.pattern!r}"
        case inspect.IntType() | inspect.FloatType() as number:
            yield from _wrong_number(value, number, where)


def _is(value: object, kind: str) -> bool:
    """Return whether ``value`` is of the kind of JSON; a bool is no number, an integer is a float too."""
    return isinstance(value, _PYTHON[kind]) and not (kind in ("int", "float") and isinstance(value, bool))


def _wrong_struct(
    value: Mapping[Any, Any], struct: inspect.StructType, options: list[inspect.StructType], where: str
) -> _Wrong:
    tag = struct.tag_field
    if tag is not None and len(options) > 1:
        if tag not in value:
            yield where, value, f"an object with the key {tag!r}"
        elif not (named := [option for option in options if option.tag == value[tag]]):
            yield f"{where}.{tag}", value[tag], f"one of {', '.join(repr(option.tag) for option in options)}"
        else:
            struct = named[0]
    fields = {field.encode_name: field for field in struct.fields}
    for key, item in value.items():
        if not isinstance(key, str):
            yield where, value, "an object whose keys are strings"
        elif key in fields:
            yield from _wrong(item, fields[key].type, f"{where}.{key}")
        elif key != tag and struct.forbid_unknown_fields:
            known = ", ".join(sorted({*fields} | ({tag} if tag is not None else set())))
            yield where, value, f"an object without the key {key!r} (known are {known})"
    for key, field in fields.items():
        if field.required and key not in value:
            yield where, value, f"an object with the key {key!r}"


def _wrong_length(value: Any, kind: Any, name: str, where: str) -> _Wrong:
    if kind.min_length is not None and len(value) < kind.min_length:
        yield where, value, f"{name} of length >= {kind.min_length}"
    if kind.max_length is not None and len(value) > kind.max_length:
        yield where, value, f"{name} of length <= {kind.max_length}"


def _wrong_number(value: Any, kind: inspect.IntType | inspect.FloatType, where: str) -> _Wrong:
    name = _KINDS[type(kind)]
    if name == "float" and abs(value) > sys.float_info.max and not isinstance(value, float):
        yield where, value, "a number that a float can hold"
    for limit, sign, holds in _LIMITS:
        bound = getattr(kind, limit)
        if bound is not None and not holds(value, bound):
            yield where, value, f"{name} {sign} {float(bound) if name == 'float' else bound}"
