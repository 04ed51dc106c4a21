"""Select tokens of patches by score: CLS, the k best in the order of the image, and the mean of the others.

    kept = the k highest scores, of equal ones the lower index
    w_i  = exp z(s)_i / sum over the dropped, z(s) = (s - mean) / deviation over all N (0 if all are equal)
    out  = [CLS; kept tokens, ascending; sum over the dropped of w_i token_i]

Token reorganisation of EViT (Liang et al. 2022), with weights that do not depend on the scale of the scores,
so that log-probabilities, attention and mixtures of both serve alike (ours). Scores and weights have no
gradient; that of the tokens is a scatter. Several rows of scores may ask for the same image, whose tokens are
not copied for it.

Cost: N log N of scores; each token is read once and k + 2 are written, d numbers each. k is a plain number,
so shapes are static.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonet.kernels.dispatch import backend

# Shapes: B images, E rows of scores (pairs of image and text), N patches, S = 1 + N, d width, L tokens out.


FAR = 1e15  # what infinity counts as: its square is still a float32


class PatchSelected(NamedTuple):
    """Selected tokens.

    Attributes:
        tokens: (E, 1 + k [+ 1], d), dtype of the input: CLS, kept patches, and the fused token.
        kept: (E, k) int64 in 0..N-1, ascending.
    """

    tokens: Tensor
    kept: Tensor


def standardised(scores: Tensor) -> Tensor:
    """Scores (..., N) less their mean, over their deviation (of all N): float; zeros where all are equal."""
    moved = scores - scores.amax(-1, keepdim=True)  # exact zeros where all are equal
    moved = moved - moved.mean(-1, keepdim=True)
    deviation = moved.square().mean(-1, keepdim=True).sqrt()
    return torch.where(deviation > 0, moved / deviation, 0.0)


def patch_select(
    tokens_BSd: Tensor, scores_EN: Tensor, k: int, *, fuse: bool = True, of_image: Tensor | None = None
) -> PatchSelected:
    """Keep CLS and the k patches of highest score, and fuse the others.

    Args:
        tokens_BSd: (B, 1 + N, d) float, CLS first; a gradient passes, once.
        scores_EN: (E, N) float, of any scale; NaN counts as -infinity. No gradient.
        k: in 1..N.
        fuse: append the weighted mean of the dropped patches; with k = N there are none, and no token.
        of_image: (E,) int64 in 0..B-1, the image of each row of scores; None: E = B, row i is of image i.

    Raises:
        ValueError: shapes or k do not fit.
    """
    (B, S, _), (E, N) = tokens_BSd.shape, scores_EN.shape
    if S != 1 + N:
        raise ValueError(f"scores of {N} patches do not fit {S} tokens, which are CLS and {S - 1} patches")
    if not 1 <= k <= N:
        raise ValueError(f"k is {k}; of {N} patches 1 to {N} can be kept")
    if (B if of_image is None else len(of_image)) != E:
        rows = f"{B} images" if of_image is None else f"{len(of_image)} numbers in of_image"
        raise ValueError(f"{E} rows of scores do not fit {rows}")
    scores = scores_EN.detach()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    kept, weights = _choose(scores.nan_to_num(-FAR, FAR, -FAR), k, fuse and k < N)
    with torch.autocast(tokens_BSd.device.type, enabled=False):  # it would sum float32 tokens in bfloat16
        found: Tensor = _Move.apply(tokens_BSd, kept, weights, of_image)
    return PatchSelected(found, kept)


def _choose(scores: Tensor, k: int, fuse: bool) -> tuple[Tensor, Tensor | None]:
    """Kept patches (E, k), ascending, and weights (E, N) of the dropped ones, 0 at kept ones."""
    if backend(scores) == "triton":
        from nonet.kernels.patch_select_triton import choose

        return choose(scores, k, fuse)
    best = scores.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    kept = best.sort(dim=-1).values
    if not fuse:
        return kept, None
    shares = standardised(scores).scatter(1, kept, float("-inf")).softmax(-1)
    return kept, shares


class _Move(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, kept: Tensor, weights: Tensor | None, of_image: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(kept, weights, of_image)
        ctx.size = tokens.shape
        if backend(tokens) == "triton":
            from nonet.kernels.patch_select_triton import move

            return move(tokens, kept, weights, of_image)
        B, S, d = tokens.shape
        index = _index(kept, weights, of_image, S)
        found = tokens.reshape(B * S, d).index_select(0, index.flatten()).view(*index.shape, d)
        if weights is not None:
            found[:, -1] = _fused(tokens, weights, of_image)
        return found

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        kept, weights, of_image = ctx.saved_tensors
        if backend(gradient) == "triton":
            from nonet.kernels.patch_select_triton import move_backward

            return move_backward(gradient, kept, weights, of_image, ctx.size), None, None, None
        (B, S, d), k = ctx.size, kept.shape[1]
        found = gradient.new_zeros(B * S, d)
        index = _index(kept, None, of_image, S)
        found.index_add_(0, index.flatten(), gradient[:, : 1 + k].reshape(-1, d))
        found = found.view(B, S, d)
        if weights is not None:
            spread = weights.to(gradient.dtype)[:, :, None] * gradient[:, -1:]
            if of_image is None:
                found[:, 1:] += spread
            else:
                found[:, 1:].index_add_(0, of_image, spread)
        return found, None, None, None


def _index(kept: Tensor, weights: Tensor | None, of_image: Tensor | None, S: int) -> Tensor:
    """Rows of (B * S, d) that go out, (E, L); the fused token's place is that of CLS, to be written over."""
    first = torch.arange(len(kept), device=kept.device) if of_image is None else of_image
    first = first[:, None] * S
    return torch.cat([first, first + 1 + kept, *([] if weights is None else [first])], 1)


def _fused(tokens: Tensor, weights: Tensor, of_image: Tensor | None) -> Tensor:
    """(E, d): weighted sums of patches."""
    weights = weights.to(tokens.dtype)
    if of_image is None:
        return torch.bmm(weights[:, None], tokens[:, 1:])[:, 0]
    found = tokens.new_empty(len(weights), tokens.shape[2])
    for image in of_image.unique().tolist():
        rows = (of_image == image).nonzero()[:, 0]
        found[rows] = weights[rows] @ tokens[image, 1:]
    return found
