"""Encoders and BARTs from scratch, of any shape (ours).

Weights follow from the seed alone and leave the caller's random numbers as they were.
"""

from typing import Any

from nonet.errors import UserError


def new_bert(
    vocabulary: int,
    *,
    pad: int,
    layers: int,
    width: int,
    heads: int,
    positions: int = 512,
    dropout: float = 0.1,
    seed: int = 0,
) -> Any:
    """A `BertForMaskedLM` with random weights, in evaluation mode.

    Args:
        vocabulary: rows of embeddings.
        pad: id of the padding.
        layers: of the encoder.
        width: of the hidden states; the feed-forward layers are four times as wide.
        heads: of attention, which divide the width.
        positions: pieces of the longest input.
        dropout: share of activations and attention weights dropped in training.
        seed: of the weights.
    """
    from transformers import BertConfig, BertForMaskedLM

    _check(width, heads)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, max_position_embeddings=positions, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, pad_token_id=pad,
    )  # fmt: skip
    return _seeded(BertForMaskedLM, config, seed)


def new_bart(
    vocabulary: int,
    tokenizer: Any,
    *,
    layers: int,
    width: int,
    heads: int,
    positions: int = 1024,
    dropout: float = 0.1,
    seed: int = 0,
) -> Any:
    """A `BartForConditionalGeneration` with random weights, as many layers in the decoder as in the encoder.

    Args:
        vocabulary: rows of embeddings.
        tokenizer: gives the ids of padding, begin and end; the decoder starts with the end, as BART's does.
        layers: of the encoder, and of the decoder.
        width: of the hidden states.
        heads: of attention.
        positions: pieces of the longest input and output.
        dropout: share of activations dropped in training.
        seed: of the weights.
    """
    from transformers import BartConfig, BartForConditionalGeneration

    _check(width, heads)
    config = BartConfig(
        vocab_size=vocabulary, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width, max_position_embeddings=positions, dropout=dropout,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )  # fmt: skip
    return _seeded(BartForConditionalGeneration, config, seed)


def _check(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise UserError(f"{heads} heads do not divide a width of {width}")


def _seeded(kind: Any, config: Any, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()
