"""What a backbone learns from two views of an image: to tell them from all others (Chen et al. 2020, SimCLR).

It imports no trainer, so that a loop of a few lines can use it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from updetr.backbone_base import Backbone

# Shapes: B images, two views of each, P x P pixels of a view, d features of a view.

PROJECTED = 128  # d, as in the paper


class Views(nn.Module):
    """A backbone and the head on which views are compared; the head is of no use later.

    Args:
        backbone: with batch norms that learn.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        channels = backbone.channels[-1]
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, PROJECTED))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, P, P) to (n, d) of length 1."""
        return F.normalize(self.head(self.backbone(pixels)[-1].mean((2, 3))).float(), dim=1)


def contrast(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding a view's other one among all others of the batch (NT-Xent, equation 1).

    With features that are all alike it is ln(2 B - 1).

    Args:
        features: (2 B, d) of length 1; rows 2 i and 2 i + 1 are of one image.
        temperature: divides the cosines.

    Returns:
        The loss, and the share of views whose other one is the nearest.
    """
    likeness = features @ features.T / temperature
    likeness.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(features), device=features.device) ^ 1
    return F.cross_entropy(likeness, partner), (likeness.argmax(1) == partner).float().mean()
