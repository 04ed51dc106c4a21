"""PROP and B-PROP: representative-words pre-training for ad-hoc retrieval (Ma et al. 2021, WSDM and SIGIR).

The names below load their modules, and torch with them, when they are first used.
"""

import importlib
from typing import Any

_HOME = {
    "ReadOptions": "prop_ir.options",
    "WordOptions": "prop_ir.options",
    "SamplerOptions": "prop_ir.options",
    "MaskOptions": "prop_ir.options",
    "ScoreOptions": "prop_ir.rerank_options",
    "TuneOptions": "prop_ir.rerank_options",
    "Document": "prop_ir.documents",
    "Collection": "prop_ir.collections",
    "Store": "prop_ir.store",
    "build_store": "prop_ir.building",
    "PairSampler": "prop_ir.word_sets",
    "Bm25Index": "prop_ir.bm25",
    "PropModel": "prop_ir.model",
    "load_ranker": "prop_ir.model",
    "pretrain": "prop_ir.pretraining",
    "Scorer": "prop_ir.scoring",
    "rerank": "prop_ir.reranking",
    "finetune": "prop_ir.finetuning",
    "read_run": "prop_ir.runs",
    "write_run": "prop_ir.runs",
    "read_qrels": "prop_ir.qrels",
    "read_topics": "prop_ir.topics",
    "evaluate": "prop_ir.evaluation",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'prop_ir' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
