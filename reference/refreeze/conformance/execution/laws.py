"""How laws of execution are checked: on what is seen of runs of an executor on the kit's own small model.

The reference says what is scheduled; what must happen then is said by the clauses, or done by the plainest right run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from refreeze import Segment, segments
from refreeze.conformance.execution.observations import Call, ModelState, Ran
from refreeze.conformance.laws import Ask, Broken, Case, NotSupported
from refreeze.conformance.protocol import Request
from refreeze.conformance.reference import policy_of

STATISTICS = ("norm/moving_mean", "norm/moving_variance")


def _seen(ask: Ask, request: Request) -> Ran:
    found = ask(request)
    assert isinstance(found, Ran)
    return found


def _ran(ask: Ask, request: Request) -> Ran:
    """Return what was seen of a run that is to be no error."""
    found = _seen(ask, request)
    if found.error == "unsupported":
        raise NotSupported
    if found.error is not None:
        raise Broken("the run", f"error {found.error}", "one that trains, as the configuration is right")
    return found


def _rebuilt(request: Request) -> Ran:
    from refreeze.conformance.execution import harness

    return harness.rebuilt(request)


def _schedule(request: Request) -> tuple[Segment, ...]:
    return segments(policy_of(request), request["total"])


def _scheduled(ask: Ask, request: Request) -> Iterator[tuple[str, Call, ModelState, Segment]]:
    """Yield each call that returned, where it was, the state that it left, and the segment that it began in."""
    tick, schedule = 0, _schedule(request)
    for call in _ran(ask, request).calls:
        if call.after is None or tick >= request["total"]:
            return
        segment = next(s for s in schedule if s.start <= tick < s.stop)
        yield f"fit({call.epochs}) at epoch {tick}", call, call.after, segment
        tick += call.epochs


def _shown(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _trains(request: Request, segment: Segment) -> set[str]:
    """Return the layers that train in a segment: scheduled and not frozen, or not scheduled and not switched off."""
    governed = policy_of(request).names
    return {name for name in request["names"] if name not in (segment.frozen if name in governed else request["off"])}


def _expect(what: str, got: str, should_be: str) -> None:
    if got != should_be:
        raise Broken(what, got, should_be)


def one_call_per_segment(ask: Ask, case: Case) -> None:
    """The fit function is called once per segment, with its length."""
    request = case["request"]
    lengths = [segment.length for segment in _schedule(request)]
    _expect("the epochs of the calls of fit", str([call.epochs for call in _ran(ask, request).calls]), str(lengths))


def flags(ask: Ask, case: Case) -> None:
    """At each call, those layers are trainable that the segment trains, and those that nobody mentions as they were."""
    for where, call, _, segment in _scheduled(ask, case["request"]):
        trainable = {name for name, flag in call.before.trainable.items() if flag}
        _expect(f"trainable at {where}", _shown(trainable), _shown(_trains(case["request"], segment)))


def effects(ask: Ask, case: Case) -> None:
    """What moves in a call is what its segment trains; statistics move with their layer, but not in inference mode."""
    for where, call, after, segment in _scheduled(ask, case["request"]):
        layers = _trains(case["request"], segment)
        weights = {name for name in after.weights if name.rpartition("/")[0] in layers}
        weights -= {name for name in STATISTICS if name.rpartition("/")[0] in segment.bn_frozen}
        _expect(f"what moves in {where}", _shown(_differing(call.before.weights, after.weights)), _shown(weights))


def slots(ask: Ask, case: Case) -> None:
    """When a weight trains again, its slots are what they were when it trained last; iterations count on."""
    last: dict[str, bytes] = {}
    iterations = 0
    for where, call, after, segment in _scheduled(ask, case["request"]):
        _expect(f"iterations at {where}", str(call.before.iterations), str(iterations))
        layers = _trains(case["request"], segment)
        trained = {slot for slot in {*after.slots, *last} if slot.partition(":")[0].rpartition("/")[0] in layers}
        lost = {slot for slot in trained & last.keys() if call.before.slots.get(slot) != last[slot]}
        _expect(f"slots at {where} that are not as they were left", _shown(lost), "nothing")
        last |= {slot: after.slots[slot] for slot in trained & after.slots.keys()}
        iterations = after.iterations


def rates(ask: Ask, case: Case) -> None:
    """A call begins with the rate that its segment sets, or that the call before it left."""
    left = None
    for where, call, after, segment in _scheduled(ask, case["request"]):
        should_be = left if segment.learning_rate is None else segment.learning_rate
        if should_be is not None:
            _expect(f"the learning rate at {where}", str(call.before.learning_rate), str(should_be))
        left = after.learning_rate


def one_history(ask: Ask, case: Case) -> None:
    """The history is that of all calls: each key has a value per epoch, NaN where its call has no such metric."""
    found = _ran(ask, case["request"])
    _expect("the history", _columns(found.history), _columns(_merged(found.calls)))
    if found.epochs is not None:
        _expect("the epochs of the history", str(found.epochs), str([*range(sum(map(_trained, found.calls)))]))


def _trained(call: Call) -> int:
    """Return the epochs that a call trained."""
    return max(map(len, (call.history or {}).values()), default=0)


def _merged(calls: tuple[Call, ...]) -> dict[str, list[float]]:
    histories = [(call.history or {}, _trained(call)) for call in calls]
    return {
        key: [value for history, epochs in histories for value in history.get(key, [math.nan] * epochs)]
        for key in {key for history, _ in histories for key in history}
    }


def _columns(history: dict[str, list[Any]] | None) -> str:
    return ", ".join(f"{key} {[float(value) for value in values]}" for key, values in sorted((history or {}).items()))


def equals_rebuilding(ask: Ask, case: Case) -> None:
    """Losses, weights and slots are, bit for bit, those of the run in which each train step is made anew."""
    request = case["request"]
    found, should_be = _ran(ask, request), _rebuilt(request)
    for call, other in zip(found.calls, should_be.calls, strict=False):
        _expect("the history of a call", _columns(call.history), _columns(other.history))
    _same_end(found, should_be)


def _same_end(found: Ran, should_be: Ran) -> None:
    _expect("weights that end otherwise", _shown(_differing(found.end.weights, should_be.end.weights)), "nothing")
    _expect("slots that end otherwise", _shown(_differing(found.end.slots, should_be.end.slots)), "nothing")


def statistics(ask: Ask, case: Case) -> None:
    """While the batch normalization is frozen its statistics stay, and losses are as Keras has them then."""
    request = case["request"]
    should_be = _rebuilt(request).calls
    for (where, call, after, segment), other in zip(_scheduled(ask, request), should_be, strict=False):
        if "norm" not in _trains(request, segment):
            moved = _differing(call.before.weights, after.weights) & {*STATISTICS}
            _expect(f"statistics that move in {where}", _shown(moved), "nothing")
            _expect(f"the history of {where}", _columns(call.history), _columns(other.history))


def stops(ask: Ask, case: Case) -> None:
    """When training is stopped nothing is trained after it, and the history ends there."""
    request = case["request"]
    found, stop = _ran(ask, request), request["stop_after"]
    trained = [_trained(call) for call in found.calls]
    starts = [segment.start for segment in _schedule(request) if segment.start < stop]
    _expect("the calls of fit", str(len(trained)), str(len(starts)))
    _expect("the epochs trained", str(sum(trained)), str(stop))
    _expect("the epochs in the history", str([len(v) for v in (found.history or {}).values()][:1]), str([stop]))


def fails(ask: Ask, case: Case) -> None:
    """The exception of the fit function comes out, no other call is made, and the model trains as in that segment."""
    request = case["request"]
    found, number = _ran(ask, request), request["fail_at"]
    _expect("the exception that comes out", str(found.raised), "FitFailed")
    _expect("the calls of fit", str(len(found.calls)), str(number + 1))
    segment = _schedule(request)[number]
    trainable = {name for name, flag in found.end.trainable.items() if flag}
    _expect("trainable after the failure", _shown(trainable), _shown(_trains(request, segment)))
    call = found.afterwards
    assert call is not None
    assert call.after is not None
    moved = {name.rpartition("/")[0] for name in _differing(call.before.weights, call.after.weights)}
    _expect("what moves in an epoch after the failure", _shown(moved), _shown(_trains(request, segment)))


def flags_stay(ask: Ask, case: Case) -> None:
    """After the run, those layers are trainable that trained in its last segment."""
    request = case["request"]
    trainable = {name for name, flag in _ran(ask, request).end.trainable.items() if flag}
    _expect("trainable after the run", _shown(trainable), _shown(_trains(request, _schedule(request)[-1])))


def nothing_trains(ask: Ask, case: Case) -> None:
    """A segment in which everything is frozen is a call with finite losses that moves neither weights nor slots."""
    request = case["request"]
    found = {segment.start: (call, after) for _, call, after, segment in _scheduled(ask, request)}
    for segment in _schedule(request):
        if _trains(request, segment):
            continue
        if segment.start not in found:
            raise Broken(f"the calls of fit from epoch {segment.start} on", "none", "one, though everything is frozen")
        call, after = found[segment.start]
        losses = (call.history or {}).get("loss", [])
        finite = len(losses) == segment.length and all(map(math.isfinite, losses))
        _expect("the losses of a segment with everything frozen", "finite" if finite else str(losses), "finite")
        moved = _differing(call.before.weights, after.weights) | _differing(call.before.slots, after.slots)
        _expect("what moves where everything is frozen", _shown(moved), "nothing")


def refused(ask: Ask, case: Case) -> None:
    """The run is refused, with ``error`` if that is said; before anything is trained, or changed, if that is said."""
    found, error, before = _seen(ask, case["request"]), case["error"], case["before"]
    if found.error is None:
        raise Broken("the run", f"{len(found.calls)} calls of fit, and no error", f"error {error or 'of any kind'}")
    if found.error == "unsupported" and error is not None:
        raise NotSupported
    _expect("the run", f"error {found.error}", f"error {error or found.error}")
    if before is not None:
        _expect("the calls of fit before the error", str(len(found.calls)), "0")
    if before == "changed":
        changed = [name for name in ("weights", "trainable") if getattr(found.begun, name) != getattr(found.end, name)]
        _expect("what changed before the error", _shown(changed), "nothing")


def resumes(ask: Ask, case: Case) -> None:
    """A run resumed after its failure trains only the rest, and ends like one that was never interrupted."""
    request = case["request"]
    found, should_be = _ran(ask, request), _rebuilt(request)
    rest = [call.epochs for call in should_be.calls[request["fail_at"] :]]
    _expect("the epochs of the calls after the resumption", str([call.epochs for call in found.calls]), str(rest))
    _same_end(found, should_be)
    _expect("the history", _columns(found.history), _columns(_merged(should_be.calls)))
