"""How laws of execution are checked: on what is seen of runs of an executor on the kit's own small models.

One set of laws is for all frameworks: a ``Call`` is what trains a segment on Keras, and a step on PyTorch.

The reference says what is scheduled; what must happen then is said by the clauses, or done by the plainest right run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from refreeze import Segment, segments
from refreeze.conformance.execution.observations import STEPS, Call, ModelState, Ran
from refreeze.conformance.laws import Ask, Broken, Case, NotSupported
from refreeze.conformance.protocol import Request
from refreeze.conformance.reference import policy_of

STATISTICS = ("norm/moving_mean", "norm/moving_variance",
              "norm/running_mean", "norm/running_var", "norm/num_batches_tracked")  # fmt: skip


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
    from refreeze.conformance.execution import on_keras

    return on_keras.rebuilt(request)


def _schedule(request: Request) -> tuple[Segment, ...]:
    return segments(policy_of(request), request["total"])


def _scheduled(ask: Ask, request: Request) -> Iterator[tuple[Call, ModelState, Segment]]:
    """Yield each call that returned, the state that it left, and the segment that it began in."""
    schedule = _schedule(request)
    for call in _ran(ask, request).calls:
        if call.after is None or call.tick >= request["total"]:
            return
        yield call, call.after, next(s for s in schedule if s.start <= call.tick < s.stop)


def _ticks(request: Request, found: Ran) -> list[int]:
    """Return the ticks in which the calls of a whole run begin."""
    if found.steps_per_tick is None:
        return [segment.start for segment in _schedule(request)]
    return [tick for tick in range(request["total"]) for _ in range(found.steps_per_tick)]


def _shown(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _trains(request: Request, segment: Segment) -> set[str]:
    """Return the names that train in a segment: scheduled and not frozen, or not scheduled and not switched off."""
    governed = policy_of(request).names
    return {name for name in request["names"] if name not in (segment.frozen if name in governed else request["off"])}


def _names(request: Request, weights: Iterable[str]) -> dict[str, str]:
    """Return the name by which each weight can be frozen: that of its layer, or its own with dots."""
    known = set(request["names"])
    found = {weight: (weight.rpartition("/")[0], weight.replace("/", ".")) for weight in weights}
    return {weight: name for weight, names in found.items() for name in names if name in known}


def _in(request: Request, segment: Segment, weights: Iterable[str]) -> set[str]:
    """Return those of ``weights`` that train in a segment."""
    trains = _trains(request, segment)
    return {weight for weight, name in _names(request, weights).items() if name in trains}


def _of_the_user(request: Request, call: Call) -> set[str]:
    """Return the statistics of which no clause says whether they move.

    On PyTorch those are the ones of a batch normalization that the schedule does not name: by flags it is not frozen.
    """
    return {*STATISTICS} if call.step is not None and "norm" not in policy_of(request).names else set()


def _expect(what: str, got: str, should_be: str) -> None:
    if got != should_be:
        raise Broken(what, got, should_be)


def one_call_per_segment(ask: Ask, case: Case) -> None:
    """The fit function is called once per segment, with its length."""
    request = case["request"]
    lengths = [segment.length for segment in _schedule(request)]
    _expect("the epochs of the calls of fit", str([call.length for call in _ran(ask, request).calls]), str(lengths))


def every_batch_once(ask: Ask, case: Case) -> None:
    """The batches are those of all epochs, each in one forward pass in training mode, in their order."""
    found = _ran(ask, case["request"])
    batches = [call.step.batch for call in found.calls if call.step is not None]
    steps = len(_ticks(case["request"], found))
    _expect("the batches of the steps", str(batches), str([number % STEPS for number in range(steps)]))


def flags(ask: Ask, case: Case) -> None:
    """At each call, those names are trainable that the segment trains, and those that nobody mentions as they were."""
    for call, _, segment in _scheduled(ask, case["request"]):
        trainable = {name for name, flag in call.before.trainable.items() if flag}
        _expect(f"trainable at {call.where}", _shown(trainable), _shown(_trains(case["request"], segment)))


def effects(ask: Ask, case: Case) -> None:
    """What moves in a call is what its segment trains; statistics move with their layer, but not in inference mode."""
    request = case["request"]
    for call, after, segment in _scheduled(ask, request):
        weights = _in(request, segment, after.weights)
        weights -= {name for name in STATISTICS if name.rpartition("/")[0] in segment.bn_frozen}
        unsaid = _of_the_user(request, call)
        moved = _differing(call.before.weights, after.weights)
        _expect(f"what moves in {call.where}", _shown(moved - unsaid), _shown(weights - unsaid))


def goes_on(ask: Ask, case: Case) -> None:
    """A run resumed after its failure has the flags and the effects of the segments that are left."""
    flags(ask, case)
    effects(ask, case)


def slots(ask: Ask, case: Case) -> None:
    """When a weight trains again, its slots are what they were when it trained last; iterations count on."""
    last: dict[str, bytes] = {}
    iterations = None
    for call, after, segment in _scheduled(ask, case["request"]):
        if call.before.iterations is not None:
            _expect(f"iterations at {call.where}", str(call.before.iterations), str(iterations or 0))
        weights = _in(case["request"], segment, after.weights)
        trained = {slot for slot in {*after.slots, *last} if slot.partition(":")[0] in weights}
        lost = {slot for slot in trained & last.keys() if call.before.slots.get(slot) != last[slot]}
        _expect(f"slots at {call.where} that are not as they were left", _shown(lost), "nothing")
        last |= {slot: after.slots[slot] for slot in trained & after.slots.keys()}
        iterations = after.iterations


def rates(ask: Ask, case: Case) -> None:
    """A call begins with the rate that its segment sets, if it is the first one in it, or that the one before left."""
    left, before = None, None
    for call, after, segment in _scheduled(ask, case["request"]):
        sets = segment is not before and segment.learning_rate is not None
        should_be = (segment.learning_rate,) if sets else left
        if should_be is not None:
            got = call.before.learning_rates
            _expect(
                f"the learning rate at {call.where}", " and ".join(map(str, got)), " and ".join(map(str, should_be))
            )
        left, before = after.learning_rates, segment


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
    """While the batch normalization is frozen its statistics stay and are used; on Keras the losses show their use."""
    request = case["request"]
    on_keras = _ran(ask, request).steps_per_tick is None
    should_be = iter(_rebuilt(request).calls if on_keras else ())
    for call, after, segment in _scheduled(ask, request):
        other = next(should_be, None)
        if "norm" in _trains(request, segment) - segment.bn_frozen or _of_the_user(request, call):
            continue
        moved = _differing(call.before.weights, after.weights) & {*STATISTICS}
        _expect(f"statistics that move in {call.where}", _shown(moved), "nothing")
        if other is not None:
            _expect(f"the history of {call.where}", _columns(call.history), _columns(other.history))
        elif call.step is not None:
            _expect(f"the statistics used in {call.where}", call.step.normalized_by, "the moving ones")


def stops(ask: Ask, case: Case) -> None:
    """When training is stopped nothing is trained after it, and the history ends there."""
    request = case["request"]
    found, stop = _ran(ask, request), request["stop_after"]
    ticks = [tick for tick in _ticks(request, found) if tick < stop]
    _expect("the ticks in which calls begin", str([call.tick for call in found.calls]), str(ticks))
    if found.steps_per_tick is None:
        _expect("the epochs trained", str(sum(map(_trained, found.calls))), str(stop))
        _expect("the epochs in the history", str([len(v) for v in (found.history or {}).values()][:1]), str([stop]))


def fails(ask: Ask, case: Case) -> None:
    """The exception of a call comes out, no other call is made, and the model trains as in that segment."""
    request = case["request"]
    found, segment = _ran(ask, request), _schedule(request)[request["fail_at"]]
    _expect("the exception that comes out", str(found.raised), "FitFailed")
    ticks = [tick for tick in _ticks(request, found) if tick < segment.start]
    _expect("the ticks in which calls begin", str([call.tick for call in found.calls]), str([*ticks, segment.start]))
    trainable = {name for name, flag in found.end.trainable.items() if flag}
    _expect("trainable after the failure", _shown(trainable), _shown(_trains(request, segment)))
    call = found.afterwards
    assert call is not None
    assert call.after is not None
    unsaid = _of_the_user(request, call)
    moved = _differing(call.before.weights, call.after.weights) - unsaid
    weights = _in(request, segment, call.after.weights) - unsaid
    _expect("what moves after the failure", _shown(moved), _shown(weights))


def flags_stay(ask: Ask, case: Case) -> None:
    """After the run, those layers are trainable that trained in its last segment."""
    request = case["request"]
    trainable = {name for name, flag in _ran(ask, request).end.trainable.items() if flag}
    _expect("trainable after the run", _shown(trainable), _shown(_trains(request, _schedule(request)[-1])))


def nothing_trains(ask: Ask, case: Case) -> None:
    """A segment in which everything is frozen is a call with finite losses that moves neither weights nor slots."""
    request = case["request"]
    ticks = _ticks(request, _ran(ask, request))
    idle = [segment for segment in _schedule(request) if not _trains(request, segment)]
    found = [(call, after) for call, after, segment in _scheduled(ask, request) if segment in idle]
    should_be = [tick for tick in ticks if any(segment.start <= tick < segment.stop for segment in idle)]
    _expect("the calls in ticks with everything frozen", str([call.tick for call, _ in found]), str(should_be))
    for call, after in found:
        losses = (call.history or {}).get("loss", [])
        finite = len(losses) == call.length and all(map(math.isfinite, losses))
        _expect(f"the losses of {call.where}, with everything frozen", "finite" if finite else str(losses), "finite")
        moved = _differing(call.before.weights, after.weights) - _of_the_user(request, call)
        moved |= _differing(call.before.slots, after.slots)
        _expect(f"what moves in {call.where}, with everything frozen", _shown(moved), "nothing")


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
    """A run resumed after its failure trains only the rest, and ends like the same run that was never interrupted."""
    request = case["request"]
    number, failed = request["fail_at"], request.get("fail_tick")
    failed = _schedule(request)[number].start if failed is None else failed
    uninterrupted = {key: value for key, value in request.items() if key != "fail_tick"}
    found, whole = _ran(ask, request), _ran(ask, uninterrupted | {"fail_at": None, "resumed": None})
    rest = [(call.tick, call.length) for call in whole.calls if call.tick >= failed]
    _expect("the calls after the resumption", str([(c.tick, c.length) for c in found.calls]), str(rest))
    _same_end(found, whole)
    _expect("the history", _columns(found.history), _columns(whole.history))


# PyTorch alone ------------------------------------------------------------------------------------------------------
def gradients(ask: Ask, case: Case) -> None:
    """When an optimizer steps, what trains has a gradient, and what is frozen has none, not one of zeros either."""
    for call, _, segment in _scheduled(ask, case["request"]):
        if call.step is not None and call.step.gradients is not None:
            have = {name for name, has in call.step.gradients.items() if has}
            weights = _in(case["request"], segment, call.step.gradients)
            _expect(f"what has a gradient in {call.where}", _shown(have), _shown(weights))


def groups(ask: Ask, case: Case) -> None:
    """What trains is in one parameter group, always with the same options."""
    first: dict[str, list[str]] = {}
    for call, _, segment in _scheduled(ask, case["request"]):
        found = (call.step and call.step.groups) or {}
        for name in sorted(_in(case["request"], segment, found)):
            _expect(f"the parameter groups that hold {name} in {call.where}", str(len(found[name])), "1")
            options = first.setdefault(name, found[name])
            _expect(f"the options of {name} in {call.where}", found[name][0], options[0])


def modes(ask: Ask, case: Case) -> None:
    """Every module but batch normalizations is in training mode at each step: what is frozen drops out as before."""
    for call in _ran(ask, case["request"]).calls:
        if call.step is not None:
            off = {name or "the module" for name, training in call.step.modes.items() if not training}
            _expect(f"modules in evaluation mode in {call.where}", _shown(off), "nothing")
