"""Cases: requests that Hypothesis draws for the laws, valid by construction, simplest first; one module a dialect.

A module has ``CASES``, by dialect, which the ``catalogue`` collects.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Concatenate, ParamSpec, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance.laws import Case, CheckCase, Family, again, agrees, coincide, contiguous, rejected
from refreeze.conformance.protocol import ErrorId, Request, segments_request
from refreeze.errors import ScheduleError
from refreeze.selectors import Each, Layers

T = TypeVar("T")
P = ParamSpec("P")
Edit = tuple[tuple[str | int, ...], Any]


# Strategies are made once: to make one takes up to forty times as long as to draw from it ----------------------------
def made_once(make: Callable[P, T]) -> Callable[P, T]:
    """Return ``make``, which keeps what it made of the same arguments, if these can be hashed."""
    cached = functools.lru_cache(4096, typed=True)(make)

    @functools.wraps(make)
    def found(*args: P.args, **options: P.kwargs) -> T:
        try:
            return cached(*args, **options)  # type: ignore[arg-type]
        except TypeError:
            return make(*args, **options)

    return found


def composite(define: Callable[Concatenate[DrawFn, P], T]) -> Callable[P, SearchStrategy[T]]:
    """Return what ``st.composite`` does."""
    return made_once(st.composite(define))


def sampled(values: Iterable[T]) -> SearchStrategy[T]:
    """Return what ``st.sampled_from`` does."""
    return _sampled(*values)  # one by one, so that 1 and True differ


@made_once
def _sampled(*values: T) -> SearchStrategy[T]:
    return st.sampled_from(values)


def permutations(values: Iterable[T]) -> SearchStrategy[list[T]]:
    """Return what ``st.permutations`` does."""
    return _permutations(*values)


@made_once
def _permutations(*values: T) -> SearchStrategy[list[T]]:
    return st.permutations(values)


@made_once
def lists(of: tuple[T, ...], least: int, most: int | None, unique: bool = True) -> SearchStrategy[list[T]]:
    """Return the strategy of lists of so many of the values, each of them once unless they need not be ``unique``."""
    return st.lists(st.sampled_from(of), unique=unique, min_size=least, max_size=most)


integers, BOOLEANS = made_once(st.integers), st.booleans()


# What cases are made of ----------------------------------------------------------------------------------------------
LAYERS = ("stem", "conv2", "body/b", "conv1", "body/a", "head")
"""Layers in an order of declaration that is neither sorted nor reversed, some in a container."""
PATTERNS = ("conv?", "*e*", "b*b", "body/*", "*/a")
EACH = ("b*", "*", "*e*", "conv?", "*a", "body/*")
"""Patterns of these: some match the container, some across it, and some what is in it."""
FORMS = st.lists(sampled((*({"each": p} for p in EACH), *PATTERNS)), min_size=1, max_size=2, unique_by=repr)
NO_DOUBLE = 2**53 + 1
"""The first seed that no 64-bit float holds, as all numbers of JavaScript are."""
NO_PRODUCT = 0.58, 50
"""A share and a total whose product is 29, and with 64-bit floats less than that."""
SEEDS = sampled((NO_DOUBLE, 0, 2**64 - 1)) | integers(0, 2**64 - 1)
RATES = (0.5, 0.25)
"""Learning rates that floating-point numbers of any size hold exactly."""
WRONG_INTS = ("1", 1.5, -1)
WRONG_EACH: tuple[Any, ...] = (
    {"each": "b*"}, [{"each": 1}], [{"each": "body"}], [{"each": "b*", "x": 1}], ["b*", "body"], ["b*", {"each": "b*"}],
)  # fmt: skip
DROP: Any = object()
"""In place of a value in an edit: the key goes."""


@dataclass(frozen=True, slots=True)
class Cases:
    """All cases of one dialect."""

    requests: SearchStrategy[Request]
    """Any valid requests."""
    families: dict[str, Family]
    """By the id of the law, which replaces the one that every dialect has."""
    truncates: bool = True
    """Whether another total leaves the schedule as it is: not where times are fractions of the run."""


def of_every_dialect(found: Cases) -> dict[str, Family]:
    """Return the families of the laws that every dialect has, for the cases of one."""
    requests = found.requests
    nothing = requests.map(lambda request: request | {"total": 0})
    common = {
        "SCH-1-contiguous_from_start_to_total": family(contiguous, st.one_of(requests, requests, requests, nothing)),
        "SCH-3-every_tick_means_what_the_reference_says": agree(requests),
        "RES-1-a_resumed_run_is_the_rest_of_the_whole": resume(requests),
        "RES-1-what_was_asked_before_does_not_matter": alternating(requests),
    }
    if found.truncates:
        common["SCH-4-truncation_is_a_prefix"] = Family(coincide, _truncated(requests))
    return common


@composite
def _truncated(draw: DrawFn, requests: SearchStrategy[Request]) -> Case:
    request = draw(requests)
    stop = draw(integers(0, request["total"]))
    return {"request": request, "other": request | {"total": stop}, "stop": stop}


@composite
def _resumed(draw: DrawFn, requests: SearchStrategy[Request]) -> Case:
    request = draw(requests)
    total = request["total"]
    where = draw(sampled(("inside", "inside", "inside", "inside", "last", "total", "0")))
    inside = draw(integers(1, max(1, total - 1))) if where == "inside" else 0
    start = {"inside": inside, "last": max(0, total - 1), "total": total, "0": 0}[where]
    return {"request": request, "other": request | {"start": min(start, total)}}


# How to make families ----------------------------------------------------------------------------------------------
def family(check: CheckCase, requests: SearchStrategy[Request]) -> Family:
    """Return the family of a check that needs a request alone."""
    return Family(check, requests.map(lambda request: {"request": request}))


def agree(requests: SearchStrategy[Request], *always: Request) -> Family:
    """Return the family of requests that the reference answers alike; those of ``always`` are asked in every run."""
    return Family(agrees, family(agrees, requests).cases, tuple({"request": r} for r in always), weight=2)


def resume(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are also asked from some later start on."""
    return Family(coincide, _resumed(requests), weight=2)


