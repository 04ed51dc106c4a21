"""Retrieval between two modalities from one matrix of similarities: R@k, ranks, RSum, folds (numpy).

A rank is one more than the number of candidates that score higher, counted block by block without sorting:
O(queries x candidates) comparisons. Conventions are those of Karpathy and Fei-Fei 2015: each caption is a
query for its image; an image's rank is that of its best caption; "COCO 1k" is the mean over five folds of
1,000 images. Equal scores count against the query, so that a constant matrix has recall 0 and not 1.
`dual_softmax` (Cheng et al. 2021, CAMoE) changes the similarities by looking at all test queries together:
numbers with it are another measurement.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Array = NDArray
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Ties = Literal["pessimistic", "mid", "optimistic"]

CUTS = (1, 5, 10)
FOLDS = 5  # of COCO's 5,000 test images
BLOCK = 1 << 20  # similarities compared at once: masks that stay in the cache


class Ranks(NamedTuple):
    """Where the right candidate stands for each query, from 1, and the share of queries where it ties."""

    rank: Floats
    ties: float


class Retrieval(NamedTuple):
    """One direction.

    Attributes:
        recall: share of queries whose right candidate is among the first k, for each k, 0..1.
        median_rank, mean_rank: from 1.
        ties: share of queries in which a wrong candidate scores exactly as the right one; above a few percent
            the recall says more about ties than about the model.
        queries: how many there are.
    """

    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    ties: float
    queries: int


class CrossModal(NamedTuple):
    """Both directions. `rsum` is the sum of all recalls in percent: 0..600 for three cuts."""

    text_to_image: Retrieval
    image_to_text: Retrieval
    rsum: float


def cross_modal(
    similarity: ArrayLike,
    image_of_text: ArrayLike | None = None,
    *,
    cuts: Sequence[int] = CUTS,
    ties: Ties = "pessimistic",
) -> CrossModal:
    """Both directions of image-text retrieval (or video-text: read video for image).

    Args:
        similarity: (images, texts), higher is closer.
        image_of_text: (texts,) the image of each text, in any order; None: the same number for each image,
            those of image 0 first.
        cuts: values of k.
        ties: `"pessimistic"` puts wrong candidates first, `"mid"` half of them, `"optimistic"` none.

    Raises:
        UserError: a similarity is NaN, an image has no text or a text no image, or shapes do not fit.
    """
    matrix = _matrix(similarity)
    owner = _owners(matrix.shape, image_of_text)
    to_image = text_ranks(matrix, owner, ties=ties)
    to_text = image_ranks(matrix, owner, ties=ties)
    return _both(summary(to_image, cuts), summary(to_text, cuts))


def fold_mean(
    similarity: ArrayLike,
    image_of_text: ArrayLike | None = None,
    *,
    folds: int = FOLDS,
    cuts: Sequence[int] = CUTS,
    ties: Ties = "pessimistic",
) -> CrossModal:
    """Mean of `cross_modal` over consecutive folds of the images: COCO 1k from its 5,000 test images.

    Raises:
        UserError: as `cross_modal`, or the images cannot be divided.
    """
    matrix = _matrix(similarity)
    owner = _owners(matrix.shape, image_of_text)
    size, rest = divmod(len(matrix), folds) if folds > 0 else (0, 1)
    if rest or not size:
        raise UserError(f"{len(matrix)} images cannot be divided into {folds} equal folds")
    parts = []
    for fold in range(folds):
        texts = np.flatnonzero(owner // size == fold)
        inside = matrix[fold * size : (fold + 1) * size][:, texts]
        parts.append(cross_modal(inside, owner[texts] - fold * size, cuts=cuts, ties=ties))
    return _both(_average([p.text_to_image for p in parts]), _average([p.image_to_text for p in parts]))


def text_ranks(similarity: Array, image_of_text: Numbers, *, ties: Ties = "pessimistic") -> Ranks:
    """The rank of each text's image among all images.

    Args:
        similarity: (I, T) without NaN.
        image_of_text: (T,) numbers of images.
        ties: see `cross_modal`.
    """
    images, texts = similarity.shape
    own = similarity[image_of_text, np.arange(texts)]
    above, not_below = np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    rows = max(1, min(BLOCK // max(texts, 1), 255))  # sums of so many truth values fit a byte
    for start in range(0, images, rows):
        block = similarity[start : start + rows]
        above += (block > own).view(np.uint8).sum(0, dtype=np.uint8)
        not_below += (block >= own).view(np.uint8).sum(0, dtype=np.uint8)
    return _ranks(above, not_below - above - 1, ties)


def image_ranks(similarity: Array, image_of_text: Numbers, *, ties: Ties = "pessimistic") -> Ranks:
    """The rank of each image's best text among all texts; other texts of the image are never in its way.

    Args:
        similarity: (I, T) without NaN.
        image_of_text: (T,) numbers of images, each image at least once.
        ties: see `cross_modal`.
    """
    images, texts = similarity.shape
    own = similarity[image_of_text, np.arange(texts)]
    best = np.full(images, -np.inf, own.dtype if own.dtype.kind == "f" else np.float64)
    np.maximum.at(best, image_of_text, own)
    mine = np.bincount(image_of_text[own == best[image_of_text]], minlength=images)
    above, not_below = np.empty(images, np.int64), np.empty(images, np.int64)
    for image, (row, score) in enumerate(zip(similarity, best, strict=True)):
        above[image] = np.count_nonzero(row > score)
        not_below[image] = np.count_nonzero(row >= score)
    return _ranks(above, not_below - above - mine, ties)


def summary(ranks: Ranks, cuts: Sequence[int] = CUTS) -> Retrieval:
    """Recall at each k, median and mean of ranks."""
    if not cuts or min(cuts) < 1:
        raise UserError(f"cuts are whole numbers from 1, got {list(cuts)}")
    rank = ranks.rank
    return Retrieval(
        {cut: float((rank <= cut).mean()) for cut in cuts},
        float(np.median(rank)), float(rank.mean()), ranks.ties, len(rank),
    )  # fmt: skip


def dual_softmax(
    similarity: ArrayLike, *, queries: Literal["rows", "columns"] = "rows", scale: float = 1.0
) -> Floats:
    """Similarities times a softmax over all *queries*: a candidate that many queries like is worth less to
    each.

    It looks at the whole test set, so that results with it are not comparable to results without, and depends
    on which other queries there are. Nothing here applies it unasked.

    Args:
        similarity: (n, m).
        queries: which side asks; the softmax runs along it.
        scale: similarities are multiplied by this inside the softmax (the inverse temperature), above 0.

    Returns:
        (n, m) S * softmax(scale * S), float64.
    """
    matrix = _matrix(similarity).astype(np.float64)
    if queries not in ("rows", "columns") or not scale > 0:
        raise UserError(f"queries are rows or columns and the scale is above 0; got {queries!r}, {scale}")
    axis = 0 if queries == "rows" else 1
    weights = np.exp(scale * (matrix - matrix.max(axis, keepdims=True)))
    return np.asarray(matrix * weights / weights.sum(axis, keepdims=True))


def _matrix(similarity: ArrayLike) -> Array:
    matrix = np.asarray(similarity)
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "fiu":
        raise UserError(
            "similarities are a matrix of numbers, images x "
            f"texts, but have shape {matrix.shape} of {matrix.dtype}"
        )
    if matrix.dtype.kind == "f" and np.isnan(matrix.min()):
        row, column = (int(place) for place in np.argwhere(np.isnan(matrix))[0])
        raise UserError(f"the similarity of row {row} and column {column} (from 0) is not a number (NaN)")
    return matrix


def _owners(shape: tuple[int, ...], image_of_text: ArrayLike | None) -> Numbers:
    images, texts = shape
    if image_of_text is None:
        if texts % images:
            raise UserError(
                f"{texts} texts are not the same number for each of "
                f"{images} images; say which image each belongs to"
            )
        return np.repeat(np.arange(images), texts // images)
    owner = np.asarray(image_of_text)
    if owner.shape != (texts,) or owner.dtype.kind not in "iu":
        raise UserError(f"there are {texts} texts, but images of {owner.shape} texts are given")
    if owner.min() < 0 or owner.max() >= images:
        raise UserError(
            f"a text belongs to image {owner.min()} or {owner.max()}, but there are images 0 to {images - 1}"
        )
    lonely = np.setdiff1d(np.arange(images), owner)
    if len(lonely):
        raise UserError(f"{len(lonely)} images have no text, such as image {lonely[0]}; leave them out")
    return owner.astype(np.int64)


def _ranks(above: Numbers, equal: Numbers, ties: str) -> Ranks:
    """`equal`: wrong candidates that score as the right one."""
    if ties not in get_args(Ties):
        raise UserError(f"no rule {ties!r} for ties; there are {', '.join(get_args(Ties))}")
    share = {"pessimistic": 1.0, "mid": 0.5, "optimistic": 0.0}[ties]
    return Ranks(1.0 + above + share * equal, float((equal > 0).mean()))


def _average(parts: Sequence[Retrieval]) -> Retrieval:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return Retrieval(
        {cut: mean([part.recall[cut] for part in parts]) for cut in parts[0].recall},
        mean([p.median_rank for p in parts]), mean([p.mean_rank for p in parts]),
        mean([p.ties for p in parts]), sum(p.queries for p in parts),
    )  # fmt: skip


def _both(to_image: Retrieval, to_text: Retrieval) -> CrossModal:
    rsum = 100 * (sum(to_image.recall.values()) + sum(to_text.recall.values()))
    return CrossModal(to_image, to_text, rsum)
