"""The engine: runs schedules on Keras models, with the backend TensorFlow, JAX or torch."""

from refreeze.keras.callback import FreezeSchedule
from refreeze.keras.checkpoint import Checkpointer
from refreeze.keras.executor import DLFreezeTrainingExecutor, FreezeTrainingExecutor, execute
from refreeze.keras.handler import DLTrainingHandler, TrainingHandler
from refreeze.keras.record import RecordDecisions
from refreeze.keras.recorder import Recorder
from refreeze.keras.report import SegmentReport

__all__ = [
    "Checkpointer",
    "DLFreezeTrainingExecutor",
    "DLTrainingHandler",
    "FreezeSchedule",
    "FreezeTrainingExecutor",
    "RecordDecisions",
    "Recorder",
    "SegmentReport",
    "TrainingHandler",
    "execute",
]
