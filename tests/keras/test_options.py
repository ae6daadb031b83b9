"""Options and specifications: whoever takes them checks them at once, before there is a model."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from refreeze import InvalidSpec, always
from refreeze.keras import FreezeSchedule, FreezeTrainingExecutor, TrainingHandler, execute
from refreeze.keras.executor import RunKeywords, RunOptions
from refreeze.keras.options import Keywords, Options

pytestmark = pytest.mark.engine
TAKERS = {
    "executor": lambda **options: FreezeTrainingExecutor(None, **options),
    "handler": lambda **options: TrainingHandler(None, **options),
    "execute": lambda **options: execute(None, always([]), 1, print, **options),
    "callback": lambda **options: FreezeSchedule([], **options),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"switch": "cashed"}, "switch = 'cashed' must be one of 'auto', 'cached', 'masked', 'rebuild'"),
        ({"switch": ["cached"]}, "switch = ['cached'] must be one of 'auto', 'cached', 'masked', 'rebuild'"),
        ({"cache_size": 0}, "cache_size = 0 must be an integer >= 1"),
        ({"cache_size": True}, "cache_size = True must be an integer >= 1"),
        (
            {"optimizer_state": "drop"},
            "optimizer_state = 'drop' must be one of 'keep', 'reset', 'reset_unfrozen', 'per_variable', "
            "'per_variable_reset'",
        ),
        (
            {"batch_norm": None},
            "batch_norm = None must be one of 'keras', 'batch', 'batch_fixed', 'inference'",
        ),
        ({"rates": "scale"}, "rates = 'scale' must be one of 'refuse', 'ignore'"),
        ({"restore": 1}, "restore = 1 must be one of False, True"),
        ({"on_segment": 3}, "on_segment = 3 must be callable with a Segment, or None"),
        ({"resume": True}, "resume = True must be False without a checkpoint"),
        ({"resume": "yes"}, "resume = 'yes' must be one of False, True"),
        ({"checkpoint": 5}, "checkpoint = 5 must be a folder, or a Checkpointer"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_given(taker: str, options: dict[str, Any], message: str) -> None:
    (name,) = options
    known = Options if taker == "callback" else RunOptions
    if name not in get_type_hints(known) and not (name == "on_segment" and taker in ("execute", "callback")):
        with pytest.raises(TypeError, match=name):
            TAKERS[taker](**options)
        return
    with pytest.raises(InvalidSpec) as raised:
        TAKERS[taker](**options)
    assert str(raised.value) == message


@pytest.mark.parametrize("make", [FreezeTrainingExecutor, TrainingHandler, FreezeSchedule])
def test_a_wrong_specification_is_refused_when_it_is_given(make: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"freeze_training\[0\]\.layers = \[\] must be"):
        make([{"layers": [], "training_interval": [0, 1]}])


def test_the_keywords_are_the_fields() -> None:
    assert get_type_hints(Keywords) == get_type_hints(Options)
    assert get_type_hints(RunKeywords) == get_type_hints(RunOptions)
