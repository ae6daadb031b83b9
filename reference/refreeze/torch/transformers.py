"""A schedule under Hugging Face's ``Trainer``: one callback. Needs ``transformers``, which no extra brings."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from refreeze.errors import InvalidSpec
from refreeze.plan import Unit, asked
from refreeze.torch.schedule import FreezeSchedule


class FreezeScheduleTrainerCallback(TrainerCallback, ExportableState):
    """Runs a freeze schedule inside one ``Trainer(..., callbacks=[FreezeScheduleTrainerCallback(spec)]).train()``.

    A step is one of ``state.global_step``: an update of the weights, by ``gradient_accumulation_steps`` batches. The
    state of the schedule is in ``trainer_state.json`` of every checkpoint, and ``train(resume_from_checkpoint=...)``
    goes on from there (RES-1, RES-3). ``schedule`` is the ``FreezeSchedule`` once the training has begun.

    The trainer always has a learning-rate scheduler. It would overwrite a rate that is set once a segment, so such a
    schedule is refused. Rates of single names are written before every step; give the trainer an optimizer that has a
    parameter group for each of these names, for groups cannot be split any more when the training begins.

    Args:
        spec, dialect, unit: as in ``FreezeSchedule``; they are checked at once.
        steps_per_epoch: the steps in an epoch, if the data do not say how many batches they have.
        restore: whether the flags that you gave are put back when the training ends.
        options: the others of ``FreezeSchedule``.

    Raises ``Unsupported``, besides what ``FreezeSchedule`` raises, when the training begins and before any flag is
    changed, for a segment in which nothing trains, as the trainer cannot do a step of it.
    """

    def __init__(
        self,
        spec: Any = None,
        *,
        dialect: str = "vl3d",
        unit: Unit | None = None,
        steps_per_epoch: int | None = None,
        restore: bool = False,
        **options: Any,
    ) -> None:
        if spec is None:  # so does the trainer make it, if it is to make callbacks anew
            raise InvalidSpec(
                "spec", None, "given: restore_callback_states_from_checkpoint cannot make a schedule anew"
            )
        self._asked, self._unit = asked(spec, dialect, unit)[0], unit
        self._steps, self._restore, self._options = steps_per_epoch, restore, options
        self.schedule: FreezeSchedule | None = None

    def state(self) -> dict[str, Any]:
        schedule = None if self.schedule is None else self.schedule.state_dict()
        return {"args": {}, "attributes": {"schedule": schedule}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        per_epoch, loader = self._steps, given["train_dataloader"]
        if per_epoch is None:
            if not hasattr(loader, "__len__"):
                raise InvalidSpec("steps_per_epoch", None, "given, for the data do not say how many batches they have")
            per_epoch = max(1, -(-len(loader) // args.gradient_accumulation_steps))
        optimizer = getattr(given["optimizer"], "optimizer", given["optimizer"])  # that inside of accelerate's
        options = {"unit": self._unit, "epochs": -(-state.max_steps // per_epoch), "steps_per_epoch": per_epoch}
        self.schedule = FreezeSchedule(self._asked, given["model"], optimizer, **options, **self._options)
        try:
            self.schedule.check_never_idle()
            record = state.stateful_callbacks.get(type(self).__name__, {}) if state.global_step else {}
            if (past := record.get("attributes", {}).get("schedule")) is not None:
                self.schedule.load_state_dict(past)
        except ValueError:
            self.schedule.end()
            raise

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        assert self.schedule is not None
        self.schedule.begin(*divmod(state.global_step, self.schedule.plan.steps_per_epoch))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.schedule is not None:
            (self.schedule.restore if self._restore else self.schedule.end)()
