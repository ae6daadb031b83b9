"""The arithmetic of installed originals, one file of each, without what else their packages ask for; its adapters.

A file is loaded alone: what it imports of the packages in ``stands_in_for`` is an empty class, which is false. What
checks the configurations of luxonis-train, fts and the two LISAs is in other files, so they are asked about meaning.
"""

from __future__ import annotations

import abc
import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from refreeze import UnknownName, random_window

from peers.adapter import CannotExpress, Frozen, Request, adapter, an_object

Drive = Callable[..., list[set[str]]]


class _Nothing(abc.ABCMeta):
    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __getattr__(cls, name: str) -> Any:
        return _nothing(name)


def _nothing(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    body = {
        "__init__": lambda self, *args, **kwargs: None,
        "__call__": lambda self, *args, **kwargs: args[0] if args else self,
        "__bool__": lambda self: False,
        "__enter__": lambda self: self,
        "__exit__": lambda self, *error: None,
    }
    return _Nothing(name, (), body)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, roots: tuple[str, ...]) -> None:
        self.roots = roots

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        wanted = name.partition(".")[0] in self.roots
        return importlib.util.spec_from_loader(name, self, is_package=True) if wanted else None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = _nothing  # type: ignore[method-assign]


def load(name: str, *stands_in_for: str) -> ModuleType:
    """Return the module ``name`` of an installed package, loaded from its file alone."""
    import torch  # noqa: F401 (it is no stand-in, and looks through the modules that are there)

    root, _, rest = name.partition(".")
    (folder,) = importlib.util.find_spec(root).submodule_search_locations  # type: ignore[union-attr,misc]
    spec = importlib.util.spec_from_file_location(name, Path(folder, *rest.split(".")).with_suffix(".py"))
    roots, finder = (root, *stands_in_for), _Finder((root, *stands_in_for))
    before = {key: module for key, module in sys.modules.items() if key.partition(".")[0] in roots}
    for key in before:
        del sys.modules[key]
    sys.meta_path.insert(0, finder)
    try:
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[name] = module  # dataclasses look themselves up
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    finally:
        sys.meta_path.remove(finder)
        for key in [key for key in sys.modules if key.partition(".")[0] in roots]:
            del sys.modules[key]
        sys.modules.update(before)
    return module


