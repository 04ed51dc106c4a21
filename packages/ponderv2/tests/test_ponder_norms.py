"""Norms of voxels and volumes on a CPU: sums as exact as float64, the same bits for any number of threads."""

import copy

import pytest
import torch

from nonet.testing import one_thread, threads
from ponderv2.feature_volume import DenseConv, DenseUNet
from ponderv2.norms import VolumeNorm, VoxelNorm


def voxels():
    """(20000, 4), far from 0, as colours are."""
    return torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0)) + 3


def volume():
    """(2, 4, 16, 16, 16), channels last, 1 cell in 20 occupied, as pooled features are."""
    random = torch.Generator().manual_seed(0)
    occupied = torch.rand(2, 1, 16, 16, 16, generator=random) < 0.05
    features = torch.rand(2, 4, 16, 16, 16, generator=random)
    return torch.where(occupied, features, 0.0).contiguous(memory_format=torch.channels_last_3d)


CASES = [(VoxelNorm, voxels), (VolumeNorm, volume)]


def passed(norm, values):
    """The output, the gradients of values and weights for a loss of cubes, and the running statistics."""
    norm, values = copy.deepcopy(norm), values.clone().requires_grad_()
    found = norm(values)
    found.pow(3).sum().backward()
    grads = [values.grad, *(weight.grad for weight in norm.parameters())]
    return [found.detach(), *grads, norm.running_mean, norm.running_var]


@pytest.mark.parametrize(("kind", "made"), CASES)
def test_a_norm_is_as_exact_as_its_numbers(kind, made):
    """torch's own is wrong by 5e-6 for these voxels, and by 2e-5 for this volume; some gradients by 4e-4."""
    norm, values = kind(4).train(), made()
    with one_thread():
        found = passed(norm, values)
        exact = passed(norm.double(), values.double())
    apart = float((found[0] - exact[0]).norm() / exact[0].norm())
    assert apart < 2e-7
    for mine, true in zip(found[1:], exact[1:], strict=True):
        assert float((mine - true).norm() / true.norm()) < 2e-5


@pytest.mark.parametrize(("kind", "made"), CASES)
def test_one_and_two_threads_give_the_same_bits(kind, made):
    norm, values = kind(4).train(), made()
    with one_thread():
        one = passed(norm, values)
    with threads(2):
        two = passed(norm, values)
    assert all(torch.equal(first, second) for first, second in zip(one, two, strict=True))


def test_volumes_are_normalised_by_it():
    for net in (DenseUNet(4, 8, widths=(4, 8)), DenseConv(4, 8)):
        kinds = {type(each) for each in net.modules() if isinstance(each, torch.nn.BatchNorm3d)}
        assert kinds == {VolumeNorm}