def same(pairs: SearchStrategy[tuple[Request, Request]]) -> Family:
    """Return the family of pairs of requests that mean the same."""
    return Family(coincide, pairs.map(lambda pair: {"request": pair[0], "other": pair[1]}))


def variant(requests: SearchStrategy[Request], change: Callable[[Any], Any]) -> Family:
    """Return the family of requests that mean the same with their configuration changed so."""
    return same(requests.map(lambda r: (r, r | {"config": change(copy.deepcopy(r["config"]))})))


def reordered(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that mean the same with the list that is their configuration reversed."""
    return variant(requests, lambda config: config[::-1])


def alternating(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are asked again after another one."""
    return Family(again, st.builds(lambda one, other: {"request": one, "other": other}, requests, requests))


def reject(error: ErrorId, requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are rejected with the id ``error``."""
    return Family(rejected, requests.map(lambda request: {"request": request, "error": error}))


def invalid(base: Request, edits: Iterable[Edit], integers: bool = True) -> Family:
    """Return the family of ``base``, which is accepted, and of its edits, which have one fault each.

    With ``integers`` a float and a bool in place of each integer are among these edits.
    """
    inexact = [(path, wrong) for path, value in numbers(base["config"]) for wrong in (float(value), True)]
    wrong = [{"request": edited(base, *edit), "error": "invalid-spec"} for edit in [*edits, *inexact * integers]]
    cases: tuple[Case, ...] = ({"request": base, "error": None}, *wrong)
    return Family(rejected, None, always=cases)


def numbers(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], int]]:
    """Return the places of the integers in plain data, and which they are."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, item in inner for found in numbers(item, (*path, key))]
    return [(path, value)] if type(value) is int else []


def edited(request: Request, path: tuple[str | int, ...], value: Any) -> Request:
    """Return ``request`` with ``value`` at the place ``path`` of its configuration."""
    if not path:
        return request | {"config": value}
    changed = copy.deepcopy(request)
    place: Any = changed["config"]
    for key in path[:-1]:
        place = place[key]
    if value is DROP:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@composite
def nested(draw: DrawFn, dialect: str, *builds: Callable[[str, str], Any]) -> Case:
    """Return a configuration built of a container and of a layer in it, where names are not known."""
    container = draw(sampled(("body", "x/y")))
    pair = draw(permutations((container, f"{container}/{draw(sampled(('a', 'b/c')))}")))
    config = draw(sampled(builds))(*pair)
    return {"request": segments_request(dialect, None, config, draw(integers(0, 3))), "error": "needs-model"}


def container_and_layer(dialect: str, *builds: Callable[[str, str], Any]) -> Family:
    """Return the family of these configurations."""
    return Family(rejected, nested(dialect, *builds))


def at(path: tuple[str | int, ...], *values: Any) -> list[Edit]:
    """Return the edits that put one of ``values`` at ``path``."""
    return [(path, value) for value in values]


# What strategies share ---------------------------------------------------------------------------------------------
def near(draw: DrawFn, *ticks: int) -> int:
    """Return a total before, at or after one of ``ticks``, seldom 0."""
    around = sorted({tick + distance for tick in ticks for distance in (-1, 0, 1, 4)} - {-1}, reverse=True)
    return draw(sampled((*around, 0)))


def layers(draw: DrawFn, least: int = 1) -> list[str]:
    """Return declared layers, seldom few."""
    return list(LAYERS[: draw(sampled((3, 4, 5, 6, 6, max(2, least), least)))])


def some(draw: DrawFn, of: Iterable[T], least: int = 1, most: int | None = None) -> list[T]:
    """Return some of the values, in any order."""
    return draw(lists(tuple(of), least, most))


def units(wanted: Any, declared: Sequence[str]) -> list[list[str]]:
    """Return the units that "all", "all_reverse" or a list means; none if a layer is unknown or meant twice."""
    read = wanted if isinstance(wanted, str) else tuple(Each(e["each"]) if isinstance(e, dict) else e for e in wanted)
    return [list(unit) for unit in _units(Layers(read), tuple(declared))]


@functools.lru_cache(4096)  # strategies ask for the same few again and again
def _units(wanted: Layers, declared: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    try:
        return wanted.units(declared)
    except ScheduleError:
        return ()


def meant(wanted: Any, declared: Sequence[str]) -> list[str]:
    """Return the layers of these units."""
    return [name for unit in units(wanted, declared) for name in unit]


def entries(draw: DrawFn, declared: list[str], least: int = 1, patterns: bool = False) -> list[Any]:
    """Return entries that mean different layers: names and a container, or names, patterns and ``each``."""
    found: list[Any] = []
    for entry in [*(draw(FORMS) if patterns else ["body"]), *draw(permutations(declared))]:
        if meant([*found, entry], declared) and (len(units(found, declared)) < least or draw(BOOLEANS)):
            found.append(entry)
    return draw(permutations(found))


def spelt_out(wanted: list[Any], declared: list[str]) -> list[str]:
    """Return the list without ``each``: the paths of its matches in its place."""
    each = [_matches(entry["each"], declared) if isinstance(entry, dict) else [entry] for entry in wanted]
    return [path for paths in each for path in paths]


def _matches(pattern: str, declared: list[str]) -> list[str]:
    """Return the outermost of the paths that ``pattern`` matches; ``LAYERS`` lie in one container at most."""
    paths = dict.fromkeys(path for name in declared for path in (name.partition("/")[0], name))
    found = [path for path in paths if fnmatchcase(path, pattern)]
    return [path for path in found if path.partition("/")[0] == path or path.partition("/")[0] not in found]


def without_match(draw: DrawFn, declared: list[str]) -> Any:
    """Return a pattern, or an ``each``, that matches no layer and no container."""
    patterns = [p for p in ("stm*", "*/b/*", "BODY*", "?", "*/conv[13]", "[!a-z]*") if not _matches(p, declared)]
    pattern = draw(sampled(patterns))
    return draw(sampled((pattern, {"each": pattern})))


def misspelt(draw: DrawFn, names: list[str]) -> str:
    """Return a name that is none of ``names`` and no container, but resembles one."""
    name = draw(sampled(tuple(names)))
    return draw(sampled((name[:2], f"{name}x", name[:3], name.upper(), f"{name}/deeper", "nowhere")))
