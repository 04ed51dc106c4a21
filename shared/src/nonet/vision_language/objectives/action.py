"""Where to go next: the viewpoint that follows, told from an instruction and what is seen.

PREVALENT (Hao et al. 2020, section 3.2): pre-training on triples of image, text and action for navigation.
"""

import torch
from torch import Tensor

from nonet.vision_language.objectives.language import token_losses
from nonet.vision_language.objectives.objective import IGNORE, Objective, mean_over

# Shapes: B steps, A actions.


def next_viewpoint(logits: Tensor, actions: Tensor, reachable: Tensor | None = None) -> Objective:
    """Cross entropy of the next viewpoint, from the joint [CLS] (AP).

    loss = - mean of log P(a | instruction, view). Equal scores of the 36 views of a panorama give
    ln 36 = 3.583519.

    Args:
        logits: (B, A) float: 36 views in PREVALENT, from any of which the walk may go on.
        actions: (B,) int64, -100 ignored.
        reachable: (B, A) bool: the actions that there are; None: all.

    Returns:
        The loss; aux: accuracy, count of steps.
    """
    if reachable is not None:
        logits = logits.masked_fill(~reachable, torch.finfo(logits.dtype).min)
    counted = actions != IGNORE
    hits = (logits.detach().argmax(1) == actions).float()
    loss = mean_over(token_losses(logits, actions), counted)
    return Objective(loss, {"accuracy": mean_over(hits, counted), "count": counted.sum()})
