"""When does freezing pay: what are a first visit and a step of frozen sets, in steps that train everything?"""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from refreeze import Segment
from refreeze.choices import Switch
from refreeze.keras.controller import Controller
from refreeze.keras.model import layer_names
from refreeze.keras.options import Options
from workload import BUILDERS, build, describe, stepper, timed

SETS = 4


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("switch", [name for name in get_args(Switch) if name not in ("auto", "rebuild")])
@pytest.mark.parametrize("model", BUILDERS)
def test_parts(benchmark: Any, rounds: Any, model: str, switch: Any, share: float) -> None:
    """Timed: a step of each of four windows in turn; before each, one of plain Keras that trains everything."""
    network, plain = build(model), build(model)
    names = layer_names(network)
    window = round(len(names) * share)
    turned = [(names * 2)[len(names) * at // SETS :][:window] for at in range(SETS)]
    schedule = [Segment(at, at + 1, frozenset(frozen)) for at, frozen in enumerate(turned)]
    control = Controller(network, names, schedule, Options(switch=switch))
    step, plain_step = stepper(network), stepper(plain)
    plain.make_train_function()

    def visit(segment: Segment) -> None:
        control.enter(segment)
        step()

    once, *first = [timed(visit, segment) for segment in schedule]
    beside, turns = [timed(plain_step)], itertools.cycle(schedule)

    def settle() -> None:
        visit(next(turns))
        beside.append(timed(plain_step))

    benchmark.pedantic(step, setup=settle, rounds=rounds(40))
    times = {
        "once_seconds": once,
        "first_seconds": first,
        "beside_once_seconds": beside[0],
        "beside_seconds": beside[1:],
    }
    describe(benchmark, "parts of a run", model, f"{switch}, {share:.0%} frozen", series=switch, share=share, **times)
