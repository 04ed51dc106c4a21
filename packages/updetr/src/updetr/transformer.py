"""The encoder and decoder of DETR (Carion et al. 2020, figure 10), with norms before or after each block.

Pre-norm is what the released UP-DETR uses. The decoder's self-attention may run in groups of queries that do
not see each other (Dai et al. 2021, section 3.2): a reshape, which needs no mask and M times fewer products.
"""

import torch
from torch import Tensor, nn

from updetr.attention import Attention
from updetr.dropout import Dropout

# Shapes: B images, S features of the image, N queries, d their size, L decoder layers.


class Layer(nn.Module):
    """What layers of the encoder and the decoder share: two linear layers with a ReLU between them, dropout.

    Args:
        width: d.
        heads: of attention.
        hidden: units of the feed-forward block.
        dropout: of attention's probabilities, of every block's result, and inside the feed-forward block.
        prenorm: normalise a block's input; otherwise the sum of its input and its result.
    """

    def __init__(self, width: int, *, heads: int, hidden: int, dropout: float, prenorm: bool) -> None:
        super().__init__()
        self.prenorm = prenorm
        self.self_attn = Attention(width, heads=heads, dropout=dropout)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(self.linear1(x).relu())))


class EncoderLayer(Layer):
    """Self-attention, then feed-forward, each added to what came in."""

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """(B, S, d) features, their positions, and (B, S) bool True for padding, to (B, S, d)."""
        if self.prenorm:
            x = x + self._look(self.norm1(x), positions, padding)
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self._look(x, positions, padding))
        return self.norm2(x + self._feed(x))

    def _look(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        placed = x + positions
        return self.dropout(self.self_attn(placed, placed, x, padding))


class DecoderLayer(Layer):
    """Self-attention of the queries, attention to the image, feed-forward; arguments as for `Layer`."""

    def __init__(self, width: int, *, heads: int, hidden: int, dropout: float, prenorm: bool) -> None:
        super().__init__(width, heads=heads, hidden=hidden, dropout=dropout, prenorm=prenorm)
        self.multihead_attn = Attention(width, heads=heads, dropout=dropout)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, places: Tensor, memory: Tensor, keys: Tensor, padding: Tensor, *, groups: int
    ) -> Tensor:
        """One layer's work on the queries.

        Args:
            x: (B, N, d) what the queries hold.
            places: (B, N, d) what they ask for: added wherever a query or a key is made of them.
            memory: (B, S, d) the encoded image.
            keys: (B, S, d) memory plus positions.
            padding: (B, S) bool, True for padding.
            groups: so many runs of N / groups queries see only themselves in self-attention.

        Returns:
            (B, N, d).
        """
        if self.prenorm:
            x = x + self._look_around(self.norm1(x), places, groups)
            x = x + self._look_at(self.norm2(x), places, memory, keys, padding)
            return x + self._feed(self.norm3(x))
        x = self.norm1(x + self._look_around(x, places, groups))
        x = self.norm2(x + self._look_at(x, places, memory, keys, padding))
        return self.norm3(x + self._feed(x))

    def _look_around(self, x: Tensor, places: Tensor, groups: int) -> Tensor:
        B, N, d = x.shape
        placed = (x + places).reshape(B * groups, N // groups, d)
        found = self.self_attn(placed, placed, x.reshape(B * groups, N // groups, d))
        return self.dropout(found.reshape(B, N, d))

    def _look_at(self, x: Tensor, places: Tensor, memory: Tensor, keys: Tensor, padding: Tensor) -> Tensor:
        return self.dropout(self.multihead_attn(x + places, keys, memory, padding))


class Encoder(nn.Module):
    """Layers one after the other; pre-norm ones have a norm at the end."""

    def __init__(self, layers: list[EncoderLayer], *, norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """(B, S, d) features, their positions, (B, S) bool True for padding, to the memory (B, S, d)."""
        for layer in self.layers:
            x = layer(x, positions, padding)
        return x if self.norm is None else self.norm(x)


class Decoder(nn.Module):
    """Layers one after the other, whose results all pass the same last norm on their way out.

    That norm is only for what is read out: the next layer is given its predecessor's result as it is.
    """

    def __init__(self, layers: list[DecoderLayer], *, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, places: Tensor, memory: Tensor, positions: Tensor, padding: Tensor, *, groups: int = 1
    ) -> Tensor:
        """What the queries hold after each layer, (L, B, N, d); they begin with zeros.

        Args:
            places: (B, N, d) what they ask for.
            memory: (B, S, d).
            positions: (B, S, d).
            padding: (B, S) bool, True for padding.
            groups: divides N; see `DecoderLayer`.

        Raises:
            ValueError: it does not.
        """
        if places.shape[1] % groups:
            raise ValueError(f"{places.shape[1]} queries cannot be cut into {groups} groups of equal size")
        keys = memory + positions
        x, found = torch.zeros_like(places), []
        for layer in self.layers:
            x = layer(x, places, memory, keys, padding, groups=groups)
            found.append(x)
        return self.norm(torch.stack(found))


class Transformer(nn.Module):
    """Encoder and decoder as the original initialises them: Xavier's uniform for every matrix.

    Queries, keys and values share a matrix of 3 d rows there, so that their bound is sqrt(6 / (4 d)).

    Args:
        width: d.
        heads: of attention.
        encoder_layers: how many; none leaves the features as they are.
        decoder_layers: L.
        hidden: units of the feed-forward blocks.
        dropout: see `Layer`.
        prenorm: see `Layer`.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        encoder_layers: int,
        decoder_layers: int,
        hidden: int,
        dropout: float,
        prenorm: bool,
    ) -> None:
        super().__init__()
        sizes = {"heads": heads, "hidden": hidden}
        self.encoder = Encoder(
            [EncoderLayer(width, **sizes, dropout=dropout, prenorm=prenorm) for _ in range(encoder_layers)],
            norm=nn.LayerNorm(width) if prenorm else None,
        )
        self.decoder = Decoder(
            [DecoderLayer(width, **sizes, dropout=dropout, prenorm=prenorm) for _ in range(decoder_layers)],
            norm=nn.LayerNorm(width),
        )
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
