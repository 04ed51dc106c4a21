"""PEGASUS: pre-training with extracted gap-sentences for abstractive summarisation (Zhang et al. 2020).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "Tokenizer": "pegasus.tokenizer",
    "GapOptions": "pegasus.options",
    "MaskOptions": "pegasus.options",
    "ModelOptions": "pegasus.options",
    "DecodeOptions": "pegasus.options",
    "WordOptions": "pegasus.options",
    "words_of_texts": "pegasus.sentences",
    "words_of_sentences": "pegasus.sentences",
    "split_sentences": "pegasus.sentences",
    "select": "pegasus.gap_sentences",
    "importance": "pegasus.gap_sentences",
    "gap_count": "pegasus.gap_sentences",
    "build": "pegasus.masking",
    "Pegasus": "pegasus.model",
    "new_model": "pegasus.model",
    "load_model": "pegasus.model",
    "GapSentenceLoss": "pegasus.losses",
    "generate": "pegasus.decoding",
    "summarize_texts": "pegasus.predict",
    "evaluate": "pegasus.evaluation",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'pegasus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
