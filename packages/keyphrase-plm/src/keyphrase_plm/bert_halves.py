"""Halves of an encoder-decoder out of encoder-only models: cut to fewer layers, joined, one table or two.

After Rothe et al. 2020 and Wu et al. 2022; which layers stay is told by `kept_layers`.
"""

from typing import Any

import torch
from torch import nn

from nonet.errors import UserError
from nonet.training.hub import local_or_hub, no_bars

KINDS = ("bert", "roberta")


def half(
    name: str, *, layers: int, keep: str, decoder: bool, dropout: float, random: bool, seed: int
) -> tuple[Any, list[int]]:
    """One half out of an encoder-only model.

    Args:
        name: folder or hub name.
        layers: how many stay.
        keep: `"first"` ones, or `"even"`: evenly spaced.
        decoder: with cross-attention, which is random, causal attention and an output layer; else a bare
            encoder.
        dropout: of hidden states and attention.
        random: random weights of this shape instead of the model's.
        seed: of random weights.

    Returns:
        The model, and which of its layers stayed, numbered from 0.

    Raises:
        UserError: there is no such model, or it is of another kind, or has fewer layers.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    where = local_or_hub(name)
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: no config to be read: {' '.join(str(error).split())[:200]}") from error
    if config.model_type not in KINDS:
        raise UserError(f"{name}: a {config.model_type}, not one of {', '.join(KINDS)}")
    depth = config.num_hidden_layers
    if layers > depth:
        raise UserError(f"{name}: has {depth} layers, {layers} are asked for")
    chosen = kept_layers(depth, layers, keep)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    config.is_decoder = config.add_cross_attention = decoder
    config.num_hidden_layers = layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (AutoModelForCausalLM if decoder else AutoModel).from_config(config)
        if random:
            return model, chosen
        whole = _checkpoint(AutoModelForMaskedLM if decoder else AutoModel, where)
    stack = whole.base_model.encoder
    stack.layer = nn.ModuleList(stack.layer[place] for place in chosen)
    missing, unexpected = model.load_state_dict(whole.state_dict(), strict=False)
    new = [name for name in missing if "crossattention" not in name]
    if new or unexpected:
        raise UserError(f"{name}: weights do not fit: {', '.join([*new, *unexpected][:5])}")
    return model, chosen


def _checkpoint(kind: Any, where: str) -> Any:
    """A model with all its weights from a checkpoint, but for the pooler, which nothing reads.

    Raises:
        UserError: it cannot be read, or weights are missing or of another shape.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # transformers would warn of the heads that are left out
    try:
        with no_bars():
            model, info = kind.from_pretrained(where, output_loading_info=True, ignore_mismatched_sizes=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{where}: cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    finally:
        logging.set_verbosity(level)
    shapes = [entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]]
    lost = sorted(name for name in (*info["missing_keys"], *shapes) if "pooler." not in name)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(f"{where}: {lost[0]}{more} missing or of another shape")
    return model


def kept_layers(depth: int, layers: int, keep: str) -> list[int]:
    """Which layers of a model stay: `"first"` 0, 1, ..., or `"even"`, from the first to the last.

    12 layers cut to 4 evenly are 0, 4, 7, 11.
    """
    if keep == "first":
        return list(range(layers))
    if keep != "even":
        raise UserError(f"keep_layers is {keep!r}; choose first or even")
    if layers == 1:
        return [0]
    return [(2 * place * (depth - 1) + layers - 1) // (2 * (layers - 1)) for place in range(layers)]


def joined(encoder: Any, decoder: Any, tokenizer: Any, *, seed: int = 0) -> Any:
    """Two halves as an `EncoderDecoderModel` that trains and generates.

    Args:
        encoder: a bare model.
        decoder: with cross-attention and output layer.
        tokenizer: gives the ids of start ([CLS]), end ([SEP]) and padding, set in both configs: training
            shifts by the one, `generate` reads the other.
        seed: of the projection between halves of different width.

    Raises:
        UserError: the tokenizer has no such tokens.
    """
    from transformers import EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig

    ids = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    if None in ids:
        raise UserError("the tokenizer needs a [CLS], a [SEP] and a padding token")
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = ids
    config.vocab_size = decoder.config.vocab_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EncoderDecoderModel(encoder=encoder, decoder=decoder, config=config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids[0], eos_token_id=ids[1], pad_token_id=ids[2]
    )
    return model.eval()


def share(model: Any) -> None:
    """Give both halves the encoder's table of embeddings, to which the output layer is tied then.

    Raises:
        UserError: the tables are of different shapes.
    """
    table, other = (part.get_input_embeddings().weight for part in (model.encoder, model.decoder))
    if table.shape != other.shape:
        raise UserError(
            f"halves with embeddings of {tuple(table.shape)} and {tuple(other.shape)} cannot share them"
        )
    model.decoder.get_input_embeddings().weight = table
    model.decoder.get_output_embeddings().weight = table


def unshare(model: Any) -> None:
    """Give the decoder a copy of the table; its output layer stays tied to its own."""
    table = nn.Parameter(model.encoder.get_input_embeddings().weight.detach().clone())
    model.decoder.get_input_embeddings().weight = table
    model.decoder.get_output_embeddings().weight = table
