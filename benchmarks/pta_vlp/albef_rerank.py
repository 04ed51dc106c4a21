"""The second stage of retrieval as ALBEF's released evaluation goes about it (`Retrieval.py`, restated).

Two loops: each image's k nearest texts, then each text's k nearest images; every pair is fused whole. Image
tokens are repeated for each text, and every layer computes their keys and values for every pair; texts are
padded to 30 word pieces; the matching head reads CLS of the last layer's output. A pair that is near both
ways is computed twice. What we give it: PyTorch's fused attention, which its BERT does not have.
"""

import torch
from torch import Tensor

from nonet.vision_language.pair_model import PairModel

# Shapes: I images, T texts, S tokens of an image, L = 30 word pieces, d width.

LENGTH = 30
NO_CANDIDATE = -100.0


def rerank(
    model: PairModel, image: Tensor, text: Tensor, mask: Tensor, cosines: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Scores of images' candidates and of texts' candidates.

    Args:
        model: in evaluation mode.
        image: (I, S, d) tokens.
        text: (T, L, d) tokens.
        mask: (T, L), 0 at padding.
        cosines: (I, T).
        k: candidates.

    Returns:
        Two matrices (I, T) float32, -100 where a pair is no candidate.
    """
    by_image = torch.full_like(cosines, NO_CANDIDATE)
    for number, row in enumerate(cosines):
        near = row.topk(k).indices
        by_image[number, near] = pairs(model, image[number].repeat(k, 1, 1), text[near], mask[near])
    by_text = torch.full_like(cosines, NO_CANDIDATE)
    for number, row in enumerate(cosines.T):
        near = row.topk(k).indices
        same_text, same_mask = text[number].repeat(k, 1, 1), mask[number].repeat(k, 1)
        by_text[near, number] = pairs(model, image[near], same_text, same_mask)
    return by_image, by_text


def pairs(model: PairModel, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """The matching head's logits (n,) of n pairs."""
    every = torch.ones(image.shape[:2], dtype=torch.int64)
    _, fused = model.fusion(image, every, text, mask)
    return model.itm_logits(fused)[:, 1]
