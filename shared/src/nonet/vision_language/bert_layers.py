"""Layers of BERT (Devlin et al. 2019): attention over oneself or a source, feed-forward, norm behind each.

Text encoder, fusion and decoder are made of them. Attention is PyTorch's fused one; keys and values of a
source can be computed once and used for many texts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Shapes: B rows, L tokens, S tokens of the source, d width, H heads, E = d / H.

EPSILON = 1e-12  # BERT's, of every norm
SPREAD = 0.02  # standard deviation of new weights, BERT's

Keys = tuple[Tensor, Tensor]
"""keys and values of a source, each (B, H, S, E)"""


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head attention with what is added behind it: dropout, the input, norm.

    Args:
        width: d.
        heads: H.
        dropout: share of zeroed units and attention.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def keys(self, source: Tensor) -> Keys:
        """Keys and values of a source (B, S, d)."""
        return self._split(self.key(source)), self._split(self.value(source))

    def forward(self, tokens: Tensor, mask: Tensor | None, keys: Keys | None = None) -> Tensor:
        """Tokens with what they found.

        Args:
            tokens: (B, L, d).
            mask: bool, true where a token may look; broadcasts to (B, H, L, S). None: everywhere.
            keys: of the source, as `keys` gives them; None: of the tokens themselves.

        Returns:
            (B, L, d).
        """
        key, value = self.keys(tokens) if keys is None else keys
        share = self.dropout.p if self.training else 0.0
        found = F.scaled_dot_product_attention(
            self._split(self.query(tokens)), key, value, attn_mask=mask, dropout_p=share
        )
        return self.behind(tokens, found.transpose(1, 2).flatten(2))

    def behind(self, tokens: Tensor, found: Tensor) -> Tensor:
        """norm(tokens + output(found)); both (..., d)."""
        return self.norm(tokens + self.dropout(self.output(found)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):  # type: ignore[misc]
    """norm(x + down(gelu(up(x)))).

    Args:
        width: d.
        hidden: units inside.
        dropout: share of zeroed units.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., d) -> the same shape."""
        return self.norm(tokens + self.dropout(self.down(F.gelu(self.up(tokens)))))


class BertLayer(nn.Module):  # type: ignore[misc]
    """Self-attention, attention over a source if `crossing`, feed-forward.

    Args:
        width: d.
        heads: H.
        hidden: units of the feed-forward part.
        dropout: share of zeroed units and attention.
        crossing: whether there is attention over a source.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float, *, crossing: bool = False
    ) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout) if crossing else None
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor | None, keys: Keys | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens behind the layer.

        Args:
            tokens: (B, L, d).
            mask: of self-attention, bool, broadcasts to (B, H, L, L).
            keys: of the source; needed if and only if the layer is crossing.
            source_mask: bool, broadcasts to (B, H, L, S); None: the whole source.

        Returns:
            (B, L, d).

        Raises:
            ValueError: a source without attention to it, or the reverse.
        """
        if (keys is None) == (self.cross_attention is not None):
            raise ValueError("a crossing layer needs the keys of a source, and no other layer takes them")
        tokens = self.self_attention(tokens, mask)
        if self.cross_attention is not None:
            tokens = self.cross_attention(tokens, source_mask, keys)
        return self.feed_forward(tokens)


class TextEmbeddings(nn.Module):  # type: ignore[misc]
    """Word, position and type, added and normed.

    Args:
        vocabulary: words.
        width: d.
        positions: longest text.
        dropout: share of zeroed units.
    """

    def __init__(self, vocabulary: int, width: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(2, width)  # all texts are of type 0; BERT's files have two
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """(..., L) int64 -> (..., L, d), the first at position `start`."""
        places = torch.arange(start, start + ids.shape[-1], device=ids.device)
        summed = self.words(ids) + self.types.weight[0] + self.positions(places)
        return self.dropout(self.norm(summed))


class WordHead(nn.Module):  # type: ignore[misc]
    """Logits of words: linear, GELU, norm, and a product with a table of words.

    Args:
        words: (vocabulary, d), the table it shares; None: one of its own.
        width: d.
        vocabulary: words.
    """

    def __init__(self, words: nn.Parameter | None, *, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.words = words if words is not None else nn.Parameter(torch.empty(vocabulary, width))

    def hidden(self, tokens: Tensor) -> Tensor:
        """What is multiplied with the table, (..., d): for losses that never form the logits."""
        return self.norm(F.gelu(self.dense(tokens)))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., d) -> (..., vocabulary)."""
        return F.linear(self.hidden(tokens), self.words, self.bias)


@torch.no_grad()  # type: ignore[untyped-decorator]
def initialise(part: nn.Module) -> None:
    """BERT's first weights: N(0, 0.02) for tables and linear layers, biases 0, norms 1 and 0, padding 0."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=SPREAD)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()


def looks(mask: Tensor | None) -> Tensor | None:
    """A mask (B, S), nonzero at tokens and 0 at padding, as attention takes it: (B, 1, 1, S) bool."""
    return None if mask is None else mask[:, None, None, :].bool()
