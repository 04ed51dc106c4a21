"""How far words and regions are apart as two piles of earth: optimal transport by proximal points.

IPOT (Xie et al. 2020) finds the plan; UNITER (Chen et al. 2020, section 3.2; released code `model/ot.py` and
`pretrain.py`) aligns words with regions by it. A plan T_k is diag(u) A^k diag(v) with A = e^(-C / beta), so
an iteration multiplies a running power by A and finds two vectors; u and v move into it every few
iterations, before anything leaves the range of float32.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B pairs, M words, N regions, D features. The batch is the last axis inside: sums run along vectors.

ABSORB = 4
"""iterations after which u and v move into the plan: (C - its column's minimum) / beta up to 20 is safe in
float32"""


def cosine_cost(words: Tensor, regions: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """1 - cosine of each word with each region, in 0..2.

    Args:
        words: (B, M, D) float.
        regions: (B, N, D) float.
        epsilon: least length by which a vector is divided.

    Returns:
        (B, M, N) float32 or float64; 1 for a vector of zeros.
    """
    units = (normalize(widen(each), dim=-1, eps=epsilon) for each in (words, regions))
    return 1 - torch.einsum("bmd,bnd->bmn", *units)


def transport_plan(
    cost: Tensor,
    word_mask: Tensor | None = None,
    region_mask: Tensor | None = None,
    *,
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Tensor:
    """The plan T that carries equal masses of the words to equal masses of the regions, nearly at least cost.

    T = 1, sigma = 1/M, then again and again: Q = e^(-C / beta) T; `inner` times delta = 1 / (N Q^T sigma),
    sigma = 1 / (M Q delta); T = diag(sigma) Q diag(delta). C = [[0, 1], [1, 0]] costs .1192029 after one
    iteration and 4.5398e-5 after five.

    Args:
        cost: (B, M, N) float; within a column differences up to 20 beta, beyond which float32 loses words.
        word_mask: (B, M) bool: no padding; None: all.
        region_mask: (B, N) bool: no padding; None: all.
        beta: of the proximal term: smaller is faster and less stable.
        iterations: of the outer loop.
        inner: of the inner loop.

    Returns:
        (B, M, N), without gradient. Rows add up to 1/M, columns to 1/N as nearly as it has converged; M and N
        without padding. All is 0 in padding, and where there are no words or no regions.
    """
    if iterations < 1 or inner < 1 or beta <= 0:
        raise UserError(
            f"beta {beta} must be above 0; {iterations} iterations and {inner} inner ones, at least 1"
        )
    B, M, N = cost.shape
    words = torch.ones(B, M, dtype=torch.bool, device=cost.device) if word_mask is None else word_mask
    regions = torch.ones(B, N, dtype=torch.bool, device=cost.device) if region_mask is None else region_mask
    words, regions = words & regions.any(1, keepdim=True), regions & words.any(1, keepdim=True)
    both = (words[:, :, None] & regions[:, None]).permute(1, 2, 0)
    cost_MNB = widen(cost.detach()).permute(1, 2, 0).masked_fill(~both, torch.inf)
    least = cost_MNB.amin(0, keepdim=True)  # what all of a column share changes delta only
    kernel = torch.exp((torch.where(least.isinf(), 0, least) - cost_MNB) / beta).contiguous()  # 0 in padding
    word_count, region_count = (mask.sum(1).to(kernel.dtype).clamp_min(1) for mask in (words, regions))
    # Sums in padding are 0, and 1 is added there: its factors stay finite, and meet zeros of the plan.
    word_pad, region_pad = ((~mask.mT).to(kernel.dtype).contiguous() for mask in (words, regions))

    power, spare = kernel.clone(), torch.empty_like(kernel)
    u = torch.ones_like(word_pad)  # T = diag(u) power diag(v)
    start = u / word_count  # u times sigma
    for step in range(1, iterations + 1):
        for _ in range(inner):
            mass = torch.mul(power, start[:, None], out=spare).sum(0)
            v = torch.addcmul(region_pad, mass, region_count).reciprocal_()  # v times delta
            mass = torch.mul(power, v, out=spare).sum(1)
            start = torch.addcmul(word_pad, mass, word_count).reciprocal_()
        sigma, u = start / u, start
        if step == iterations or step % ABSORB == 0:
            power.mul_(u[:, None]).mul_(v)
            u = torch.ones_like(u)
        start = u * sigma
        if step < iterations:
            power.mul_(kernel)
    return power.permute(2, 0, 1)


def transport_distance(
    cost: Tensor,
    word_mask: Tensor | None = None,
    region_mask: Tensor | None = None,
    *,
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Tensor:
    """Cost of the plan, sum of T * C. Gradient flows through the cost, not through the plan.

    Args:
        cost: (B, M, N) float.
        word_mask: (B, M) bool: no padding; None: all.
        region_mask: (B, N) bool: no padding; None: all.
        beta: see `transport_plan`.
        iterations: see `transport_plan`.
        inner: see `transport_plan`.

    Returns:
        (B,) float32 or float64. A constant cost c gives c.
    """
    plan = transport_plan(cost, word_mask, region_mask, beta=beta, iterations=iterations, inner=inner)
    return torch.where(plan > 0, plan * widen(cost), 0).sum((1, 2))


def word_region_alignment(
    words: Tensor,
    regions: Tensor,
    word_mask: Tensor | None = None,
    region_mask: Tensor | None = None,
    *,
    matched: Tensor | None = None,
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Objective:
    """Transport distance of words and regions: small where they match, large where not (WRA).

    The paper minimises the distance of matching pairs. UNITER's code takes
    (sum over matching pairs - sum over others) / (number of pairs), and adds .1 of it to the matching loss.

    Args:
        words: (B, M, D) float, contextual.
        regions: (B, N, D) float, contextual.
        word_mask: (B, M) bool: no padding; None: all.
        region_mask: (B, N) bool: no padding; None: all.
        matched: (B,) int64 or bool: 1 for a match, 0 for none, -100 ignored. None: all match.
        beta: see `transport_plan`.
        iterations: see `transport_plan`.
        inner: see `transport_plan`.

    Returns:
        The loss, which is negative where matches are nearer than the others; aux: matched and unmatched, the
        mean distances.
    """
    cost = cosine_cost(words, regions)
    distance = transport_distance(cost, word_mask, region_mask, beta=beta, iterations=iterations, inner=inner)
    labels = (
        torch.ones(len(cost), dtype=torch.long, device=cost.device) if matched is None else matched.long()
    )
    sign = torch.where(labels == 1, 1.0, -1.0).to(distance.dtype)
    aux = {
        "matched": mean_over(distance.detach(), labels == 1),
        "unmatched": mean_over(distance.detach(), labels == 0),
    }
    return Objective(mean_over(distance * sign, labels != IGNORE), aux)
