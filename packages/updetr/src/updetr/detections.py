"""From what a detector says to boxes in pixels, with scores and classes (Carion et al. 2020, released code).

A query of a softmax head is one detection: its best class without no object, at that probability; there is no
threshold and no suppression of neighbours. Sigmoid heads give the best pairs of query and class.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from updetr.batches import Outputs

# Shapes: B images, N queries, K classes, n detections of an image.


class Detections(NamedTuple):
    """What was found in one image, best first.

    Attributes:
        image_id: the image's.
        boxes: (n, 4) float32 xyxy in pixels of the image as it is stored; not clipped to it.
        scores: (n,) float32 in 0..1.
        labels: (n,) int64 in 0..K-1.
    """

    image_id: int
    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def above(self, score: float) -> "Detections":
        """Those with at least that score."""
        kept = self.scores >= score
        return Detections(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept])


@torch.no_grad()
def from_outputs(
    outputs: Outputs,
    sizes: Sequence[tuple[int, int]],
    *,
    ids: Sequence[int] | None = None,
    sigmoid: bool = False,
    top: int | None = None,
) -> list[Detections]:
    """The detections of a batch, on the CPU.

    Args:
        outputs: of a detector; the last layer counts.
        sizes: (width, height) of each image as it is stored, pixels.
        ids: of the images; their places by default.
        sigmoid: the head gives each class a probability of its own, and has no class for no object.
        top: the most of an image; none: every query's, or 100 pairs of a sigmoid head.

    Returns:
        One entry an image.
    """
    logits, boxes = outputs.logits[-1].float(), outputs.boxes[-1].float()
    if sigmoid:
        scores_BN, labels_BN, boxes = _best_pairs(logits, boxes, top or 100)
    else:
        scores_BN, labels_BN = logits.softmax(-1)[..., :-1].max(-1)
    scale_B4 = torch.tensor([[w, h, w, h] for w, h in sizes], dtype=boxes.dtype, device=boxes.device)
    centre, size = boxes[..., :2], boxes[..., 2:]
    xyxy_BN4 = torch.cat([centre - size / 2, centre + size / 2], -1) * scale_B4[:, None]
    order = scores_BN.argsort(dim=-1, descending=True, stable=True)[:, :top]
    found = (
        xyxy_BN4.take_along_dim(order[..., None], 1).cpu(),
        scores_BN.take_along_dim(order, 1).cpu(),
        labels_BN.take_along_dim(order, 1).cpu(),
    )
    named = range(len(sizes)) if ids is None else ids
    return [Detections(int(name), *parts) for name, *parts in zip(named, *found, strict=True)]


def _best_pairs(logits: Tensor, boxes: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, classes and boxes of the best pairs of query and class."""
    classes = logits.shape[-1]
    flat = logits.sigmoid().flatten(1)
    scores, pairs = flat.topk(min(top, flat.shape[1]), -1)
    return scores, pairs % classes, boxes.take_along_dim((pairs // classes)[..., None], 1)
