"""Masked regions of a detector: how they are hidden, and losses over their features and classes.

UNITER (Chen et al. 2020, section 3.2; released code `data/mrm.py` and `model/pretrain.py`) names the losses
MRFR, MRC and MRC-kl; ViLBERT, LXMERT and Unicoder-VL have one or two of them. A masked region's feature is
zero. Two reductions are in use: UNITER's mean over the masked regions, and LXMERT's, which weights each
region with the detector's confidence, takes the mean over all regions of the batch, masked or not, and
multiplies it with 1 / .15.
"""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import log_softmax, smooth_l1_loss

from nonet.errors import UserError
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B examples, R regions, D features of a region, K classes of the detector.

LXMERT_NORMALISER = 1 / 0.15
"""by which LXMERT multiplies means over all regions, as 15 % of them are masked; its code has 6.67"""


def with_overlapping(
    mask: Tensor, boxes: Tensor, *, above: float = 0.4, valid: Tensor | None = None
) -> Tensor:
    """Masked regions, and with them all whose boxes overlap one of theirs (12-in-1, InterBERT).

    Args:
        mask: (B, R) bool.
        boxes: (B, R, 4), xyxy in pixels or 0..1.
        above: least intersection over union, exclusive.
        valid: (B, R) bool: no padding.

    Returns:
        (B, R) bool.
    """
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)
    either = area[:, :, None] + area[:, None, :] - shared
    near = shared > above * either  # without a division: empty boxes overlap nothing
    grown = mask | (near & mask[:, None, :]).any(-1)
    return grown if valid is None else grown & valid


def mask_regions(
    features: Tensor,
    mask: Tensor,
    *,
    as_zero: float = 1.0,
    as_other: float = 0.0,
    generator: Generator | None = None,
) -> Tensor:
    """Region features with zero vectors for the masked ones.

    UNITER's are all zero. LXMERT's are zero in 80 %, those of another region in 10 %, and stay in 10 %.

    Args:
        features: (B, R, D) float.
        mask: (B, R) bool.
        as_zero: chance of the zero vector.
        as_other: chance of the feature of any region of the batch.
        generator: needed where `as_zero` is below 1.

    Returns:
        (B, R, D), a copy.
    """
    if as_zero == 1:
        return features.masked_fill(mask[..., None], 0)
    if generator is None:
        raise UserError("regions that are not all zeroed need a generator")
    draws = torch.rand(mask.shape, generator=generator, device=mask.device)
    flat = features.flatten(0, 1)
    picks = torch.randint(len(flat), mask.shape, generator=generator, device=mask.device)
    other = mask & (draws >= as_zero) & (draws < as_zero + as_other)
    shown = torch.where(other[..., None], flat[picks], features)
    return shown.masked_fill((mask & (draws < as_zero))[..., None], 0)


def region_regression(
    prediction: Tensor,
    features: Tensor,
    mask: Tensor,
    *,
    distance: Literal["squared", "smooth-l1"] = "squared",
    over_features: Literal["sum", "mean"] = "sum",
    confidence: Tensor | None = None,
    normaliser: float = LXMERT_NORMALISER,
) -> Objective:
    """Distance of predicted features of masked regions from the detector's (MRFR).

    loss = 1/M sum over the M masked regions of ||h(v_m) - r(v_m)||^2; 0 for equal vectors. That is the
    paper's formula. UNITER's training code takes the mean over features too, which is 1/2048 of it:
    `over_features="mean"`.

    Args:
        prediction: (B, R, D) float.
        features: (B, R, D) float, of the regions before they were masked; no gradient flows into them.
        mask: (B, R) bool.
        distance: squared, or LXMERT's smooth L1.
        over_features: sum or mean over D.
        confidence: (B, R) float of the detector: LXMERT's reduction.
        normaliser: of LXMERT's reduction.

    Returns:
        The loss; aux: count of masked regions.
    """
    prediction = widen(prediction)
    features = features.detach().to(prediction.dtype)
    if distance == "squared":
        apart = (prediction - features).square()
    else:
        apart = smooth_l1_loss(prediction, features, reduction="none")
    each = apart.sum(-1) if over_features == "sum" else apart.mean(-1)
    return Objective(_reduce(each, mask, confidence, normaliser), {"count": mask.sum()})


def detector_labels(probabilities: Tensor) -> Tensor:
    """The most likely class of each region without the background, which is class 0.

    Args:
        probabilities: (..., K) float.

    Returns:
        (...) int64 in 1..K-1; (.9, .02, .08) gives 2.
    """
    return probabilities[..., 1:].argmax(-1) + 1


def region_classification(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor,
    *,
    confidence: Tensor | None = None,
    normaliser: float = LXMERT_NORMALISER,
) -> Objective:
    """Cross entropy with the class that the detector gives a masked region (MRC).

    loss = - 1/M sum of log g(v_m)[c_m] with c_m = argmax over k >= 1 of p_det[k]: the background, class 0, is
    never the target, though it stays in the softmax.

    Args:
        logits: (B, R, K) float.
        targets: (B, R, K) float: the detector's probabilities; or (B, R) int64: labels as they are, of
            objects or attributes, -100 for none.
        mask: (B, R) bool.
        confidence: (B, R) float: LXMERT's reduction.
        normaliser: of LXMERT's reduction.

    Returns:
        The loss; aux: accuracy, count of masked regions.
    """
    labels = detector_labels(targets) if targets.is_floating_point() else targets
    counted = mask & (labels != IGNORE)
    hits = (logits.detach().argmax(-1) == labels).float()
    loss = _reduce(token_losses(logits, labels), counted, confidence, normaliser)
    return Objective(loss, {"accuracy": mean_over(hits, counted), "count": counted.sum()})


def region_kl(
    logits: Tensor, probabilities: Tensor, mask: Tensor, *, over_classes: Literal["sum", "mean"] = "sum"
) -> Objective:
    """Divergence of the predicted from the detector's distribution over all classes (MRC-kl).

    loss = 1/M sum over masked regions of sum_k p_k (log p_k - log q_k), with 0 log 0 = 0. For p = (.7, .3)
    and uniform logits it is 0.0822829. The background is a class like the others here. UNITER's training code
    takes the mean over the 1601 classes, 1/1601 of it: `over_classes="mean"`.

    Args:
        logits: (B, R, K) float.
        probabilities: (B, R, K) float of the detector, each row with sum 1.
        mask: (B, R) bool.
        over_classes: sum or mean over K.

    Returns:
        The loss; aux: count of masked regions.
    """
    logs = log_softmax(widen(logits), -1)
    target = probabilities.detach().to(logs.dtype)
    cross = torch.where(target > 0, target * logs, 0)  # also where a logit is -inf
    apart = torch.xlogy(target, target) - cross
    each = apart.sum(-1) if over_classes == "sum" else apart.mean(-1)
    return Objective(mean_over(each, mask), {"count": mask.sum()})


def _reduce(each: Tensor, mask: Tensor, confidence: Tensor | None, normaliser: float) -> Tensor:
    """The mean over masked regions, or LXMERT's confident mean over all of them."""
    if confidence is None:
        return mean_over(each, mask)
    return mean_over(torch.where(mask, each * confidence.to(each.dtype), 0)) * normaliser
