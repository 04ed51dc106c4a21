"""Keyphrases with pre-trained language models: four families, one data format, one scorer (after Wu et al. 2022).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME: dict[str, str] = {}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'keyphrase_plm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
