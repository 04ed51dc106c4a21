"""Lovasz-Softmax: hand cases, and the extension of the Jaccard loss as an integral over thresholds."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from nonet.testing import seeded, whole
from ponderv2 import lovasz
from ponderv2.lovasz import lovasz_gradient, lovasz_softmax
from ponderv2.segmentation_loss import SegmentationLoss


def by_thresholds(probabilities, labels):
    """The loss by the definition of the extension: for errors m in 0..1 it is the integral over t of the
    Jaccard loss of the voxels whose error is at least t; a step function, summed up step by step."""
    losses = []
    for kind in np.unique(labels[labels >= 0]):
        true = labels[labels >= 0] == kind
        errors = np.abs(true - probabilities[labels >= 0, kind])
        steps = np.unique(np.concatenate([[0.0], errors]))
        total = 0.0
        for low, high in pairwise(steps):
            wrong = errors >= high
            total += (high - low) * wrong.sum() / (true | wrong).sum()
        losses.append(total)
    return np.mean(losses)


def test_gradient_of_hand_cases():
    """Worst first: (1, 0) loses all with the first voxel; of (0, 1) each voxel is half of it."""
    found = lovasz_gradient(torch.tensor([[1, 0], [0, 1], [1, 1]]))
    assert found.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]


def test_loss_of_hand_cases():
    """Two voxels of two classes: errors .4 and .1 for class 0 give .4 * 1 + .1 * 0, and for class 1 half of
    each."""
    probabilities = torch.tensor([[0.6, 0.4], [0.1, 0.9]])
    both = lovasz_softmax(probabilities, torch.tensor([0, 1]))
    assert both.item() == pytest.approx((0.4 + (0.4 + 0.1) / 2) / 2)
    assert lovasz_softmax(torch.eye(2), torch.tensor([0, 1])).item() == 0
    assert lovasz_softmax(torch.eye(2), torch.tensor([1, 0])).item() == 1
    one = lovasz_softmax(torch.tensor([[0.3, 0.7]]), torch.tensor([1]))
    assert one.item() == pytest.approx(0.3)


@pytest.mark.parametrize("together", [1, 2, 16])
def test_loss_is_the_extension_of_the_jaccard_loss(together, monkeypatch):
    monkeypatch.setattr(lovasz, "TOGETHER", together)
    for seed in range(3):
        probabilities = torch.rand(40, 5, generator=seeded(seed)).softmax(1)
        labels = whole(7, 40, seed=seed) - 1
        labels[labels == 5] = 0
        wanted = by_thresholds(probabilities.double().numpy(), labels.numpy())
        assert lovasz_softmax(probabilities, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_gradients_are_those_of_the_errors():
    """Numerically: the loss is linear as long as the order of the errors stays."""
    logits = torch.randn(12, 3, generator=seeded(1), dtype=torch.float64).requires_grad_()
    labels = whole(3, 12, seed=1)
    lovasz_softmax(logits.softmax(1), labels).backward()
    for row, column in ((0, 0), (5, 2), (11, 1)):
        around = []
        for step in (-1e-2, 1e-2):
            moved = logits.detach().clone()
            moved[row, column] += step
            around.append(lovasz_softmax(moved.softmax(1), labels).item())
        slope = (around[1] - around[0]) / 2e-2
        assert logits.grad[row, column].item() == pytest.approx(slope, abs=2e-3)


def test_without_labels_the_loss_is_zero_and_so_are_its_gradients():
    logits = torch.randn(4, 3, requires_grad=True, generator=seeded())
    terms = SegmentationLoss(lovasz=1.0)(logits, torch.full((4,), -1))
    assert {name: value.item() for name, value in terms.items()} == {"ce": 0.0, "lovasz": 0.0}
    sum(terms.values()).backward()
    assert logits.grad.abs().sum() == 0


def test_cross_entropy_is_the_mean_over_labelled_voxels_and_terms_are_weighted():
    logits, labels = torch.randn(6, 4, generator=seeded(3)), torch.tensor([0, -1, 3, 2, -1, 1])
    terms = SegmentationLoss(lovasz=0.5)(logits, labels)
    each = -logits.log_softmax(1)[labels >= 0].gather(1, labels[labels >= 0, None])
    assert terms["ce"].item() == pytest.approx(each.mean().item())
    plain = lovasz_softmax(logits.softmax(1), labels).item()
    assert terms["lovasz"].item() == pytest.approx(0.5 * plain)
    assert set(SegmentationLoss()(logits, labels)) == {"ce"}
