"""Who may look at whom: attention masks that make one network an encoder, a decoder or both.

Unified VLP (Zhou et al. 2020) trains one network with two of them, UniLM's: all see all, or the source sees
itself and the target what is before it. SimVLM's prefix language model (Wang et al. 2022) is the latter with
a random border. True is "may look", as in `scaled_dot_product_attention`.
"""

import torch
from torch import Generator, Tensor

from nonet.errors import UserError

# Shapes: B examples, T positions: image first, then text.


def bidirectional_attention(valid: Tensor) -> Tensor:
    """All look at all that is no padding.

    Args:
        valid: (B, T) bool.

    Returns:
        (B, T, T) bool: [b, i, j] is whether i may look at j.
    """
    return valid[:, None, :].expand(-1, valid.shape[1], -1)


def prefix_attention(prefix: Tensor, valid: Tensor) -> Tensor:
    """The prefix is seen by all, what follows only by what is behind it: the mask of seq2seq and PrefixLM.

    With a prefix of 0 it is the causal mask, and with one of T all look at all.

    Args:
        prefix: (B,) int64, length of the prefix: image, or image and first words.
        valid: (B, T) bool: no padding.

    Returns:
        (B, T, T) bool.
    """
    places = torch.arange(valid.shape[1], device=valid.device)
    causal = places[:, None] >= places[None, :]
    return (causal | (places < prefix[:, None])[:, None, :]) & valid[:, None, :]


def choose_prefix(lengths: Tensor, generator: Generator, *, least: Tensor | int = 0) -> Tensor:
    """A border for each example, uniform in least..length - 1, so that something is left to predict.

    Args:
        lengths: (B,) int64, positions of an example, padding not counted.
        generator: of the draws.
        least: (B,) or number: length of the image, which is always in the prefix.

    Returns:
        (B,) int64.

    Raises:
        UserError: an example has nothing beyond the least prefix.
    """
    room = lengths - least
    if bool((room < 1).any()):
        raise UserError("an example has no text behind its image; leave it out, as it has nothing to predict")
    draws = torch.rand(lengths.shape, generator=generator, device=lengths.device)
    return least + (draws * room).long().clamp_max(room - 1)


def mixed_attention(prefix: Tensor, valid: Tensor, seq2seq: Tensor) -> Tensor:
    """Seq2seq masks for some examples and bidirectional ones for the others.

    Args:
        prefix: (B,) int64, length of the source.
        valid: (B, T) bool.
        seq2seq: (B,) bool, from `choose_seq2seq`.

    Returns:
        (B, T, T) bool.
    """
    both = bidirectional_attention(valid)
    return torch.where(seq2seq[:, None, None], prefix_attention(prefix, valid), both)


def choose_seq2seq(batch: int, generator: Generator, *, share: float = 0.75) -> Tensor:
    """Which examples get the seq2seq mask; unified VLP draws for each example, 75 % by default.

    Returns:
        (batch,) bool, on the generator's device.
    """
    return torch.rand(batch, generator=generator, device=generator.device) < share
