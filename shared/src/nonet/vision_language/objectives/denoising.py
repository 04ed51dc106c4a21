"""Text with holes, and the text that fills them: span corruption with sentinels, and the loss over it.

T5 (Raffel et al. 2020, section 3.1.4): spans of three tokens on average, 15 % of all; each span becomes one
sentinel, and the target is each sentinel with the tokens that it stands for. VL-T5 (Cho et al. 2021) chooses
single tokens, adjacent ones make a span, and has no closing sentinel. XGPT's denoising (Xia et al. 2020) has
the whole text as the target.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from nonet.errors import UserError
from nonet.vision_language.objectives.language import causal_lm
from nonet.vision_language.objectives.objective import IGNORE, Objective

# Shapes: B texts, L tokens, S sentinels.


class Corrupted(NamedTuple):
    """Texts with holes, and what fills them.

    Attributes:
        ids: (B, L') int64, padded on the right.
        labels: (B, L'') int64, -100 on the right.
    """

    ids: Tensor
    labels: Tensor


def noise_spans(
    lengths: Tensor, width: int, generator: Generator, *, share: float = 0.15, mean_length: float = 3.0
) -> Tensor:
    """T5's random spans: exactly round(share * n) tokens in round(that / mean_length) spans, none adjacent.

    Both noise and the rest are cut into that many pieces of random lengths, and the pieces alternate, the
    first of the rest. A text of one token has no hole.

    Args:
        lengths: (B,) int64, tokens of each text.
        width: L.
        generator: of the draws.
        share: of tokens in spans.
        mean_length: tokens of a span.

    Returns:
        (B, L) bool.
    """
    noise = (lengths * share).round().long().clamp_min(1).minimum(lengths - 1).clamp_min(0)
    spans = (noise / mean_length).round().long().clamp_min(1).minimum(noise).minimum(lengths - noise)
    holes = _pieces(noise, spans, width, generator)
    rests = _pieces(lengths - noise, spans, width, generator)
    ends = torch.stack([rests, holes], -1).flatten(1).cumsum(1)  # rest, hole, rest, hole, ...
    places = torch.arange(width, device=lengths.device).expand(len(lengths), -1).contiguous()
    piece = torch.searchsorted(ends.contiguous(), places, right=True)
    return (piece % 2 == 1) & (places < lengths[:, None])


def corrupt_spans(
    ids: Tensor,
    spans: Tensor,
    valid: Tensor,
    *,
    sentinels: Tensor,
    pad_id: int,
    end_id: int | None = None,
    closing: bool = True,
) -> Corrupted:
    """Each run of chosen tokens becomes a sentinel; the target lists the sentinels with their tokens.

    a b c d e with b, c and e chosen: ids "a <0> d <1>", labels "<0> b c <1> e <2>", <2> if `closing`.

    Args:
        ids: (B, L) int64, padded on the right.
        spans: (B, L) bool, from `noise_spans` (T5), `choose(..., exact=True)` (VL-T5) or `choose_segments`.
        valid: (B, L) bool: no padding.
        sentinels: (S,) ids, in the order of use.
        pad_id: fills the ids on the right.
        end_id: of the end of a text; it is put behind the labels, where it is given.
        closing: a last sentinel ends the labels (T5; VL-T5 has none).

    Raises:
        UserError: a text has more holes than there are sentinels.
    """
    spans = spans & valid
    first = spans & ~torch.nn.functional.pad(spans, (1, 0))[:, :-1]
    number = first.long().cumsum(1)  # of the span, from 1
    most = int(number.amax()) + closing if number.numel() else 0
    if most > len(sentinels):
        raise UserError(f"{most} sentinels are needed and {len(sentinels)} given; corrupt less, or add some")
    marks = sentinels.to(ids)[(number - 1).clamp_min(0)]
    source = _to_the_left(torch.where(first, marks, ids), valid & (~spans | first), pad_id)
    # Behind each place there may be a sentinel and its token; behind all of them the closing one and the end.
    pairs = torch.stack([marks, ids], -1).flatten(1)
    keep = torch.stack([first, spans], -1).flatten(1)
    if closing:
        last = sentinels.to(ids)[number[:, -1:].clamp_max(len(sentinels) - 1)]
        pairs, keep = torch.cat([pairs, last], 1), torch.cat([keep, torch.ones_like(keep[:, :1])], 1)
    if end_id is not None:
        pairs = torch.cat([pairs, torch.full_like(pairs[:, :1], end_id)], 1)
        keep = torch.cat([keep, torch.ones_like(keep[:, :1])], 1)
    return Corrupted(source, _to_the_left(pairs, keep, IGNORE))


def shift_right(labels: Tensor, *, start_id: int, pad_id: int) -> Tensor:
    """What the decoder reads while it writes the labels: the start, then all but the last of them.

    Args:
        labels: (B, T) int64 with -100 on the right.
        start_id: of the start, which is T5's padding.
        pad_id: stands for -100.
    """
    shown = torch.nn.functional.pad(labels[:, :-1], (1, 0), value=start_id)
    return shown.masked_fill(shown == IGNORE, pad_id)


def denoise(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Objective:
    """Cross entropy of a decoder that repairs a text, given the text with holes and the image.

    loss = - 1/N sum over t of log P(y_t | y_<t, corrupted text, v).

    Args:
        logits: (B, T, V) float of the decoder, which reads `shift_right(labels)`: no shift here.
        labels: (B, T) int64: of `corrupt_spans`, or the whole text (XGPT, BART); -100 for padding.
        label_smoothing: share of the target that is spread over the vocabulary.

    Returns:
        The loss; aux: perplexity, count of tokens.
    """
    return causal_lm(logits, labels, shift=False, label_smoothing=label_smoothing)


def _pieces(total: Tensor, pieces: Tensor, width: int, generator: Generator) -> Tensor:
    """Random lengths >= 1 of so many pieces with sum `total`, each way equally likely: (B, L), then zeros."""
    places = torch.arange(width, device=total.device)
    draws = torch.rand(len(total), width, generator=generator, device=total.device)
    # Between `total` things are total - 1 gaps; pieces - 1 of them are cuts.
    draws = draws.masked_fill(places >= (total - 1)[:, None], 2.0)
    cuts = draws.argsort(1).argsort(1) < (pieces - 1)[:, None]
    owner = torch.nn.functional.pad(cuts.long().cumsum(1), (1, 0))[:, :-1]
    one = (places < total[:, None]).long()
    return torch.zeros_like(one).scatter_add_(1, owner, one)


def _to_the_left(values: Tensor, keep: Tensor, fill: int) -> Tensor:
    """The values that are kept, in order, at the left of each row, without columns that are empty in all."""
    order = (~keep).long().argsort(dim=1, stable=True)
    kept = keep.gather(1, order)
    width = int(keep.sum(1).amax()) if keep.numel() else 0
    return values.gather(1, order).masked_fill(~kept, fill)[:, :width]
