"""Contrastive pruning of pre-trained encoders (Xu et al. 2022), down to models that are really smaller.

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "Units": "cap_prune.units",
    "units_of": "cap_prune.architectures",
    "parts_of": "cap_prune.architectures",
    "Gates": "cap_prune.gates",
    "slim": "cap_prune.slimming",
    "load_model": "cap_prune.loading",
    "register": "cap_prune.slim_models",
    "Contrast": "cap_prune.contrast",
    "contrastive_loss": "cap_prune.contrast",
    "Banks": "cap_prune.banks",
    "choose": "cap_prune.selection",
    "prune": "cap_prune.structured",
    "export": "cap_prune.exporting",
    "use_sparse_kernels": "cap_prune.semi_structured",
    "evaluate": "cap_prune.evaluating",
    "report": "cap_prune.model_report",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cap_prune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
