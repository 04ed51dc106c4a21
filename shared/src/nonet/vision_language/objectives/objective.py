"""What every pre-training objective returns, and the mean that all of them take (ours).

An objective is a pure function of logits or embeddings, targets and a mask. It computes in float32 whatever
the input is (float64 stays float64, for gradient checks), and an empty mask gives 0 with a gradient of 0:
in a run on several devices every one must have a backward pass.
"""

from typing import NamedTuple

import torch
from torch import Tensor

IGNORE = -100
"""the label of what counts in no loss, as PyTorch's cross entropy has it"""


class Objective(NamedTuple):
    """The value of an objective.

    Attributes:
        loss: scalar, float32 (float64 for float64 input), differentiable.
        aux: what else is worth a look, by name; detached unless the objective's docstring says otherwise.
    """

    loss: Tensor
    aux: dict[str, Tensor]


def mean_over(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of the values where the mask is not 0, weighted with it; 0 with a gradient for an empty mask.

    Args:
        values: (...) float. What the mask leaves out may be infinite or NaN, and has no gradient.
        mask: (...) bool, or weights >= 0, of the same shape or one that broadcasts to it. None: all values.

    Returns:
        sum of mask * values / sum of mask, float32 or float64; [1, 2, 6] with [1, 1, 0] gives 1.5.
    """
    values = widen(values)
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    weights = mask.to(values.dtype).expand_as(values)
    # Multiplication alone would let NaN through, as 0 * NaN is NaN.
    kept = torch.where(weights != 0, values, torch.zeros_like(values))
    total = weights.sum()
    return (kept * weights).sum() / torch.where(total == 0, torch.ones_like(total), total)


def widen(values: Tensor) -> Tensor:
    """The same numbers in float32; float64 stays as it is."""
    return values if values.dtype == torch.float64 else values.float()
