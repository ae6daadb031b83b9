"""Hostile inputs: valid ones, from the vectors of the kit, changed in a few places."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from refreeze.conformance import vectors
from refreeze.errors import shown

TEXTS = ["", "x" * 1_001, "a/" * 50, "a." * 120, "\x1b[31m\n\x00", "key` in `$", "$.a - at `$[0]`", "\ud800", "é\u202e"]
TEXTS += [
    "a",
    "all",
    "all_reverse",
    "*",
    "b*",
    "[",
    "a/b",
    "/",
    "1/3",
    "1/0",
    "layers",
    "vl3d",
    "NaN",
    "{{7*7}}",
    "b1/n",
    "toString",
    "__proto__",
    "<script>",
]
NUMBERS = [0, 1, -1, 2, 7, 2**31, 2**53 + 1, 2**63, 2**64, 10**18, -(10**30), 10**400, 10**1001, -(10**5000)]
NUMBERS += [0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"), float("nan"), 3.0]
PLAIN = [None, True, False, [], {}, [[]], [None], {"a": {}}, [["a"], ["b"]], {"each": "*"}, [0, 10**18]]
OTHER = [{"a"}, Decimal(1), b"a", object(), ("a", 1), range(3), 1j, {1: 2}, {None: "a"}]
TOKENS = [
    "\n",
    "\t",
    "- ",
    "? ",
    "|\n",
    "---\n",
    "a.b.c = 1\n",
    "[[a]]\n",
    "\x00",
    "<<: *a",
    "!!set ",
    "!!binary ",
    "[",
    "]",
]
TOKENS += ["{", "}", ":", ",", "&a", "*a", "'", '"', "\\u", "\\ud800", "#", "010", "0x1F", "1e999", "\ufeff", "%"]


def odd(rng: random.Random, only_json: bool = False) -> Any:
    """Return a value that may be wrong anywhere."""
    kind = rng.randrange(9 if only_json else 12)
    if kind < 9:
        return rng.choice(TEXTS if kind < 4 else NUMBERS if kind < 7 else PLAIN)
    if kind == 9:
        return functools.reduce(lambda inner, _: [inner], range(rng.choice([3, 99, 101, 5_000])), "x")
    if kind == 10:
        return [rng.choice(TEXTS[9:]) + str(number) for number in range(rng.choice([3, 100, 2_000]))]
    return rng.choice(OTHER)


def changed(rng: random.Random, data: Any, only_json: bool = False) -> Any:
    """Return a copy of ``data`` with one to a few places changed."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        places = list(itertools.islice(_places(data), 2_000))
        if not places or rng.random() < 0.02:
            return odd(rng, only_json)
        holder, key = rng.choice(places)
        match rng.randrange(7):
            case 0 | 1 | 2:
                holder[key] = odd(rng, only_json)
            case 3:
                del holder[key]
            case 4:
                holder[key] = [holder[key]] * rng.choice([1, 2, 30])
            case 5:
                holder[key] = rng.choice(places)[0]  # which may hold itself then
            case _ if isinstance(holder, dict):
                holder[rng.choice(TEXTS)] = odd(rng, only_json)
            case _:
                holder.insert(key, odd(rng, only_json))
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    todo = [data]
    while todo:
        holder = todo.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ():
            yield holder, key
            todo.append(holder[key])


@functools.cache
def every_vector() -> list[Any]:
    """Return the vectors of the kit."""
    return list(vectors.vectors().values())


def request(rng: random.Random) -> dict[str, Any]:
    """Return a valid request, or one that is rejected for one reason."""
    return copy.deepcopy(rng.choice(every_vector()).request)


def written(rng: random.Random, data: Any, path: Path) -> Path:
    """Return ``path``, a file that says ``data``, as far as they can be said, with its text changed here and there."""
    try:
        if path.suffix == ".toml":
            said = "\n".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in data.items())
        else:
            said = json.dumps(data) if path.suffix == ".json" or rng.random() < 0.5 else yaml.safe_dump(data)
    except (AttributeError, TypeError, ValueError, RecursionError, yaml.YAMLError):
        said = shown(data, 10_000)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        at, end = sorted(rng.randrange(len(said) + 1) for _ in range(2))
        said = said[:at] + rng.choice([
            rng.choice(TOKENS) * rng.choice([1, 1, 3, 20_000]) + said[at:end],
            "",
            said[at:end][:60_000] * rng.choice([2, 3, 50]),
            said[at:end][::-1],
        ]) + said[end:]  # fmt: skip
        said = said[: 3 << 20]
    path.write_bytes(said.encode("utf-8", "surrogatepass") + (b"\xff" if rng.random() < 0.03 else b""))
    return path
