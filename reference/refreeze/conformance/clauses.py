"""Clauses: the sentences of the specification, by id, from the one place where they are written."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct

from refreeze.conformance.protocol import Level

Requirement = Literal["must", "should"]
"""As in RFC 2119: who breaks a must trains otherwise; a should is about which wrong configurations are rejected."""


class Clause(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One normative sentence, or a few that belong together."""

    id: str
    """Stable; never given to another clause."""
    title: str
    text: str
    """What must hold."""
    level: Level = "schedule"
    """Whether schedules show it, or only their execution."""
    requirement: Requirement = "must"
    """Of what it says about the configurations that are right."""
    untestable: str | None = None
    """Why neither a law nor a vector of this kit checks it; None if one does."""


@functools.cache
def clauses() -> dict[str, Clause]:
    """Return the clauses by id, in the order of the specification."""
    text = resources.files(__package__).joinpath("clauses.toml").read_text(encoding="utf-8")
    found = msgspec.convert(tomllib.loads(text)["clause"], list[Clause])
    assert len({clause.id for clause in found}) == len(found), "a clause id is given twice"
    return {clause.id: clause for clause in found}


def requirement(clause: str, case: dict[str, Any] | None = None) -> Requirement:
    """Return whether a clause is a must, or what ``case``, one of its laws, demands.

    A request for a schedule that must be rejected is a should, whatever the clause; what a run does is as the clause.
    """
    rejects = case is not None and case.get("error") is not None and case["request"].get("op") != "run"
    return "should" if rejects else clauses()[clause].requirement
