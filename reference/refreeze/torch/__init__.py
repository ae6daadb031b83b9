"""The engine on PyTorch: runs schedules in any training loop. Needs the extra ``torch``.

``refreeze.torch.lightning`` has a callback for Lightning, ``refreeze.torch.transformers`` one for Hugging Face's
Trainer.
"""

from refreeze.torch.decisions import RecordDecisions
from refreeze.torch.modules import layer_names, parameter_names, parameters_by_layer
from refreeze.torch.recorder import Recorder
from refreeze.torch.schedule import FreezeSchedule

__all__ = ["FreezeSchedule", "RecordDecisions", "Recorder", "layer_names", "parameter_names", "parameters_by_layer"]
