"""Order in time: frames are put back in place, and a sentence finds its moment.

HERO (Li et al. 2020; released code `data/fom.py`, `model/model.py` and `model/pretrain.py`).
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.masking import choose
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over

# Shapes: B clips, F frames, N positions.


class ShuffledFrames(NamedTuple):
    """Frames of which some have changed places.

    Attributes:
        order: (B, F) int64: the frame that stands at each place.
        labels: (B, F) int64: the same where frames were drawn, -100 elsewhere. A drawn frame may have come
            back to its own place.
    """

    order: Tensor
    labels: Tensor


def shuffle_frames(valid: Tensor, generator: Generator, *, share: float = 0.15) -> ShuffledFrames:
    """Draw frames and permute them among their places.

    The frames of a clip are `features.gather(1, order[..., None].expand_as(features))` then.

    Args:
        valid: (B, F) bool: no padding.
        generator: of the draws.
        share: chance of each frame.

    Returns:
        The order and labels.
    """
    drawn = choose(valid, share, generator)
    places = torch.arange(valid.shape[1], device=valid.device).expand(valid.shape)
    # Both lists begin with a row's drawn places, one in order and one at random.
    random = torch.rand(valid.shape, generator=generator, device=valid.device)
    listed = torch.where(drawn, places, len(places[0])).argsort(dim=1, stable=True)
    mixed = random.masked_fill(~drawn, 2.0).argsort(1)
    moved = places.scatter(1, listed, mixed)
    order = torch.where(drawn, moved, places)
    return ShuffledFrames(order, order.masked_fill(~drawn, IGNORE))


def frame_order(logits: Tensor, labels: Tensor, valid: Tensor | None = None) -> Objective:
    """Cross entropy of where each drawn frame comes from (FOM).

    loss = - 1/R sum over drawn frames of log P[i, r_i]. Uniform scores over N places give ln N.

    Args:
        logits: (B, F, N) float: N >= F places; the released model has 100.
        labels: (B, F) int64 in 0..N-1, -100 for frames that were not drawn.
        valid: (B, F) bool: the places that a clip has at all, to which scores are limited. None: all N, as in
            the released code.

    Returns:
        The loss; aux: accuracy, count of drawn frames.
    """
    if valid is not None:
        places = torch.nn.functional.pad(valid, (0, logits.shape[-1] - valid.shape[1]))
        logits = logits.masked_fill(~places[:, None], torch.finfo(logits.dtype).min)
    counted = labels != IGNORE
    hits = (logits.detach().argmax(-1) == labels).float()
    loss = mean_over(token_losses(logits, labels), counted)
    return Objective(loss, {"accuracy": mean_over(hits, counted), "count": counted.sum()})


def moment_start_end(start: Tensor, end: Tensor, spans: Tensor, valid: Tensor | None = None) -> Objective:
    """Cross entropy of the first frame of a sentence's moment, and of the last (VSM, local).

    loss = - mean over sentences of log P_start - mean of log P_end. HERO weights it with .01 in pre-training,
    and leaves it out for 80 % of the batches.

    Args:
        start: (B, F) float.
        end: (B, F) float.
        spans: (B, 2) int64: first and last frame; negative (-1 in HERO's data) for none.
        valid: (B, F) bool: no padding; None: all.

    Returns:
        The loss; aux: start and end, the two parts; both, the share of moments found exactly.
    """
    if valid is not None:
        start, end = (scores.masked_fill(~valid, torch.finfo(scores.dtype).min) for scores in (start, end))
    labels = torch.where(spans < 0, IGNORE, spans)
    parts = [
        mean_over(token_losses(scores, each), each != IGNORE)
        for scores, each in ((start, labels[:, 0]), (end, labels[:, 1]))
    ]
    found = (start.detach().argmax(1) == spans[:, 0]) & (end.detach().argmax(1) == spans[:, 1])
    aux = {
        "start": parts[0].detach(),
        "end": parts[1].detach(),
        "both": mean_over(found.float(), (spans >= 0).all(1)),
    }
    return Objective(parts[0] + parts[1], aux)
