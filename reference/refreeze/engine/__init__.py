"""The engine: runs schedules on Keras models, with the TensorFlow backend. Needs the extra ``tensorflow``."""

from refreeze.engine.executor import DLFreezeTrainingExecutor, FreezeTrainingExecutor, SegmentReport, execute

__all__ = ["DLFreezeTrainingExecutor", "FreezeTrainingExecutor", "SegmentReport", "execute"]
