"""The decoder of a model one position at a time, over the weights of transformers' modules.

What it saves over calling those modules: keys and values of the document are computed once and are never
copied per beam (the beams of a document are rows of one query), the three projections of self-attention are
one product, and when beams change places only the positions written so far are copied.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pegasus.model import Summarizer

# Shapes: B documents, M beams, L document tokens, T summary tokens, H heads, E width of a head, V vocabulary.

ROOM = 16  # positions by which the block of the summary's keys and values grows


class StepDecoder:
    """The decoder of a model for one position at a time.

    Args:
        model: PEGASUS or PEGASUS-X, in evaluation mode.
        encoded: (B, L, width) the encoder's last hidden states.
        mask: (B, L), 1 at document tokens and 0 at padding.
        beams: M.
        steps: T, the longest summary.
    """

    def __init__(self, model: Summarizer, encoded: Tensor, mask: Tensor, beams: int, steps: int) -> None:
        decoder = model.model.decoder
        self.layers, self.final_norm, self.lm_head = decoder.layers, decoder.layer_norm, model.lm_head
        self.bias = getattr(model, "final_logits_bias", None)
        if self.bias is not None and not self.bias.any():
            self.bias = None
        self.beams = beams
        width = model.config.d_model
        self.heads = model.config.decoder_attention_heads
        self.head = width // self.heads
        self.embed = model.model.shared.weight
        self.scale = math.sqrt(width) if model.config.scale_embedding else 1.0
        if hasattr(decoder.embed_positions, "weight"):
            self.positions = decoder.embed_positions(torch.Size((1, steps)))
        else:
            self.positions = decoder.embed_positions(encoded.new_empty(1, steps, width))[0]
        self.joined = [_joined(layer.self_attn) for layer in self.layers]
        # the document's side, once: keys and values (B, H, L, E), shared by all beams
        self.cross = [
            (self._split(layer.encoder_attn.k_proj(encoded)), self._split(layer.encoder_attn.v_proj(encoded)))
            for layer in self.layers
        ]
        least = torch.finfo(encoded.dtype).min
        self.mask = torch.where(mask[:, None, None, :].bool(), 0.0, least).to(encoded.dtype)
        # the summary's side, a block a layer: (key or value, B*M, H, positions, E)
        shape = 2, len(encoded) * beams, self.heads, min(ROOM, steps), self.head
        self.cache = [encoded.new_empty(shape) for _ in self.layers]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.heads, self.head).transpose(1, 2).contiguous()

    def reorder(self, rows: Tensor, t: int) -> None:
        """Let row i of the first t positions continue what was row rows[i].

        Args:
            rows: int64; all B*M, or those of fewer documents in their old order: the others leave.
            t: positions written.
        """
        if len(rows) < self.cache[0].shape[1]:
            documents = rows[:: self.beams] // self.beams
            self.cross = [(keys[documents], values[documents]) for keys, values in self.cross]
            self.mask = self.mask[documents]
        self.cache = [block.index_select(1, rows) for block in self.cache]

    def step(self, tokens: Tensor, t: int) -> Tensor:
        """Logits of the token at position t.

        Args:
            tokens: (B*M,) int64, the tokens at position t - 1; PAD at t = 0.
            t: position, from 0.

        Returns:
            (B*M, V).
        """
        rows = tokens.shape[0]
        if t == self.cache[0].shape[3]:
            self.cache = [F.pad(block, (0, 0, 0, ROOM)) for block in self.cache]
        x = F.embedding(tokens, self.embed) * self.scale + self.positions[t]
        for index, layer in enumerate(self.layers):
            h = F.linear(layer.self_attn_layer_norm(x), *self.joined[index])
            query, key, value = h.view(rows, 3, self.heads, self.head).unbind(1)
            keys, values = self.cache[index]
            keys[:, :, t], values[:, :, t] = key, value
            mixed = F.scaled_dot_product_attention(
                query[:, :, None], keys[:, :, : t + 1], values[:, :, : t + 1]
            )
            x = x + layer.self_attn.out_proj(mixed.reshape(rows, -1))

            attention = layer.encoder_attn
            query = attention.q_proj(layer.encoder_attn_layer_norm(x))
            query = query.view(-1, self.beams, self.heads, self.head).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(query, *self.cross[index], attn_mask=self.mask)
            x = x + attention.out_proj(mixed.transpose(1, 2).reshape(rows, -1))

            x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
        logits = _product(self.final_norm(x), self.lm_head.weight)
        return logits if self.bias is None else logits + self.bias


def _joined(attention: torch.nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one product that gives query, key and value."""
    parts = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat([part.weight for part in parts])
    return weight, None if parts[0].bias is None else torch.cat([part.bias for part in parts])


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """The product x @ weight.T; by oneDNN on the CPU, which takes 0.6 to 0.8 of MKL's time on a Zen 4."""
    onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if onednn and x.is_cpu and x.dtype == torch.float32:
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # type: ignore[no-any-return]
    return F.linear(x, weight)
