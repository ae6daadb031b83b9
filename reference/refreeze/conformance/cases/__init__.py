"""Cases: requests that Hypothesis draws for the laws, valid by construction, simplest first; one module a dialect.

A module has ``requests``, a strategy of requests that any law of schedules can use, and ``FAMILIES``, by the id of a
law what checks it and with which cases. To add a dialect, add its module and its name here.
"""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refreeze.conformance.laws import Case, Check, Family, again, agrees, coincide, contiguous, rejected
from refreeze.conformance.protocol import ErrorId, Request

DIALECTS = (
    "vl3d", "lighter", "kempner", "fastai", "composer", "freezeout", "gradual", "chain_thaw", "lisa", "lightning",
)  # fmt: skip
FRACTIONAL = ("composer", "freezeout")
"""Dialects whose times are fractions of the run: another total is another schedule."""
LAYERS = ("stem", "conv2", "body/b", "conv1", "body/a", "head")
"""Layers in an order of declaration that is neither sorted nor reversed, some in a container."""
SEEDS = st.sampled_from((0, 1, 2**64 - 1, 2**63)) | st.integers(0, 2**64 - 1)
RATES = (0.5, 0.25)
"""Learning rates that floating-point numbers of any size hold exactly."""
WRONG_INTS = (True, "1", 1.5, -1)
WRONG_TEXTS = (1, True, ["x"])
DROP: Any = object()
"""In place of a value in an edit: the key goes."""
T = TypeVar("T")
Edit = tuple[tuple[str | int, ...], Any]


def families(dialect: str) -> dict[str, Family]:
    """Return all families of a dialect: its own, and those that every dialect has."""
    module = importlib.import_module(f"{__name__}.{dialect}")
    own: dict[str, Family] = module.FAMILIES
    return _of_every_dialect(module.requests(), dialect not in FRACTIONAL) | own


def _of_every_dialect(requests: SearchStrategy[Request], truncates: bool) -> dict[str, Family]:
    nothing = requests.map(lambda request: request | {"total": 0})
    found = {
        "SCH-1-contiguous_from_start_to_total": family(contiguous, st.one_of(requests, requests, requests, nothing)),
        "SCH-3-every_tick_means_what_the_reference_says": agree(requests),
        "RES-1-a_resumed_run_is_the_rest_of_the_whole": resume(requests),
        "RES-1-what_was_asked_before_does_not_matter": alternating(requests),
    }
    return found | ({"SCH-4-truncation_is_a_prefix": Family(coincide, _truncated(requests))} if truncates else {})


@st.composite
def _truncated(draw: DrawFn, requests: SearchStrategy[Request]) -> Case:
    request = draw(requests)
    stop = draw(st.integers(0, request["total"]))
    return {"request": request, "other": request | {"total": stop}, "stop": stop}


@st.composite
def _resumed(draw: DrawFn, requests: SearchStrategy[Request]) -> Case:
    request = draw(requests)
    total = request["total"]
    anywhere = st.integers(0, total)
    return {"request": request, "other": request | {"start": draw(anywhere | anywhere | st.sampled_from((total, 1 % (total + 1))))}}


# How to make families ----------------------------------------------------------------------------------------------
def family(check: Check, requests: SearchStrategy[Request]) -> Family:
    """Return the family of a check that needs a request alone."""
    return Family(check, requests.map(lambda request: {"request": request}))


