"""The decoder of PEGASUS one position at a time: its layers as `nonet.generation.steps` takes them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.generation import steps as generic
from nonet.generation.steps import Layer, joined, product
from pegasus.model import Summarizer

# Shapes: B documents, M beams, L document tokens, R rows of a step, V vocabulary.


class StepDecoder(generic.StepDecoder):
    """The decoder of a model for one position at a time.

    Args:
        model: PEGASUS or PEGASUS-X, in evaluation mode.
        encoded: (B, L, width) the encoder's last hidden states.
        mask: (B, L), 1 at document tokens and 0 at padding.
        beams: M.
        steps: T, the longest summary.
    """

    def __init__(self, model: Summarizer, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> None:
        decoder, width, heads = (
            model.model.decoder,
            model.config.d_model,
            model.config.decoder_attention_heads,
        )
        table = model.model.shared.weight
        times = math.sqrt(width) if model.config.scale_embedding else 1.0
        if hasattr(decoder.embed_positions, "weight"):
            positions = decoder.embed_positions(torch.Size((1, steps)))
        else:
            positions = decoder.embed_positions(encoded.new_empty(1, steps, width))[0]
        bias = getattr(model, "final_logits_bias", None)
        if bias is not None and not bias.any():
            bias = None

        def embed(tokens: Tensor, t: int) -> Tensor:
            return F.embedding(tokens, table) * times + positions[t]

        def head(x: Tensor) -> Tensor:
            logits = product(decoder.layer_norm(x), model.lm_head.weight)
            return logits if bias is None else logits + bias

        super().__init__(
            [_layer(layer) for layer in decoder.layers], embed, head, encoded, mask, heads=heads,
            width=width // heads, beams=beams, steps=steps,
        )  # fmt: skip


def _layer(layer: nn.Module) -> Layer:
    """A layer in parts; its norms stand before attention and feed-forward."""
    own, other = layer.self_attn, layer.encoder_attn
    weight, bias = joined(own.q_proj, own.k_proj, own.v_proj)
    return Layer(
        project=lambda x: F.linear(layer.self_attn_layer_norm(x), weight, bias),
        after_self=lambda x, mixed: x + own.out_proj(mixed),
        query=lambda x: other.q_proj(layer.encoder_attn_layer_norm(x)),
        after_cross=lambda x, mixed: x + other.out_proj(mixed),
        feed=lambda x: x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))),
        key=other.k_proj,
        value=other.v_proj,
    )
