"""The arithmetic of installed originals, one file of each, without what else their packages ask for.

A file is loaded alone: what it imports of the packages in ``stands_in_for`` is an empty class, which is false.
"""

from __future__ import annotations

import abc
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from refreeze import random_window


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
    """Return the nodes that are frozen in each epoch."""
    plans = []
    for node in request["config"]:
        said = SimpleNamespace(**{"active": False, "unfreeze_after": None} | node.get("freezing", {}))
        end = module.resolve_unfreeze_epoch(said, request["total"])
        if end is not None:
            plans.append(module.NodeFreezePlan(node["name"], end, None, [], [], [], []))
    return [{plan.node_name for plan in plans if plan.is_frozen(epoch)} for epoch in range(request["total"])]


def nemo(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the modules that are frozen in each step."""
    config, frozen, found = request["config"]["freeze_updates"], set[str](), []
    model = SimpleNamespace(device=SimpleNamespace(type="cpu"), training=True, trainer=SimpleNamespace())
    for name in config["modules"]:
        part = SimpleNamespace(train=lambda: None)
        part.freeze, part.unfreeze = (lambda name=name: frozen.add(name)), (lambda name=name: frozen.discard(name))
        setattr(model, name, part)
    if config.get("enabled", False):
        model._freeze_cfg = config | {"is_frozen": dict.fromkeys(config["modules"], False)}
    for model.trainer.global_step in range(request["total"]):
        module.ModelPT.on_train_batch_start(model, None, 0)
        found.append({*frozen})
    return found


def fts(module: ModuleType, supporters: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the parameters that are frozen in each epoch."""
    config, names = request["config"], request["names"]
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
    """Return the parameters that are frozen in each step; torch's random orders are those of RND-4."""
    import torch

    config = dict(request["config"])
    seed, cycles = config.pop("seed", 0), iter(range(10**9))
    module.gc, module.print_rank_0 = SimpleNamespace(collect=lambda: None), lambda *args, **kwargs: None

    def order(n: int) -> torch.Tensor:  # it is taken from its end
        return torch.tensor(random_window(n, n, next(cycles), seed, 0)[::-1])

    parameters = [(name, torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))) for name in request["names"]]
    base = torch.optim.SGD([parameter for _, parameter in parameters], lr=0.1)
    found = []
    with patch.object(torch, "randperm", order), patch.object(torch.cuda, "empty_cache", lambda: None):
        optimizer = module.BlockOptimizer(base, parameters, verbose=0, **config)
        for _ in range(request["total"]):
            found.append({name for name, parameter in parameters if not parameter.requires_grad})
            for _, parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            optimizer.step()
    return found


def lisa(module: ModuleType, request: dict[str, Any]) -> list[set[str]]:
    """Return the layers that are frozen in each step; numpy's draws are those of RND-2, a number for each redraw."""
    import numpy as np
    import torch

    names, config = request["names"], request["config"]
    n_layers, interval = config["n_layers"], config["step_interval"]
    blocks = torch.nn.ModuleList(torch.nn.Linear(1, 1, bias=False) for _ in names)
    step = SimpleNamespace(global_step=0)

    def choice(positions: range, size: int, **_: bool) -> list[int]:
        k = step.global_step // interval + (step.global_step > 0)
        return [*random_window(len(positions), size, k, config.get("seed", 0), 0)]

    arguments = SimpleNamespace(tuner_type="full", lisa_activated_layers=n_layers, lisa_step_interval=interval)
    module.extract_model_from_parallel = lambda model, **kwargs: model
    callback, found = module.LISACallback(arguments, None), []
    with patch.object(np.random, "choice", choice):
        callback.on_train_begin(None, step, None, model=torch.nn.Sequential(blocks))
        for step.global_step in range(request["total"]):
            callback.on_step_begin(None, step, None)
            found.append({n for n, block in zip(names, blocks, strict=True) if not block.weight.requires_grad})
    return found
