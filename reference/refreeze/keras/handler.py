"""The training handler: all that surrounds the fit of a model handler, with freeze-training in it.

Source: VL3D, class ``DLTrainingHandler`` of ``src.model.deeplearn.handle.dl_training_handler``. All its methods are
here under their names, and the class can be imported under its own name, too.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import keras
import numpy as np

from refreeze.dialects.vl3d import Rated
from refreeze.errors import InvalidSpec
from refreeze.keras.executor import FreezeTrainingExecutor, RunKeywords
from refreeze.keras.report import SegmentReport

_log = logging.getLogger("refreeze")


class TrainingHandler:
    """Fits the model of a model handler, under a freeze-training schedule or without one.

    What it needs of the objects of the user; no base class is needed. A model handler ``mh`` has

    - ``training_epochs``, an integer >= 0, and ``history``, where the History is put;
    - ``arch``, an architecture; without it ``prepare_freeze_training`` still works, and nothing else;
    - optionally ``compiled``, the compiled model, if it is not ``arch.nn``; ``batch_size`` and ``fit_verbose``, as in
      ``model.fit``; ``build_sequencer(X, y_rf, training)``, which returns what is fed to the model, ``(input_X,
      input_y)``; ``build_callbacks()``, which returns fresh callbacks for the fits that ``posfit_logic_callback`` does;
      ``compile(y_rf=...)``, which compiles again, for a ``prefit_logic_callback`` that needs to.

    The architecture has ``nn``, the Keras model, built; optionally ``prefit_logic_callback(cache_map)``, which is
    called before the fit and may leave things in the map; ``posfit_logic_callback(cache_map)``, which is called after
    it with the same map and its ``history``, and may put another one there; and ``needs_fit_backup``, which says
    whether receptive fields may lie in another order after the fit, and are put back.

    A sequencer is a ``keras.utils.PyDataset`` that feeds the receptive fields ``X`` (an array, or lists and tuples of
    arrays) and the references ``y`` (likewise, or None), and may shuffle them in place. ``needs_fit_backup = False``
    says that it leaves them where they are.

    Args:
        freeze_training: the list of specifications; with None, and no options, ``model.fit`` alone trains.
        backup_dir: the folder of the backup of the receptive fields while the model is fitted, by default the one for
            temporary files.
        options: those of ``FreezeTrainingExecutor``; what resumes from a checkpoint has to see to the order of the data
            itself.

    Raises ``InvalidSpec`` for a specification or an option that is wrong by itself.
    """

    def __init__(
        self,
        freeze_training: Any = None,
        *,
        backup_dir: str | os.PathLike[str] | None = None,
        **options: Unpack[RunKeywords],
    ) -> None:
        if not isinstance(backup_dir, str | os.PathLike | None):
            raise InvalidSpec("backup_dir", backup_dir, "a folder")
        self.freeze_training = freeze_training
        self._executor = FreezeTrainingExecutor(freeze_training, **options)
        self._plain = freeze_training is None and not options
        self._backup_dir = backup_dir

    @property
    def reports(self) -> list[SegmentReport]:
        """One ``SegmentReport`` per segment of the last fit, also of one that raised."""
        return self._executor.reports

    def __call__(self, mh: Any, X: Any, y_rf: Any, callbacks: list[Any]) -> Any:  # noqa: N803
        """Run ``pre_fit``, ``fit`` and ``post_fit``; return the History, which is also in ``mh.history``.

        ``X`` is the input after preprocessing, ``y_rf`` the references for each receptive field.
        """
        cache_map = self.pre_fit(mh, X, y_rf, callbacks)
        mh.history = self.fit(mh, X, y_rf, callbacks)
        self.post_fit(mh, X, y_rf, callbacks, cache_map)
        return mh.history

    def pre_fit(self, mh: Any, X: Any, y_rf: Any, callbacks: list[Any]) -> dict[str, Any]:  # noqa: N803
        """Return the cache map of the fit, after the architecture's ``prefit_logic_callback`` has had it.

        The map has ``X``, ``y_rf``, ``callbacks``, ``training_epochs``, ``batch_size`` and, if the handler can compile,
        ``compilef(y_rf)``. Raises ``InvalidSpec`` for a handler without ``training_epochs`` or ``arch``.
        """
        cache_map: dict[str, Any] = {
            "X": X,
            "y_rf": y_rf,
            "callbacks": callbacks,
            "training_epochs": _of(mh, "training_epochs"),
            "batch_size": getattr(mh, "batch_size", None),
        }
        if hasattr(mh, "compile"):
            cache_map["compilef"] = lambda y_rf: mh.compile(y_rf=y_rf)
        if hasattr(_of(mh, "arch"), "prefit_logic_callback"):
            mh.arch.prefit_logic_callback(cache_map)
        return cache_map

    def fit(self, mh: Any, X: Any, y_rf: Any, callbacks: list[Any]) -> Any:  # noqa: N803
        """Fit the model, once per segment of the schedule, and return the History of it all.

        What the sequencer has shuffled is put back into the order in which it came, also if the fit raises. Raises what
        ``FreezeTrainingExecutor.run``, ``store_fit_backup`` and ``restore_fit_backup`` raise.
        """
        backup = self.store_fit_backup(mh, X, y_rf)
        input_X, input_y = X, y_rf  # noqa: N806
        try:
            if hasattr(mh, "build_sequencer"):
                input_X, input_y = mh.build_sequencer(X, y_rf, True)  # noqa: N806
            if self._plain:
                return self.model_fit(mh, callbacks, input_X, input_y)
            return self._executor.run(
                _model(mh),
                _of(mh, "training_epochs"),
                lambda epochs: self.model_fit(mh, callbacks, input_X, input_y, epochs),
            )
        finally:
            if backup is not None:
                self.restore_fit_backup(mh, input_X, backup)

    def model_fit(self, mh: Any, callbacks: list[Any], input_X: Any, input_y: Any, epochs: int | None = None) -> Any:  # noqa: N803
        """Return the History of one fit of the model, of ``epochs`` or else all of the handler's epochs.

        A sequencer says itself in which order its batches come, so Keras does not shuffle them. (Its ``on_epoch_end``
        is called by Keras when a fit begins too: one that shuffles there does so once more for every segment.)
        """
        return _model(mh).fit(
            input_X,
            input_y,
            epochs=_of(mh, "training_epochs") if epochs is None else epochs,
            callbacks=callbacks,
            batch_size=getattr(mh, "batch_size", None),
            shuffle=not isinstance(input_X, keras.utils.PyDataset),
            verbose=getattr(mh, "fit_verbose", "auto"),
        )

    def store_fit_backup(self, mh: Any, X: Any, y_rf: Any) -> Path | None:  # noqa: N803
        """Write the receptive fields and references to a new file and return it, or None if none is needed.

        The file is there whole or not at all. Raises ``InvalidSpec`` if they are no arrays of numbers.
        """
        if not self.check_architecture_needs_backup(mh):
            return None
        arrays = _arrays(X, y_rf)
        descriptor, unfinished = tempfile.mkstemp(".unfinished", "refreeze-fit-", self._backup_dir)
        path = Path(unfinished).with_suffix(".npz")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, *arrays)
                file.flush()
                os.fsync(file.fileno())
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        _log.debug("the receptive fields are kept in %s while the model is fitted", path)
        return path

    def restore_fit_backup(self, mh: Any, input_X: Any, fit_backup: str | os.PathLike[str]) -> None:  # noqa: N803
        """Put the values of ``fit_backup`` into the arrays of ``input_X``, in place, and delete the file.

        An input that needs no backup is left as it is. Raises ``InvalidSpec`` if the arrays of ``input_X`` are others
        than those that were stored; then the file stays.
        """
        if self.check_input_needs_backup(input_X):
            arrays = _arrays(input_X.X, input_X.y)
            with np.load(fit_backup, allow_pickle=False) as stored:
                kept = [stored[name] for name in stored.files]
            shapes = [(array.shape, array.dtype) for array in arrays]
            if shapes != [(array.shape, array.dtype) for array in kept[: len(arrays)]]:
                raise InvalidSpec("input_X", shapes, f"the arrays that are in {fit_backup}")
            for array, values in zip(arrays, kept, strict=False):
                array[...] = values
        Path(fit_backup).unlink()

    @staticmethod
    def check_architecture_needs_backup(mh: Any) -> bool:
        """Return what the architecture says of its need, or else whether the handler has a sequencer."""
        needs = getattr(_of(mh, "arch"), "needs_fit_backup", None)
        return hasattr(mh, "build_sequencer") if needs is None else bool(needs)

    @staticmethod
    def check_input_needs_backup(input_X: Any) -> bool:  # noqa: N803
        """Return whether ``input_X`` is a sequencer that needs a backup; Keras does not write into plain arrays."""
        return isinstance(input_X, keras.utils.PyDataset) and bool(getattr(input_X, "needs_fit_backup", True))

    def post_fit(self, mh: Any, X: Any, y_rf: Any, callbacks: list[Any], fit_cache_map: dict[str, Any]) -> None:  # noqa: N803
        """Call the architecture's ``posfit_logic_callback``, if it has one; the history that it leaves is the new one.

        The callback is given the cache map, with the ``history`` of the fit, and with fresh ``callbacks`` if the
        handler builds any.
        """
        if not hasattr(mh.arch, "posfit_logic_callback"):
            return
        fit_cache_map["callbacks"] = mh.build_callbacks() if hasattr(mh, "build_callbacks") else callbacks
        fit_cache_map["history"] = mh.history
        mh.arch.posfit_logic_callback(fit_cache_map)
        mh.history = fit_cache_map["history"]

    def prepare_freeze_training(self, mh: Any) -> Rated:
        """Return ``(op_epoch, op, lrs)``: the epochs at which to interrupt, what to do there, and the rates to set.

        A handler that has ``training_epochs`` alone will do, unless a specification says "all", which needs
        ``mh.arch.nn``. Raises what ``FreezeTrainingExecutor.prepare_schedule`` raises.
        """
        model = getattr(getattr(mh, "arch", None), "nn", None)
        return self._executor.prepare_schedule(_of(mh, "training_epochs"), model)

    handle_round_robin_freezing = staticmethod(FreezeTrainingExecutor.handle_round_robin_freezing)
    handle_random_freezing = staticmethod(FreezeTrainingExecutor.handle_random_freezing)


DLTrainingHandler = TrainingHandler


def _of(mh: Any, name: str) -> Any:
    if not hasattr(mh, name):
        raise InvalidSpec("model handler", mh, f"an object with {name}")
    return getattr(mh, name)


def _model(mh: Any) -> Any:
    compiled = getattr(mh, "compiled", None)
    return _of(mh, "arch").nn if compiled is None else compiled


def _arrays(*inputs: Any) -> Sequence[np.ndarray[Any, Any]]:
    """Return the arrays in nested lists and tuples, in order; raise ``InvalidSpec`` for anything else in there."""
    found = [array for array in keras.tree.flatten(list(inputs)) if array is not None]
    for array in found:
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise InvalidSpec("receptive fields", array, "arrays of numbers, or lists of such")
    return found
