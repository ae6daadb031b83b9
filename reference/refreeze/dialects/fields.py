"""Types of fields that several dialects have, and exact fractions of a run."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Annotated, Literal

from msgspec import Meta, Struct

from refreeze.errors import InvalidSpec

Tick = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, extra_json_schema={"maximum": 2**64 - 1})]
"""In [0, 2**64), which a configuration is checked for where it becomes a policy: `le` cannot be more than 2**63."""
Names = Annotated[tuple[str, ...], Meta(min_length=1)]
Rate = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
Factor = Annotated[float, Meta(ge=1, le=sys.float_info.max)]
Share = Annotated[float, Meta(ge=0, le=1)] | Annotated[str, Meta(pattern=r"^[0-9]+/[1-9][0-9]*$", max_length=99)]


class EachOf(Struct, forbid_unknown_fields=True, frozen=True):
    """Each match of a pattern is a unit of its own (NAM-5); an extension, which the original does not have."""

    each: Annotated[str, Meta(pattern=r"[*?\[]")]
    """An fnmatch pattern of the paths of layers and containers; ``*`` matches ``/`` too."""


_ENTRIES = """A list of layers or containers by name or path, each of them one unit (NAM-4). Extensions, which the
original does not have: a pattern with *, ? or [, which is one unit, and an object with the key "each" (NAM-5)."""
Entries = Annotated[tuple[str | EachOf, ...], Meta(min_length=1, description=" ".join(_ENTRIES.split()))]
Layers = Entries | Literal["all"]
Groups = Annotated[tuple[Entries | EachOf, ...], Meta(min_length=1)]


def exactly_share(where: str, value: float | str, least: str = "[0", most: str = "1]") -> Fraction:
    """Return the fraction of a run that ``value`` means, without rounding.

    "1/3" is one third; a number is taken by its decimal digits, so 0.29 is 29/100. Raises ``InvalidSpec`` outside of
    [0, 1], or of (0, 1] for ``least="(0"``, or of [0, 1) for ``most="1)"``.

    >>> exactly_share("freeze_start", 0.29) * 100, exactly_share("freeze_start", "1/3")
    (Fraction(29, 1), Fraction(1, 3))
    """
    share = Fraction(str(value))
    line_feed = str(value).endswith("\n")  # before one at the end `$` matches, in Python
    if line_feed or share > 1 or (share == 0 and least == "(0") or (share == 1 and most == "1)"):
        raise InvalidSpec(where, value, f'in {least}, {most}, as a number or a string such as "1/3"')
    return share
