"""Text-aware image mixing for vision-language pre-training (Jiang et al. 2024, TiMix).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "TextAwareMix": "timix.text_aware_mix",
    "MixPlan": "timix.text_aware_mix",
    "mix_targets": "timix.mixed_targets",
    "mixed_itc": "timix.mixed_loss",
    "mixed_sigmoid": "timix.mixed_loss",
    "patch_scores": "timix.scoring",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'timix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
