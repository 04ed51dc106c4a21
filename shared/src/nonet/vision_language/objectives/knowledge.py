"""Masking along knowledge, and objectives of opinions: what ROSITA and VLP-MABSA add.

ROSITA (Cui et al. 2021) links words and regions in one graph (objects, attributes, relations, overlapping
boxes, words for regions) and masks an anchor's neighbours with it. VLP-MABSA (Ling, Yu and Xia 2022)
predicts the sentiment of a post, and writes aspects and opinions as places in its text.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import log_softmax

from nonet.errors import UserError
from nonet.vision_language.objectives.language import causal_lm, masked_lm, token_losses
from nonet.vision_language.objectives.masking import choose
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B examples, N nodes (tokens and regions), T steps of a decoder, S places of the source, K labels,
# D width.


def choose_anchors(
    candidates: Tensor,
    links: Tensor,
    generator: Generator,
    *,
    share: float = 0.15,
    chance: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Random anchors, and neighbours of theirs that are masked with them.

    Args:
        candidates: (B, N) bool: nodes that may be masked, tokens and regions.
        links: (B, N, N) bool, [b, i, j]: j is a neighbour of i; it need not be symmetric.
        generator: of the draws.
        share: of candidates that are anchors.
        chance: (B, N, N) or a number: that a neighbour is masked with its anchor. With several anchors it has
            as many chances.

    Returns:
        anchors and neighbours: (B, N) bool, without common nodes.
    """
    anchors = choose(candidates, share, generator)
    draws = torch.rand(links.shape, generator=generator, device=links.device)
    struck = (links & anchors[:, :, None] & (draws < chance)).any(1)
    return anchors, struck & candidates & ~anchors


def knowledge_masking(logits: Tensor, labels: Tensor, anchors: Tensor) -> Objective:
    """Cross entropy of masked anchors and of the neighbours that are masked with them.

    loss = - 1/M sum over all masked nodes of log P(w_m | what is not masked).

    Args:
        logits: (B, N, V) float.
        labels: (B, N) int64: tokens, or detector's classes of regions; -100 where nothing is masked.
        anchors: (B, N) bool.

    Returns:
        The loss; aux: anchors, neighbours (the means of each).
    """
    losses = token_losses(logits, labels)
    counted = labels != IGNORE
    parts = {"anchors": counted & anchors, "neighbours": counted & ~anchors}
    aux = {name: mean_over(losses.detach(), part) for name, part in parts.items()}
    return Objective(mean_over(losses, counted), aux)


def sentiment_prediction(logits: Tensor, labels: Tensor) -> Objective:
    """Cross entropy of the sentiment of a whole post: negative, neutral or positive (VLP-MABSA's MSP).

    loss = - 1/B sum of log P(s | text, image); uniform logits give ln 3.

    Args:
        logits: (B, 3) float.
        labels: (B,) int64, -100 for posts without one.

    Returns:
        The loss; aux: accuracy, count.
    """
    return masked_lm(logits, labels)


def place_logits(decoder: Tensor, source: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Logits over the labels and the places of the source: a pointer network's output.

    Args:
        decoder: (B, T, D) float: hidden states.
        source: (B, S, D) float: representations of the source's tokens.
        labels: (K, D) float: embeddings of the labels, such as the three sentiments and the end.
        valid: (B, S) bool: places that may be pointed to.

    Returns:
        (B, T, K + S) float32: K labels, then S places, -inf for those that are not valid.
    """
    decoder = widen(decoder)
    source, labels = source.to(decoder.dtype), labels.to(decoder.dtype)
    places = torch.einsum("btd,bsd->bts", decoder, source).masked_fill(~valid[:, None, :], -torch.inf)
    return torch.cat([torch.einsum("btd,kd->btk", decoder, labels), places], -1)


def aspect_places(logits: Tensor, targets: Tensor) -> Objective:
    """Cross entropy of places and labels that a decoder writes one after the other (AOE, JMASA).

    An aspect is written as its first and last place, and, where it is asked for, its sentiment:
    (K + start, K + end, sentiment). loss = - 1/N sum over t of log P(y_t | y_<t, text, image).

    Args:
        logits: (B, T, K + S) float of `place_logits`.
        targets: (B, T) int64: labels in 0..K-1, places from K; -100 behind the end.

    Returns:
        The loss; aux: perplexity, count of targets.

    Raises:
        UserError: a target is a place that the logits exclude; its loss would be infinite.
    """
    counted = targets != IGNORE
    reached = log_softmax(widen(logits.detach()), -1).gather(-1, targets.clamp_min(0)[..., None]).squeeze(-1)
    if bool((counted & (reached == -torch.inf)).any()):
        raise UserError("a target points to a place of the source that is padding")
    return causal_lm(logits, targets, shift=False)
