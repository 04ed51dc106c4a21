"""The decoders of BART, T5 and BERT one position at a time, as `nonet.generation.steps` takes them.

The weights are those of the transformers modules; nothing is copied but the joined projections.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.errors import UserError
from nonet.generation.steps import Layer, StepDecoder, joined, product

# Shapes: B documents, M beams, L source pieces, R rows of a step, D width, V vocabulary.

KINDS = {"bart": "bart", "t5": "t5", "mt5": "t5", "encoder-decoder": "bert"}
"""kind of decoder by `model_type` of the config"""


def step_decoder(model: Any, encoded: Tensor, mask: Tensor, *, beams: int, steps: int) -> StepDecoder:
    """The decoder of a transformers model, ready to write.

    Args:
        model: `BartForConditionalGeneration`, `T5ForConditionalGeneration` or an `EncoderDecoderModel` whose
            decoder is a BERT or RoBERTa; in evaluation mode.
        encoded: (B, L, D) source states as the decoder sees them.
        mask: (B, L), 1 at source pieces and 0 at padding.
        beams: M rows a document.
        steps: longest output.

    Raises:
        UserError: another kind of model.
    """
    kind = KINDS.get(model.config.model_type)
    if kind is None:
        raise UserError(
            f"a {model.config.model_type} cannot write phrases here; there are {', '.join(KINDS)}"
        )
    builder = {"bart": _bart, "t5": _t5, "bert": _bert}[kind]
    return builder(model, encoded, mask, beams, steps)


def _bart(model: Any, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> StepDecoder:
    decoder, width, heads = model.model.decoder, model.config.d_model, model.config.decoder_attention_heads
    places = torch.arange(steps, device=encoded.device) + decoder.embed_positions.offset
    positions = F.embedding(places, decoder.embed_positions.weight)
    bias = model.final_logits_bias[0] if bool(model.final_logits_bias.any()) else None

    def embed(tokens: Tensor, t: int) -> Tensor:
        return decoder.layernorm_embedding(decoder.embed_tokens(tokens) + positions[t])  # type: ignore[no-any-return]

    def head(x: Tensor) -> Tensor:
        logits = product(x, model.lm_head.weight)
        return logits if bias is None else logits + bias

    return StepDecoder(
        [_bart_layer(layer) for layer in decoder.layers], embed, head, encoded, mask, heads=heads,
        width=width // heads, beams=beams, steps=steps,
    )  # fmt: skip


def _bart_layer(layer: Any) -> Layer:
    """Norms behind each part."""
    own, other = layer.self_attn, layer.encoder_attn
    weight, bias = joined(own.q_proj, own.k_proj, own.v_proj)
    return Layer(
        project=lambda x: F.linear(x, weight, bias),
        after_self=lambda x, mixed: layer.self_attn_layer_norm(x + own.out_proj(mixed)),
        query=other.q_proj,
        after_cross=lambda x, mixed: layer.encoder_attn_layer_norm(x + other.out_proj(mixed)),
        feed=lambda x: layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x)))),
        key=other.k_proj,
        value=other.v_proj,
    )


def _t5(model: Any, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> StepDecoder:
    decoder, config = model.decoder, model.config
    attention = decoder.block[0].layer[0].SelfAttention  # all layers take the position bias of the first
    times = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0

    def bias(t: int) -> Tensor:
        return attention.compute_bias(1, t + 1, device=encoded.device, past_seen_tokens=t)  # type: ignore[no-any-return]

    def head(x: Tensor) -> Tensor:
        return product(decoder.final_layer_norm(x) * times, model.lm_head.weight)

    return StepDecoder(
        [_t5_layer(block.layer) for block in decoder.block], lambda tokens, t: decoder.embed_tokens(tokens),
        head, encoded, mask, heads=config.num_heads, width=config.d_kv, beams=beams, steps=steps, scale=1.0,
        bias=bias,
    )  # fmt: skip


def _t5_layer(parts: Any) -> Layer:
    """Norms before each part; no biases."""
    first, second, third = parts
    own, other = first.SelfAttention, second.EncDecAttention
    weight, _ = joined(own.q, own.k, own.v)
    return Layer(
        project=lambda x: F.linear(first.layer_norm(x), weight),
        after_self=lambda x, mixed: x + own.o(mixed),
        query=lambda x: other.q(second.layer_norm(x)),
        after_cross=lambda x, mixed: x + other.o(mixed),
        feed=lambda x: x + third.DenseReluDense(third.layer_norm(x)),
        key=other.k,
        value=other.v,
    )


def _bert(model: Any, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> StepDecoder:
    decoder, config = model.decoder, model.decoder.config
    if config.model_type not in ("bert", "roberta"):
        raise UserError(
            f"a decoder of kind {config.model_type} cannot write phrases here; take a BERT or RoBERTa"
        )
    embeddings = decoder.base_model.embeddings
    places = torch.arange(steps, device=encoded.device) + first_position(config)
    table = F.embedding(places, embeddings.position_embeddings.weight)
    positions = table + embeddings.token_type_embeddings.weight[0]
    transform, out = head_of_bert(decoder)
    heads = config.num_attention_heads

    def embed(tokens: Tensor, t: int) -> Tensor:
        return embeddings.LayerNorm(embeddings.word_embeddings(tokens) + positions[t])  # type: ignore[no-any-return]

    def head(x: Tensor) -> Tensor:
        return product(transform(x), out.weight) + out.bias

    return StepDecoder(
        [_bert_layer(layer) for layer in decoder.base_model.encoder.layer], embed, head, encoded, mask,
        heads=heads, width=config.hidden_size // heads, beams=beams, steps=steps,
    )  # fmt: skip


def _bert_layer(layer: Any) -> Layer:
    """Norms behind each part."""
    own, other = layer.attention, layer.crossattention
    weight, bias = joined(own.self.query, own.self.key, own.self.value)
    return Layer(
        project=lambda x: F.linear(x, weight, bias),
        after_self=lambda x, mixed: own.output(mixed, x),
        query=other.self.query,
        after_cross=lambda x, mixed: other.output(mixed, x),
        feed=lambda x: layer.output(layer.intermediate(x), x),
        key=other.self.key,
        value=other.self.value,
    )


def first_position(config: Any) -> int:
    """The row of the position table of the first token: RoBERTa's lies behind the padding's."""
    return int(config.pad_token_id) + 1 if config.model_type == "roberta" else 0


def head_of_bert(decoder: Any) -> tuple[Any, nn.Linear]:
    """What stands before the output layer of a BERT or RoBERTa that writes, and the output layer."""
    if decoder.config.model_type == "roberta":
        head = decoder.lm_head
        return (lambda x: head.layer_norm(F.gelu(head.dense(x)))), head.decoder
    return decoder.cls.predictions.transform, decoder.cls.predictions.decoder
