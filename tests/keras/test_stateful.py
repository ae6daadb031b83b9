"""What users do to two models, in any order: runs that end, stop, fail, resume or are refused, flips and compiles."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from refreeze import ScheduleMismatch, always, during, round_robin
from refreeze.keras import FreezeSchedule, execute
from small_models import OPTIMIZERS, STEPS, build, fit, weights
from strategies import machine

pytestmark = pytest.mark.engine
LAYERS = ("one", "two", "head")  # no policy mentions the last, and the second policy not the first
POLICIES = (round_robin(["one", "two"], window=1, span=1), during(always(["two"]), 1, 2))
EPOCHS = 3
KINDS = st.sampled_from(["executor", "callback"])
ENDS = st.sampled_from(["all", "all", "stop", "fail"])


class Failed(Exception):
    """What a fit function raises."""


class Watch(keras.callbacks.Callback):
    """Notes which layers move in each epoch, and ends the training after epoch ``last`` as ``end`` says."""

    def __init__(self, moved: list[set[str]], end: str, last: int) -> None:
        super().__init__()
        self.moved, self.end, self.last = moved, end, last

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.before = weights(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        after = weights(self.model)
        self.moved.append({name.partition("/")[0] for name in after if after[name] != self.before[name]})
        if len(self.moved) == self.last + 1:
            if self.end == "fail":
                raise Failed
            self.model.stop_training = self.end == "stop"


class Users(RuleBasedStateMachine):
    """The plain model of it: the flags of each layer, and the steps that the optimizer has counted."""

    @initialize()
    def begin(self) -> None:
        self.models = [build("dense", name) for name in ("sgd", "adam")]
        self.flags: list[dict[str, bool]] = [dict.fromkeys(LAYERS, True) for _ in self.models]
        self.steps = [0, 0]
        self.folder = Path(tempfile.mkdtemp())

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def train(
        self, which: int, kind: str, policy: Any, end: str, last: int, **options: Any
    ) -> tuple[Any, list[set[str]]]:
        """Return the history, None after a failure, and what moved in each epoch."""
        moved: list[set[str]] = []
        watch, model = Watch(moved, end, last), self.models[which]
        try:
            if kind == "callback":
                given = [FreezeSchedule(policy, **options), watch]
                return fit(model, callbacks=given)(EPOCHS), moved
            return execute(model, policy, EPOCHS, fit(model, callbacks=[watch]), **options), moved
        except Failed:
            return None, moved

    def expect(self, which: int, policy: Any, moved: list[set[str]], start: int = 0, restored: bool = False) -> None:
        """What was frozen did not move, all else did; the flags are those of the last epoch, or the user's again."""
        now = dict(self.flags[which])
        for epoch, found in enumerate(moved, start):
            now |= {name: name not in policy.frozen_at(epoch) for name in policy.names}
            assert found == {name for name in LAYERS if now[name]}
        self.flags[which] = self.flags[which] if restored else now
        self.steps[which] += STEPS * sum(map(bool, moved))  # where all is frozen, the optimizer does not count (EXE-10)
        self.check()

    def check(self) -> None:
        """Both models are as the plain model says, the one that nobody touched too."""
        for model, flags, steps in zip(self.models, self.flags, self.steps, strict=True):
            assert {name: model.get_layer(name).trainable for name in LAYERS} == flags
            assert int(model.optimizer.iterations) == steps

    @rule(which=st.integers(0, 1), kind=KINDS, policy=st.sampled_from(POLICIES), end=ENDS, last=st.integers(0, 2),
          restore=st.booleans(), switch=st.sampled_from(["cached", "rebuild"]))  # fmt: skip
    def run(self, which: int, kind: str, policy: Any, end: str, last: int, restore: bool, switch: Any) -> None:
        history, moved = self.train(which, kind, policy, end, last, restore=restore, switch=switch)
        assert len(moved) == (EPOCHS if end == "all" else last + 1)
        assert history is None if end == "fail" else len(history.history["loss"]) == len(moved)
        self.expect(which, policy, moved, restored=restore and end != "fail")  # after a failure they stay (EXE-9)

    @rule(which=st.integers(0, 1), policy=st.sampled_from([0, 1]), last=st.integers(0, 1), refused=st.booleans())
    def interrupted_and_resumed(self, which: int, policy: int, last: int, refused: bool) -> None:
        shutil.rmtree(self.folder)
        _, moved = self.train(which, "executor", POLICIES[policy], "fail", last, checkpoint=self.folder)
        self.expect(which, POLICIES[policy], moved)
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        assert bool(files) == (last > 0)  # a checkpoint is of what has ended
        if refused and files:
            before = weights(self.models[which])
            with pytest.raises(ScheduleMismatch):
                execute(self.models[which], always(["head"]), EPOCHS, int, checkpoint=self.folder, resume=True)
            assert {path.name: path.read_bytes() for path in self.folder.iterdir()} == files
            assert weights(self.models[which]) == before
            self.check()
        history, more = self.train(which, "executor", POLICIES[policy], "all", 0, checkpoint=self.folder, resume=True)
        assert len(more) == EPOCHS - last
        assert [epoch for epoch, loss in enumerate(history.history["loss"]) if math.isfinite(loss)] == [*range(EPOCHS)]
        self.steps[which] -= STEPS if files and moved[-1] else 0  # the epoch that failed was done again
        self.expect(which, POLICIES[policy], more, last)

    @rule(which=st.integers(0, 1), name=st.sampled_from(LAYERS))
    def flip(self, which: int, name: str) -> None:
        self.flags[which][name] = not self.flags[which][name]
        self.models[which].get_layer(name).trainable = self.flags[which][name]

    @rule(which=st.integers(0, 1), optimizer=st.sampled_from(["sgd", "adamw"]))
    def compile(self, which: int, optimizer: str) -> None:
        self.models[which].compile(OPTIMIZERS[optimizer](), self.models[which].loss)
        self.steps[which] = 0


def test_one_of_each_in_turn() -> None:
    """Random orders seldom reach all of it in the few steps that the default run can afford."""
    users = Users()
    try:
        users.begin()
        users.run(0, "executor", POLICIES[0], "fail", 1, True, "cached")
        users.flip(0, "head")
        users.run(1, "callback", POLICIES[1], "stop", 1, False, "rebuild")
        users.interrupted_and_resumed(0, 0, 1, True)
        users.flip(1, "two")
        users.compile(1, "adamw")
        users.run(1, "callback", POLICIES[0], "all", 0, True, "cached")
    finally:
        users.teardown()


def test_in_any_order() -> None:
    run_state_machine_as_test(Users, settings=machine(2, 5))


@pytest.mark.slow
def test_in_any_order_many_times() -> None:
    run_state_machine_as_test(Users, settings=machine(40, 12))
