"""The reference as an implementation: ``refreeze.conformance.reference:respond``, and ``:execution`` of the engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refreeze import ScheduleError, cut
from refreeze.conformance.protocol import REQUESTS, AnyRequest, ApplyRequest, SegmentsRequest, check_request
from refreeze.dialects import Dialect, dialect, kempner
from refreeze.dialects.targets import Target
from refreeze.errors import InvalidSpec
from refreeze.plan import configuration, plan
from refreeze.policy import Policy
from refreeze.segments_json import to_json
from refreeze.selectors import distinct


def respond(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request of the protocol; what is malformed in it is an ``invalid-spec`` too.

    >>> respond({"refreeze": 1, "id": "c1", "op": "segments", "dialect": "vl3d", "total": 2, "config": []})
    {'id': 'c1', 'segments': [{'start': 0, 'stop': 2, 'frozen': [], 'learning_rate': None, 'bn_frozen': []}]}
    """
    asked = request if isinstance(request, dict) else {}
    try:
        answer = _answer(asked)
    except ScheduleError as error:
        answer = {"error": error.id, "message": str(error)}
    return {"id": asked.get("id"), **answer}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    op, name = request.get("op"), request.get("dialect")
    if isinstance(op, str) and isinstance(name, str):
        known = _dialect(name)
        if op not in REQUESTS or op == "run" or known is None or (op != "segments" and name != "kempner"):
            return {"unsupported": True}
    match check_request(request):
        case SegmentsRequest() as asked:
            return _segments(asked, dialect(asked.dialect))
        case ApplyRequest() as asked:
            return _apply(asked)
        case asked:
            return _canonical(asked)


@functools.cache
def _dialect(name: str) -> Dialect | None:
    try:
        return dialect(name)
    except InvalidSpec:
        return None


def _segments(asked: SegmentsRequest, known: Dialect) -> dict[str, Any]:
    if asked.start > asked.total:
        raise InvalidSpec("start", asked.start, f"in 0..{asked.total}")
    config = configuration(asked.config, known)
    found = plan(config, asked.names, total=asked.total, steps_per_epoch=asked.steps_per_epoch)
    return {"segments": to_json(cut(found.segments, asked.start))}


def policy_of(request: dict[str, Any]) -> Policy:
    """Return the policy that a request for a run means; raises the ``ScheduleError`` that says what is wrong."""
    per_epoch = request.get("steps_per_epoch", 1)
    asked = dialect(request["dialect"])
    return asked.policy(request["config"], request["names"], total=request["total"], steps_per_epoch=per_epoch)


class Execution:
    """The engine as an execution adapter."""

    def run(self, model: Any, dialect: str, config: Any, total: int, fit: Callable[[int], Any], **options: Any) -> Any:
        """Train the model and return one History; the options are those of ``execute``."""
        from refreeze.keras import FreezeTrainingExecutor, execute
        from refreeze.keras.model import layer_names

        if dialect == "vl3d":
            return FreezeTrainingExecutor(config, **options).run(model, total, fit)
        asked = {"dialect": dialect, "names": layer_names(model), "config": config, "total": total}
        return execute(model, policy_of(asked), total, fit, **options)

    def resume(self, model: Any, dialect: str, config: Any, total: int, fit: Callable[[int], Any], folder: str) -> Any:
        """Do the same with checkpoints."""
        return self.run(model, dialect, config, total, fit, checkpoint=folder, resume=True)


execution = Execution()


class TorchExecution:
    """``refreeze.torch`` as an execution adapter, in the plainest loop."""

    framework = "torch"

    def run(self, *asked: Any) -> None:
        """Train the module."""
        self.resume(*asked)

    def resume(
        self,
        module: Any,
        make_optimizer: Any,
        dialect: str,
        config: Any,
        epochs: int,
        loader: Any,
        folder: str | None = None,
    ) -> None:
        """Do the same with a checkpoint after each epoch."""
        import torch

        from refreeze.torch import FreezeSchedule

        optimizer, per_epoch = make_optimizer(module.parameters()), len(loader)
        schedule = FreezeSchedule(config, module, optimizer, epochs=epochs, steps_per_epoch=per_epoch, dialect=dialect)
        file = None if folder is None else Path(folder, "newest.pt")
        done = 0
        if file is not None and file.exists():
            saved = torch.load(file)
            schedule.load_state_dict(saved["schedule"])
            module.load_state_dict(saved["module"])
            optimizer.load_state_dict(saved["optimizer"])
            done = saved["epochs"]
        for epoch in range(done, epochs):
            module.train()
            for step, (x, y) in enumerate(loader):
                schedule.begin(epoch, step)
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(module(x), y)
                if loss.requires_grad:  # else everything is frozen
                    loss.backward()
                    optimizer.step()
            if file is not None:
                parts = {"schedule": schedule, "module": module, "optimizer": optimizer}
                states = {name: part.state_dict() for name, part in parts.items()}
                torch.save({"epochs": epoch + 1, **states}, file)
            if module.stop_training:
                break
        schedule.end()


torch_execution = TorchExecution()


def _apply(asked: ApplyRequest) -> dict[str, Any]:
    names = distinct(asked.names, "names")
    if len(asked.sizes) != len(names):
        raise InvalidSpec("sizes", asked.sizes, f"{len(names)} numbers, one per name")
    if unknown := {*asked.frozen}.difference(names):
        raise InvalidSpec("frozen", sorted(unknown), "some of the names")
    kempner.DIALECT.policy(asked.config, names, total=asked.tick + 1)  # raises what is wrong
    config = kempner.DIALECT.parse(asked.config)
    model = {
        name: Target(size, trainable=name not in asked.frozen) for name, size in zip(names, asked.sizes, strict=True)
    }
    active = kempner.effective_freeze(asked.tick, config.freeze, config.freeze_schedule)
    flipped = kempner.apply_freeze_specs(model, active, config.module_patterns)
    return {"frozen": [name for name in names if not model[name].trainable], "flipped": sum(flipped.values())}


def _canonical(asked: AnyRequest) -> dict[str, Any]:
    config = kempner.DIALECT.parse(asked.config)
    kempner.checked_modules(config)  # raises what is wrong
    form: list[tuple[int, object]] = []
    for step in sorted({0, *(stage.start_step for stage in config.freeze_schedule)}):
        active = kempner.effective_freeze(step, config.freeze, config.freeze_schedule)
        specs = kempner.canonical_freeze_form(active, config.module_patterns)
        form += [(step, specs)] if not form or form[-1][1] != specs else []
    return {"canonical": form}
