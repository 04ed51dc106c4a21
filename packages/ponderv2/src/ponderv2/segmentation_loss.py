"""What a segmentation is trained by: cross-entropy, and optionally the Lovasz loss (PonderV2, semseg-*)."""

import torch.nn.functional as F
from torch import Tensor, nn

from nonet.training.strategies import global_mean
from ponderv2.lovasz import lovasz_softmax

IGNORE = -1


class SegmentationLoss(nn.Module):
    """Weighted terms of the loss of a batch.

    Args:
        lovasz: weight of the Lovasz loss beside a cross-entropy of weight 1; 0: without it. The original
            has 1 in joint fine-tuning of several data sets, and 0 in that of one.
    """

    def __init__(self, *, lovasz: float = 0.0) -> None:
        super().__init__()
        self.lovasz = lovasz

    def forward(self, logits_MK: Tensor, labels_M: Tensor) -> dict[str, Tensor]:
        """Name -> weighted scalar: `ce`, and `lovasz` where it has a weight.

        The cross-entropy is the mean over the labelled voxels of all processes; Lovasz is taken over those of
        this process. A batch without labels gives 0 with zero gradients.

        Args:
            logits_MK: (M, K) float.
            labels_M: (M,) int64 in 0..K-1, or -1.
        """
        logits = logits_MK.float()
        total = F.cross_entropy(logits, labels_M, ignore_index=IGNORE, reduction="sum")
        terms = {"ce": global_mean(total, (labels_M != IGNORE).sum())}
        if self.lovasz:
            terms["lovasz"] = self.lovasz * lovasz_softmax(logits.softmax(1), labels_M, ignore=IGNORE)
        return terms
