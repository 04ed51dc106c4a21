"""Losses that ask right pairs to score above wrong ones by a margin.

VSE++ (Faghri et al. 2017; released `model.py`): a hinge over all negatives or over the hardest. HERO (Li et
al. 2020; released `model/pretrain.py`) ranks videos for queries and queries for videos, of which each video
may have several, with a hinge or a smooth version, and later weights hard negatives up.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: B pairs, Q queries, V videos.

Kind = Literal["hinge", "lse"]


def hinge_ranking(
    similarity: Tensor,
    *,
    margin: float = 0.1,
    kind: Kind = "hinge",
    negatives: Literal["mean", "sum", "hardest"] = "mean",
    same: Tensor | None = None,
) -> Objective:
    """Images rank their text above others, and texts their image.

    hinge: max(0, margin + s_neg - s_pos); lse: log(1 + e^(s_neg - s_pos)). Both directions are added up, and
    the mean is over pairs. With the identity matrix of size 2 the hinge with margin 1.5 gives 1.

    Args:
        similarity: (B, B) float, the matching pairs on the diagonal.
        margin: of the hinge; .2 in VSE++, .1 in HERO.
        kind: which function.
        negatives: mean over a row's negatives (HERO), their sum (VSE++ adds up pairs too), or the hardest
            alone (VSE++ with `max_violation`).
        same: (B, B) bool: pairs off the diagonal that match as well, and are no negatives.

    Returns:
        The loss; aux: image_to_text and text_to_image, the two parts; violations, the share of negatives that
        score above the positive less the margin.
    """
    if similarity.shape[0] != similarity.shape[1]:
        raise UserError(f"similarities of shape {tuple(similarity.shape)} are not square")
    similarity = widen(similarity)
    allowed = ~torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    if same is not None:
        allowed &= ~same
    positive = similarity.diagonal()
    parts = [
        _rank(positive[:, None], scores, mask, margin, kind, negatives)
        for scores, mask in ((similarity, allowed), (similarity.mT, allowed.mT))
    ]
    above = (similarity.detach() > positive.detach()[:, None] - margin).float()
    aux = {
        "image_to_text": parts[0].detach(),
        "text_to_image": parts[1].detach(),
        "violations": mean_over(above, allowed),
    }
    return Objective(parts[0] + parts[1], aux)


def video_query_ranking(
    scores: Tensor,
    video_of: Tensor,
    *,
    margin: float = 0.1,
    kind: Kind = "hinge",
    hard_pool: int = 0,
    hard_weight: float = 10.0,
    other_weight: float = 0.1,
    query_weight: float = 1.0,
) -> Objective:
    """Queries rank their video above others, and their video ranks them above others' queries (HERO's VSM).

    loss = mean over queries of the mean over other videos, and as much of that over queries of other videos.
    HERO weights both with 8 in pre-training.

    Args:
        scores: (Q, V) float: cosines.
        video_of: (Q,) int64 in 0..V-1: a video may have several queries, and any number of them.
        margin: of the hinge.
        kind: hinge, or lse: log(1 + e^(s_neg - s_pos)).
        hard_pool: the best-scored negatives that count as hard; 0: all count alike. HERO begins with 20 at
            step 20 000 of pre-training.
        hard_weight: of the hard negatives.
        other_weight: of the others, once there are hard ones.
        query_weight: of the ranking of queries.

    Returns:
        The loss; aux: videos and queries, the two rankings.
    """
    scores = widen(scores)
    own = torch.arange(scores.shape[1], device=scores.device) == video_of[:, None]  # (Q, V)
    positive = scores.gather(1, video_of[:, None])
    of_video = scores.mT[video_of]  # (Q, Q): how the video of query i scores query j
    parts = []
    for negatives, allowed in ((scores, ~own), (of_video, video_of[:, None] != video_of)):
        losses = _exceed(positive, negatives, margin, kind)
        if hard_pool:
            order = (
                negatives.detach().masked_fill(~allowed, -torch.inf).argsort(1, descending=True).argsort(1)
            )
            losses = losses * torch.where(order < hard_pool, hard_weight, other_weight)
        each = torch.where(allowed, losses, 0).sum(1) / allowed.sum(1).clamp_min(1)
        parts.append(mean_over(each, allowed.any(1)))
    aux = {"videos": parts[0].detach(), "queries": parts[1].detach()}
    return Objective(parts[0] + query_weight * parts[1], aux)


def _exceed(positive: Tensor, negative: Tensor, margin: float, kind: Kind) -> Tensor:
    if kind == "hinge":
        return (margin + negative - positive).clamp_min(0)
    if kind == "lse":
        return softplus(negative - positive)
    raise UserError(f"no ranking loss {kind!r}; there are hinge and lse")


def _rank(
    positive: Tensor, scores: Tensor, allowed: Tensor, margin: float, kind: Kind, negatives: str
) -> Tensor:
    losses = torch.where(allowed, _exceed(positive, scores, margin, kind), 0)
    if negatives == "hardest":
        each = losses.amax(1)
    elif negatives == "sum":
        each = losses.sum(1)
    elif negatives == "mean":
        each = losses.sum(1) / allowed.sum(1).clamp_min(1)
    else:
        raise UserError(f"no way {negatives!r} to join negatives; there are mean, sum and hardest")
    return mean_over(each, allowed.any(1))
