"""Does the image belong to the text: the loss, and negatives that are hard to tell from the positives.

Matching as a two-way classification is ViLBERT's, LXMERT's and UNITER's (2019; half of UNITER's pairs have
another image). ALBEF (Li et al. 2021, section 3.2; released code `models/model_pretrain.py`) draws one
negative for each image and each text from the contrastive similarities; BLIP's retrieval code leaves out
those that show the same image. Both draw in a loop over the batch, here it is one draw.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from nonet.errors import UserError
from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: P pairs, Q queries, K candidates (those of all devices, in a run on several), B pairs that match.


class MatchingPairs(NamedTuple):
    """Which image meets which text: first the B that match, then B of text and drawn image, then B of image
    and drawn text.

    Attributes:
        images: (3B,) int64, places among the candidate images.
        texts: (3B,) int64, places among the candidate texts.
        labels: (3B,) int64: 1 for a match, 0 for none, -100 where there was no negative to draw.
    """

    images: Tensor
    texts: Tensor
    labels: Tensor


def image_text_matching(logits: Tensor, labels: Tensor) -> Objective:
    """Cross entropy of whether image and text belong together (ITM).

    loss = - 1/P sum of log P(y | image, text). Equal logits give ln 2 = 0.693147.

    Args:
        logits: (P, 2) float of the joint representation, class 1 for a match; or (P,), of a match alone.
        labels: (P,) int64: 1 for a match, 0 for none, -100 ignored.

    Returns:
        The loss; aux: accuracy, positives (share of matches), count of pairs.
    """
    counted = labels != IGNORE
    if logits.dim() == 1:
        target = labels.clamp_min(0).to(widen(logits).dtype)
        losses = binary_cross_entropy_with_logits(widen(logits), target, reduction="none")
        guesses = (logits.detach() > 0).long()
    else:
        losses = token_losses(logits, labels)
        guesses = logits.detach().argmax(-1)
    aux = {
        "accuracy": mean_over((guesses == labels).float(), counted),
        "positives": mean_over((labels == 1).float(), counted),
        "count": counted.sum(),
    }
    return Objective(mean_over(losses, counted), aux)


def hard_negatives(
    similarity: Tensor,
    generator: Generator,
    *,
    positives: Tensor | None = None,
    labels: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> Tensor:
    """One candidate for each query that does not belong to it, drawn with chances that grow as
    exp(similarity).

    Chances are a softmax over the allowed candidates alone, so that they never add up to 0, as they may where
    the own candidate has nearly all of a softmax over everything and is struck out afterwards.

    Args:
        similarity: (Q, K) float, divided by the temperature: the candidates of the batch, no queue.
        generator: of the draws, on the device of `similarity`.
        positives: (Q,) int64: the own candidate of each query. None: 0..Q-1, right on one device; on rank r
            it is r * Q + 0..Q-1.
        labels: (Q,) int64: candidates of the same label, such as captions of the same image, are not drawn.
        candidate_labels: (K,) int64; None: `labels`.

    Returns:
        (Q,) int64 in 0..K-1, and -1 where nothing is allowed.
    """
    queries, candidates = similarity.shape
    if positives is None:
        positives = torch.arange(queries, device=similarity.device)
    if labels is not None and candidate_labels is None:
        candidate_labels = labels
    if candidate_labels is not None and len(candidate_labels) != candidates:
        raise UserError(
            f"{candidates} candidates have {len(candidate_labels)} labels; give candidate_labels, one each"
        )
    allowed = torch.arange(candidates, device=similarity.device) != positives[:, None]
    if labels is not None and candidate_labels is not None:
        allowed &= labels[:, None] != candidate_labels
    scores = widen(similarity.detach()).masked_fill(~allowed, -torch.inf)
    # Nothing but -inf has no softmax: all that is allowed is equally likely then.
    scores = torch.where(scores.isneginf().all(1, keepdim=True), allowed.log(), scores)
    some = allowed.any(1)
    chances = torch.where(some[:, None], scores, 0.0).softmax(1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0].masked_fill(~some, -1)


def matching_pairs(image_negatives: Tensor, text_negatives: Tensor, *, first: int = 0) -> MatchingPairs:
    """The 3B pairs of ALBEF: one match to two that are none.

    Args:
        image_negatives: (B,) int64: the image drawn for each text, of `hard_negatives`; -1 for none.
        text_negatives: (B,) int64: the text drawn for each image.
        first: place of this device's first pair among the candidates, which are those of all devices.

    Returns:
        Places and labels.
    """
    own = torch.arange(len(image_negatives), device=image_negatives.device) + first
    labels = torch.cat(
        [
            torch.ones_like(own),
            *(torch.where(drawn < 0, IGNORE, 0) for drawn in (image_negatives, text_negatives)),
        ]
    )
    images = torch.cat([own, image_negatives.clamp_min(0), own])
    return MatchingPairs(images, torch.cat([own, own, text_negatives.clamp_min(0)]), labels)