def luxonis(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the nodes that are frozen in each epoch; the state is a function of the epoch alone."""
    plans, config = [], request["config"]
    for node in config["model"]["nodes"] if isinstance(config, dict) else config:
        if not any(name == node["name"] or name.startswith(f"{node['name']}/") for name in request["names"]):
            raise UnknownName(node["name"], request["names"], "nodes")  # there the nodes themselves are asked
        said = SimpleNamespace(**{"active": False, "unfreeze_after": None} | node.get("freezing", {}))
        end = module.resolve_unfreeze_epoch(said, request["total"])
        if end is not None:
            plans.append(module.NodeFreezePlan(node["name"], end, None, [], [], [], []))
    epochs = range(request["start"], request["total"])
    return [{plan.node_name for plan in plans if plan.is_frozen(epoch)} for epoch in epochs]


def nemo(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the modules that are frozen in each step; a resumed run is a new model."""
    config = an_object(request["config"])
    config, frozen, found = config.get("model", config)["freeze_updates"], set[str](), []
    model = SimpleNamespace(device=SimpleNamespace(type="cpu"), training=True, trainer=SimpleNamespace())
    parts = [name.split("/") for name in request["names"]]
    for name in {"/".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}:
        part = SimpleNamespace(train=lambda: None)
        part.freeze, part.unfreeze = (lambda name=name: frozen.add(name)), (lambda name=name: frozen.discard(name))
        setattr(model, name, part)
    if config.get("enabled", False):
        model._freeze_cfg = config | {"is_frozen": dict.fromkeys(config["modules"], False)}
    for model.trainer.global_step in range(request["start"], request["total"]):
        module.ModelPT.on_train_batch_start(model, None, 0)
        found.append({*frozen})
    return found


def fts(module: ModuleType, supporters: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the parameters that are frozen in each epoch."""
    config, names = an_object(request["config"]), request["names"]
    config = config if "ft_schedule" in config else {"ft_schedule": config}
    parts = (module.FinetuningScheduler, supporters.ScheduleParsingMixin)
    run: Any = object.__new__(type("Run", parts, {}))
    run.ft_schedule = {int(number): dict(phase) for number, phase in config["ft_schedule"].items()}
    run.base_max_lr, depth = 1e-5, config.get("max_depth", -1)
    for number in run.ft_schedule:
        run._parse_phase(number, dict.fromkeys(names).keys(), ((), set()))
    run._validate_phases_disjoint()
    run.max_depth = len(run.ft_schedule) - 1 if depth == -1 else min(depth, len(run.ft_schedule) - 1)
    run.epoch_transitions_only, run.pl_module = True, object()
    state = SimpleNamespace(_curr_depth=0, _resume_fit_from_ckpt=False, _ft_init_epoch=0, _ft_sync_objects=(),
                            _ft_sync_props=(), _curr_thawed_params=[])  # fmt: skip
    run._fts_state, run.strategy_adapter = state, SimpleNamespace(logical_param_translation=lambda names: names)
    run.step, run.sync, run._internal_optimizer_metadata = (lambda: None), (lambda *args: None), {}
    fit_loop = SimpleNamespace(max_epochs=request["total"])
    trainer = SimpleNamespace(early_stopping_callback=None, fit_loop=fit_loop, optimizers=[], current_epoch=0)
    found = []
    for trainer.current_epoch in range(request["total"]):
        run.on_train_epoch_start(trainer, run.pl_module)
        thawed = {name for number in range(state._curr_depth + 1) for name in run.ft_schedule[number]["params"]}
        found.append({*names} - thawed)
    return found


def badam(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the parameters that are frozen in each step; torch's random orders are those of RND-4.

    A resumed run is a new optimizer, which loads the state of the first one.
    """
    start, found, state = request["start"], list[set[str]](), None
    if start and an_object(request["config"]).get("switch_mode") == "random":
        raise CannotExpress  # what torch draws then is another question
    for steps in [start, request["total"] - start] if start else [request["total"]]:
        found, state = _badam(module, request, steps, state)
    return found


def _badam(module: ModuleType, request: dict[str, Any], steps: int, state: Any) -> tuple[list[set[str]], Any]:
    import torch

    config = an_object(request["config"])
    seed, cycles = config.pop("seed", 0), iter(range(10**9))
    module.gc, module.print_rank_0 = SimpleNamespace(collect=lambda: None), lambda *args, **kwargs: None

    def order(n: int) -> torch.Tensor:  # it is taken from its end
        return torch.tensor(random_window(n, n, next(cycles), seed, 0)[::-1])

    parameters = [(name, torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))) for name in request["names"]]
    base = torch.optim.SGD([parameter for _, parameter in parameters], lr=0.1)
    found = []
    with patch.object(torch, "randperm", order), patch.object(torch.cuda, "empty_cache", lambda: None):
        optimizer = module.BlockOptimizer(base, parameters, verbose=0, **config)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            found.append({name for name, parameter in parameters if not parameter.requires_grad})
            for _, parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            optimizer.step()
    return found, optimizer.state_dict()


