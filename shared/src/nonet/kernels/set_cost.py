"""What each predicted box would pay for each true one, for all layers and images of a batch at once.

    cost = w_class * class + w_l1 * |b - t|_1 + w_giou * (-GIoU(b, t))

as in Carion et al. 2020 (section 3.1); class is -softmax(logits)[label], or for sigmoid classes the
difference of focal losses of Zhu et al. 2021 (alpha 1/4, gamma 2). GIoU is that of Rezatofighi et al. 2019.
Only predictions and targets of the same image are compared: the usual matrix over the whole batch is B times
as large. No gradient.

Cost, for R N T pairs: the reference works through blocks of rows that stay in cache; the Triton form reads
logits and boxes once and writes 4 R N T bytes.
"""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.kernels.dispatch import backend, import_triton

# Shapes: R rows (layers times images, images last), B images, N predictions, C classes, T padded targets.

BLOCK_PAIRS = 2**15  # pairs that the reference works on at a time: 128 KiB of each of its few temporaries
ALPHA = 0.25  # of the focal loss; its gamma is 2
BLOCK_N, BLOCK_T, BLOCK_C = 32, 16, 32  # of a Triton program


@torch.no_grad()  # type: ignore[untyped-decorator]
def set_cost(
    logits_RNC: Tensor,
    boxes_RN4: Tensor,
    labels_BT: Tensor,
    targets_BT4: Tensor,
    *,
    class_weight: float = 1.0,
    l1_weight: float = 5.0,
    giou_weight: float = 2.0,
    sigmoid: bool = False,
) -> Tensor:
    """The costs of all pairs.

    Args:
        logits_RNC: (R, N, C) float; row r belongs to image r % B.
        boxes_RN4: (R, N, 4) float, cxcywh, of any scale.
        labels_BT: (B, T) int64 in 0..C-1; -1 is padding.
        targets_BT4: (B, T, 4) float, cxcywh of the same scale; finite in padding, too.
        class_weight: of the class.
        l1_weight: of the distance, in the boxes' scale.
        giou_weight: of the overlap.
        sigmoid: whether each class has a probability of its own.

    Returns:
        (R, N, T) float32 (float64 if boxes are); 0 in padding. What is not finite going in is not finite
        coming out.

    Raises:
        ValueError: shapes do not fit.
    """
    R, N = logits_RNC.shape[:2]
    B, T = labels_BT.shape
    if boxes_RN4.shape != (R, N, 4) or targets_BT4.shape != (B, T, 4) or (R % B if B else R):
        raise ValueError(
            f"logits {tuple(logits_RNC.shape)}, boxes {tuple(boxes_RN4.shape)}, labels {(B, T)} and targets "
            f"{tuple(targets_BT4.shape)} do not fit"
        )
    kind = torch.float64 if boxes_RN4.dtype == torch.float64 else torch.float32
    weights = (class_weight, l1_weight, giou_weight)
    if not R * N * T:
        return boxes_RN4.new_zeros((R, N, T), dtype=kind)
    if backend(boxes_RN4) == "triton":
        return _cost_triton(logits_RNC, boxes_RN4.to(kind), labels_BT, targets_BT4.to(kind), weights, sigmoid)
    return _cost_reference(logits_RNC.to(kind), boxes_RN4.to(kind), labels_BT, targets_BT4.to(kind), weights,
                           sigmoid)  # fmt: skip


def corners(boxes: Tensor) -> Tensor:
    """The xyxy form of cxcywh boxes, (..., 4) each."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def overlaps(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes, and the generalised one of Rezatofighi et al. 2019, with gradients.

    GIoU = IoU - (E - U) / E, where U is the area of the union and E that of the smallest box around both.

    Args:
        left: (..., 4) xyxy of any scale; broadcasts with `right`.
        right: (..., 4) xyxy.

    Returns:
        IoU in 0..1 and GIoU in -1..1, of the broadcast shape. Two boxes without any area give NaN.

    Example:
        (0, 0, 2, 2) and (1, 1, 3, 3) give 1/7 and -5/63.
    """
    return _overlaps(left.unbind(-1), right.unbind(-1))


