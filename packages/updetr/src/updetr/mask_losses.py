"""Losses of masks: focal (Lin et al. 2017) and dice (Milletari et al. 2016), as DETR sums them.

    focal = mean over pixels of  a_t (1 - p_t)^2 (-log p_t),  a_t 0.25 inside and 0.75 outside
    dice  = 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)

Both are summed over the masks and divided by their number, a mean over the processes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.training.strategies import global_mean
from updetr.losses import SetLossResult

# Shapes: T masks, H x W pixels.

ALPHA, GAMMA = 0.25, 2.0


def mask_losses(logits: Tensor, truth: Tensor) -> SetLossResult:
    """What T masks cost.

    Args:
        logits: (T, h, w), resized to the truth's size, bilinear.
        truth: (T, H, W) bool.

    Returns:
        The terms `focal` and `dice`; logged is `iou`, the mean overlap of the masks where p exceeds 0.5.
    """
    resized = F.interpolate(logits.float()[:, None], size=truth.shape[-2:], mode="bilinear")[:, 0].flatten(1)
    wanted = truth.flatten(1).to(resized.dtype)
    count = torch.tensor(float(len(truth)), device=logits.device)
    focal, dice = focal_loss(resized, wanted).sum(), dice_loss(resized, wanted).sum()
    with torch.no_grad():
        found, there = resized > 0, wanted > 0
        union = (found | there).sum(1).clamp(min=1)
        iou = ((found & there).sum(1) / union).sum() / count.clamp(min=1)
    return SetLossResult({"focal": global_mean(focal, count), "dice": global_mean(dice, count)}, {"iou": iou})


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """(T,) means over the pixels; both (T, pixels)."""
    p = logits.sigmoid()
    plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p_t = p * wanted + (1 - p) * (1 - wanted)
    weight = ALPHA * wanted + (1 - ALPHA) * (1 - wanted)
    return (weight * (1 - p_t) ** GAMMA * plain).mean(1)


def dice_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """(T,); both (T, pixels)."""
    p = logits.sigmoid()
    return 1 - (2 * (p * wanted).sum(1) + 1) / (p.sum(1) + wanted.sum(1) + 1)
