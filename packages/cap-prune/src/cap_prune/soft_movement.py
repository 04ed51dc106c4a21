"""Soft movement pruning: weights whose score is above a threshold stay (Sanh, Wolf and Rush 2020, section 4).

Kept is sigmoid(S) > tau, and tau rises from 0 to its final value. A penalty on the mean of sigmoid(S), which
grows with tau, pulls scores down. How dense the model becomes is found out, not set: the released scripts
reach 10 % of QQP with a penalty of 190, 3 % with 550.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.masked_layers import MaskedLinear
from nonet.kernels.masked_linear import Cut, cut_above, cut_largest

LEAST = 0.005
"""of each matrix at least this share and one more weight is kept"""


class SoftMovement:
    """Scores above a threshold.

    Args:
        threshold: tau in the end, in (0, 1).
        penalty: weight of the mean of sigmoid(S) in the end; in between it is this times tau / `threshold`.
        every: steps between two decisions.
    """

    name = "soft-movement"
    learns = True
    chosen = False
    start = 0.0

    def __init__(self, *, threshold: float = 0.1, penalty: float, every: int = 1) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold {threshold} is not in (0, 1)")
        self.final, self.weight, self.every = threshold, penalty, every

    def decide(self, layers: Sequence[MaskedLinear], level: float) -> None:
        """Set the masks for a threshold tau; at 0 all weights are kept."""
        bound = -math.inf if level <= 0 else math.log(level / (1 - level))  # sigmoid(S) > tau as S > bound
        for layer in layers:
            n = layer.weight.numel()
            least = cut_largest(layer.values, min(n, int(LEAST * n) + 1))
            above = cut_above(layer.values, bound)
            enough = least.threshold > bound  # a tensor: nothing waits for the device
            layer.keep(Cut(*(torch.where(enough, a, b) for a, b in zip(above, least, strict=True))))

    def penalty(self, layers: Sequence[MaskedLinear], level: float) -> Tensor | None:
        """The mean over matrices of their mean sigmoid(S), weighted."""
        means = [torch.sigmoid(layer.scores).mean() for layer in layers if layer.weight.numel()]
        if not (self.weight and level and means):
            return None
        return self.weight * level / self.final * torch.stack(means).mean()

    def observe(self, model: nn.Module, batches: Any) -> None:
        """Nothing is needed."""
