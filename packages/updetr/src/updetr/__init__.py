"""Detection transformers pre-trained without labels by finding patches (Dai et al. 2021, UP-DETR).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "DetectorConfig": "updetr.detector_config",
    "Detector": "updetr.detector",
    "PatchDetector": "updetr.query_patches",
    "load_model": "updetr.loading",
    "save_model": "updetr.loading",
    "match": "updetr.matching",
    "SetLoss": "updetr.losses",
    "read_labelled": "updetr.labelled_data",
    "locate": "updetr.locating",
    "detect": "updetr.predicting",
    "evaluate": "updetr.evaluating",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'updetr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
