"""The implementations that are asked, as data: a folder each under ``systems``, with ``system.toml`` and its reports.

A report, ``systems/NAME/VERSION.json``, is what ``refreeze verify --report`` wrote, with the key ``asked`` in front:
what was asked, when, and beside which packages. ``table`` makes them, and the public table of them.
"""

from __future__ import annotations

import functools
import shlex
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from refreeze.conformance.catalogue import checks
from refreeze.conformance.laws import rejected
from refreeze.conformance.vectors import as_expected

ROOT = Path(__file__).parents[1]
SYSTEMS = ROOT / "peers" / "systems"


class System(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An implementation, and how it is asked."""

    title: str
    adapter: str = ""
    """What ``refreeze verify`` takes: ``module:function``; or else there is a ``command``."""
    command: str = ""
    level: Literal["schedule", "execution"] = "schedule"
    package: str = ""
    """What is installed, if it is not refreeze itself."""
    checkout: str = ""
    """In its place: what is cloned, as it is in no registry."""
    versions: tuple[str, ...] = ()
    """Those that are asked, the newest last; of a checkout commits."""
    module: str = ""
    """What is imported, if that is not called as the package is."""
    also: dict[str, tuple[str, ...]] = {}
    """What else a version needs in its own folder."""
    beside: tuple[str, ...] = ()
    """Modules of the shared environment whose versions matter, beside PyTorch's."""
    path: tuple[str, ...] = ()
    """Folders of this repository that its adapter is in."""
    dialects: tuple[str, ...] = ()
    """None: all."""
    asked_about: Literal["all", "meaning"] = "all"
    """With "meaning" no wrong configuration: what checks them is not in what the adapter calls."""
    laws: tuple[str, ...] = ()
    """The clauses or laws that it is asked about, if not all."""

    seen_in: str = ""
    """Which version the page of findings names where no law is broken that would say it."""

    @property
    def call(self) -> list[str]:
        """The implementation as an argument of ``refreeze verify``."""
        level = ["--level", "execution"] if self.level == "execution" else []
        return ["--command", self.command] if self.command else [self.adapter, *level]

    @property
    def needs(self) -> tuple[str, ...]:
        """The modules without which it cannot be asked."""
        own = self.module or self.package.replace("-", "_")
        return tuple(filter(None, (own, *self.beside)))

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``refreeze verify`` for all of it."""
        laws: tuple[str, ...] = self.laws
        if self.asked_about == "meaning":
            of_wrong = (rejected, as_expected)
            asked = checks(dialects=self.dialects)
            laws = tuple(dict.fromkeys(check.law.id for check in asked if check.family.check not in of_wrong))
        options = [("--dialect", self.dialects), ("--law", laws)]
        return [*self.call, *(argument for option, each in options for one in each for argument in (option, one))]


@functools.cache
def systems() -> dict[str, System]:
    """Return the implementations by the names of their folders."""
    files = sorted(SYSTEMS.glob("*/system.toml"))
    return {file.parent.name: msgspec.convert(tomllib.loads(file.read_text("utf-8")), System) for file in files}


def known_failures(name: str) -> Path:
    """Return the file of known failures of an implementation, which there may be."""
    return ROOT / "peers" / "known_failures" / f"{name}.toml"


def shown(system: System) -> str:
    """Return how the implementation is given to ``refreeze verify``, for people."""
    return shlex.join(system.call)
