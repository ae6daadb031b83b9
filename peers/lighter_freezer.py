"""Lighter's callback ``Freezer``, called as PyTorch Lightning calls it, once before each batch.

The flags are read off the parameters. The trainer is a stand-in with the two counters that the callback reads; a test
has the real one beside it. A resumed run is a new model with new freezers, as the callback saves nothing.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from refreeze import InvalidSpec

from peers import stand_in
from peers.adapter import CannotExpress, Frozen, Request, adapter, an_object, frozen, module_of

stand_in.for_torchvision()
from lighter.callbacks import Freezer  # noqa: E402
from loguru import logger  # noqa: E402

logger.remove()  # it tells of every switch
NOT_IN_THE_CALLBACK = ("start_epoch", "unfreeze_every_n_epochs")
UNTIL = ("until_step", "until_epoch")


def run(request: Request) -> Frozen:
    """Return what is frozen at each step of [start, total)."""
    freezers, module, per = callbacks(request["config"]), module_of(request["names"]), request["steps_per_epoch"]
    found = []
    for step in range(request["start"], request["total"]):
        trainer = SimpleNamespace(global_step=step, current_epoch=step // per)
        for freezer in freezers:
            freezer.on_train_batch_start(trainer, module, None, step % per)
        found.append(frozen(module))
    return found


def without_both(request: Request) -> Frozen:
    """Return the same of a request without ``until_step`` and ``until_epoch`` together, which the callback refuses."""
    if all(any(entry.get(key) is not None for entry in entries(request["config"])) for key in UNTIL):
        raise CannotExpress
    return run(request)


respond = adapter("lighter")(without_both)
respond_to_both = adapter("lighter")(run)
"""The refusal alone is the answer to so many cases that nothing else would be found with it."""


def callbacks(config: Any) -> list[Any]:
    """Return the freezers of a configuration, as Lighter makes them from the keys of its own configuration."""
    given = entries(config)
    if any(entry.get(key) is not None for entry in given for key in NOT_IN_THE_CALLBACK):
        raise CannotExpress
    return [Freezer(**entry) for entry in given]


def entries(config: Any) -> list[dict[str, Any]]:
    """Return the keyword arguments for each freezer."""
    if not isinstance(config, list):
        raise InvalidSpec("freezers", config, "a list")
    return [an_object(entry, f"freezers[{number}]") for number, entry in enumerate(config)]
