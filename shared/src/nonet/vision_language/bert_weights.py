"""First weights from BERT and timm, and BERT's names for ours (ALBEF, section 3.1; mPLUG, section 3.2).

The text encoder takes BERT's first layers, the fusion its last ones (layer i takes BERT's 12 - layers + i),
the decoder all from the first; attention to a source begins at random.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.hub import load_pretrained
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_folders import copy_weights, tensors_of
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.vision import build_vision

LAYER = {
    "self_attention.query": "attention.self.query",
    "self_attention.key": "attention.self.key",
    "self_attention.value": "attention.self.value",
    "self_attention.output": "attention.output.dense",
    "self_attention.norm": "attention.output.LayerNorm",
    "cross_attention.query": "crossattention.self.query",
    "cross_attention.key": "crossattention.self.key",
    "cross_attention.value": "crossattention.self.value",
    "cross_attention.output": "crossattention.output.dense",
    "cross_attention.norm": "crossattention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward.norm": "output.LayerNorm",
}
"""parts of a layer: ours, and those of BERT's code"""
EMBEDDINGS = {
    "words": "word_embeddings",
    "positions": "position_embeddings",
    "types": "token_type_embeddings",
    "norm": "LayerNorm",
}
HEAD = {
    "bias": "predictions.bias",
    "words": "predictions.decoder.weight",
    "dense": "predictions.transform.dense",
    "norm": "predictions.transform.LayerNorm",
}


def bert_name(name: str, first: int = 0) -> str:
    """BERT's name for a weight of a text tower, fusion, decoder or word head.

    Args:
        name: ours, within that part: `layers.0.feed_forward.up.weight`, `embeddings.words.weight`.
        first: BERT's layer that our layer 0 is.

    Returns:
        `encoder.layer.0.intermediate.dense.weight`, `embeddings.word_embeddings.weight`; of a head
        `predictions.bias` and the like.
    """
    parts = name.split(".")
    if parts[0] == "layers":
        inner = LAYER[".".join(parts[2:4])]
        return f"encoder.layer.{int(parts[1]) + first}.{inner}.{parts[4]}"
    if parts[0] == "embeddings":
        return ".".join(["embeddings", EMBEDDINGS[parts[1]], *parts[2:]])
    return ".".join([HEAD[parts[0]], *parts[1:]])


def named_as_bert(
    part: nn.Module, weights: Mapping[str, Tensor], prefix: str, first: int = 0
) -> dict[str, Tensor]:
    """The weights of a file for one part of ours, under our names: those that the file has.

    Args:
        part: text tower, fusion, decoder (without its head) or word head.
        weights: of the file.
        prefix: what stands before BERT's names there, `text_encoder.bert.` say.
        first: BERT's layer that our layer 0 is.
    """
    names = {
        name: prefix + bert_name(name, first) for name in tensors_of(part) if not name.startswith("head.")
    }
    return {name: weights[theirs] for name, theirs in names.items() if theirs in weights}


def start_pair_model(
    config: PairConfig, *, say: Callable[[str], None] = print, pretrained: bool = True
) -> PairModel:
    """A new model: with the weights that `vit` (timm) and `text` (a BERT) name, or random ones.

    Args:
        config: architecture.
        say: takes one line a source, with an account where something does not fit.
        pretrained: false: random weights whatever is named.

    Raises:
        UserError: no such weights, or they are of other sizes than the configuration's.
    """
    from_timm = bool(config.vit) and pretrained
    model = PairModel(config, vision=build_vision(config, pretrained=from_timm))
    say(f"vision: {f'{config.vit} of timm' if from_timm else 'random weights'}")
    if pretrained and config.text:
        start_from_bert(model, config.text, say=say)
    else:
        say("text: random weights")
    return model


def start_from_bert(model: PairModel, name: str, *, say: Callable[[str], None] = print) -> None:
    """Give text tower, fusion, decoder and word heads the weights of a BERT.

    Args:
        model: changed in place.
        name: folder or hub name of a BERT.
        say: takes what was done.

    Raises:
        UserError: no such model, other sizes, or fewer layers than are needed.
    """
    from transformers import BertForMaskedLM

    bert = load_pretrained(BertForMaskedLM, name, say=say)
    config = model.config
    _refuse_sizes(config, bert.config, name)
    weights = dict(bert.state_dict())
    depth = bert.config.num_hidden_layers
    for part, prefix, first in (
        (model.text, "bert.", 0),
        (model.fusion, "bert.", depth - config.fusion_layers),
        (model.decoder, "bert.", 0),
        (model.mlm_head, "cls.", 0),
        (None if model.decoder is None else model.decoder.head, "cls.", 0),
    ):
        if part is not None:
            found = named_as_bert(part, weights, prefix, first)
            copy_weights(part, found, say=lambda _: None, limit=1.0)  # attention to a source is not in it
    say(
        f"text: {name}, layers 0 to {config.text_layers - 1}; fusion: layers {depth - config.fusion_layers} "
        f"to {depth - 1}" + (f"; decoder: 0 to {config.decoder_layers - 1}" if config.decoder_layers else "")
        + "; attention to images is random"
    )  # fmt: skip


def with_bert_sizes(config: PairConfig, name: str) -> PairConfig:
    """The configuration with the sizes of a BERT and its name.

    Args:
        config: the rest of the architecture.
        name: folder or hub name.

    Raises:
        UserError: no such model.
    """
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: no BERT to be had: {reason}") from error
    return dataclasses.replace(config, text=name, **_sizes(found))


def _sizes(bert: Any) -> dict[str, Any]:
    return {
        "vocabulary": bert.vocab_size,
        "text_width": bert.hidden_size,
        "text_heads": bert.num_attention_heads,
        "text_hidden": bert.intermediate_size,
        "positions": bert.max_position_embeddings,
    }


def _refuse_sizes(config: PairConfig, bert: Any, name: str) -> None:
    for field, size in _sizes(bert).items():
        if getattr(config, field) != size:
            raise UserError(f"{field} is {getattr(config, field)}, but {name} has {size}")
    most = max(config.text_layers, config.fusion_layers, config.decoder_layers)
    if most > bert.num_hidden_layers:
        raise UserError(f"{name} has {bert.num_hidden_layers} layers; {most} are wanted")
    if bert.hidden_act != "gelu":
        raise UserError(f"{name} uses {bert.hidden_act}; the layers here use gelu")
