"""Records what a training loop on JAX really does, step by step, for ``refreeze audit``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from refreeze.audit.checksums.jax import checksums
from refreeze.audit.record import Header, Start, Step, Writer, check_run, named
from refreeze.errors import InvalidSpec
from refreeze.policy import check_int
from refreeze.selectors import paths_to


class Recorder:
    """Writes a record at each call of ``record``.

    Trees are any pytrees of arrays. A parameter is called by its path in the tree, ``backbone/conv1/kernel``; its
    layer is the path without the last part, and the paths above are containers. What the optimizer keeps for a
    parameter is each array of its state with the path of the parameter at its end and the same shape, as optax has
    them. All arrays of ``statistics`` belong to the layer of their path.

    Args:
        params: the parameters before the first step.
        opt_state: the state of the optimizer, if it is to be recorded.
        path: the file to write.
        statistics: those of batch normalizations, in the layers of ``params``.
        epoch, step: where the training begins, from 0.
        epochs, steps_per_epoch: of the whole run, if known; the audit asks for what is not.
        every: each so many-th step is recorded, >= 1: say here how often you call ``record``.
        append: whether to go on behind what an earlier process of the run has written to the file.

    Raises ``InvalidSpec`` for a number, a tree or a file that is not allowed.

    >>> import jax.numpy as jnp
    >>> params = {"stem": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 1))}}
    >>> folder = getfixture("tmp_path")
    >>> recorder = Recorder(params, path=folder / "run.jsonl", epochs=1)
    >>> recorder.record(0, 0, params | {"head": {"kernel": jnp.zeros((2, 1))}})
    >>> from refreeze import always
    >>> from refreeze.audit import audit
    >>> audit(folder / "run.jsonl", always(["stem"])).held
    True
    """

    def __init__(
        self,
        params: Any,
        opt_state: Any = None,
        path: str | Path = "run.jsonl",
        *,
        statistics: Any = None,
        epoch: int = 0,
        step: int = 0,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        every: int = 1,
        append: bool = False,
    ) -> None:
        check_run(epochs, steps_per_epoch, every)
        check_int("epoch", epoch), check_int("step", step)
        found, moving = _by_path(params), _by_path(statistics)
        self._names, self._moving = list(found), list(moving)
        if not found or "" in found:
            raise InvalidSpec("params", params, "a tree of arrays")
        layers = dict.fromkeys(name.rpartition("/")[0] or name for name in found)
        header = Header(
            framework=f"jax {jax.__version__}",
            checksum="jax-1",
            layers=tuple(layers),
            parameters=named({name: list(paths_to(name)) for name in found}),
            statistics=named({name: list(paths_to(name))[:-1][::-1] for name in moving}),
            every=every,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
        )
        self._writer = Writer("path", path, header, append)
        now = self._look(params, opt_state, statistics)
        self._before = now["parameters"]
        self._writer.write(Start(epoch=epoch, step=step, **now))

    def record(
        self, epoch: int, step: int, params: Any, opt_state: Any = None, *, statistics: Any = None, grads: Any = None
    ) -> None:
        """Write what everything is after a step; with ``grads`` the audit can tell why a parameter did not move.

        Raises ``InvalidSpec`` for a place that is not allowed, and for trees that are others than at first.
        """
        check_int("epoch", epoch), check_int("step", step)
        now = self._look(params, opt_state, statistics)
        parameters = now["parameters"]
        still: dict[Any, list[int]] = {}
        if grads is not None:
            by_path = _by_path(grads)
            for index, name in enumerate(self._names):
                if parameters[index] == self._before[index]:
                    gradient = by_path.get(name)
                    cause = "none" if gradient is None else "gradient" if bool((gradient != 0).any()) else "zero"
                    still.setdefault(cause, []).append(index)
        self._writer.write(Step(epoch=epoch, step=step, still=still, **now))
        self._before = parameters

    def _look(self, params: Any, opt_state: Any, statistics: Any) -> dict[str, Any]:
        found, moving = _by_path(params), _by_path(statistics)
        for where, now, first in (("params", found, self._names), ("statistics", moving, self._moving)):
            if list(now) != first:
                raise InvalidSpec(where, list(now), "the tree that the recorder was made with")
        slots = list(_slots(_by_path(opt_state), found, self._names))
        every = iter(checksums([*found.values(), *moving.values(), *(array for _, _, array in slots)]))
        parameters, of_statistics = [next(every) for _ in found], [next(every) for _ in moving]
        by_name: dict[str, list[str | None]] = {}
        for index, name, _ in slots:
            by_name.setdefault(name, [None] * len(parameters))[index] = next(every)
        return {"parameters": parameters, "statistics": of_statistics, "slots": by_name}


def _by_path(tree: Any) -> dict[str, Any]:
    """Return the arrays of a tree by their paths, in its order; None is an empty tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _slots(state: Mapping[str, Any], found: Mapping[str, Any], names: Sequence[str]) -> Iterable[tuple[int, str, Any]]:
    """Yield, for each array of an optimizer's state that belongs to a parameter: its index, the slot and the array."""
    places = {name: index for index, name in enumerate(names)}
    for path, array in state.items():
        parts = path.split("/")
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            if name in places and getattr(array, "shape", None) == found[name].shape:
                yield places[name], "/".join(parts[:start]) or "state", array
                break
