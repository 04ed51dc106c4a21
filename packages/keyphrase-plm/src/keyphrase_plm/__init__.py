"""Keyphrases by pre-trained language models: four families, one format, one scorer (after Wu et al. 2022).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "Document": "keyphrase_plm.documents",
    "Prediction": "keyphrase_plm.documents",
    "read_documents": "keyphrase_plm.layouts",
    "source_text": "keyphrase_plm.sequences",
    "target_text": "keyphrase_plm.sequences",
    "phrases_of": "keyphrase_plm.sequences",
    "read_predictions": "keyphrase_plm.prediction_files",
    "PredictionFile": "keyphrase_plm.prediction_files",
    "DecodeOptions": "keyphrase_plm.decoding_options",
    "load_family": "keyphrase_plm.loading",
    "predict": "keyphrase_plm.predicting",
    "extract": "keyphrase_plm.unsupervised",
    "Family": "keyphrase_plm.families",
    "Tagger": "keyphrase_plm.tagger",
    "Seq2Seq": "keyphrase_plm.seq2seq",
    "Bert2Bert": "keyphrase_plm.bert2bert",
    "PrefixLM": "keyphrase_plm.prefix_family",
    "fit": "keyphrase_plm.training",
    "Shape": "keyphrase_plm.budgets",
    "parameters": "keyphrase_plm.budgets",
    "shapes_within": "keyphrase_plm.budgets",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'keyphrase_plm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