def agree(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that the reference answers alike."""
    return Family(agrees, family(agrees, requests).cases, weight=2)


def resume(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are also asked from some later start on."""
    return Family(coincide, _resumed(requests), weight=2)


def same(pairs: SearchStrategy[tuple[Request, Request]]) -> Family:
    """Return the family of pairs of requests that mean the same."""
    return Family(coincide, pairs.map(lambda pair: {"request": pair[0], "other": pair[1]}))


def variant(requests: SearchStrategy[Request], change: Callable[[Any], Any]) -> Family:
    """Return the family of requests that mean the same with their configuration changed so."""
    return same(requests.map(lambda r: (r, r | {"config": change(copy.deepcopy(r["config"]))})))


def alternating(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are asked again after another one."""
    return Family(again, st.builds(lambda one, other: {"request": one, "other": other}, requests, requests))


def reject(error: ErrorId, requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests that are rejected with the id ``error``."""
    return Family(rejected, requests.map(lambda request: {"request": request, "error": error}))


def invalid(bases: Iterable[Request], edits: Iterable[Edit], error: ErrorId = "invalid-spec") -> Family:
    """Return the family of configurations with one fault each: every edit of every base that has a place for it."""
    found = [edited(base, *edit) for base in bases for edit in edits if _has_place(base["config"], edit[0])]
    cases = tuple({"request": request, "error": error} for request in found)
    return Family(rejected, st.sampled_from(cases), always=cases)


def _has_place(config: Any, path: tuple[str | int, ...]) -> bool:
    for key in path[:-1]:
        if not (key in config if isinstance(config, dict) else isinstance(config, list) and key in range(len(config))):
            return False
        config = config[key]
    return not path or isinstance(config, dict) or (isinstance(config, list) and path[-1] in range(len(config)))


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


def at(path: tuple[str | int, ...], *values: Any) -> list[Edit]:
    """Return the edits that put one of ``values`` at ``path``."""
    return [(path, value) for value in values]


# What strategies share ---------------------------------------------------------------------------------------------
def near(draw: DrawFn, *ticks: int) -> int:
    """Return a total before, at or after one of ``ticks``, seldom 0."""
    around = sorted({tick + distance for tick in ticks for distance in (-1, 0, 1, 4)} - {-1}, reverse=True)
    return draw(st.sampled_from((*around, 0)))


def layers(draw: DrawFn, least: int = 1, most: int = len(LAYERS)) -> list[str]:
    """Return declared layers."""
    return list(LAYERS[: draw(st.integers(least, most))])


@functools.cache  # to make a strategy takes longer than to draw from it
def _lists(of: tuple[Any, ...], least: int, most: int | None) -> SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(of), unique=True, min_size=least, max_size=most)


def some(draw: DrawFn, of: Iterable[T], least: int = 1, most: int | None = None) -> list[T]:
    """Return some of the values, in any order."""
    return draw(_lists(tuple(of), least, most))


def meant(wanted: str | list[str], declared: list[str]) -> list[str]:
    """Return the layers that "all", "all_reverse" or a list with containers means."""
    if isinstance(wanted, str):
        return declared[::-1] if wanted == "all_reverse" else list(declared)
    return [name for entry in wanted for name in declared if name == entry or name.startswith(f"{entry}/")]


def misspelt(draw: DrawFn, names: list[str]) -> str:
    """Return a name that is none of ``names`` and no container, but resembles one."""
    name = draw(st.sampled_from(tuple(names)))
    return draw(st.sampled_from((f"{name}x", name[:2], name[:3], name.upper(), f"{name}/deeper", "nowhere")))


# What the dialects share that have one list of layers --------------------------------------------------------------
def picked(draw: DrawFn, declared: list[str]) -> str | list[str]:
    """Return "all" or some of the declared layers, perhaps with a container."""
    wanted: Any = draw(st.sampled_from(("some", "some", "all", ["body", "stem"])))
    return wanted if isinstance(wanted, str) and wanted == "all" else (
        wanted if wanted != "some" and meant(["body"], declared) else some(draw, declared)
    )


def bad_layers(path: tuple[str | int, ...]) -> list[Edit]:
    """Return the edits that put there what is neither "all" nor a list of distinct layers."""
    return at(path, [], {}, 3, True, "ALL", "stem", [1], ["stem", 1], ["stem", "stem"])


def needs_model(requests: SearchStrategy[Request]) -> Family:
    """Return the family of requests about all layers, of which the names are not known."""

    def nameless(request: Request) -> Request:
        config = {key: value for key, value in request["config"].items() if key not in ("layers", "new", "always_on")}
        return request | {"config": config, "names": None}

    return reject("needs-model", requests.map(nameless))


@st.composite
def unknown_layers(draw: DrawFn, requests: SearchStrategy[Request]) -> Request:
    """Return a request whose ``layers`` has a name that is not there."""
    request = draw(requests)
    found = request["config"].get("layers", "all")
    found = meant(found, request["names"]) if isinstance(found, str) else found
    layers = [*found, misspelt(draw, request["names"])]
    return request | {"config": request["config"] | {"layers": draw(st.permutations(layers))}}
