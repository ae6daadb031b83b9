"""What the adapters share: from what is frozen at each tick, read off the peer, to an answer of the protocol."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from refreeze import InvalidSpec, ScheduleError

Request = dict[str, Any]
Frozen = list[list[str]]
"""The names that are frozen, for each tick of [start, total)."""


class CannotExpress(Exception):
    """The peer has no words for a request: another operation, another dialect, a key that it does not have."""


def adapter(dialect: str) -> Callable[[Callable[[Request], Frozen]], Callable[[Request], dict[str, Any]]]:
    """Return the decorator that makes an adapter of a function from a request for segments to what is frozen.

    A ``ScheduleError`` is answered by its id. Whatever else the peer raises is its way to refuse, ``invalid-spec``,
    with its words as the message.
    """

    def decorate(run: Callable[[Request], Frozen]) -> Callable[[Request], dict[str, Any]]:
        def respond(request: Request) -> dict[str, Any]:
            answer = {"id": request["id"]}
            if request["op"] != "segments" or request["dialect"] != dialect or request["names"] is None:
                return answer | {"unsupported": True}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what a peer warns of it does all the same
                    return answer | {"segments": segments(run(request), request["start"])}
            except CannotExpress:
                return answer | {"unsupported": True}
            except ScheduleError as error:
                return answer | {"error": error.id, "message": str(error)}
            except Exception as error:
                return answer | {"error": "invalid-spec", "message": f"{type(error).__name__}: {error}"[:300]}

        return respond

    return decorate


def segments(frozen: Iterable[Iterable[str]], start: int) -> list[dict[str, Any]]:
    """Return a segment for each tick from ``start`` on; the kit puts equal ones together."""
    return [{"start": t, "stop": t + 1, "frozen": sorted(names)} for t, names in enumerate(frozen, start)]


def an_object(config: Any, where: str = "config") -> dict[str, Any]:
    """Return the keyword arguments that ``config`` has for a peer, which itself never sees anything else."""
    if not isinstance(config, dict):
        raise InvalidSpec(where, config, "an object")
    return dict(config)


def module_of(names: list[str]) -> Any:
    """Return a tree of modules whose parameters have exactly these names, all of one element.

    PyTorch refuses a parameter and a module of one name, as in ``enc.1`` and ``enc.1.w``, but only where they are
    registered; so they are put where they belong without that.
    """
    import torch

    root = torch.nn.Module()
    for name in names:
        *path, leaf = name.split(".")
        module = root
        for part in path:
            module = module._modules.setdefault(part, torch.nn.Module())
        module._parameters[leaf] = torch.nn.Parameter(torch.zeros(1))
    return root


def frozen(module: Any) -> list[str]:
    """Return the names of the parameters without a gradient."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
