"""``masked`` and ``auto``: one train step for a whole schedule, and steps for single sets where they repay themselves.

A new set trains at once, with the masked step. It gets a specialised step when what that will save in all the steps
that the schedule still has for the set is more than its preparation takes: ``Costs.worth`` is the whole rule. What it
saves grows with the share of the backward pass that the set does not need, which ``Masking.spared`` reads from the
flags. Times are those of the run; until a specialised step has been timed, its preparation is taken to be as long as
that of the masked step, or ``REWRITTEN`` times that where it is not made behind, and each of its steps to save
``SAVES`` times that share of what one of the masked takes beyond ``CALL``, or of a tenth of it if that is more.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import keras

from refreeze.errors import Unsupported
from refreeze.keras import backends
from refreeze.keras.switch import Cached, Switch, identity

_log = logging.getLogger("refreeze")
SAVES = 0.8
"""Of windows and of a prefix, a quarter to three quarters of MobileNetV2: 0.8 to 0.97; of a small MLP 0.2 to 0.6."""
REWRITTEN = 2.4
"""TensorFlow rewrites the step of a set and runs the masked as it is: MobileNetV2; of a small MLP it is 1.2."""
CALL = 0.5e-3
"""Seconds of a call in TensorFlow that are no arithmetic, of which no set saves anything: a masked step of six layers
of one weight takes 0.44 to 0.53 ms. In JAX it takes 0.05 to 0.09 ms, which does not count."""
TIMED = 3
"""How many masked steps are timed before the first decision."""


class Costs:
    """What was measured of the steps of one trace, in seconds per call of the train function.

    ``behind``: a specialised step is prepared while the masked one trains, which saves nothing meanwhile.
    """

    def __init__(self, behind: bool = False) -> None:
        self._behind = behind
        self.masked: list[float] = []
        self.preparing: list[float] = []
        self.saved: list[float] = []  # of a masked step, by the share of the backward pass that was left out
        self.first = 0.0

    def worth(self, calls: float, spared: float) -> tuple[bool, str]:
        """Return whether a specialised step for so many calls repays its preparation, and that in words.

        ``spared`` is the share of the backward pass that it leaves out.
        """
        preparing = median(self.preparing) if self.preparing else self.first * (1.0 if self._behind else REWRITTEN)
        masked = min(self.masked)  # the first masked steps of a set prepare branches, and are longer than those to come
        with_it = max(0.0, calls - preparing / masked) if self._behind else calls
        saves = median(self.saved) if self.saved else SAVES * (1.0 if self._behind else max(0.1, 1 - CALL / masked))
        saved = with_it * masked * spared * saves
        return saved > preparing, f"{calls:.0f} calls to come save {saved:.3g} s, preparing takes {preparing:.3g} s"


class Visits:
    """When each state of a schedule is visited: ``visits`` are (start, stop, state), in order."""

    def __init__(self, visits: Iterable[tuple[int, int, bytes]]) -> None:
        self._of: dict[bytes, list[tuple[int, int]]] = {}
        for start, stop, state in visits:
            self._of.setdefault(state, []).append((start, stop))
        self._after = {
            state: [0, *itertools.accumulate(stop - start for start, stop in reversed(spans))]
            for state, spans in self._of.items()
        }

    def to_come(self, state: bytes, tick: int) -> int:
        """Return the ticks from ``tick`` on that are spent in a state.

        >>> visits = Visits([(0, 4, b"a"), (4, 6, b"b"), (6, 10, b"a")])
        >>> [visits.to_come(b"a", tick) for tick in (0, 1, 4, 6, 10)]
        [8, 7, 4, 4, 0]
        """
        spans = self._of.get(state, [])
        at = bisect.bisect_left(spans, (tick, tick))
        begun = max(0, spans[at - 1][1] - tick) if at else 0
        return begun + self._after[state][len(spans) - at] if spans else 0


class Masked(Switch):
    """One train step for every state of the schedule, which is told what is frozen; what cannot be masked is cached.

    With ``size > 0`` so many states at most have a specialised step besides: those with the most to come.
    """

    def __init__(
        self,
        model: Any,
        others: Cached,
        step: Callable[[], Any],
        visits: Callable[[], Visits],
        ticks: Callable[[int], float | None],
        size: int = 0,
    ) -> None:
        self._model, self._others, self._make, self._size = model, others, step, size
        self._read_visits, self._calls_in = visits, ticks
        self._visits: Visits | None = None
        self._step: Any = None
        self._compiled: tuple[object, ...] = ()
        self._traced: Any = None
        self._backend = backends.current()
        self.decision = ""

    def _begin(self) -> None:
        """Begin anew with the model as it is compiled now."""
        self._compiled, self._traced = identity(self._model), None
        self._step = self._make()
        self._costs = Costs(getattr(self._step, "BEHIND", False))
        self._kept: dict[bytes, Any] = {}
        self._unmeasured: set[bytes] = set()
        backend = f"a train step on the backend {keras.backend.backend()}"
        if obstacle := backend if self._step is None else self._step.obstacle():
            _log.warning("%s cannot be masked: each frozen set is traced and kept instead", obstacle)
            self._step = None

    def to(self, signature: bytes, tick: int = 0) -> bool:
        if any(now is not then for now, then in itertools.zip_longest(identity(self._model), self._compiled)):
            self._begin()
        if self._step is None or signature not in self._step.conditions:
            self.decision = "cached"
            return self._others.to(signature)
        new = self._traced is None
        if new:
            self._traced = self._step.make()
            self._masked = self._step.program(self._traced)
        else:
            self._backend.forget(self._traced)
        self._step.set(signature)
        self._state, self._tick, self._timed = signature, tick, 0
        self.decision = "masked"
        if signature in self._kept:
            self.decision = "specialised before"
            measured = signature not in self._unmeasured
            self._model.train_function = self._kept[signature] if measured else self._measuring(signature)
        else:
            self._model.train_function = self._first
        return new

    def _first(self, *batch: Any) -> Any:
        """Train with the masked step while the rule still has something to learn of it, and then as it says."""
        model, costs = self._model, self._costs
        model.train_function = self._first
        if not costs.masked and not costs.first:
            return self._very_first(*batch)
        if self._size and (len(costs.masked) >= TIMED) and self._specialises():
            return model.train_function(*batch)
        if not self._size or self._timed >= TIMED:
            model.train_function = self._masked
        seconds, logs = self._clocked(self._masked, *batch)
        self._timed += 1
        costs.masked = [*costs.masked[-15:], seconds]
        return logs

    def _very_first(self, *batch: Any) -> Any:
        try:
            self._masked.prepare(*batch)  # the trace
        except Unsupported as error:
            _log.warning("%s", error)
            self._masked, self._size = self._traced, 0
        self._costs.first, logs = self._clocked(self._masked, *batch)
        return logs

    def end(self) -> None:
        """Leave the model with a train function that holds nothing of the run."""
        if self._step is None or self._traced is None:
            self._others.end()
        else:
            self._backend.forget(self._traced)
            self._model.train_function = self._step.left(self._kept.get(self._state, self._masked))

    def _clocked(self, run: Callable[..., Any], *batch: Any) -> tuple[float, Any]:
        begun = time.perf_counter()
        logs = run(*batch)
        self._backend.wait(logs)
        return time.perf_counter() - begun, logs

    def _calls(self, state: bytes) -> float | None:
        """Return the calls of the train function that the schedule still has for a state, if that is known."""
        if self._visits is None:
            self._visits = self._read_visits()
        return self._calls_in(self._visits.to_come(state, self._tick))

    def _specialises(self) -> bool:
        """Decide for the state that is set now; return whether it has a step of its own from now on."""
        calls = self._calls(self._state)
        worth, why = self._costs.worth(self._timed if calls is None else calls, self._step.spared(self._state))
        if worth and len(self._kept) >= self._size:
            least = min(self._kept, key=lambda state: self._calls(state) or 0.0)
            if (self._calls(least) or 0.0) >= (calls or 0.0):
                worth, why = False, f"{why}, but {self._size} others have more to come"
            else:
                del self._kept[least]
        self.decision = f"{'specialised' if worth else 'masked'}: {why}"
        if not worth:
            return False
        self._kept[self._state] = self._step.program(self._traced, self._state)
        self._unmeasured.add(self._state)
        self._model.train_function = self._measuring(self._state)
        return True

    def _measuring(self, state: bytes) -> Any:
        """Return the specialised step of a state, which is measured as soon as it is there."""
        own, seen = self._kept[state], list[float]()

        def timed(*batch: Any) -> Any:
            self._model.train_function = timed
            if own.prepared is None:  # in the background, while the masked step trains
                return own(*batch)
            seconds, logs = self._clocked(own, *batch)
            seen.append(seconds)
            if len(seen) > TIMED:
                step, costs = min(seen[1:]), self._costs
                costs.preparing.append(own.prepared + seen[0] - step)
                if spared := self._step.spared(state):
                    costs.saved.append((1 - step / min(costs.masked)) / spared)
                self._unmeasured.discard(state)
                self._model.train_function = own
            return logs

        return timed
