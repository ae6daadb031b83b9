"""Rows for `refreeze bench ab`: from policies to segments, beside work that no version changes."""

from __future__ import annotations

from collections.abc import Callable

from refreeze import during, round_robin, segments, shift, union

NAMES = [f"layer{number}" for number in range(20)]


def rows() -> dict[str, Callable[[], dict[str, int] | None]]:
    """Return what is timed: each row is 20 calls."""
    policy = union(*(during(shift(round_robin(NAMES, 2, 3), at), at, at + 9) for at in (0, 5)))

    def reference() -> None:
        found: dict[int, frozenset[int]] = {}
        for number in range(10_000):
            found[number % 97] = frozenset((number, number % 7))

    def planned() -> dict[str, int]:
        return {"segments": sum(len(segments(policy, 20)) for _ in range(20))}

    return {"reference": reference, "segments": planned}
