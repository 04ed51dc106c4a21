"""How many parameters an encoder-decoder made of two BERTs has, and which shapes fit a budget.

With V words, P positions, width H, e encoder and d decoder layers, and feed-forward layers of width F:

    N = 2 (VH + PH + 4H) + (H^2 + H)              embeddings of both halves, the encoder's unused pooler
        + e (4H^2 + 9H + 2HF + F)                 encoder layers; 12H^2 + 13H where F = 4H
        + d (8H^2 + 15H + 2HF + F)                decoder layers with cross-attention; 16H^2 + 19H
        + (H^2 + 3H + V)                          the output layer, tied to the decoder's embeddings

A decoder layer costs 4/3 of an encoder layer: shapes of equal depth e + d are not of equal size. `equal_size`
makes them so by the width of the feed-forward layers. Source: the shapes are those of Wu et al. 2022; the
formula is ours, checked against built models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nonet.errors import UserError

DEPTHS = (2, 4, 6, 8, 10, 12)
WIDTHS = (128, 256, 512, 768)
"""the grid of BERT checkpoints of Turc et al. 2019; a head is 64 wide"""
HEAD = 64


@dataclass(frozen=True)
class Shape:
    """An encoder-decoder of two BERTs of one width."""

    hidden: int
    """width H; a multiple of 64, or below 64"""
    encoder: int
    """layers e"""
    decoder: int
    """layers d"""
    feed_forward: int = 0
    """width F; 0: 4 H"""
    vocabulary: int = 30522
    """words V; both halves have embeddings of their own"""
    positions: int = 512
    """positions P"""

    def __post_init__(self) -> None:
        for name in ("hidden", "encoder", "decoder", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.feed_forward < 0:
            raise UserError(f"feed_forward is {self.feed_forward}; it is 0 or more")

    @property
    def width(self) -> int:
        """F as it is built."""
        return self.feed_forward or 4 * self.hidden

    @property
    def heads(self) -> int:
        """Attention heads: H / 64, at least 1."""
        return max(1, self.hidden // HEAD)

    @property
    def name(self) -> str:
        """`8+4 x 768`."""
        return f"{self.encoder}+{self.decoder} x {self.hidden}"


def parameters(shape: Shape) -> int:
    """The number of parameters, tied ones once. (768, 8, 4) has 143,397,690."""
    V, P, H, F = shape.vocabulary, shape.positions, shape.hidden, shape.width
    embeddings = V * H + P * H + 4 * H
    self_attention, cross_attention, feed_forward = (
        4 * H * H + 6 * H,
        4 * H * H + 6 * H,
        2 * H * F + F + 3 * H,
    )
    encoder = shape.encoder * (self_attention + feed_forward)
    decoder = shape.decoder * (self_attention + cross_attention + feed_forward)
    return 2 * embeddings + H * H + H + encoder + decoder + H * H + 3 * H + V


def shapes_within(
    most: int,
    *,
    least: int = 0,
    widths: Iterable[int] = WIDTHS,
    encoders: Iterable[int] = DEPTHS,
    decoders: Iterable[int] = DEPTHS,
    vocabulary: int = 30522,
    positions: int = 512,
) -> list[tuple[Shape, int]]:
    """The shapes of a grid that have between `least` and `most` parameters, largest first.

    Returns:
        Shapes with their numbers of parameters; of equal ones the deeper encoder comes first.
    """
    encoders, decoders = tuple(encoders), tuple(decoders)
    found = []
    for hidden in widths:
        for encoder in encoders:
            for decoder in decoders:
                shape = Shape(hidden, encoder, decoder, vocabulary=vocabulary, positions=positions)
                size = parameters(shape)
                if least <= size <= most:
                    found.append((shape, size))
    return sorted(found, key=lambda item: (-item[1], -item[0].encoder))


def equal_size(shapes: Sequence[Shape], size: int | None = None, *, multiple: int = 8) -> list[Shape]:
    """The shapes with feed-forward layers as wide as brings each closest to one size.

    Args:
        shapes: their own `feed_forward` does not count.
        size: parameters of each; none: those of the first shape.
        multiple: of the feed-forward width.

    Raises:
        UserError: a shape is larger than `size` even with the narrowest feed-forward layers.
    """
    if not shapes:
        return []
    size = parameters(shapes[0]) if size is None else size
    return [_stretched(shape, size, multiple) for shape in shapes]


def _stretched(shape: Shape, size: int, multiple: int) -> Shape:
    narrow = replace(shape, feed_forward=multiple)
    least = parameters(narrow)
    if least > size:
        raise UserError(f"{shape.name} has {least:,} parameters at the least, more than {size:,}")
    a_step = multiple * (shape.encoder + shape.decoder) * (2 * shape.hidden + 1)
    return replace(shape, feed_forward=multiple * (1 + round((size - least) / a_step)))


def count(text: str) -> int:
    """A number of parameters as people write it: `150M`, `1.2B`, `900k`, `143397690`.

    Raises:
        UserError: it is none.
    """
    plain = text.strip().replace(",", "").replace("_", "")
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(plain[-1:].lower(), 1)
    try:
        value = float(plain if factor == 1 else plain[:-1]) * factor
        if not 1 <= value < 1e13:
            raise ValueError
    except ValueError:
        raise UserError(f"{text!r} is not a number of parameters; write 150M, 1.2B or 143397690") from None
    return round(value)
