"""Tiny random encoders of all four architectures, with inputs for them."""

from functools import partial

import torch
import transformers

from cap_prune.units import Units
from nonet.testing import whole

LAYERS, HEADS, SIZE, NEURONS = 3, 4, 8, 20
SHAPE = {"vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0}
_PLAIN = SHAPE | {
    "hidden_size": HEADS * SIZE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": NEURONS, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
CONFIGS = {
    "bert": partial(transformers.BertConfig, **_PLAIN),
    "roberta": partial(transformers.RobertaConfig, **_PLAIN),
    "electra": partial(transformers.ElectraConfig, **_PLAIN, embedding_size=12),
    "distilbert": partial(
        transformers.DistilBertConfig, **SHAPE, dim=HEADS * SIZE, n_layers=LAYERS, n_heads=HEADS,
        hidden_dim=NEURONS, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    ),
}  # fmt: skip
HEADLESS = {"bert": "Bert", "roberta": "Roberta", "electra": "Electra", "distilbert": "DistilBert"}
KINDS = ("Model", "ForSequenceClassification", "ForQuestionAnswering")
PRUNED = Units(((0, 2, 3), (), (1,)), ((0, 5, 6, 19), (3,), ()), HEADS, NEURONS)
"""with a layer that has no head and one that has no neuron"""


def tiny(kind: str, head: str = "ForSequenceClassification", seed: int = 0):
    """A model with weights far enough from 0 that every unit matters."""
    torch.manual_seed(seed)
    model = getattr(transformers, HEADLESS[kind] + head)(CONFIGS[kind]())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval()


def texts():
    """Two texts, the second with padding."""
    ids, mask = whole(39, 2, 7) + 1, torch.ones(2, 7, dtype=torch.long)
    ids[1, 5:], mask[1, 5:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def numbers(model):
    """All that a model says about them; places that are padded left out."""
    found = model(**texts())
    return torch.cat(
        [found[name].flatten() for name in ("logits", "start_logits", "end_logits") if name in found]
        or [found.last_hidden_state[0].flatten(), found.last_hidden_state[1, :5].flatten()]
    )
