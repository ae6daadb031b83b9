"""A plan in words, as a table and as JSON; and the names of a model, as a tree and as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from refreeze import segments_json
from refreeze.dialects import Dialect
from refreeze.errors import one_line
from refreeze.plan import Plan, traces
from refreeze.policy import SILENT, State
from refreeze.schedule import operations

_MOST_SEGMENTS = 40


def cost(found: Plan, tree: Any) -> dict[str, Any]:
    """Return what a schedule costs and leaves out; with a model, the traces of its train step by switch."""
    visits = found.visits
    costs: dict[str, Any] = {
        "visits": len(visits),
        "distinct_sets": len({*visits}),
        "never_trained": found.never_trained,
        "never_frozen": found.never_frozen,
    }
    if tree is not None:
        from refreeze.keras.flags import Flags
        from refreeze.keras.options import Options

        flags = Flags(tree, found.policy.names)
        steps = [(flags.signature(frozen), inference) for frozen, inference in visits]
        costs["traces"] = {"rebuild": len(steps), "cached": traces(steps, Options.cache_size)}
        costs["traces"]["cached, all kept"] = len({*steps})
        costs["traces"] |= dict.fromkeys(("masked", "auto"), min(1, len(steps)))
    return costs


def sentences(found: Plan, tree: Any) -> Iterator[str]:
    """Yield in lines what a schedule costs and leaves out."""
    costs = cost(found, tree)
    yield f"{costs['distinct_sets']:,} distinct frozen sets in {costs['visits']:,} visits"
    for what in ("never_trained", "never_frozen"):
        if names := costs[what]:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
            yield one_line(f"{what.replace('_', ' ')}: {shown}")
    if made := costs.get("traces"):
        yield "traces of the train step: " + ", ".join(f"{number:,} ({switch})" for switch, number in made.items())


def to_json(dialect: Dialect, found: Plan, tree: Any) -> Iterator[bytes]:
    """Yield a plan as JSON, segment by segment: there may be a million."""
    head = {"dialect": dialect.name, "unit": found.unit, "total": found.total, "names": found.names}
    head["cost"] = cost(found, tree)
    yield json.dumps(head, indent=1).removesuffix("\n}").encode()
    yield from _listed("segments", (part for s in found.segments for part in segments_json.to_json([s])))
    before = itertools.chain([SILENT], (State(s.frozen, s.frozen, None, s.bn_frozen) for s in found.segments))
    changes = (op for s, was in zip(found.segments, before, strict=False) for op in operations([s], was))
    plain = ({field: _plain(getattr(op, field)) for field in op.__dataclass_fields__} for op in changes)
    yield from _listed("operations", plain)
    yield b"\n}\n"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def _listed(key: str, items: Iterable[Any]) -> Iterator[bytes]:
    yield f",\n {json.dumps(key)}: [".encode()
    for number, item in enumerate(items):
        yield (",\n  " if number else "\n  ").encode() + json.dumps(item).encode()
    yield b"\n ]"


def table(found: Plan) -> Table:
    """Return the table of the segments of a plan, or of the first ones."""
    run = found.segments
    inference = any(segment.bn_frozen for segment in run)
    made = Table(box=box.SIMPLE_HEAD)
    frozen = f"frozen of {len(found.names):,}"
    for heading in ("start", "stop", frozen, *["inference mode"] * inference, "learning rate"):
        made.add_column(heading, justify="right")
    for segment in run[:_MOST_SEGMENTS]:
        counts = [len(segment.frozen), *[len(segment.bn_frozen)] * inference]
        rate = "" if segment.learning_rate is None else f"{segment.learning_rate:g}"
        made.add_row(*(f"{number:,}" for number in (segment.start, segment.stop, *counts)), rate)
    if len(run) > _MOST_SEGMENTS:
        made.caption, made.caption_justify = f"… and {len(run) - _MOST_SEGMENTS:,} more", "left"
    return made


def names_as_json(tree: Any) -> str:
    """Return the paths of a model as JSON, each with its parameters."""
    rows = [
        {"path": path, "parameters": size, "container": path not in tree.named, "same_as": tree.aliases.get(path)}
        for path, size in tree.sizes.items()
    ]
    return json.dumps({"model": tree.model.name, "names": rows}, indent=1)


def names_as_tree(tree: Any) -> Tree:
    """Return the paths of a model as a tree, each with its parameters."""
    drawn = {"": Tree(Text(one_line(tree.model.name), "bold"), guide_style="dim")}
    for path, size in tree.sizes.items():
        container, _, name = path.rpartition("/")
        same = f", the same as {tree.aliases[path]}" if path in tree.aliases else ""
        drawn[path] = drawn[container].add(Text(one_line(f"{name}  {size:,}{same}")))
    return drawn[""]
