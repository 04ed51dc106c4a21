"""Which words name which box: losses over scores of boxes with tokens, and over aligned embeddings.

GLIP (Li et al. 2022; released `maskrcnn_benchmark/layers/sigmoid_focal_loss.py` and `modeling/rpn/loss.py`):
binary scores of each box with each token. MDETR (Kamath et al. 2021, section 2.2.2; released
`models/mdetr.py`): a box predicts a distribution over the positions of its phrase, and box and token
embeddings attract each other.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: B images, Q boxes or queries of an image, L tokens, T matched boxes over the whole batch, D
# features.


def phrase_positions(matches: Tensor, phrases: Tensor, queries: int, batch: int) -> Tensor:
    """The tokens of each query's phrase: none for queries that match no box.

    Args:
        matches: (T, 2) int64: image and query of each true box.
        phrases: (T, L) bool: the tokens that name it.
        queries: Q.
        batch: B.

    Returns:
        (B, Q, L) bool.
    """
    found = torch.zeros(batch, queries, phrases.shape[1], dtype=torch.bool, device=phrases.device)
    found[matches[:, 0], matches[:, 1]] = phrases
    return found


def phrase_grounding(
    logits: Tensor,
    positions: Tensor,
    token_mask: Tensor | None = None,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    boxes: Tensor | float | None = None,
) -> Objective:
    """Whether each token names each box: focal or binary cross entropy (GLIP).

    loss = 1/boxes sum over boxes and tokens of a (1 - p)^gamma (- log p), with p the probability of what is
    true and a = alpha for a token that names the box, 1 - alpha for others. gamma = 0 without alpha is binary
    cross entropy, ln 2 a token for scores of 0.

    Args:
        logits: (B, Q, L) float.
        positions: (B, Q, L) bool: the token names the box.
        token_mask: (B, L) bool: no padding; None: all.
        gamma: how much what is easy counts less.
        alpha: weight of tokens that name a box; None: all weigh 1.
        boxes: by which the sum is divided, such as the mean over devices of boxes with a phrase; None: those
            of this batch, at least 1.

    Returns:
        The loss; aux: recall of true tokens at probability .5, boxes with a phrase.
    """
    logits = widen(logits)
    kept = torch.ones_like(positions) if token_mask is None else token_mask[:, None].expand_as(positions)
    target = positions.to(logits.dtype)
    losses = binary_cross_entropy_with_logits(logits, target, reduction="none")
    if gamma:
        losses = losses * (-torch.expm1(-losses)).clamp_min(0) ** gamma  # the loss is - log p
    if alpha is not None:
        losses = losses * torch.where(positions, alpha, 1 - alpha)
    named = (positions & kept).any(2).sum()
    aux = {"recall": mean_over((logits.detach() > 0).float(), positions & kept), "boxes": named}
    return Objective(torch.where(kept, losses, 0).sum() / _least_one(named if boxes is None else boxes), aux)


def soft_token_prediction(
    logits: Tensor, positions: Tensor, *, no_object: float = 0.1, boxes: Tensor | float | None = None
) -> Objective:
    """Cross entropy of each query with equal shares over its phrase's positions, or with no object (MDETR).

    loss = 1/boxes sum over queries of w (- sum_j q_j log P(j)); q = 1/n at the n positions of the phrase, w =
    1; queries without one: q = 1 at the last class, w = `no_object`. One query, uniform over 256 classes: ln
    256.

    Args:
        logits: (B, Q, L + 1) float: positions, and last no object. The published model has 255 + 1.
        positions: (B, Q, L) bool: see `phrase_positions`.
        no_object: weight of queries without a phrase.
        boxes: by which the sum is divided; None: the queries with a phrase, at least 1.

    Returns:
        The loss; aux: accuracy, whether the likeliest class of a query with a phrase is one of its positions;
        boxes with a phrase.
    """
    logs = log_softmax(widen(logits), -1)
    named = positions.any(-1)
    target = torch.cat([positions, ~named[..., None]], -1).to(logs.dtype)
    losses = -(logs * target / target.sum(-1, keepdim=True)).sum(-1) * torch.where(named, 1.0, no_object)
    guess = logs.detach().argmax(-1, keepdim=True)
    hits = target.gather(-1, guess)[..., 0]
    aux = {"accuracy": mean_over(hits, named), "boxes": named.sum()}
    return Objective(losses.sum() / _least_one(named.sum() if boxes is None else boxes), aux)


def contrastive_alignment(
    queries: Tensor,
    tokens: Tensor,
    positions: Tensor,
    token_mask: Tensor | None = None,
    *,
    temperature: float = 0.07,
    boxes: Tensor | float | None = None,
) -> Objective:
    """Boxes contrast the tokens of their phrase with all tokens, and tokens their boxes with all (MDETR).

    loss = 1/(2 boxes) [sum over boxes of (log sum_j e^s_ij - mean over its tokens of s_ij) + sum over tokens
    of (log sum_i e^s_ij - mean over its boxes of s_ij)]. One box with one of two tokens at equal scores: ln 2
    / 2.

    Args:
        queries: (B, Q, D) float, of length 1.
        tokens: (B, L, D) float, of length 1.
        positions: (B, Q, L) bool: see `phrase_positions`.
        token_mask: (B, L) bool: no padding. None: all, as in the released code, whose boxes contrast their
            tokens with padding too.
        temperature: by which scores are divided.
        boxes: by which the sum is divided; None: the queries with a phrase, at least 1.

    Returns:
        The loss; aux: box_to_token and token_to_box, the two sums over boxes.
    """
    scores = torch.einsum("bqd,bld->bql", widen(queries), widen(tokens)) / temperature
    if token_mask is not None:
        scores = scores.masked_fill(~token_mask[:, None], torch.finfo(scores.dtype).min)
        positions = positions & token_mask[:, None]
    count = _least_one(positions.any(2).sum() if boxes is None else boxes)
    halves = []
    for axis in (2, 1):
        near = torch.where(positions, scores, 0).sum(axis) / positions.sum(axis).clamp_min(1)
        losses = torch.where(positions.any(axis), scores.logsumexp(axis) - near, 0)
        halves.append(losses.sum() / count)
    aux = {"box_to_token": halves[0].detach(), "token_to_box": halves[1].detach()}
    return Objective((halves[0] + halves[1]) / 2, aux)


def _least_one(count: Tensor | float) -> Tensor:
    return torch.as_tensor(count).clamp_min(1)
