"""Which query answers for which true box, in every decoder layer (Carion et al. 2020, section 3.1).

Over all queries of an image (`global`, as the original of Dai et al. 2021 does) it is the assignment of least
total cost. Within groups (`group`, ours) every patch has N / M queries of its own, and the cheapest of them
takes its box: no assignment problem, and nothing leaves the device.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nonet.errors import RunFailed
from nonet.kernels.set_cost import set_cost
from updetr.batches import Outputs, Targets

# Shapes: L decoder layers, B images, N queries, T true boxes over the whole batch, t those of the image that
# has most, K pairs a layer, G queries of a group.


class NotFinite(RunFailed):
    """A prediction is not a number, so that nothing can be matched."""


class Costs(NamedTuple):
    """Weights of what a pair costs."""

    label: float = 1.0
    """of the class; 2 for sigmoid classes in Deformable-DETR"""
    l1: float = 5.0
    """of the distance of the boxes, cxcywh in 0..1"""
    giou: float = 2.0
    """of the generalised overlap"""


class Matches(NamedTuple):
    """Pairs of queries and true boxes; layer l's are in row l, image by image, on the outputs' device.

    Attributes:
        images: (L, K) int64 in 0..B-1.
        queries: (L, K) int64 in 0..N-1, each at most once in a layer and image.
        boxes: (L, K) int64 in 0..T-1, each at most once in a layer. K is T, less `unmatched`.
        unmatched: true boxes beyond the number of queries of their image, which nobody answers for.
    """

    images: Tensor
    queries: Tensor
    boxes: Tensor
    unmatched: int = 0


@torch.no_grad()  # type: ignore[untyped-decorator]
def match(
    outputs: Outputs,
    targets: Targets,
    *,
    costs: Costs | None = None,
    sigmoid: bool = False,
    group: int | None = None,
) -> Matches:
    """Pair the true boxes of each image with its queries, in every layer.

    Args:
        outputs: of L layers; the features are not looked at.
        targets: on the same device.
        costs: weights.
        sigmoid: whether each class has a probability of its own.
        group: None: over all queries. N / M: a box is matched with one of the queries `group` * g to
            `group` * (g + 1) - 1 only, where g is its number in `targets.groups`, each at most once in an
            image.

    Returns:
        The pairs.

    Raises:
        NotFinite: a cost is NaN or infinite. Within groups this is not looked at: a NaN box is matched, and
            so gets into the loss.
        ValueError: targets do not fit the outputs.
    """
    check_targets(outputs, targets)
    weights = costs or Costs()
    if group is None:
        return _over_all(outputs, targets, weights, sigmoid)
    return _within_groups(outputs, targets, weights, sigmoid, group)


def check_targets(outputs: Outputs, targets: Targets) -> None:
    """Complain about targets that do not fit.

    Raises:
        ValueError: the number of images or boxes differs; or, on a CPU, where looking costs nothing, a label
            is out of range.
    """
    images, boxes = outputs.boxes.shape[1], targets.boxes.shape[0]
    if len(targets.counts) != images or sum(targets.counts) != boxes or len(targets.labels) != boxes:
        raise ValueError(
            f"counts {targets.counts} do not fit {images} images with {boxes} boxes and "
            f"{len(targets.labels)} labels"
        )
    classes = outputs.logits.shape[-1]
    if targets.labels.is_cpu and boxes:
        low, high = (int(bound) for bound in targets.labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(f"labels are {low} to {high}, but there are only {classes} logits of a query")


def _over_all(outputs: Outputs, targets: Targets, weights: Costs, sigmoid: bool) -> Matches:
    L, B, N, _ = outputs.boxes.shape
    counts = np.asarray(targets.counts, np.int64)
    labels_Bt, boxes_Bt4 = _padded(targets, counts)
    cost = set_cost(
        outputs.logits.flatten(0, 1),
        outputs.boxes.flatten(0, 1),
        labels_Bt,
        boxes_Bt4,
        class_weight=weights.label,
        l1_weight=weights.l1,
        giou_weight=weights.giou,
        sigmoid=sigmoid,
    )
    cost_LBNt = _to_host(cost).numpy().reshape(L, B, N, -1)
    if not np.isfinite(cost_LBNt).all():
        layer, image = np.argwhere(~np.isfinite(cost_LBNt).all((2, 3)))[0]
        raise NotFinite(
            f"the predictions of decoder layer {layer} for image {image} of the batch are not finite"
        )
    kept = np.minimum(counts, N)
    pairs = np.empty((2, L, int(kept.sum())), np.int64)
    starts, firsts = np.cumsum(kept) - kept, np.cumsum(counts) - counts
    for layer in range(L):
        for image in np.flatnonzero(kept):
            place = slice(starts[image], starts[image] + kept[image])
            queries, boxes = linear_sum_assignment(cost_LBNt[layer, image, :, : counts[image]])
            pairs[0, layer, place], pairs[1, layer, place] = queries, boxes + firsts[image]
    device = outputs.boxes.device
    images_K = torch.from_numpy(np.repeat(np.arange(B), kept)).to(device)
    queries_LK, boxes_LK = torch.from_numpy(pairs).to(device)
    return Matches(images_K.expand(L, -1), queries_LK, boxes_LK, int((counts - kept).sum()))


def _within_groups(outputs: Outputs, targets: Targets, weights: Costs, sigmoid: bool, group: int) -> Matches:
    L, B, N, _ = outputs.boxes.shape
    if targets.groups is None:
        raise ValueError("matching within groups needs the group of each box")
    if N % group:
        raise ValueError(f"{N} queries do not make groups of {group}")
    device, total = outputs.boxes.device, len(targets.labels)
    images_T = torch.from_numpy(np.repeat(np.arange(B), targets.counts)).to(device)
    if targets.groups.is_cpu and total:
        _check_groups(targets.groups, images_T, N // group)
    own_TG = targets.groups[:, None] * group + torch.arange(group, device=device)
    logits_LTGC, boxes_LTG4 = (part[:, images_T[:, None], own_TG] for part in outputs[:2])
    cost = set_cost(
        logits_LTGC.flatten(0, 1),
        boxes_LTG4.flatten(0, 1),
        targets.labels[:, None],
        targets.boxes[:, None],
        class_weight=weights.label,
        l1_weight=weights.l1,
        giou_weight=weights.giou,
        sigmoid=sigmoid,
    )
    best_LT = cost.view(L, total, group).argmin(-1)
    every_LT = torch.arange(total, device=device).expand(L, -1)
    return Matches(images_T.expand(L, -1), targets.groups * group + best_LT, every_LT)


def _check_groups(groups: Tensor, images: Tensor, number: int) -> None:
    low, high = (int(bound) for bound in groups.aminmax())
    if low < 0 or high >= number:
        raise ValueError(f"groups are {low} to {high}, but there are only {number}")
    if len((images * number + groups).unique()) < len(groups):
        raise ValueError("two boxes of an image are of the same group")


def _padded(targets: Targets, counts: np.ndarray) -> tuple[Tensor, Tensor]:
    """Labels (B, t) with -1 in padding, and boxes (B, t, 4)."""
    B, most = len(counts), int(counts.max(initial=0))
    if (counts == most).all():
        return targets.labels.view(B, most), targets.boxes.view(B, most, 4)
    slot = np.arange(most)
    place = (np.repeat(np.arange(B) * most, counts)) + np.concatenate([slot[:count] for count in counts])
    where = torch.from_numpy(place).to(targets.boxes.device)
    labels = targets.labels.new_full((B * most,), -1).index_copy_(0, where, targets.labels)
    boxes = targets.boxes.new_ones((B * most, 4)).index_copy_(0, where, targets.boxes)
    return labels.view(B, most), boxes.view(B, most, 4)


def _to_host(tensor: Tensor) -> Tensor:
    """Through page-locked memory: one copy a step, at the bus's full speed."""
    if tensor.is_cpu:
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host
