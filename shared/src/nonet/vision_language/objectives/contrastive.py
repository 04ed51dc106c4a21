"""Contrast of images and texts over a batch, a queue of earlier ones, or several right partners.

CLIP and ALIGN (2021): symmetric cross entropy over the batch. ALBEF (Li et al. 2021, section 3.2; released
code `models/model_pretrain.py`): keys of a momentum encoder, a queue of earlier keys, and targets that mix
what is right with what the momentum encoder finds similar. BLIP's retrieval code and UniCL (Yang et al. 2022)
count all that share a label as right. SigLIP (Zhai et al. 2023; big_vision, `siglip.py`): a sigmoid for each
pair. MIL-NCE (Miech et al. 2020; released `loss.py`): several texts may be right, and one is enough.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from nonet.errors import UserError
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over, widen

# Shapes: B queries, N keys (those of all devices, then a queue), D features, K texts of a video.


def contrastive_logits(
    queries: Tensor, keys: Tensor, temperature: Tensor | float, queue: Tensor | None = None
) -> Tensor:
    """Similarities of queries with the keys of the batch, and behind them with those of a queue.

    Args:
        queries: (B, D) float, of length 1.
        keys: (N, D) float: of the other modality, or of its momentum encoder.
        temperature: by which they are divided; .07 at the start, learned.
        queue: (M, D) float: earlier keys. No gradient flows into them.

    Returns:
        (B, N + M) float32 or float64.
    """
    every = keys if queue is None else torch.cat([keys, queue.detach().to(keys.dtype)])
    return widen(queries) @ widen(every).mT / temperature


def same_label_targets(labels: Tensor, candidate_labels: Tensor | None = None) -> Tensor:
    """Equal shares of 1 for all candidates of a query's label.

    Args:
        labels: (B,) int64, such as numbers of images that have several captions.
        candidate_labels: (N,) int64 of the keys, queue included; None: `labels`.

    Returns:
        (B, N) float32, each row with sum 1 or, without a candidate of its label, 0.
    """
    same = (labels[:, None] == (labels if candidate_labels is None else candidate_labels)).float()
    return same / same.sum(1, keepdim=True).clamp_min(1)


def momentum_targets(momentum_logits: Tensor, alpha: Tensor | float, targets: Tensor | None = None) -> Tensor:
    """Q = alpha softmax(S of the momentum encoders) + (1 - alpha) Y.

    Args:
        momentum_logits: (B, N) float: `contrastive_logits` of the momentum encoder's queries and the same
            keys.
        alpha: share of what it finds, in 0..1: from 0 to .4 over the first epoch in ALBEF.
        targets: Y as `image_text_contrastive` takes it.

    Returns:
        (B, N) float32 or float64, without gradient.
    """
    logits = widen(momentum_logits.detach())
    return alpha * logits.softmax(1) + (1 - alpha) * _shares(targets, logits)


def turned_targets(targets: Tensor, similarity: Tensor) -> Tensor:
    """What is right for each text, given what is right for each image: the transpose, in shares.

    Args:
        targets: as `image_text_contrastive` takes them.
        similarity: (B, B) float: of images with texts.

    Returns:
        (B, B) float32 or float64; each row adds up to 1, or to 0 where a text is right for no image.
    """
    turned = _shares(targets, widen(similarity)).mT
    return turned / turned.sum(1, keepdim=True).clamp_min(torch.finfo(turned.dtype).tiny)


def image_text_contrastive(
    image_to_text: Tensor,
    text_to_image: Tensor | None = None,
    *,
    targets: Tensor | None = None,
    text_targets: Tensor | None = None,
) -> Objective:
    """Symmetric cross entropy of images with texts and of texts with images (ITC, InfoNCE).

    loss = 1/2 [mean over images of - sum_j Q_ij log softmax_j(S_ij) + the same for texts]. The identity
    matrix of size 2 gives 0.3132617.

    Args:
        image_to_text: (B, N) float: similarities of B images with N >= B texts, divided by the temperature.
        text_to_image: (B, M) float of B texts with M images. None: the transposed matrix, which must be
            square.
        targets: what is right for each image: None, the text of its own number; (B,) int64, the text of that
            number (r * B + i on rank r), -100 for none; or (B, n) float, shares with n <= N, no share for
            what is behind them. Rows without a share count in no mean. No gradient flows into them.
        text_targets: the same for texts. None: `turned_targets` if `text_to_image` is None, else `targets`.

    Returns:
        The loss; aux: image_to_text and text_to_image, the two halves; accuracy, of images.

    Raises:
        UserError: no `text_to_image`, and a matrix that is not square; targets of another shape or kind.
    """
    if text_to_image is None:
        if image_to_text.shape[0] != image_to_text.shape[1]:
            raise UserError(
                f"similarities of shape {tuple(image_to_text.shape)} are not square: give text_to_image too"
            )
        text_to_image = image_to_text.mT
        if text_targets is None and targets is not None:
            text_targets = turned_targets(targets, image_to_text)
    image = _cross_entropy(image_to_text, targets)
    text = _cross_entropy(text_to_image, targets if text_targets is None else text_targets)
    right = _shares(targets, image_to_text.detach())
    hits = right.gather(1, image_to_text.detach().argmax(1, keepdim=True))[:, 0] > 0
    aux = {
        "image_to_text": image.detach(),
        "text_to_image": text.detach(),
        "accuracy": mean_over(hits.float(), right.sum(1) > 0),
    }
    return Objective((image + text) / 2, aux)


def unified_contrastive(similarity: Tensor, labels: Tensor) -> Objective:
    """Contrast in which all texts of an image's label are right, and all images of a text's (UniCL).

    With labels that are all different it is `image_text_contrastive`.

    Args:
        similarity: (B, B) float, divided by the temperature.
        labels: (B,) int64: classes of labelled images; a number of its own for each captioned one.

    Returns:
        As `image_text_contrastive`.
    """
    return image_text_contrastive(similarity, targets=same_label_targets(labels))


def sigmoid_contrastive(
    similarity: Tensor,
    scale: Tensor | float = 10.0,
    bias: Tensor | float = -10.0,
    positives: Tensor | None = None,
) -> Objective:
    """Whether each pair belongs together, by itself (SigLIP).

    loss = - 1/B sum over i, j of log sigmoid(z_ij (scale s_ij + bias)), z = 1 for a match and -1 else. The
    identity matrix of size 2 with scale 1 and bias 0 gives 1.0064089. The mean is over images only.

    Args:
        similarity: (B, N) float: cosines.
        scale: learned, 10 at the start.
        bias: learned, -10 at the start, as nearly all pairs are none.
        positives: (B, N) bool; None: the diagonal. A chunk with texts of another device has none.

    Returns:
        The loss; aux: accuracy of the pairs that match, and of those that do not.
    """
    logits = widen(similarity) * scale + bias
    if positives is None:
        positives = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    losses = -logsigmoid(torch.where(positives, logits, -logits))
    hits = ((logits.detach() > 0) == positives).float()
    aux = {"matches": mean_over(hits, positives), "others": mean_over(hits, ~positives)}
    return Objective(losses.sum() / max(len(logits), 1), aux)


def mil_nce(scores: Tensor, positives: Tensor, valid: Tensor | None = None) -> Objective:
    """Contrast with several candidates that may be right, of which any will do (MIL-NCE).

    loss = mean of - log(sum_P e^s / (sum_P e^s + sum_N e^s)). Two positives with s = 1 and a negative with
    s = 0 give 0.1688476.

    Args:
        scores: (B, N) float: dot products. The released code has no temperature.
        positives: (B, N) bool. Rows without one count in no mean.
        valid: (B, N) bool: what is a candidate at all; None: all.

    Returns:
        The loss; aux: accuracy, whether the best candidate is right.
    """
    scores = widen(scores)
    if valid is not None:
        scores = scores.masked_fill(~valid, -torch.inf)
        positives = positives & valid
    counted = positives.any(1)
    safe = torch.where(counted[:, None], scores, 0.0)  # rows of -inf have NaN as gradient
    right = safe.masked_fill(~(positives | ~counted[:, None]), -torch.inf)
    losses = safe.logsumexp(1) - right.logsumexp(1)
    hits = positives.gather(1, scores.detach().argmax(1, keepdim=True))[:, 0].float()
    return Objective(mean_over(losses, counted), {"accuracy": mean_over(hits, counted)})


def video_text_candidates(
    similarity: Tensor, *, positives_twice: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """What `mil_nce` takes, for videos with K texts each: texts of all videos, then videos for the own texts.

    Args:
        similarity: (B, B, K) float: video i with text k of video j.
        positives_twice: count the own pairs in both halves of the denominator, as the released code does; its
            loss has a floor of ln 2 then.

    Returns:
        scores, positives, valid: (B, 2BK).
    """
    B, _, K = similarity.shape
    own = torch.eye(B, dtype=torch.bool, device=similarity.device)[:, :, None].expand(B, B, K)
    scores = torch.cat([similarity, similarity.transpose(0, 1)], 1).flatten(1)
    positives = torch.cat([own, torch.zeros_like(own)], 1).flatten(1)
    valid = torch.cat([torch.ones_like(own), own if positives_twice else torch.zeros_like(own)], 1).flatten(1)
    return scores, positives, valid | torch.cat([torch.zeros_like(own), ~own], 1).flatten(1)


def _cross_entropy(logits: Tensor, targets: Tensor | None) -> Tensor:
    """Mean over rows of - sum of target * log softmax; targets of 0 meet no -inf."""
    logs = log_softmax(widen(logits), 1)
    shares = _shares(targets, logs)
    losses = -torch.where(shares > 0, shares * logs, 0).sum(1)
    return mean_over(losses, shares.sum(1) > 0)


def _shares(targets: Tensor | None, like: Tensor) -> Tensor:
    """Targets of any kind as shares of the shape and type of `like`."""
    rows, columns = like.shape
    if targets is not None and targets.is_floating_point():
        missing = columns - targets.shape[1]
        if targets.shape[0] != rows or missing < 0:
            raise UserError(
                f"targets of shape {tuple(targets.shape)} do not fit {rows} x {columns} similarities"
            )
        return torch.nn.functional.pad(targets.detach().to(like.dtype), (0, missing))
    if targets is None:
        if rows > columns:
            raise UserError(
                f"{rows} queries have {columns} keys: there is no own key for each, so give targets"
            )
        targets = torch.arange(rows, device=like.device)
    if targets.dim() != 1:
        raise UserError(
            f"targets of shape {tuple(targets.shape)} and {targets.dtype}: a matrix has float shares"
        )
    shares = like.new_zeros(like.shape)
    return shares.scatter_(1, targets.clamp_min(0)[:, None], (targets != IGNORE).to(like.dtype)[:, None])
