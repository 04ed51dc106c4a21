"""Patches that a text asks for, kept; the others dropped half-way (Jiang et al. 2023, COPA).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "SelectOptions": "pta_vlp.select_options",
    "kept_count": "pta_vlp.select_options",
    "selection_scores": "pta_vlp.patch_selection",
    "select": "pta_vlp.patch_selection",
    "PrunedVision": "pta_vlp.pruned_vision",
    "load_model": "pta_vlp.model_folders",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'pta_vlp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
