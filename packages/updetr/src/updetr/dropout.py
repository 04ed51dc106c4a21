"""Dropout whose mask is cheap on a processor (ours).

There, torch draws a Bernoulli number for each element, which is a good third of a small detector's step.
Here 64 random bits decide on four elements, with 16 bits each, so that the share is exact to 1 / 65,536, and
gradients make the mask again. Elsewhere, and without numba, it is torch's own.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.kernels.dispatch import compiled_form

LEVELS = 1 << 16
"""values that 16 bits have"""


class Dropout(nn.Module):
    """Zeroes a share of what comes in while it trains, and scales up what is left.

    Args:
        share: of zeroed elements, in [0, 1).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of any shape to the same."""
        return dropped(x, self.share) if self.training else x

    def extra_repr(self) -> str:
        """The share."""
        return f"share={self.share:g}"


def dropped(x: Tensor, share: float) -> Tensor:
    """With a share of its elements zeroed, and the others divided by the share that is kept.

    Args:
        x: float, any shape.
        share: in [0, 1); in the compiled form it is rounded to the next 1 / 65,536.
    """
    cut = min(round(share * LEVELS), LEVELS - 1)
    if not cut:
        return x
    if not compiled_form(x):
        return F.dropout(x, share)
    from updetr.dropout_compiled import Dropped

    seed = int(torch.randint(2**62, ()))
    exact = x if x.dtype in (torch.float32, torch.float64) else x.float()
    found: Tensor = Dropped.apply(exact, cut, LEVELS / (LEVELS - cut), seed)  # type: ignore[no-untyped-call]
    return found.to(x.dtype)
