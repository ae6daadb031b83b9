"""Vectors: single requests with the answer that a clause demands, worked out by hand from it, for any language.

A file ``vectors/<clause>/<topic>.json`` is a list of vectors about one clause. Where there are too many to work out by
hand, the file says so: ``generated`` has the seed and the command, and the tests generate it again.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from refreeze.conformance.adapters import Adapter
from refreeze.conformance.clauses import clauses
from refreeze.conformance.laws import Ask, Broken, Case, Family, NotSupported, agrees_with
from refreeze.conformance.protocol import ErrorId, Fault, read_answer
from refreeze.errors import InvalidSpec

FOLDER = Path(__file__).parent / "vectors"
_Slug = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class Generated(Struct, forbid_unknown_fields=True, kw_only=True):
    """How the vectors of a file were made."""

    seed: int
    """Of Python's ``random.Random``."""
    command: str
    """Writes the file."""


class Vector(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One request and its answer: a result, or the id of an error."""

    id: _Slug
    """What it shows; with its clause, ``RR-1/wraps-around``, its name."""
    description: Annotated[str, Meta(min_length=10, max_length=200)]
    """Why the answer is what it is."""
    request: dict[str, Any]
    """Without ``refreeze`` and ``id``, which the one who asks adds."""
    expected: dict[str, Any] | UnsetType = UNSET
    """The answer without its id; segments mean the same in any encoding."""
    error: ErrorId | UnsetType = UNSET
    """The id of the error with which the request is rejected."""


class File(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The vectors of one topic."""

    clause: str
    """The clause that demands the answers."""
    vectors: Annotated[list[Vector], Meta(min_length=1)]
    generated: Generated | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of checking one vector."""

    name: str
    vector: Vector
    verdict: str
    """passed, failed or unsupported"""
    got: str = ""
    should_be: str = ""


@functools.cache
def files() -> dict[Path, File]:
    """Return every file by its path; raises ``InvalidSpec`` for one that does not have the form."""
    found = {}
    for path in sorted(FOLDER.glob("*/*.json")):
        try:
            found[path] = msgspec.json.decode(path.read_bytes(), type=File)
        except msgspec.MsgspecError as error:
            raise InvalidSpec(f"vectors/{path.parent.name}/{path.name}", "", f"a file of vectors ({error})") from None
    return found


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file of vectors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(File)}


@functools.cache
def vectors(clause: str | None = None) -> dict[str, Vector]:
    """Return the vectors, all or those of a clause, by name, ``RR-1/wraps-around``, in the order of the clauses."""
    every = [(file.clause, vector) for file in files().values() for vector in file.vectors]
    order = {name: place for place, name in enumerate(clauses())}
    every.sort(key=lambda pair: order[pair[0]])
    return {f"{name}/{vector.id}": vector for name, vector in every if clause in (None, name)}


def case_of(name: str) -> Case:
    """Return the vector as a case: its name, its request, and ``expected`` or ``error``."""
    vector = vectors()[name]
    answer = {"error": vector.error} if vector.expected is UNSET else {"expected": vector.expected}
    return {"vector": name, "request": vector.request, **answer}


def as_expected(ask: Ask, case: Case) -> None:
    """The answer is the one that the vector has."""
    answer = {"error": case["error"]} if "error" in case else case["expected"]
    agrees_with(ask, case["request"], read_answer(case["request"]["op"], answer))


def families(clause: str) -> dict[str, Family]:
    """Return the families of the vectors of a clause: in each dialect that it has some in, these and no others.

    What a schedule is comes first, then what is rejected: a failure is that of the first vector that fails.
    """
    cases: dict[str, list[Case]] = {}
    for name, vector in sorted(vectors(clause).items(), key=lambda item: item[1].error is not UNSET):
        cases.setdefault(vector.request["dialect"], []).append(case_of(name))
    return {dialect: Family(as_expected, None, tuple(found)) for dialect, found in cases.items()}


def check(adapter: Adapter, chosen: dict[str, Vector]) -> list[Outcome]:
    """Return what the adapter makes of each vector, a crash too; raises ``Fault`` for one at the first, or another."""
    outcomes = []
    for name, vector in chosen.items():
        try:
            as_expected(adapter.ask, case_of(name))
            outcomes.append(Outcome(name, vector, "passed"))
        except NotSupported:
            outcomes.append(Outcome(name, vector, "unsupported"))
        except Broken as broken:
            outcomes.append(Outcome(name, vector, "failed", broken.got, broken.should_be))
        except Fault as fault:
            if fault.kind != "crashed" or not outcomes:
                raise
            outcomes.append(Outcome(name, vector, "failed", str(fault), "an answer"))
    return outcomes
