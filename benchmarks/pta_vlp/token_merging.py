"""Token merging (Bolya et al. 2023, ToMe), told again in our words on timm's transformer: the text-free one.

In each block, between attention and feed-forward, tokens are dealt alternately into two sets; each of the
first knows its most similar of the second, by keys averaged over heads; the r most similar pairs become one
token, weighted by how many patches stand behind each. Attention counts a merged token as often. CLS is never
merged. No line is copied from the released code.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nonet.vision_language.vision import VisionTower

# Shapes: B images, S tokens, A and C of them in the two sets, r merged ones, d width, E of a head.


def schedule(tokens: int, final: int, depth: int) -> list[int]:
    """How many tokens each block merges away, evenly, so that `final` of `tokens` are left.

    Raises:
        ValueError: a block can merge at most half of its patches.
    """
    steps = [(tokens - final) * (i + 1) // depth - (tokens - final) * i // depth for i in range(depth)]
    left = tokens
    for step in steps:
        if step > (left - 1) // 2:
            raise ValueError(f"{step} of {left} tokens cannot be merged in one block")
        left -= step
    return steps


@torch.no_grad()
def merged_forward(vision: VisionTower, images: Tensor, steps: list[int]) -> Tensor:
    """The tower's tokens, (B, 1 + N - sum of steps, text width).

    Args:
        vision: in evaluation mode.
        images: (B, 3, H, W) float, normalised.
        steps: tokens that each block merges away; zeros give the plain tower.
    """
    x = vision.embed(images)
    sizes = x.new_ones(*x.shape[:2], 1)
    for block, r in zip(vision.vit.blocks, steps, strict=True):
        found, metric = _attention(block.attn, block.norm1(x), sizes)
        x = x + block.ls1(found)
        if r:
            x, sizes = _merge(x, sizes, metric, r)
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return vision.finish(x)


def merging_macs(tokens: int, steps: list[int], width: int) -> int:
    """Multiply-accumulates: attention before a merge, feed-forward behind it, and the similarities."""
    total = 0
    for r in steps:
        total += tokens * width * (4 * width + 2 * tokens)
        total += (tokens // 2) * (tokens - tokens // 2) * 64 if r else 0
        tokens -= r
        total += 8 * tokens * width * width
    return total


def _attention(attention: Any, x: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Attention to tokens as often as their sizes say, and keys (B, S, E) averaged over heads."""
    B, S, d = x.shape
    qkv = attention.qkv(x).view(B, S, 3, attention.num_heads, attention.head_dim)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    bias = None if (sizes == 1).all() else sizes.log()[:, None, None, :, 0]
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attention.proj(found.transpose(1, 2).reshape(B, S, d)), key.mean(1)


def _merge(x: Tensor, sizes: Tensor, metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    metric = F.normalize(metric, dim=-1)
    scores_BAC = metric[:, ::2] @ metric[:, 1::2].transpose(1, 2)
    scores_BAC[:, 0] = -math.inf  # CLS stays
    best, partner = scores_BAC.max(-1)
    order = best.argsort(dim=-1, descending=True)
    gone, stay = (
        order[:, :r],
        order[:, r:].sort(-1).values,
    )  # CLS, at -inf, is the last, and first when sorted
    target = partner.gather(1, gone)
    weighted = torch.cat([x * sizes, sizes], -1)
    first, second = weighted[:, ::2], weighted[:, 1::2].contiguous()
    width = weighted.shape[-1]
    second.scatter_add_(1, target[..., None].expand(-1, -1, width), _rows(first, gone))
    merged = torch.cat([_rows(first, stay), second], 1)
    sizes = merged[..., -1:]
    return merged[..., :-1] / sizes, sizes


def _rows(x: Tensor, numbers: Tensor) -> Tensor:
    return x.gather(1, numbers[..., None].expand(-1, -1, x.shape[-1]))
