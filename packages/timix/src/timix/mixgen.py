"""Joined texts of images that are averaged (MixGen, Hao et al. 2023), on token numbers.

The mean of two images goes with both their captions, one behind the other. The paper mixes a quarter of each
batch; here as many as a plan says. `TextAwareMix(region="mixgen")` makes the plans.
"""

import torch
from torch import Tensor

from nonet.errors import UserError
from timix.text_aware_mix import MixPlan

# Shapes: B texts of L tokens, M mixed ones.


def join_texts(
    input_ids: Tensor, attention_mask: Tensor, plan: MixPlan, *, max_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Each mixed image's text with its partner's behind it: start, own tokens, partner's tokens, end.

    Args:
        input_ids: (B, L) int64; each text has a start and an end token, and its padding is behind them.
        attention_mask: (B, L) int64 or bool, not 0 for tokens.
        plan: of this batch.
        max_length: tokens at most, start and end included; None: 2 L - 2. What is longer loses its last
            tokens before the end.

    Returns:
        Numbers and mask, (M, min(2 L - 2, max_length)) int64 each; padding is 0.

    Raises:
        UserError: the plan is of another batch, or max_length leaves room for no token.
    """
    if plan.batch != len(input_ids) or input_ids.shape != attention_mask.shape:
        raise UserError(
            f"a plan for {plan.batch} texts, numbers {tuple(input_ids.shape)} and mask "
            f"{tuple(attention_mask.shape)} do not fit"
        )
    length = 2 * input_ids.shape[1] - 2
    if max_length is not None:
        if max_length < 3:
            raise UserError(f"{max_length} tokens at most: 3 are needed, for start, a token and end")
        length = min(length, max_length)
    counts = (attention_mask != 0).sum(1)
    own, other = counts[plan.rows][:, None] - 1, counts[plan.partner][:, None] - 1
    at = torch.arange(length, device=input_ids.device).expand(len(plan.rows), -1)
    first = input_ids[plan.rows].gather(1, at.clamp(max=input_ids.shape[1] - 1))
    behind = (at - own + 1).clamp(1, input_ids.shape[1] - 1)
    joined = torch.where(at < own, first, input_ids[plan.partner].gather(1, behind))
    total = (own + other).clamp(max=length)
    ends = input_ids[plan.partner].gather(1, other)
    joined = torch.where(at == total - 1, ends, joined)
    mask = at < total
    return torch.where(mask, joined, 0), mask.long()
