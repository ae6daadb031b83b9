"""What users do to a loop of PyTorch, in any order: steps, epochs, flips, new schedules, saving, loading, refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from refreeze import InvalidSpec, ScheduleError, ScheduleMismatch, Unsupported, always, during, round_robin
from refreeze.torch import FreezeSchedule
from small_nets import batch, net, values
from strategies import machine

pytestmark = pytest.mark.torch
EPOCHS = 4
LAYERS = ("stem", "body/0", "head")  # no policy mentions the last
POLICIES = (round_robin(["stem", "body/0"], window=1, span=1), during(always(["stem"]), 1, 3))


class Users(RuleBasedStateMachine):
    """The plain model of it: the flags of each layer, the tick, and the steps that each layer's momentum has seen."""

    @initialize()
    def begin(self) -> None:
        self.model = net(norm=False)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.01, weight_decay=0.1)
        self.layers = dict(zip(LAYERS, (self.model.stem, self.model.body[0], self.model.head), strict=True))
        self.flags, self.steps = dict.fromkeys(LAYERS, True), dict.fromkeys(LAYERS, 0)
        self.saved: Any = None
        self.start(POLICIES[0])

    def state(self) -> tuple[Any, Any]:
        return copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict()))

    def check(self) -> None:
        assert {n: {p.requires_grad for p in layer.parameters()} for n, layer in self.layers.items()} == {
            name: {flag} for name, flag in self.flags.items()
        }
        counted = {n: int(self.optimizer.state.get(x.weight, {}).get("step", 0)) for n, x in self.layers.items()}
        assert counted == self.steps

    def start(self, policy: Any) -> None:
        self.policy, self.tick, self.before = policy, None, dict(self.flags)
        self.schedule = FreezeSchedule(policy, self.model, self.optimizer, epochs=EPOCHS, user_frozen="keep")
        self.governed = {name for name in LAYERS[:2] if self.flags[name] and name in policy.names}
        self.check()

    @rule(forward=st.lists(st.booleans(), min_size=1, max_size=6), number=st.integers(0, 3))
    def steps_of(self, forward: list[bool], number: int) -> None:
        for one in forward:
            self.step(one, number)

    def step(self, forward: bool, number: int) -> None:
        now = 0 if self.tick is None else self.tick + (forward and self.tick < EPOCHS - 1)
        self.schedule.begin(now)
        self.tick = now
        self.flags |= {name: name not in self.policy.frozen_at(now) for name in self.governed}
        before = values(self.model)
        self.optimizer.zero_grad()
        loss = self.model(batch(number)).square().mean()
        if loss.requires_grad:
            loss.backward()
        self.optimizer.step()
        after = values(self.model)
        for name in LAYERS:
            path = name.replace("/", ".")
            moved = not torch.equal(before[f"{path}.weight"], after[f"{path}.weight"])
            assert moved == self.flags[name]
            self.steps[name] += self.flags[name]
        self.check()

    @rule(restore=st.booleans(), flips=st.sets(st.sampled_from(LAYERS)), policy=st.sampled_from(POLICIES))
    def end_and_begin_anew(self, restore: bool, flips: set[str], policy: Any) -> None:
        self.schedule.restore() if restore else self.schedule.end()
        if restore:
            self.flags |= {name: self.before[name] for name in self.governed}
        if self.tick != EPOCHS - 1:
            with pytest.raises(Unsupported):
                self.schedule.begin(0 if self.tick is None else self.tick + 1)
        self.check()
        for name in flips:
            self.flags[name] = not self.flags[name]
            self.layers[name].requires_grad_(self.flags[name])
        self.optimizer.zero_grad()  # momentum would go on with the old gradient of what was frozen by hand
        self.start(policy)

    @precondition(lambda self: self.tick is not None)
    @rule()
    def save(self) -> None:
        self.saved = (self.policy, self.tick, self.schedule.state_dict(), self.state(), dict(self.steps))

    @precondition(lambda self: self.saved is not None)
    @rule()
    def load(self) -> None:
        policy, tick, schedule, (model, optimizer), steps = self.saved
        if policy is not self.policy:
            with pytest.raises(ScheduleMismatch):
                self.schedule.load_state_dict(schedule)
        else:
            self.model.load_state_dict(model)
            self.optimizer.load_state_dict(copy.deepcopy(optimizer))
            self.schedule.load_state_dict(schedule)
            self.tick, self.steps = tick, dict(steps)
        self.check()

    @rule(far=st.sampled_from([-1, 2, EPOCHS, 10**9, True, "0"]))
    def refused(self, far: Any) -> None:
        """A tick that is none, or not the next one, and a second schedule change nothing."""
        before = self.state()
        wrong = far if type(far) is not int or self.tick is None or far in (-1, EPOCHS, 10**9) else self.tick + far
        if self.tick is None and wrong == 2:
            wrong = EPOCHS
        with pytest.raises(InvalidSpec):
            self.schedule.begin(wrong)
        with pytest.raises(ScheduleError):
            FreezeSchedule(POLICIES[0], self.model, self.optimizer, epochs=EPOCHS)
        for was, now in zip(before, self.state(), strict=True):
            torch.testing.assert_close(was, now, rtol=0, atol=0)
        self.check()


def test_in_any_order() -> None:
    run_state_machine_as_test(Users, settings=machine(30, 15))


@pytest.mark.slow
def test_in_any_order_many_times() -> None:
    run_state_machine_as_test(Users, settings=machine(200, 40))
