"""Attention of several heads; queries and keys carry positions, values do not (Carion et al. 2020).

Weights have the names and the layout of `torch.nn.MultiheadAttention`, which the original detectors use.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from updetr.dropout import dropped

# Shapes: B images, Q queries, S keys, d their size, h heads.


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d / h)) v for each head, between one linear layer before and one after.

    Args:
        width: d.
        heads: h, which divides d.
        dropout: share of attention's probabilities that are zeroed in training.

    Attributes:
        in_proj_weight: (3 d, d): of queries, keys, values, in this order; in_proj_bias: (3 d,).
        out_proj: the linear layer after.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads, self.dropout = width, heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, padding_BS: Tensor | None = None) -> Tensor:
        """What each query finds.

        Args:
            query: (B, Q, d).
            key: (B, S, d); the very tensor `query` for self-attention, which saves a product.
            value: (B, S, d).
            padding_BS: (B, S) bool, True for keys that are not looked at; None looks at all.

        Returns:
            (B, Q, d).
        """
        d = self.width
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key:
            q, k = F.linear(query, weight[: 2 * d], bias[: 2 * d]).chunk(2, dim=-1)
        else:
            q = F.linear(query, weight[:d], bias[:d])
            k = F.linear(key, weight[d : 2 * d], bias[d : 2 * d])
        v = F.linear(value, weight[2 * d :], bias[2 * d :])
        parts = self._split(q), self._split(k), self._split(v)
        share = self.dropout if self.training else 0.0
        if share and query.device.type == "cpu":
            found = _attend(*parts, padding_BS, share)
        else:
            seen = None if padding_BS is None else ~padding_BS[:, None, None, :]
            found = F.scaled_dot_product_attention(*parts, seen, share)
        return self.out_proj(found.transpose(1, 2).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, padding_BS: Tensor | None, share: float) -> Tensor:
    """(B, h, Q, d / h) of queries, keys and values, with a share of the probabilities zeroed; on a processor
    torch's own does the same steps, with the dearer mask of its dropout."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if padding_BS is not None:
        logits = logits.masked_fill(padding_BS[:, None, None, :], -torch.inf)
    return dropped(logits.softmax(-1), share) @ v
