"""The controller: puts a compiled Keras model into the state of a segment, and back."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from refreeze.errors import Unsupported, first_few
from refreeze.keras import backends, overshoot
from refreeze.keras import optimizer as optimizers
from refreeze.keras.auto import Masked, Visits
from refreeze.keras.batchnorm import MODES, BatchNorms, Mode, frozen_but_moving
from refreeze.keras.flags import Flags
from refreeze.keras.model import ModelTree, read
from refreeze.keras.options import Options
from refreeze.keras.switch import Cached, Rebuild, Switch
from refreeze.schedule import Segment

_log = logging.getLogger("refreeze")
_DEFAULTS = Options()
_running: list[Controller] = []


class Controller:
    """Puts ``model`` into the state of any segment: flags, normalizations, rate, optimizer state and train function.

    ``names`` are all that the schedule governs. ``fit`` is the ``model.history`` of the one fit that it is for, None
    if it is for several. ``steps_per_tick`` is None if it is not known. Everything that cannot work raises here, before
    anything is changed: ``UnknownName``, ``InvalidSpec``, ``Unsupported`` (a model that is not built or not compiled,
    EXE-5, EXE-12, EXE-13, layers that are under another schedule already).
    """

    def __init__(
        self,
        model: Any,
        names: Iterable[str],
        schedule: Sequence[Segment],
        options: Options = _DEFAULTS,
        fit: Any = None,
        steps_per_tick: int | None = None,
    ) -> None:
        self.tree = read(model)
        self.model = model = self.tree.model
        self._backend = backends.current()
        self._backend.check(model)
        self._fit, self._over = fit, False
        for other in _running:
            theirs = set(map(id, other.tree.inside))
            if both := [layer.name for layer in self.tree.inside if id(layer) in theirs]:
                raise Unsupported(
                    f"{both[0]!r} is being trained under another schedule, and one would undo what the other does; "
                    "make one schedule of both, with refreeze.union"
                )
        names = [*names]
        self._flags = Flags(self.tree, names)
        self._batch_norms = BatchNorms(self.tree, options.batch_norm, {name for s in schedule for name in s.bn_frozen})
        self._sets_rate = any(segment.learning_rate is not None for segment in schedule)
        self._state = options.optimizer_state
        optimizers.check(model, self._state, self._sets_rate)
        self._schedule, self._steps_per_tick = schedule, steps_per_tick
        self._switch = self._switch_for(options)
        self._optimizer: Any = None
        self._trained: frozenset[int] | None = None
        if self._state in ("keep", "reset_unfrozen"):
            overshoot.warn(model, schedule, names, steps_per_tick, self._flags.others_train)
        if options.batch_norm == "keras" and (moving := frozen_but_moving(self.tree, schedule)):
            _log.warning(
                "the statistics of batch normalizations go on to move while their parameters are frozen one by one, "
                "for Keras looks at the flag of the layer: %s; batch_norm='inference' stops them",
                first_few(moving),
            )

    def enter(self, segment: Segment) -> tuple[float, bool]:
        """Put the model into the state of ``segment``; return the seconds it took and whether a new step is needed.

        Entering a segment twice equals entering it once, but for optimizer state that is reset.
        """
        begun = time.perf_counter()
        self._backend.settle(self.model)
        if self.model.optimizer is not self._optimizer:  # at first, and when the user has compiled in between
            optimizers.check(self.model, self._state, self._sets_rate)
            optimizers.prepare(self.tree, self._state)
            self._optimizer = self.model.optimizer
        self._write(segment)
        if self._state not in ("keep", "per_variable"):
            self._reset()
        if segment.learning_rate is not None:
            self.model.optimizer.learning_rate = segment.learning_rate
        self._watch()
        new = self._switch.to(self._step_state(segment), segment.start)
        self._backend.build_metrics_first(self.model)
        return time.perf_counter() - begun, new

    def _write(self, segment: Segment) -> None:
        _say(self._flags.write(segment.frozen))
        self._batch_norms.write(self._modes(segment, self._flags.while_frozen(segment.frozen)))

    def _modes(self, segment: Segment, flags: Sequence[bool]) -> tuple[Mode, ...]:
        return self._batch_norms.modes(segment.bn_frozen, {key: flags[at] for key, at in self._flags.place.items()})

    def _step_state(self, segment: Segment) -> bytes:
        """Return all flags of the model and all modes while it is in ``segment``: equal ones need one train step."""
        flags = self._flags.while_frozen(segment.frozen)
        layers = zip(self._batch_norms.layers, self._modes(segment, flags), strict=True)
        plain = {True: "train", False: "inference"}
        shown = [plain[flags[self._flags.place[id(la)]]] if m == "as keras does" else m for la, m in layers]
        return bytes(flags) + bytes(map(MODES.index, shown))

    @property
    def decision(self) -> str:
        """Which train step the segment has, and why."""
        return self._switch.decision

    def _switch_for(self, options: Options) -> Switch:
        if options.switch == "rebuild":
            return Rebuild(self.model)
        cached = Cached(self.model, options.cache_size)
        if options.switch == "cached":
            return cached
        size = options.cache_size if options.switch == "auto" else 0
        return Masked(self.model, cached, self._masked, self._visits, self._calls_in, size)

    def _masked(self) -> Any:
        """Return the step for all states of the schedule, or None where the backend has none."""
        one_each = {(segment.frozen, segment.bn_frozen): segment for segment in self._schedule}
        states = map(self._step_state, one_each.values())
        return self._backend.masked(self.tree, self._flags, self._batch_norms, states, self._put_back_if_alive())

    def _visits(self) -> Visits:
        states = functools.cache(lambda frozen, bn: self._step_state(Segment(0, 1, frozen, None, bn)))
        return Visits((s.start, s.stop, states(s.frozen, s.bn_frozen)) for s in self._schedule)

    def _calls_in(self, ticks: int) -> float | None:
        """Return how often the train function is called in so many ticks, if that is known."""
        per_tick = self._steps_per_tick
        if per_tick is None:
            per_tick = self.model.history.params.get("steps") if self.model.history else None
        return None if per_tick is None else ticks * per_tick / self.model.steps_per_execution

    def _put_back_if_alive(self) -> Callable[[], None]:
        me = weakref.ref(self)  # a train function may outlive the run

        def put_back() -> None:
            if (controller := me()) is not None:
                controller.put_back()

        return put_back

    def _watch(self) -> None:
        """Have each trace of the model's train step begin with the segment's flags, whoever has changed them since."""
        self._backend.watch(self.model, self._put_back_if_alive())

    def put_back(self) -> None:
        """Give everything the flags of the segment again, if the run is not over, and say what others have changed."""
        if not self._over and (self._fit is None or self._fit is self.model.history):
            _say(self._flags.put_back())

    @contextlib.contextmanager
    def running(self, resumed: bool = False) -> Iterator[None]:
        """While it lasts, no other schedule can have layers of the model; then the run is over."""
        _running.append(self)
        try:
            if resumed:
                self._backend.resumed(self.model)
            yield
        finally:
            _running.remove(self)
            self.end()

    def end(self) -> None:
        """Watch the model no more: its flags are the user's again."""
        self._over = True
        self._switch.end()
        self._backend.unwatch(self.model)

    def follow(self, segment: Segment) -> None:
        """Take ``segment`` for the one entered last, as a resumed run does: its flags and modes, and nothing else."""
        self._write(segment)
        self._trained = frozenset(map(id, self.model.trainable_variables))

    def _reset(self) -> None:
        before, self._trained = self._trained, frozenset(map(id, self.model.trainable_variables))
        if before is None or before == self._trained:
            return
        optimizers.reset(self.model.optimizer, None if self._state == "reset" else set(self._trained - before))

    def restore(self) -> None:
        """End the run and put back the flags that the user gave, with a train function that agrees with them."""
        self.end()
        self._backend.settle(self.model)
        self._flags.restore()
        self._batch_norms.restore()
        self._switch.to(b"as the user gave")


def _say(changed: list[str]) -> None:
    if changed:
        _log.warning(
            "something else than the schedule has changed the flags of %s; they are put back", first_few(changed)
        )


def log_segment(place: str, unit: str, segment: Segment, more: str = "") -> None:
    """Log, at INFO on the logger ``refreeze``, that a segment begins, such as ``place`` "2/5"."""
    rate = "" if segment.learning_rate is None else f", learning rate set to {segment.learning_rate:g}"
    ticks = f"{unit} [{segment.start}, {segment.stop})"
    _log.info("segment %s: %s, %d names frozen%s%s", place, ticks, len(segment.frozen), more, rate)


def log_frozen_summary(tree: ModelTree) -> None:
    """Log, at INFO on the logger ``refreeze``, how many layers are frozen, and which (EXE-11)."""
    frozen = tree.frozen_layers()
    shown = f": {first_few(frozen, 10)}" if frozen else ""
    _log.info("%d of %d layers remain frozen%s", len(frozen), len(tree.nodes), shown)
