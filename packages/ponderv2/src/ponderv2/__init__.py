"""3D backbones pre-trained by rendering what they saw (Zhu et al. 2023, PonderV2).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "open_scenes": "ponderv2.reading",
    "PointCloud": "ponderv2.scenes",
    "View": "ponderv2.scenes",
    "Scene": "ponderv2.scenes",
    "SpUNet": "ponderv2.spunet",
    "PonderModel": "ponderv2.ponder",
    "load_model": "ponderv2.model_folders",
    "save_model": "ponderv2.model_folders",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ponderv2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
