"""Files of vectors as this project keeps them: their form, and what their schema cannot say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET
from refreeze import InvalidSpec
from refreeze.conformance.clauses import clauses
from refreeze.conformance.protocol import Schedule, read_answer, segments_request
from refreeze.conformance.vectors import File, Vector


def lint(found: dict[Path, File]) -> list[str]:
    """Return what is wrong with vectors that have the form: one line each."""
    problems = []
    names: list[str] = []
    descriptions: list[str] = []
    for path, file in found.items():
        where = f"{path.parent.name}/{path.name}"
        if file.clause != path.parent.name or file.clause not in clauses():
            problems.append(f"{where}: the clause {file.clause} is none, or not that of the folder")
        for vector in file.vectors:
            name = f"{file.clause}/{vector.id}"
            if (vector.expected is UNSET) == (vector.error is UNSET):
                problems.append(f"{name}: needs either expected or error")
            if re.search(r"\b(should|must)\b", vector.description) or not vector.description.endswith("."):
                problems.append(f"{name}: the description states a fact, in a sentence that ends with a full stop")
            names.append(name)
            descriptions.append(vector.description)
            problems += [f"{name}: {problem}" for problem in _lint_answer(vector)]
    problems += [f"{name}: the name is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    problems += [f"{d!r}: two vectors say so" for d in sorted({d for d in descriptions if descriptions.count(d) > 1})]
    return problems


def _lint_answer(vector: Vector) -> Iterable[str]:
    request = vector.request
    if request.get("op") == "segments" and list(request) != list(segments_request("", None, None, 0)):
        yield "a request for segments has exactly the keys that the kit sends, in that order"
        return
    if vector.expected is UNSET:
        return
    try:
        answer = read_answer(request["op"], vector.expected)
    except (InvalidSpec, KeyError) as error:
        yield f"the expectation is no answer ({error})"
        return
    if isinstance(answer, Schedule):
        edges = [request["start"], *(s.stop for s in answer.segments)]
        if [s.start for s in answer.segments] != edges[:-1] or edges[-1] != request["total"]:
            yield "the segments are not contiguous from start to total"


def dumps(file: File) -> str:
    """Return the text of a file: a line for each request, and one for each segment."""
    head = {key: value for key, value in msgspec.to_builtins(file).items() if key != "vectors"}
    lines = [json.dumps(head)[:-1] + ', "vectors": [']
    for vector in file.vectors:
        plain = msgspec.to_builtins(vector)
        keys = [f"    {json.dumps(key)}: {_value(value)}" for key, value in plain.items()]
        lines += ["  {", ",\n".join(keys), "  }" + "," * (vector is not file.vectors[-1])]
    return "\n".join([*lines, "]}", ""])


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.get("segments"):
        return '{"segments": [\n' + ",\n".join(f"      {json.dumps(s)}" for s in value["segments"]) + "\n    ]}"
    return json.dumps(value)
