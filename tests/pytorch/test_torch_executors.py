"""Laws of execution on PyTorch: right executors keep them, wrong ones break those that they should."""

import copy
import functools
import shlex

import pytest
import right_torch_executor
import torch
import typer
from refreeze import InvalidSpec
from refreeze.conformance import reference
from refreeze.conformance.adapters import load
from refreeze.conformance.catalogue import checks, of_framework
from refreeze.conformance.cli import register
from refreeze.conformance.execution import on_torch
from refreeze.conformance.execution.cases import NAMES, OVERLAP, PARAMETERS, PEERS, STAGES
from refreeze.conformance.runner import Profile, run, run_check
from refreeze.torch import layer_names, parameter_names
from torch import nn
from typer.testing import CliRunner
from wrong_torch_executors import WRONG, executor

pytestmark = [
    pytest.mark.torch,
    # What PyTorch says of a compiled function that is left in the middle, as the kit looks at what it does.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

RIGHT = {"refreeze.torch": reference.torch_execution, "from the clauses": right_torch_executor.Looping()}
CHOSEN = Profile(0, 0)
"""The cases that are always checked, and no drawn ones."""


def on_pytorch(**chosen):
    return of_framework(checks("execution", **chosen), "torch")


@functools.cache
def adapter_of(name):
    return load(RIGHT[name], level="execution")


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_executor_passes(name):
    supported = {"dialects": ["vl3d", "fastai"]} if name == "from the clauses" else {}
    found = [run_check(adapter_of(name), check, CHOSEN) for check in on_pytorch(**supported)]
    assert [(result.law, result.failure) for result in found if result.verdict != "holds"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_executor_is_never_blamed(name, seed):
    found = run(adapter_of(name), on_pytorch(dialects=["vl3d", "fastai"]), "quick", seed)
    assert {result.verdict for result in found.results} == {"holds"}, found.as_json()


def named(laws, dialect):
    """Return the checks whose laws begin so, of which there is one for each."""
    every = on_pytorch(dialects=[dialect])
    found = {law: [check for check in every if check.law.id.startswith(law)] for law in laws.split()}
    assert all(found.values()), found
    return [check for some in found.values() for check in some]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.id)
def test_a_wrong_executor_breaks_the_laws_that_it_should(wrong):
    adapter = load(executor(wrong), level="execution")
    for laws, verdict in ((wrong.laws, "broken"), (wrong.holds, "holds")):
        found = {check.id: run_check(adapter, check, CHOSEN) for check in named(laws, wrong.dialect)}
        assert {name: result.verdict for name, result in found.items()} == dict.fromkeys(found, verdict)


def test_every_law_on_pytorch_catches_a_wrong_executor():
    caught = {check.law.id for wrong in WRONG for check in named(wrong.laws, wrong.dialect)}
    assert caught == {check.law.id for check in on_pytorch()}


# The module, and how it is watched -----------------------------------------------------------------------------------
def test_the_names_of_the_cases_are_those_of_the_module():
    assert list(layer_names(on_torch.Net(0))) == NAMES
    assert list(parameter_names(on_torch.Net(0))) == PARAMETERS
    assert {tuple(request["names"]) for request in PEERS.values()} <= {tuple(NAMES), tuple(PARAMETERS)}


def seen(train, request=STAGES):
    """Return what is seen of a run whose executor is ``train``."""
    doing = type("Doing", (), {"framework": "torch", "run": lambda self, *given: train(*given)})
    return load(doing, level="execution").ask(request)


def loop(optimizer, loader, forward):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(forward(x), y).backward()
        optimizer.step()


def test_steps_of_any_optimizer_that_holds_the_parameters_are_seen():
    def train(module, make_optimizer, dialect, config, epochs, loader):
        loop(torch.optim.Adagrad(module.parameters()), loader, module)

    first = seen(train).calls[0]
    assert {name.partition(":")[2] for name in first.after.slots} == {"sum", "step"}
    assert all(first.step.gradients.values())


def test_what_an_optimizer_keeps_that_is_no_tensor_is_seen_too():
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["updates"] = self.state[parameter].get("updates", 0) + 1

    def train(module, make_optimizer, dialect, config, epochs, loader):
        loop(Counting(module.parameters(), 0.1), loader, module)

    slots = [call.after.slots for call in seen(train).calls]
    assert [{name: bits for name, bits in found.items() if name.endswith(":updates")} for found in slots] == [
        {f"{name.replace('.', '/')}:updates": count for name in PARAMETERS} for count in (b"1", b"2")
    ]


def test_a_module_that_is_all_frozen_trains_a_step_more_after_a_failure():
    def train(module, make_optimizer, dialect, config, epochs, loader):
        make_optimizer(module.requires_grad_(False).parameters())
        for x, _ in loader:
            module(x)

    found = seen(train, STAGES | {"fail_at": 0})
    assert (found.raised, len(found.calls)) == ("FitFailed", 1)
    assert {name for name, bits in found.begun.weights.items() if found.afterwards.after.weights[name] != bits} == {
        "norm/running_mean", "norm/running_var", "norm/num_batches_tracked"
    }  # fmt: skip


def test_another_optimizer_and_evaluation_and_copies_are_not_steps():
    def train(module, make_optimizer, dialect, config, epochs, loader):
        other, average = nn.Linear(4, 3), copy.deepcopy(module)
        loop(torch.optim.SGD(other.parameters(), 0.1), loader, other)
        module.eval()(loader.dataset[:2][0])
        loop(torch.optim.SGD(average.parameters(), 0.1), loader, average)

    assert seen(train).calls == ()


@pytest.mark.parametrize("how", ["closure", "wrapped", "compiled"])
def test_a_step_is_seen_however_it_is_taken(how):
    """In a closure the forward pass is in the optimizer's step; a wrapper calls the module, and dynamo traces it."""

    def train(module, make_optimizer, dialect, config, epochs, loader):
        optimizer = make_optimizer(module.parameters())
        if how != "closure":
            loop(
                optimizer,
                loader,
                torch.compile(module, backend="eager") if how == "compiled" else nn.Sequential(module),
            )
        for x, y in loader if how == "closure" else ():

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(module(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)

    calls = seen(train).calls
    assert [(call.tick, call.step.batch) for call in calls] == [(0, 0), (0, 1)]
    for call in calls:
        assert call.before.weights != call.after.weights
        assert all(call.step.gradients.values())
        assert call.step.normalized_by == "the batch"


# Adapters ------------------------------------------------------------------------------------------------------------
class Undeclared:
    run = right_torch_executor.Looping.run


def test_the_framework_is_what_the_adapter_or_the_caller_says():
    assert load(Undeclared, level="execution", framework="torch").ask(OVERLAP).steps_per_tick == 2
    with pytest.raises(InvalidSpec, match="must be an object whose framework is 'keras', not 'torch'"):
        load(right_torch_executor.Looping, level="execution", framework="keras")
    other = type("Other", (), {"framework": "mxnet", "run": print})
    with pytest.raises(InvalidSpec, match="must be an object whose framework is 'keras' or 'torch', not 'mxnet'"):
        load(other, level="execution")
    with pytest.raises(InvalidSpec, match=r"an object with run\(module, make_optimizer, dialect, config, epochs, load"):
        load(type("Empty", (), {"framework": "torch"}), level="execution")


def test_laws_that_a_framework_does_not_have():
    with pytest.raises(InvalidSpec, match=r"--law = \['EXE-6-one_history'\] must be laws that there are on torch"):
        on_pytorch(only=["EXE-6"])
    assert {check.law.clause for check in of_framework(checks("execution"), "keras")}.isdisjoint({"PYT-1", "PYT-2"})


class Late:
    framework = "torch"

    def run(self, *given):
        executor(next(wrong for wrong in WRONG if wrong.what == "released one epoch late")).run(*given)


def verify(*arguments):
    """Return exit code and output of ``refreeze verify``."""
    app = typer.Typer()
    register(app)
    found = CliRunner().invoke(app, ["verify", "test_torch_executors:Late", *arguments])
    assert isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, " ".join(found.output.split())


def test_the_command_line_replays_what_it_prints():
    code, output = verify("--level", "execution", "--dialect", "vl3d", "--law", "EXE-3")
    assert (code, "EXE-3" in output) == (1, True)
    failure = run(load(Late, level="execution"), on_pytorch(dialects=["vl3d"], only=["EXE-3"])).results[0].failure
    code, again = verify(*shlex.split(failure.replay)[3:])
    assert (code, failure.got in again) == (1, True)
