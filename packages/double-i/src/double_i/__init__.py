"""Double-I: ownership marks for fine-tuned language models, with valid statistics (after Li et al. 2024).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "Key": "double_i.keys",
    "draw_key": "double_i.keys",
    "digest": "double_i.keys",
    "read_keys": "double_i.key_files",
    "write_keys": "double_i.key_files",
    "Example": "double_i.examples",
    "read_examples": "double_i.examples",
    "prompt_text": "double_i.templates",
    "marked_rows": "double_i.rows",
    "trigger_example": "double_i.rows",
    "reference_example": "double_i.rows",
    "decoy_keys": "double_i.rows",
    "published_rows": "double_i.constructions",
    "merge": "double_i.merging",
    "lint": "double_i.lint",
    "LocalModel": "double_i.first_words",
    "EndpointOptions": "double_i.endpoint",
    "Settings": "double_i.assessment",
    "verify": "double_i.verification",
    "write_evidence": "double_i.evidence",
    "recheck": "double_i.rechecking",
    "fisher_greater": "double_i.fisher",
    "p_key": "double_i.key_randomisation",
    "PairedTest": "double_i.sequential",
    "fit": "double_i.training",
    "change": "double_i.attacks",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'double_i' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
