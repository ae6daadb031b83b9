"""A stand-in for torchvision, which Lighter and Composer import, and which what is asked of them has no use for."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

NAMES: dict[str, tuple[str, ...]] = {
    "torchvision": (),
    "torchvision.datasets": ("VisionDataset",),
    "torchvision.models": (),
    "torchvision.models.resnet": ("Bottleneck",),
    "torchvision.ops": ("box_convert",),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": (),
    "torchvision.utils": ("draw_segmentation_masks",),
}
"""The modules, and the names that are imported from them."""


def for_torchvision() -> None:
    """Let ``import torchvision`` do no harm where it is not installed."""
    for package in ("torchmetrics", "pytorch_lightning", "lightning.pytorch"):  # they ask whether it is there
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name, attributes in NAMES.items():
        module = sys.modules[name] = ModuleType(name)
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (), {}))
