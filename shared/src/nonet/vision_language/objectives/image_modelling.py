"""Masked image and frame modelling: codes, pixels, features of video frames.

Codes of a discrete autoencoder: BEiT (Bao et al. 2022), FLAVA (Singh et al. 2022). Pixels: MAE (He et al.
2022), VLC. Frames by regression or by contrast with other frames: HERO (Li et al. 2020, section 3.3).
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nonet.errors import UserError
from nonet.vision_language.objectives.language import masked_lm
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen
from nonet.vision_language.objectives.regions import region_regression

# Shapes: B images or videos, P patches, K codes, F frames, D numbers of a patch or a frame's feature.


def masked_codes(logits: Tensor, codes: Tensor, mask: Tensor) -> Objective:
    """Cross entropy with the codes of masked patches (BEiT, FLAVA).

    loss = - 1/M sum over masked patches of log P(z_m | v_rest).

    Args:
        logits: (B, P, K) float.
        codes: (B, P) int64 of the image before it was masked.
        mask: (B, P) bool.

    Returns:
        The loss; aux: accuracy, count of masked patches.
    """
    return masked_lm(logits, codes.masked_fill(~mask, IGNORE))


def masked_pixels(
    prediction: Tensor, pixels: Tensor, mask: Tensor, *, normalise: bool = True, epsilon: float = 1e-6
) -> Objective:
    """Mean squared error of the pixels of masked patches (MAE).

    loss = 1/M sum over masked patches of the mean over its numbers of (prediction - x)^2, where x is the
    patch less its mean, over its standard deviation (with n - 1, as in MAE's code).

    Args:
        prediction: (B, P, D) float.
        pixels: (B, P, D) float from `patchify`.
        mask: (B, P) bool: hidden patches.
        normalise: False: x is the patch itself.
        epsilon: added to the variance.

    Returns:
        The loss; aux: count of masked patches.
    """
    target = widen(pixels.detach())
    if normalise:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + epsilon).sqrt()
    return region_regression(prediction, target, mask, over_features="mean")


def patchify(images: Tensor, patch: int) -> Tensor:
    """Square patches of images, rows first, the channels of a pixel side by side.

    Args:
        images: (B, C, H, W).
        patch: side in pixels, which divides H and W.

    Returns:
        (B, H/patch * W/patch, patch * patch * C).
    """
    B, C, H, W = images.shape
    if H % patch or W % patch:
        raise UserError(f"patches of {patch} pixels do not fill an image of {H} x {W}; resize or pad it")
    tiles = images.reshape(B, C, H // patch, patch, W // patch, patch)
    return tiles.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // patch) * (W // patch), patch * patch * C)


def frame_regression(prediction: Tensor, features: Tensor, mask: Tensor) -> Objective:
    """Squared distance of predicted features of masked frames from the true ones (HERO's MFFR, ActBERT).

    loss = 1/M sum over masked frames of ||h(v_m) - r(v_m)||^2.

    Args:
        prediction: (B, F, D) float.
        features: (B, F, D) float of the frames before they were masked.
        mask: (B, F) bool.

    Returns:
        The loss; aux: count of masked frames.
    """
    return region_regression(prediction, features, mask)


def frame_contrast(
    prediction: Tensor,
    features: Tensor,
    mask: Tensor,
    *,
    valid: Tensor | None = None,
    negatives: Literal["video", "batch"] = "video",
    others: Tensor | None = None,
    temperature: float = 1.0,
    cosine: bool = False,
) -> Objective:
    """Tell the feature of a masked frame from those of unmasked frames (HERO's MFM-NCE).

    loss = - 1/M sum over masked frames of log(e^s(p, v_m) / (e^s(p, v_m) + sum over j of e^s(p, v_j))), with
    s = p.v / temperature and the v_j of unmasked frames. With equal scores and N negatives it is ln(N + 1).

    Args:
        prediction: (B, F, D) float for all frames; those of masked frames count.
        features: (B, F, D) float of the frames before they were masked.
        mask: (B, F) bool: masked frames.
        valid: (B, F) bool: no padding.
        negatives: `"video"`: the unmasked frames of the same video (the paper); `"batch"`: those of all
            videos, and the other masked frames' true features too, as in the released code.
        others: (N, D) more negatives. HERO's code has there what the network predicts for unmasked frames,
            and not their features.
        temperature: of the scores.
        cosine: scores are cosines instead of dot products.

    Returns:
        The loss; aux: accuracy, count of masked frames.
    """
    valid = torch.ones_like(mask) if valid is None else valid
    query = widen(prediction)
    key = features.detach().to(query.dtype)
    if cosine:
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
    B, F = mask.shape
    masked = mask & valid
    itself = torch.eye(F, dtype=torch.bool, device=mask.device).expand(B, F, F)
    if negatives == "video":
        scores = query @ key.transpose(1, 2)
        allowed = itself | (valid & ~mask)[:, None, :]
    else:
        scores = torch.einsum("bfd,ckd->bfck", query, key).flatten(2)
        allowed = valid.flatten().expand(B, F, -1)
    labels = torch.arange(F, device=mask.device).expand(B, F)
    if negatives == "batch":
        labels = labels + F * torch.arange(B, device=mask.device)[:, None]
    scores = scores.masked_fill(~allowed, -torch.inf)
    if others is not None:
        more = normalize(others.to(query.dtype), dim=-1) if cosine else others.to(query.dtype)
        scores = torch.cat([scores, query @ more.T], -1)
    # Frames that are not asked for must not have rows of -inf alone, whose gradient is NaN.
    scores = torch.where(masked[..., None], scores / temperature, 0)
    each = scores.logsumexp(-1) - scores.gather(-1, labels[..., None]).squeeze(-1)
    hits = (scores.detach().argmax(-1) == labels).float()
    return Objective(mean_over(each, masked), {"accuracy": mean_over(hits, masked), "count": masked.sum()})
