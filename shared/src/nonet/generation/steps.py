"""The decoder of an encoder-decoder one position at a time, whatever its layers look like (ours).

What it saves over calling a model's own modules: keys and values of the source are computed once and are
never copied per beam (the beams of an item are rows of one query), the three projections of self-attention
are one product, and when rows change places only the positions written so far are copied.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Shapes: B items, M beams, L source tokens, T written tokens, H heads, E their width, D model width, V words.

ROOM = 16  # positions by which the block of the written tokens' keys and values grows


class Layer(NamedTuple):
    """A decoder layer in parts; between them lies attention.

    Attributes:
        project: x (R, D) -> query, key and value of self-attention side by side (R, 3 H E), with any norm
            before.
        after_self: (x (R, D), what self-attention gave (R, H E)) -> x with it, with any norm behind.
        query: x (R, D) -> query of cross-attention (R, H E), with any norm before.
        after_cross: as `after_self`, of cross-attention.
        feed: x (R, D) -> x behind the feed-forward part.
        key: source states (B, L, D) -> keys of cross-attention (B, L, H E).
        value: likewise values.
    """

    project: Callable[[Tensor], Tensor]
    after_self: Callable[[Tensor, Tensor], Tensor]
    query: Callable[[Tensor], Tensor]
    after_cross: Callable[[Tensor, Tensor], Tensor]
    feed: Callable[[Tensor], Tensor]
    key: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]


class StepDecoder:
    """A decoder for one position at a time.

    Args:
        layers: of the decoder.
        embed: (tokens (R,), t) -> x (R, D), with position and norm.
        head: x (R, D) -> logits (R, V), with any norm before.
        encoded: (B, L, D) the encoder's last hidden states.
        mask: (B, L), 1 at source tokens and 0 at padding.
        heads: H.
        width: E.
        beams: M.
        steps: T, the longest output.
        scale: multiplies query times key; without it 1 / sqrt(E).
        bias: t -> (1, H, 1, t + 1), added to the scores of self-attention; None: nothing.
    """

    def __init__(
        self, layers: Sequence[Layer], embed: Callable[[Tensor, int], Tensor],
        head: Callable[[Tensor], Tensor], encoded: Tensor, mask: Tensor, *, heads: int, width: int,
        beams: int, steps: int, scale: float | None = None, bias: Callable[[int], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.layers, self.embed, self.head = layers, embed, head
        self.heads, self.width, self.beams = heads, width, beams
        self.scale, self.bias = scale, bias
        # the source's side, once: keys and values (B, H, L, E), shared by all beams
        self.cross = [(self._split(each.key(encoded)), self._split(each.value(encoded))) for each in layers]
        least = torch.finfo(encoded.dtype).min
        self.mask = torch.where(mask[:, None, None, :].bool(), 0.0, least).to(encoded.dtype)
        # the written side, a block a layer: (key or value, B*M, H, positions, E)
        shape = 2, len(encoded) * beams, heads, min(ROOM, steps), width
        self.cache = [encoded.new_empty(shape) for _ in layers]

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.heads, self.width).transpose(1, 2).contiguous()

    def reorder(self, rows: Tensor, t: int) -> None:
        """Let row i of the first t positions continue what was row rows[i].

        Args:
            rows: int64; all B*M, or those of fewer items in their old order: the others leave.
            t: positions written.
        """
        if len(rows) < self.cache[0].shape[1]:
            items = rows[:: self.beams] // self.beams
            self.cross = [(keys[items], values[items]) for keys, values in self.cross]
            self.mask = self.mask[items]
        self.cache = [block.index_select(1, rows) for block in self.cache]

    def step(self, tokens: Tensor, t: int) -> Tensor:
        """Logits of the token at position t.

        Args:
            tokens: (B*M,) int64, the tokens at position t - 1; the start token at t = 0.
            t: position, from 0.

        Returns:
            (B*M, V).
        """
        rows = tokens.shape[0]
        if t == self.cache[0].shape[3]:
            self.cache = [F.pad(block, (0, 0, 0, ROOM)) for block in self.cache]
        x = self.embed(tokens, t)
        bias = None if self.bias is None else self.bias(t)
        for index, layer in enumerate(self.layers):
            query, key, value = layer.project(x).view(rows, 3, self.heads, self.width).unbind(1)
            keys, values = self.cache[index]
            keys[:, :, t], values[:, :, t] = key, value
            mixed = F.scaled_dot_product_attention(
                query[:, :, None], keys[:, :, : t + 1], values[:, :, : t + 1], attn_mask=bias,
                scale=self.scale,
            )  # fmt: skip
            x = layer.after_self(x, mixed.reshape(rows, -1))
            query = layer.query(x).view(-1, self.beams, self.heads, self.width).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(
                query, *self.cross[index], attn_mask=self.mask, scale=self.scale
            )
            x = layer.after_cross(x, mixed.transpose(1, 2).reshape(rows, -1))
            x = layer.feed(x)
        return self.head(x)


def joined(*parts: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of one product that gives what several linear layers give, side by side."""
    weight = torch.cat([part.weight for part in parts])
    biases = [part.bias for part in parts if part.bias is not None]
    return weight, torch.cat(biases) if biases else None


def product(x: Tensor, weight: Tensor) -> Tensor:
    """The product x @ weight.T; by oneDNN on the CPU, which takes 0.6 to 0.8 of MKL's time on a Zen 4."""
    onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if onednn and x.is_cpu and x.dtype == torch.float32:
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return F.linear(x, weight)
