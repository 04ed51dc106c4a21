"""Patch selection: the patches that a text asks for go on, the others leave in one token.

The paper (Jiang et al. 2023, COPA) drops patches of low score half-way through the vision transformer; its
code for that is not public, so what follows is ours, guided by the arguments that TiMix's released code
still hands around, and by EViT (Liang et al. 2022) for the fused token. With p the detector's probabilities,
c the attention of CLS in the last block before, N patches, and z(x) = (x - mean) / deviation over an image's
patches (0 where all are equal),

    s = alpha z(log p) + (1 - alpha) z(c),   k = floor(keep N)
    kept = CLS, the k patches of highest s in the order of the image, and
           the mean of the others, with weights proportional to exp z(s)

Of equal scores the patch further up and left is kept. Scores have no gradient: the detector learns from boxes
(patch-text alignment), not through what it drops.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nonet.kernels.patch_select import patch_select, standardised
from pta_vlp.select_options import kept_count as kept_count

# Shapes: B images, E pairs of one image and one text, N patches, S tokens, d width.


class Selected(NamedTuple):
    """The tokens that go on.

    Attributes:
        tokens: (E, 1 + k, d), or (E, 2 + k, d) with the fused token last.
        kept: (E, k) int64 in 0..N-1, ascending: numbers of the kept patches, row by row.
        scores: (E, N) float32, what they were selected by.
    """

    tokens: Tensor
    kept: Tensor
    scores: Tensor


def selection_scores(log_scores: Tensor | None, attention: Tensor | None, alpha: float = 1.0) -> Tensor:
    """What patches are selected by: the text's scores, CLS attention, or a mixture.

    Args:
        log_scores: (E, N) log of the detector's probabilities; None: alpha is 0.
        attention: (E, N) shares of CLS's attention; None: alpha is 1.
        alpha: share of the detector.

    Returns:
        (E, N) float32: alpha z(log_scores) + (1 - alpha) z(attention), without a gradient.

    Raises:
        ValueError: a share above 0 for what is None.
    """
    parts = ((alpha, log_scores, "log_scores"), (1 - alpha, attention, "attention"))
    absent = [name for share, part, name in parts if share and part is None]
    if absent:
        raise ValueError(f"alpha is {alpha:g}, which needs {absent[0]}")
    return sum(share * standardised(part.detach().float()) for share, part, _ in parts if share)  # type: ignore[union-attr,return-value]


def select(
    tokens: Tensor, scores: Tensor, keep: float, fuse: bool = True, *, of_image: Tensor | None = None
) -> Selected:
    """Keep CLS and the patches of highest score; the others leave in one fused token.

    Args:
        tokens: (B, 1 + N, d) behind a block of the vision transformer, CLS first; a gradient passes.
        scores: (E, N) float, more for what is kept, on any scale; no gradient.
        keep: share of patches to keep.
        fuse: add the fused token, if anything is dropped.
        of_image: (E,) int64 in 0..B-1, the image of each row of scores; None: row i is of image i.

    Raises:
        UserError: keep is not a share.
    """
    found = patch_select(tokens, scores, kept_count(keep, scores.shape[1]), fuse=fuse, of_image=of_image)
    return Selected(found.tokens, found.kept, scores)


def recall_at_keep(kept: Tensor, labels: Tensor) -> Tensor:
    """Which share of a text's patches were kept: the number that foretells what dropping costs a task.

    Args:
        kept: (E, k) int64, as in `Selected`.
        labels: (E, N) bool or 0 and 1, the patches of the text's boxes.

    Returns:
        (E,) float32 in 0..1; NaN for a text without patches.
    """
    belongs = labels.bool()
    return torch.gather(belongs, 1, kept).sum(1) / belongs.sum(1)
