"""An executable catalogue of vision-language pre-training (Wang et al. 2023; Chen et al. 2023).

The names below load their modules when they are first used; torch is loaded by none of them.
"""

import importlib
from typing import Any

_HOME = {
    "Atlas": "vlp_atlas.atlas",
    "Table": "vlp_atlas.tabular",
    "Comparison": "vlp_atlas.tabular",
    "Defect": "vlp_atlas.defects",
    "Rejected": "vlp_atlas.defects",
    "build": "vlp_atlas.building",
    "check": "vlp_atlas.building",
    "lint": "vlp_atlas.linting",
    "lint_files": "vlp_atlas.linting",
    "stale": "vlp_atlas.staleness",
    "Change": "vlp_atlas.differences",
    "diff": "vlp_atlas.differences",
    "export": "vlp_atlas.exporting",
    "oracle": "vlp_atlas.oracles",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'vlp_atlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
