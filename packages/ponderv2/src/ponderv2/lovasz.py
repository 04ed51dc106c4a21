"""The Lovasz-Softmax loss: a convex surrogate of 1 - mean IoU (Berman et al. 2018, algorithm 1, equation 9).

Sorting is the cost: one sort of all voxels for each class that occurs. Classes are sorted together, a few at
a time, so that a GPU has enough to do and 200 classes do not fill its memory.
"""

import torch
from torch import Tensor

# Shapes: M voxels, K classes, P classes that occur.

TOGETHER = 16  # classes that are sorted at once


def lovasz_gradient(truth_PM: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each voxel that is got wrong, the worst first.

    For one row g of zeros and ones, sorted by falling error: J_i = 1 - (G - sum_{j<=i} g_j) / (G + sum_{j<=i}
    (1 - g_j)) with G = sum g, and the result is J_i - J_{i-1}. The row (1, 0) gives (1, 0); (0, 1) gives
    (0.5, 0.5).

    Args:
        truth_PM: (P, M) 0 or 1, any dtype; every row has a 1.

    Returns:
        (P, M) float32.
    """
    truth = truth_PM.long()
    got = truth.cumsum(1)  # whole numbers: exact for any number of voxels
    total = got[:, -1:]
    place = torch.arange(1, truth.shape[1] + 1, device=truth.device)
    jaccard = 1 - (total - got).float() / (total + place - got).float()
    return torch.diff(jaccard, dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))


def lovasz_softmax(probabilities_MK: Tensor, labels_M: Tensor, *, ignore: int = -1) -> Tensor:
    """The loss over all voxels of a batch, mean over the classes that occur in it.

    Args:
        probabilities_MK: (M, K) in 0..1, rows sum to 1.
        labels_M: (M,) int64 in 0..K-1, or `ignore`.
        ignore: label of voxels without one.

    Returns:
        A scalar in 0..1; 0, with zero gradients, where no voxel has a label.
    """
    known = labels_M != ignore
    probabilities, labels = probabilities_MK[known].float(), labels_M[known]
    if not len(labels):
        return probabilities_MK.sum() * 0.0
    present = labels.unique()
    losses = []
    for classes_P in present.split(TOGETHER):
        truth_PM = labels[None] == classes_P[:, None]
        errors_PM = (truth_PM.float() - probabilities[:, classes_P].T).abs()
        errors_PM, order_PM = errors_PM.sort(dim=1, descending=True)
        with torch.no_grad():
            gradient_PM = lovasz_gradient(truth_PM.gather(1, order_PM))
        losses.append((errors_PM * gradient_PM).sum(1))
    return torch.cat(losses).mean()
