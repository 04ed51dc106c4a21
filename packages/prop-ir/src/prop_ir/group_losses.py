"""Losses of groups: one relevant document and some others of the same query (spec: PROP, section 2.7)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

# Shapes: G groups, N documents of each; the relevant one is column 0.

GroupLoss = Literal["cross-entropy", "hinge", "logistic"]


def group_losses(scores_GN: Tensor, kind: GroupLoss) -> Tensor:
    """The loss of every group.

    Args:
        scores_GN: (G, N) scores, N >= 2.
        kind: cross-entropy: -log softmax(s)_0; hinge: mean over negatives of max(0, 1 - (s_0 - s_j));
            logistic: mean over negatives of log(1 + exp(s_j - s_0)).

    Returns:
        (G,) float32.
    """
    scores = scores_GN.float()
    if kind == "cross-entropy":
        return -torch.log_softmax(scores, dim=1)[:, 0]
    below = scores[:, 1:] - scores[:, :1]
    return (F.relu(1 + below) if kind == "hinge" else F.softplus(below)).mean(dim=1)
