"""From masks of single objects to one segment for each pixel (Carion et al. 2020, section 4.4).

Queries whose class is sure enough are kept, each pixel goes to the one whose mask is largest there, segments
of the same class of stuff become one, and those of at most four pixels are taken out, over and over.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.metrics.panoptic import SegmentMap

# Shapes: N queries of an image, n of them that are kept, K classes.

THRESHOLD = 0.85
SMALLEST = 4  # pixels; a segment of no more is dropped


class Sure(NamedTuple):
    """The queries of an image that may become segments.

    Attributes:
        queries: (n,) int64.
        labels: (n,) int64 in 0..K-1.
        scores: (n,) float32.
    """

    queries: Tensor
    labels: Tensor
    scores: Tensor


class Merged(NamedTuple):
    """The segments of an image, and how sure the query behind each was, by its number."""

    segments: SegmentMap
    scores: dict[int, float]


def sure_queries(logits: Tensor, threshold: float = THRESHOLD) -> Sure:
    """The queries whose best class is not no object, and more probable than the threshold.

    Args:
        logits: (N, K + 1), the last no object.
        threshold: in 0..1.
    """
    scores, labels = logits.float().softmax(-1).max(-1)
    kept = torch.nonzero((labels != logits.shape[-1] - 1) & (scores > threshold))[:, 0]
    return Sure(kept, labels[kept], scores[kept])


def merge(masks: Tensor, sure: Sure, things: Sequence[bool], size: tuple[int, int]) -> Merged:
    """One segment for each pixel; every pixel has one if there is any.

    Args:
        masks: (n, h, w) logits of the masks, without the image's padding.
        sure: the queries they are of.
        things: whether each class is a thing.
        size: (width, height) of the image as it is stored.

    Returns:
        Segments numbered from 1, at the stored size.
    """
    width, height = size
    labels, scores = sure.labels.tolist(), sure.scores.tolist()
    left = list(range(len(labels)))
    if left:
        masks = F.interpolate(masks.float()[None], size=(height, width), mode="bilinear")[0]
    while left:
        best = np.asarray(left)[masks[left].argmax(0).cpu().numpy()]
        owner = _one_of_stuff(labels, left, things)
        ids = np.asarray([owner.get(query, -1) for query in range(len(labels))])[best]
        there, counts = np.unique(ids, return_counts=True)
        small = {int(query) for query, count in zip(there, counts, strict=True) if count <= SMALLEST}
        small |= {query for query in left if owner[query] == query} - set(there.tolist())
        if not small:
            numbers = {int(query): number for number, query in enumerate(there, 1)}
            renumbered = np.zeros(len(labels), np.int64)
            renumbered[list(numbers)] = list(numbers.values())
            classes = {number: labels[query] for query, number in numbers.items()}
            return Merged(
                SegmentMap(renumbered[ids], classes), {n: scores[query] for query, n in numbers.items()}
            )
        left = [query for query in left if owner[query] not in small]
    return Merged(SegmentMap(np.zeros((height, width), np.int64), {}), {})


def _one_of_stuff(labels: Sequence[int], left: Sequence[int], things: Sequence[bool]) -> dict[int, int]:
    """Whose segment the pixels of each query belong to: of a class of stuff, the first query's."""
    first: dict[int, int] = {}
    owner = {}
    for query in left:
        owner[query] = query if things[labels[query]] else first.setdefault(labels[query], query)
    return owner
