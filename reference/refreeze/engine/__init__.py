"""The engine: runs schedules on Keras models, with the TensorFlow backend. Needs the extra ``tensorflow``."""

from refreeze.engine.callback import FreezeSchedule
from refreeze.engine.checkpoint import Checkpointer
from refreeze.engine.executor import DLFreezeTrainingExecutor, FreezeTrainingExecutor, SegmentReport, execute
from refreeze.engine.handler import DLTrainingHandler, TrainingHandler

__all__ = [
    "Checkpointer",
    "DLFreezeTrainingExecutor",
    "DLTrainingHandler",
    "FreezeSchedule",
    "FreezeTrainingExecutor",
    "SegmentReport",
    "TrainingHandler",
    "execute",
]
