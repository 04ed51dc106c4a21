"""How good generated images are, from given features: FID, IS, CLIPScore, R-precision (numpy).

Sources: Heusel et al. 2017 (FID), Salimans et al. 2016 (IS), Hessel et al. 2021 (CLIPScore, w = 2.5), Xu et
al. 2018 (R-precision: the caption among 99 others). The numbers are those of papers only with the papers'
networks: FID and IS need Inception v3 with the original weights and resizing, CLIPScore CLIP ViT-B/32 and the
prompt "A photo depicts". Nothing here loads a network.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

WEIGHT = 2.5  # of CLIPScore


def frechet_distance(generated: ArrayLike, real: ArrayLike) -> float:
    """FID of two sets of features: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), C with n - 1; 0 is best.

    Args:
        generated: (n, d) features, n >= 2.
        real: (m, d) features, m >= 2. With fewer images than dimensions the number is biased upwards.
    """
    first, second = _rows(generated, "features of generated images"), _rows(real, "features of real images")
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise UserError(
            f"features need equal widths and at least 2 images, got {first.shape} and {second.shape}"
        )
    c1, c2 = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # the eigenvalues of C1 C2 are those of C1^(1/2) C2 C1^(1/2), which is symmetric
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c2 @ root), 0, None)).sum()
    gap = first.mean(0) - second.mean(0)
    return max(0.0, float(gap @ gap + np.trace(c1) + np.trace(c2) - 2 * shared))


def inception_score(probabilities: ArrayLike) -> float:
    """Exp of the mean KL(p(y | image) || p(y)), from 1 to the number of classes.

    Certain and evenly spread over k classes it is k; `inception_score([[1, 0], [0, 1]])` is 2.

    Args:
        probabilities: (n, classes) of each image, rows that sum to 1. Papers average over 10 splits of 5,000.
    """
    p = _rows(probabilities, "probabilities")
    if (p < 0).any() or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise UserError("probabilities of an image must be at least 0 and sum to 1")
    mean = p.mean(0)
    logs = np.log(np.divide(p, mean, out=np.ones_like(p), where=p > 0))
    return float(np.exp((p * logs).sum(1).mean()))


def clipscore(images: ArrayLike, texts: ArrayLike) -> float:
    """Mean of 2.5 max(cos, 0) over pairs, 0..2.5.

    `clipscore([[1, 0]], [[3, 4]])` is 1.5.

    Args:
        images: (n, d) embeddings, none of them 0.
        texts: (n, d) embeddings of their captions.
    """
    left, right = _rows(images, "embeddings of images"), _rows(texts, "embeddings of texts")
    if left.shape != right.shape:
        raise UserError(f"an image needs its text: embeddings have shapes {left.shape} and {right.shape}")
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    if not norms.all():
        raise UserError(
            f"the embedding of pair {int(np.argmin(norms))} (from 0) is 0, so that it has no direction"
        )
    return float(WEIGHT * np.clip((left * right).sum(1) / norms, 0, None).mean())


def r_precision(similarity: ArrayLike) -> float:
    """Share of images that are closer to their own caption than to all others, 0..1; a tie is a miss.

    Args:
        similarity: (n, captions), the image's own caption in column 0 (papers: 100 captions).
    """
    matrix = _rows(similarity, "similarities")
    if matrix.shape[1] < 2:
        raise UserError("R-precision needs the own caption and at least one other")
    return float((matrix[:, 0] > matrix[:, 1:].max(1)).mean())


def _rows(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise UserError(f"{what} must be a matrix of finite numbers; its shape is {array.shape}")
    return array
