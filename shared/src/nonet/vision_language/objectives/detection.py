"""Detecting objects as a set: each true box gets a query of its own, and all other queries say there is none.

DETR (Carion et al. 2020), which E2E-VLP (Xu et al. 2021) takes as a pre-training task and gives attributes of
objects to predict as well.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nonet.errors import UserError, needs
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B images, Q queries an image, T true boxes over the whole batch, K classes, A attributes.


class DetectionWeights(NamedTuple):
    """Weights of DETR: of the parts of the loss, and of the costs by which boxes are matched.

    Attributes:
        labels: of the classes.
        boxes: of the L1 distance, in shares of the image's sides.
        overlap: of 1 - generalised intersection over union.
        attributes: of the attributes; no part of the matching.
        no_object: of queries that match nothing, within the classes.
    """

    labels: float = 1.0
    boxes: float = 5.0
    overlap: float = 2.0
    attributes: float = 1.0
    no_object: float = 0.1


DETR = DetectionWeights()


def corners(boxes: Tensor) -> Tensor:
    """Boxes cxcywh as xyxy, in the same scale."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union less the share of the enclosing box that neither covers, in -1..1.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy; both broadcast to each other.

    Returns:
        (...) float32 or float64; 0 for two empty boxes in one place.
    """
    first, second = widen(first), widen(second)
    area = [(boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1) for boxes in (first, second)]
    shared = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    intersection = shared.clamp_min(0).prod(-1)
    union = area[0] + area[1] - intersection
    span = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    hull = span.clamp_min(0).prod(-1)
    tiny = torch.finfo(union.dtype).tiny
    return intersection / union.clamp_min(tiny) - (hull - union) / hull.clamp_min(tiny)


def match_boxes(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    true_boxes: Tensor,
    image_of: Tensor,
    weights: DetectionWeights = DETR,
) -> Tensor:
    """Give every true box a query of its image, at the least total cost; needs scipy.

    A pair costs - P(class) + 5 |difference of cxcywh| - 2 generalised overlap.

    Args:
        logits: (B, Q, K + 1) float, last no object.
        boxes: (B, Q, 4) float, cxcywh in 0..1.
        labels: (T,) int64 in 0..K-1.
        true_boxes: (T, 4) float, cxcywh in 0..1.
        image_of: (T,) int64 in 0..B-1: the image of each true box.
        weights: of the costs.

    Returns:
        (T, 2) int64: image and query of each true box, in their order.

    Raises:
        UserError: an image has more true boxes than queries.
    """
    optimize = needs("scipy.optimize", to="match boxes with queries", install="scipy")
    queries = logits.shape[1]
    most = int(torch.bincount(image_of, minlength=1).max()) if len(image_of) else 0
    if most > queries:
        raise UserError(f"an image has {most} true boxes, but there are only {queries} queries")
    chances = widen(logits.detach()).softmax(-1)[image_of]  # (T, Q, K + 1)
    found = widen(boxes.detach())[image_of]
    cost = (
        -weights.labels * chances.gather(2, labels[:, None, None].expand(-1, queries, 1))[..., 0]
        + weights.boxes * (found - true_boxes[:, None]).abs().sum(-1)
        - weights.overlap * generalised_overlap(corners(found), corners(true_boxes[:, None]))
    ).cpu()
    chosen = torch.zeros(len(labels), dtype=torch.long)
    images = image_of.cpu()
    for image in images.unique():
        rows = (images == image).nonzero()[:, 0]
        of_rows, columns = optimize.linear_sum_assignment(cost[rows].numpy())
        chosen[rows[torch.as_tensor(of_rows)]] = torch.as_tensor(columns)
    return torch.stack([image_of, chosen.to(image_of.device)], 1)


def object_detection(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    true_boxes: Tensor,
    matches: Tensor,
    *,
    attribute_logits: Tensor | None = None,
    attributes: Tensor | None = None,
    weights: DetectionWeights = DETR,
    count: Tensor | float | None = None,
) -> Objective:
    """The loss of a matched set: classes of all queries, boxes and attributes of the matched ones.

    loss = CE of the class, weighted mean over queries + 5/T sum of |difference| + 2/T sum of
    (1 - generalised overlap) + CE of the attribute over matched queries that have one.

    Args:
        logits: (B, Q, K + 1) float, last no object.
        boxes: (B, Q, 4) float, cxcywh in 0..1.
        labels: (T,) int64 in 0..K-1.
        true_boxes: (T, 4) float, cxcywh in 0..1.
        matches: (T, 2) int64: image and query of each true box, such as those of `match_boxes`.
        attribute_logits: (B, Q, A) float.
        attributes: (T,) int64, -100 for none.
        weights: of the parts.
        count: by which sums over boxes are divided, such as the mean over devices; None: T, at least 1.

    Returns:
        The loss; aux: labels, boxes, overlap and attributes, the parts without their weights.
    """
    at = (matches[:, 0], matches[:, 1])
    total = torch.as_tensor(max(len(labels), 1) if count is None else count).clamp_min(1)
    none = logits.shape[-1] - 1
    classes = torch.full(logits.shape[:2], none, dtype=torch.long, device=logits.device)
    classes[at] = labels
    weight = widen(logits.new_ones(none + 1))
    weight[none] = weights.no_object
    found, true = widen(boxes)[at], true_boxes.to(widen(boxes).dtype)
    parts = {
        "labels": cross_entropy(widen(logits).flatten(0, 1), classes.flatten(), weight),
        "boxes": (found - true).abs().sum() / total,
        "overlap": (1 - generalised_overlap(corners(found), corners(true))).sum() / total,
    }
    if attribute_logits is not None and attributes is not None:
        parts["attributes"] = mean_over(token_losses(attribute_logits[at], attributes), attributes != IGNORE)
    terms = [getattr(weights, name) * part for name, part in parts.items()]
    return Objective(torch.stack(terms).sum(), {name: part.detach() for name, part in parts.items()})