def _lisa_steps(request: dict[str, Any], begin: Callable[..., Any]) -> list[set[str]]:
    """Return the layers that are frozen in each step; numpy's draws are those of RND-2, a number for each redraw.

    ``begin`` makes the callback, of the blocks, how many are drawn, the interval and the state of the trainer.
    """
    import numpy as np
    import torch

    names, config = request["names"], an_object(request["config"])
    drawn = [key for key in ("n_layers", "lisa_n_layers", "lisa_activated_layers") if key in config]
    spans = [key for key in ("step_interval", "lisa_step_interval") if key in config]
    own = config.get("variant") == "axolotl" or "lisa_step_interval" in config
    if not own or {"always_on", "layers", "lisa_layers_attribute", "lisa_interval_steps"} & config.keys():
        raise CannotExpress
    n_layers, interval = config[drawn[0]], config[spans[0]]
    blocks = torch.nn.ModuleList(torch.nn.Linear(1, 1, bias=False) for _ in names)
    step = SimpleNamespace(global_step=request["start"])

    def choice(positions: range, size: int, **_: bool) -> list[int]:
        k = step.global_step // interval + (step.global_step > 0)
        return [*random_window(len(positions), size, k, config.get("seed", 0), 0)]

    found = []
    with patch.object(np.random, "choice", choice):
        callback = begin(blocks, n_layers, interval, step)
        for step.global_step in range(request["start"], request["total"]):
            callback.on_step_begin(None, step, None)
            found.append({n for n, block in zip(names, blocks, strict=True) if not block.weight.requires_grad})
    return found


def lisa(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the layers that ms-swift freezes in each step; what numpy draws after a resume is its own affair."""
    import torch

    if request["start"]:
        raise CannotExpress
    module.extract_model_from_parallel = lambda model, **kwargs: model

    def begin(blocks: Any, n_layers: int, interval: int, step: Any) -> Any:
        model = torch.nn.Sequential(blocks)
        module.LISACallback.trainer = SimpleNamespace(model=model)
        given = SimpleNamespace(tuner_type="full", train_type="full")
        given.lisa_activated_layers, given.lisa_step_interval = n_layers, interval
        callback = module.LISACallback(given, module.LISACallback.trainer)
        if "on_train_begin" in vars(module.LISACallback):
            callback.on_train_begin(None, step, None, model=model)
        return callback

    return _lisa_steps(request, begin)


def axolotl(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the layers that axolotl freezes in each step; a resumed run is a new callback of a new model."""
    module.LOG = SimpleNamespace(info=lambda *args: None)

    def begin(blocks: Any, n_layers: int, interval: int, _step: Any) -> Any:
        given = SimpleNamespace(lisa_n_layers=n_layers, lisa_step_interval=interval, lisa_layers_attribute="layers")
        return module.lisa_callback_factory(SimpleNamespace(args=given, model=SimpleNamespace(layers=blocks)))

    return _lisa_steps(request, begin)


# Adapters ----------------------------------------------------------------------------------------------------------
def _asked(dialect: str, drive: Drive, package: str, files: list[str], missing: list[str]) -> Any:
    """Return the adapter of a drive; a module that it calls frozen may be a container of layers."""

    @functools.cache
    def modules() -> list[ModuleType]:
        return [load(f"{package}.{file}", *missing) for file in files]

    @adapter(dialect)
    def answer(request: Request) -> Frozen:
        if request["start"] and dialect == "fts":
            raise CannotExpress  # its state is put together from a checkpoint of Lightning's
        frozen = drive(*modules(), request)
        return [[n for n in request["names"] if any(n == f or n.startswith(f"{f}/") for f in now)] for now in frozen]

    def respond(request: Request) -> dict[str, Any]:
        modules()  # what cannot be loaded is no refusal
        return answer(request)

    return respond


nemo_respond = _asked("nemo", nemo, "nemo", ["core.classes.modelPT"], ["hydra", "lightning", "omegaconf"])
luxonis_respond = _asked("luxonis", luxonis, "luxonis_train", ["lightning.freezing"], ["loguru"])
fts_respond = _asked("fts", fts, "finetuning_scheduler", ["fts", "fts_supporters"], ["lightning", "yaml"])
badam_respond = _asked("badam", badam, "badam", ["block_optim"], ["transformers", "deepspeed"])
swift_respond = _asked("lisa", lisa, "swift", ["callbacks.lisa"], ["accelerate", "transformers"])
axolotl_respond = _asked("lisa", axolotl, "axolotl", ["utils.callbacks.lisa"], ["transformers"])
