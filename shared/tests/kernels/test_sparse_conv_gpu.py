"""Sparse convolution in the Triton form on a GPU, against the CPU in float64."""

import pytest
import torch

from nonet.kernels.sparse_conv import sparse_conv, strided_map, submanifold_map
from nonet.kernels.voxels import grid_sample, scatter_mean, voxelise
from nonet.testing import needs, normal, whole

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


@pytest.fixture(scope="module")
def cells():
    found = whole(40, 30_000, 4)
    found[:, 0] %= 3
    return found.unique(dim=0)


@pytest.mark.parametrize(("C", "D"), [(6, 32), (32, 32), (96, 128), (256, 256)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_those_of_the_cpu(cells, C, D, kind, stride):
    found = []
    for device in ("cpu", "cuda", "cuda"):
        places = cells.to(device)
        kernel_map = submanifold_map(places) if stride == 1 else strided_map(places)[1]
        parts = normal(len(cells), C), normal(kernel_map.taps, C, D, seed=1) / C**0.5, normal(D)
        parts = [part.to(kind).to(device, torch.float64 if device == "cpu" else kind) for part in parts]
        parts = [part.requires_grad_() for part in parts]
        out = sparse_conv(parts[0], parts[1], kernel_map, parts[2])
        weights = normal(*out.shape, seed=2).to(kind).to(out)
        gradients = torch.autograd.grad((out * weights).sum(), parts)
        found.append([part.detach().cpu() for part in (out, *gradients)])
    near = 2e-5 if kind == torch.float32 else 2e-2
    for wanted, one, other in zip(*found, strict=True):
        assert (one.double() - wanted).abs().max() <= near * wanted.abs().max()
        assert torch.equal(one, other), "the same bits each time"


def test_maps_and_voxels_are_those_of_the_cpu(cells):
    for size in (1, 3, 5):
        wanted, found = submanifold_map(cells, size), submanifold_map(cells.cuda(), size)
        assert torch.equal(found.inputs.cpu(), wanted.inputs)
        assert torch.equal(found.outputs.cpu(), wanted.outputs)
        assert torch.equal(found.starts, wanted.starts)
    points = normal(20_000, 3)
    wanted, found = voxelise(points, 0.1), voxelise(points.cuda(), 0.1)
    assert all(torch.equal(one.cpu(), other) for one, other in zip(found, wanted, strict=True))
    generator = torch.Generator().manual_seed(0)
    sample = grid_sample(points.cuda(), 0.1, generator=generator).cpu()
    assert torch.equal(sample, grid_sample(points, 0.1, generator=torch.Generator().manual_seed(0)))


def test_means_are_those_of_the_cpu_and_the_same_each_time():
    values, index = normal(50_000, 96), whole(4000, 50_000)
    wanted = scatter_mean(values, index, 4000)
    found = [scatter_mean(values.cuda(), index.cuda(), 4000).cpu() for _ in range(2)]
    torch.testing.assert_close(found[0], wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(*found)


def test_autocast_convolves_in_half_precision(cells):
    places, weight = cells.cuda(), normal(27, 32, 32).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        found = sparse_conv(normal(len(cells), 32).cuda(), weight, submanifold_map(places))
    assert found.dtype == torch.bfloat16
