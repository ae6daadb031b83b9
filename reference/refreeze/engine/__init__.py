"""The engine: runs schedules on Keras models, with the TensorFlow backend. Needs the extra ``tensorflow``."""

from refreeze.engine.callback import FreezeSchedule
from refreeze.engine.executor import DLFreezeTrainingExecutor, FreezeTrainingExecutor, SegmentReport, execute

__all__ = ["DLFreezeTrainingExecutor", "FreezeSchedule", "FreezeTrainingExecutor", "SegmentReport", "execute"]
