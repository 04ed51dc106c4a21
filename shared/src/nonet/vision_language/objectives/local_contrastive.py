"""Contrast that looks inside: patches with words, an image with itself, a part with its whole.

FILIP (Yao et al. 2021): the similarity of an image and a text is made of each patch's best word and each
word's best patch. TCL (Yang et al. 2022; released code `models/model_pretrain.py`): contrast within each
modality (IMC), and of local with global features (LMI).
"""

import torch
from torch import Tensor

from nonet.vision_language.objectives.contrastive import (
    contrastive_logits,
    image_text_contrastive,
    turned_targets,
)
from nonet.vision_language.objectives.objective import Objective, mean_over, widen

# Shapes: B images, C texts, P patches, L tokens, M local features, D features.


def late_interaction(
    patches: Tensor, tokens: Tensor, patch_mask: Tensor | None = None, token_mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Similarity of each image with each text, as the patches see it and as the words see it.

    s_image = mean over patches of max over words of v_i . t_j; s_text = mean over words of max over patches.
    Padding is in neither mean and in neither maximum. Memory: B * C * P * L numbers.

    Args:
        patches: (B, P, D) float, of length 1.
        tokens: (C, L, D) float, of length 1.
        patch_mask: (B, P) bool: no padding; None: all.
        token_mask: (C, L) bool: no padding; None: all.

    Returns:
        s_image and s_text, (B, C) each; 0 where an image or a text has nothing.
    """
    patches, tokens = widen(patches), widen(tokens)
    if patch_mask is None:
        patch_mask = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
    if token_mask is None:
        token_mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    scores = torch.einsum("bpd,cld->bcpl", patches, tokens)
    both = patch_mask[:, None, :, None] & token_mask[None, :, None, :]
    scores = torch.where(both, scores, torch.finfo(scores.dtype).min)
    seen = patch_mask[:, None] & token_mask.any(1)[None, :, None]  # (B, C, P)
    by_patch = torch.where(seen, scores.amax(3), 0).sum(2) / seen.sum(2).clamp_min(1)
    seen = token_mask[None] & patch_mask.any(1)[:, None, None]  # (B, C, L)
    by_token = torch.where(seen, scores.amax(2), 0).sum(2) / seen.sum(2).clamp_min(1)
    return by_patch, by_token


def late_interaction_contrastive(
    patches: Tensor,
    tokens: Tensor,
    patch_mask: Tensor | None = None,
    token_mask: Tensor | None = None,
    *,
    temperature: Tensor | float = 1.0,
    targets: Tensor | None = None,
) -> Objective:
    """`image_text_contrastive` with similarities of `late_interaction` (FILIP).

    Images choose among texts by s_image, texts among images by s_text. With one patch and one token each it
    is the plain contrast.

    Args:
        patches: (B, P, D) float, of length 1.
        tokens: (B, L, D) float, of length 1.
        patch_mask: (B, P) bool: no padding; None: all.
        token_mask: (B, L) bool: no padding; None: all.
        temperature: by which similarities are divided.
        targets: what is right for each image, see `image_text_contrastive`; for texts it is turned.

    Returns:
        As `image_text_contrastive`.
    """
    by_patch, by_token = late_interaction(patches, tokens, patch_mask, token_mask)
    turned = None if targets is None else turned_targets(targets, by_patch)
    return image_text_contrastive(
        by_patch / temperature, by_token.mT / temperature, targets=targets, text_targets=turned
    )


def intra_modal_contrastive(
    image: Tensor,
    image_keys: Tensor,
    text: Tensor,
    text_keys: Tensor,
    *,
    temperature: Tensor | float = 0.07,
    image_queue: Tensor | None = None,
    text_queue: Tensor | None = None,
) -> Objective:
    """Contrast of each image with another view of it, and of each text with another pass of it (IMC).

    loss = 1/2 [CE(v . v'/t) + CE(t . t'/t)]; the own view is right, one-hot. TCL's keys are of its momentum
    encoders; the image's has another augmentation, the text's another dropout. TCL adds up six losses, these
    two among them, and divides by six.

    Args:
        image: (B, D) float, of length 1.
        image_keys: (B, D) float of the other views.
        text: (B, D) float, of length 1.
        text_keys: (B, D) float of the other passes.
        temperature: by which similarities are divided.
        image_queue: (M, D) float: earlier keys of images.
        text_queue: (M, D) float: earlier keys of texts.

    Returns:
        The loss; aux: image and text, the two halves.
    """
    loss, aux = image_text_contrastive(
        contrastive_logits(image, image_keys, temperature, image_queue),
        contrastive_logits(text, text_keys, temperature, text_queue),
    )
    return Objective(loss, {"image": aux["image_to_text"], "text": aux["text_to_image"]})


def local_global_contrastive(
    local: Tensor, whole: Tensor, mask: Tensor | None = None, *, temperature: Tensor | float = 0.07
) -> Objective:
    """Tells the parts of an item from parts of the others, given the item as a whole (LMI).

    loss = mean over items i of mean over its parts m of
    - log(e^(g_i . l_im / t) / (e^(g_i . l_im / t) + sum over all parts n of other items j of e^(g_i . l_jn /
    t))). The other parts of an item are no negatives of it. Two items of one part each with scores I_2 give
    0.3132617.

    Args:
        local: (B, M, D) float, of length 1: patches pooled to few, or tokens without [CLS].
        whole: (B, D) float, of length 1: [CLS].
        mask: (B, M) bool: no padding; None: all. Items without parts count in no mean.
        temperature: by which similarities are divided.

    Returns:
        The loss; aux: accuracy, the share of parts that score above all parts of others.
    """
    local, whole = widen(local), widen(whole)
    B, M, _ = local.shape
    if mask is None:
        mask = torch.ones(B, M, dtype=torch.bool, device=local.device)
    scores = torch.einsum("bd,cmd->bcm", whole, local) / temperature
    own = torch.eye(B, dtype=torch.bool, device=local.device)
    negatives = scores.masked_fill(own[:, :, None] | ~mask[None], torch.finfo(scores.dtype).min).flatten(1)
    positives = scores.diagonal(dim1=0, dim2=1).mT  # (B, M)
    losses = torch.logaddexp(positives, negatives.logsumexp(1, keepdim=True)) - positives
    each = torch.where(mask, losses, 0).sum(1) / mask.sum(1).clamp_min(1)
    hits = (positives > negatives.amax(1, keepdim=True)).float()
    return Objective(mean_over(each, mask.any(1)), {"accuracy": mean_over(hits.detach(), mask)})