def _overlaps(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Of the four coordinates one by one: no tensor of pairs times four."""
    x0, y0, x1, y1 = left
    u0, v0, u1, v1 = right
    width = (torch.minimum(x1, u1) - torch.maximum(x0, u0)).clamp(min=0)
    height = (torch.minimum(y1, v1) - torch.maximum(y0, v0)).clamp(min=0)
    common = width * height
    union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - common
    around = (torch.maximum(x1, u1) - torch.minimum(x0, u0)) * (torch.maximum(y1, v1) - torch.minimum(y0, v0))
    iou = common / union
    return iou, iou - (around - union) / around


def _cost_reference(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    weights: tuple[float, float, float],
    sigmoid: bool,
) -> Tensor:
    (R, N, _), (B, T) = logits.shape, labels.shape
    cost = boxes.new_empty((R, N, T))
    chosen, edges = labels.clamp(min=0), corners(targets)
    rows = max(1, BLOCK_PAIRS // (N * T)) if boxes.is_cpu else R
    images = torch.arange(R, device=boxes.device) % B
    classes = logits if sigmoid else logits.softmax(-1)
    for start in range(0, R, rows):
        part, of = slice(start, start + rows), images[start : start + rows]
        wanted_RNT = classes[part].gather(2, chosen[of][:, None, :].expand(-1, N, -1))
        total = _focal(wanted_RNT) if sigmoid else wanted_RNT.neg()
        total *= weights[0]
        pairs = zip(boxes[part].unbind(-1), targets[of].unbind(-1), strict=True)
        distance = sum((b[..., None] - t[:, None]).abs_() for b, t in pairs)
        total.add_(distance, alpha=weights[1])
        left = tuple(b[..., None] for b in corners(boxes[part]).unbind(-1))
        _, giou = _overlaps(left, tuple(t[:, None] for t in edges[of].unbind(-1)))
        total.sub_(giou, alpha=weights[2])
        cost[part] = total
    if not labels.is_cpu or bool((labels < 0).any()):  # looking would wait for a GPU
        cost.view(-1, B, N, T).masked_fill_((labels < 0)[None, :, None, :], 0)
    return cost


def _focal(logit: Tensor) -> Tensor:
    """What calling it this class adds to the focal loss, less what it takes away."""
    p = logit.sigmoid()
    positive = ALPHA * (1 - p).square() * F.softplus(-logit)
    return positive - (1 - ALPHA) * p.square() * F.softplus(logit)


def _cost_triton(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    targets: Tensor,
    weights: tuple[float, float, float],
    sigmoid: bool,
) -> Tensor:
    (R, N, C), (B, T) = logits.shape, labels.shape
    cost = boxes.new_empty((R, N, T))
    with torch.cuda.device_of(boxes):  # Triton launches on the current device
        _kernel()[(R, -(-N // BLOCK_N), -(-T // BLOCK_T))](
            logits.contiguous(), boxes.contiguous(), labels.contiguous(), targets.contiguous(), cost,
            B, N, T, C, *weights,
            SIGMOID=sigmoid, ALPHA=ALPHA, BLOCK_N=BLOCK_N, BLOCK_T=BLOCK_T, BLOCK_C=BLOCK_C, num_warps=4,
        )  # fmt: skip
    return cost


@functools.cache
def _kernel() -> Any:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def pairs(  # type: ignore[no-untyped-def]
        logits, boxes, labels, targets, cost, B, N, T, C, class_weight, l1_weight, giou_weight,
        SIGMOID: tl.constexpr, ALPHA: tl.constexpr,
        BLOCK_N: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        image = row % B
        n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
        t = tl.program_id(2) * BLOCK_T + tl.arange(0, BLOCK_T)
        box = boxes + (row * N + n) * 4
        target = targets + (image * T + t) * 4
        kind = cost.dtype.element_ty
        cx = tl.load(box, mask=n < N, other=0.0)[:, None]
        cy = tl.load(box + 1, mask=n < N, other=0.0)[:, None]
        w = tl.load(box + 2, mask=n < N, other=1.0)[:, None]
        h = tl.load(box + 3, mask=n < N, other=1.0)[:, None]
        tx = tl.load(target, mask=t < T, other=0.0)[None, :]
        ty = tl.load(target + 1, mask=t < T, other=0.0)[None, :]
        tw = tl.load(target + 2, mask=t < T, other=1.0)[None, :]
        th = tl.load(target + 3, mask=t < T, other=1.0)[None, :]
        distance = tl.abs(cx - tx) + tl.abs(cy - ty) + tl.abs(w - tw) + tl.abs(h - th)
        x0, y0, x1, y1 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        u0, v0, u1, v1 = tx - tw / 2, ty - th / 2, tx + tw / 2, ty + th / 2
        width = tl.maximum(tl.minimum(x1, u1) - tl.maximum(x0, u0), 0.0)
        height = tl.maximum(tl.minimum(y1, v1) - tl.maximum(y0, v0), 0.0)
        common = width * height
        union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - common
        around = (tl.maximum(x1, u1) - tl.minimum(x0, u0)) * (tl.maximum(y1, v1) - tl.minimum(y0, v0))
        giou = common / union - (around - union) / around
        label = tl.load(labels + image * T + t, mask=t < T, other=-1)
        chosen = tl.maximum(label, 0)
        lines = logits + (row * N + n) * C
        both = (n < N)[:, None] & (t < T)[None, :]
        logit = tl.load(lines[:, None] + chosen[None, :], mask=both, other=0.0).to(kind)
        if SIGMOID:
            small = tl.log(1.0 + tl.exp(-tl.abs(logit)))  # softplus(x) = max(x, 0) + this
            p = 1.0 / (1.0 + tl.exp(-logit))
            positive = ALPHA * (1 - p) * (1 - p) * (tl.maximum(-logit, 0.0) + small)
            wanted = positive - (1 - ALPHA) * p * p * (tl.maximum(logit, 0.0) + small)
        else:
            largest = tl.full((BLOCK_N,), float("-inf"), kind)
            total = tl.zeros((BLOCK_N,), kind)
            for start in range(0, C, BLOCK_C):
                c = start + tl.arange(0, BLOCK_C)
                inside = (n < N)[:, None] & (c < C)[None, :]
                some = tl.load(lines[:, None] + c[None, :], mask=inside, other=float("-inf")).to(kind)
                some = tl.where((n < N)[:, None], some, 0.0)
                higher = tl.maximum(largest, tl.max(some, 1))
                total = total * tl.exp(largest - higher) + tl.sum(tl.exp(some - higher[:, None]), 1)
                largest = higher
            wanted = -tl.exp(logit - largest[:, None]) / total[:, None]
        found = class_weight * wanted + l1_weight * distance - giou_weight * giou
        found = tl.where(label[None, :] < 0, 0.0, found)
        tl.store(cost + (row * N + n)[:, None] * T + t[None, :], found.to(kind), mask=both)

    return pairs
