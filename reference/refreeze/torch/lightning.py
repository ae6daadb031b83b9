"""A schedule under Lightning's ``Trainer``: one callback. Needs ``lightning``, which no extra brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback

from refreeze.errors import InvalidSpec, Unsupported
from refreeze.plan import Unit, asked
from refreeze.torch.modules import unwrapped
from refreeze.torch.schedule import FreezeSchedule


class FreezeScheduleCallback(Callback):
    """Runs a freeze schedule inside one ``Trainer(callbacks=[FreezeScheduleCallback(spec)]).fit(module)``.

    A step is one of ``trainer.global_step``: an update of the weights, by ``accumulate_grad_batches`` batches. The
    state of the schedule is in every checkpoint, and ``fit(ckpt_path=...)`` goes on from there (RES-1, RES-3).
    ``schedule`` is the ``FreezeSchedule`` once the fit has begun.

    Args:
        spec, dialect, unit: as in ``FreezeSchedule``; they are checked at once.
        epochs: the epochs of the whole run, if not the trainer's ``max_epochs``.
        steps_per_epoch: the steps in one, if the data do not say how many batches they have.
        restore: whether the flags that you gave are put back when the fit ends.
        options: the others of ``FreezeSchedule``.

    Raises ``Unsupported``, besides what ``FreezeSchedule`` raises, when the fit begins and before any flag is changed:
    for several optimizers, optimization by hand, a strategy that wraps the module in something else than
    ``DistributedDataParallel``, and a segment in which nothing trains, as Lightning cannot do a step of it.
    """

    def __init__(
        self,
        spec: Any,
        *,
        dialect: str = "vl3d",
        unit: Unit | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        restore: bool = False,
        **options: Any,
    ) -> None:
        self._asked, self._unit = asked(spec, dialect, unit)[0], unit
        self._epochs, self._steps, self._restore, self._options = epochs, steps_per_epoch, restore, options
        self._loaded: Mapping[str, Any] | None = None
        self.schedule: FreezeSchedule | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if len(trainer.optimizers) != 1 or not pl_module.automatic_optimization:
            raise Unsupported(
                "a schedule needs one optimizer and automatic optimization; here "
                f"automatic_optimization is {pl_module.automatic_optimization}, of {len(trainer.optimizers)} optimizers"
            )
        model = trainer.strategy.model
        if unwrapped(model) is not pl_module:
            raise Unsupported(f"strategy {type(trainer.strategy).__name__} wraps the module in {type(model).__name__}")
        epochs, per_epoch = self._length(trainer)
        options = {"unit": self._unit, "epochs": epochs, "steps_per_epoch": per_epoch, **self._options}
        self.schedule = FreezeSchedule(self._asked, model, trainer.optimizers[0], **options)
        try:
            self.schedule.check_never_idle()
            if self._loaded is not None:
                self.schedule.load_state_dict(self._loaded)
        except ValueError:
            self.schedule.end()
            raise
        finally:
            self._loaded = None

    def _length(self, trainer: Any) -> tuple[int, int | None]:
        """Return the epochs of the run and the steps in one, as far as they are known."""
        steps, batches = trainer.estimated_stepping_batches, trainer.num_training_batches  # the first loads the data
        per_epoch = self._steps
        if per_epoch is None and isinstance(batches, int):
            per_epoch = max(1, -(-batches // trainer.accumulate_grad_batches))
        if self._epochs is not None:
            return self._epochs, per_epoch
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            return trainer.max_epochs, per_epoch
        if per_epoch is None or steps == float("inf"):
            raise InvalidSpec("epochs", None, "given, for the trainer and the data have no end")
        return -(-steps // per_epoch), per_epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._begin(trainer)

    def _begin(self, trainer: Any) -> None:
        schedule = self.schedule
        assert schedule is not None
        if schedule.plan.unit == "steps":
            schedule.begin(*divmod(trainer.global_step, schedule.plan.steps_per_epoch))
        else:
            schedule.begin(trainer.current_epoch)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self.schedule is not None:
            (self.schedule.restore if self._restore else self.schedule.end)()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.schedule is not None:
            self.schedule.end()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict or None
