"""Whole modalities hidden, and masked stretches of sound.

OPT (Liu et al. 2021, section 3.2) hides tokens, whole modalities, or regenerates text and image from all that
is left; its audio frames are masked in stretches, as in Mockingjay (Liu et al. 2020).
"""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import l1_loss

from nonet.errors import UserError
from nonet.vision_language.objectives.masking import choose_segments
from nonet.vision_language.objectives.objective import Objective, mean_over, widen
from nonet.vision_language.objectives.regions import region_regression

# Shapes: B examples, M modalities, L positions, F audio frames, D numbers of a position or a frame.


def choose_modalities(present: Tensor, generator: Generator, *, share: float = 0.3) -> Tensor:
    """Modalities to hide in each example, never all that it has.

    Args:
        present: (B, M) bool: what an example has.
        generator: of the draws.
        share: chance of each modality; where all would go, the one with the highest draw stays.

    Returns:
        (B, M) bool, a part of `present`.
    """
    if not 0 <= share <= 1:
        raise UserError(f"the share of hidden modalities is {share}; it must be in 0..1")
    draws = torch.rand(present.shape, generator=generator, device=present.device)
    draws = draws.masked_fill(~present, -1.0)
    stays = torch.zeros_like(present).scatter(1, draws.argmax(1, keepdim=True), True)
    return present & (draws < share) & ~stays


def hide_modality(features: Tensor, hidden: Tensor, *, stand_in: Tensor | None = None) -> Tensor:
    """Features of one modality, with those of the examples that lose it replaced.

    Args:
        features: (B, L, D) float.
        hidden: (B,) bool: a column of `choose_modalities`.
        stand_in: (D,) a learned vector; None: zeros.

    Returns:
        (B, L, D).
    """
    other = torch.zeros_like(features[:1, :1]) if stand_in is None else stand_in.to(features)
    return torch.where(hidden[:, None, None], other, features)


def modality_decoding(losses: Tensor, hidden: Tensor) -> Objective:
    """Mean loss of decoding each hidden modality from the others, added up over modalities.

    loss = sum over modalities m of the mean over the examples that lack m of loss(m | the rest). What it
    costs to decode one is that modality's own objective, item by item: that of `causal_lm` for text, of
    `masked_codes` for an image, of `masked_audio` for sound.

    Args:
        losses: (B, M) float; what is not hidden may hold anything.
        hidden: (B, M) bool.

    Returns:
        The loss; aux: modalities, (M,) means.
    """
    weights = hidden.to(widen(losses).dtype)
    kept = torch.where(hidden, widen(losses), 0)
    means = kept.sum(0) / weights.sum(0).clamp_min(1)
    return Objective(means.sum(), {"modalities": means.detach()})


def choose_stretches(valid: Tensor, generator: Generator, *, share: float = 0.15, longest: int = 7) -> Tensor:
    """Stretches of audio frames to mask: `choose_segments` over frames, (B, F) bool."""
    return choose_segments(valid, share, generator, longest=longest)


def masked_audio(
    prediction: Tensor, frames: Tensor, mask: Tensor, *, distance: Literal["l1", "squared"] = "l1"
) -> Objective:
    """Mean distance of predicted features of masked audio frames from the true ones.

    loss = 1/(M D) sum over the M masked frames of ||p_m - x_m||_1, or of the squared distance. Frames that
    are one off everywhere give 1.

    Args:
        prediction: (B, F, D) float.
        frames: (B, F, D) float, such as log-mel energies, before they were masked.
        mask: (B, F) bool.
        distance: absolute or squared.

    Returns:
        The loss; aux: count of masked frames.
    """
    if distance == "squared":
        return region_regression(prediction, frames, mask, over_features="mean")
    prediction = widen(prediction)
    each = l1_loss(prediction, frames.detach().to(prediction.dtype), reduction="none").mean(-1)
    return Objective(mean_over(each, mask), {"count": mask.sum()})
