"""One transform for pooling, sampling and searching; the released code's errors, on request; the U-Net."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from analytic_fields import small_model

from nonet.kernels.trilinear import trilinear
from nonet.testing import normal, seeded
from ponderv2.feature_volume import DenseConv, DenseUNet, pool
from ponderv2.unit_cube import UnitCube

BOX = torch.tensor([[[1.0, -2, 0.5], [9, 4, 3.5]], [[-1.0, -1, -1], [1, 1, 1]]])


def test_a_cloud_becomes_one_side_long_and_stands_on_the_floor():
    cube = UnitCube.of_boxes(BOX)
    corners = cube.to_cube(BOX)
    assert cube.scale.tolist() == pytest.approx([1 / 8, 1 / 2])
    assert torch.allclose(corners[0], torch.tensor([[-0.5, -0.375, -0.5], [0.5, 0.375, -0.125]]), atol=1e-6)
    assert torch.allclose(corners[1], torch.tensor([[-0.5] * 3, [0.5] * 3]), atol=1e-6)
    points = normal(2, 30, 3) * 4
    assert torch.allclose(cube.to_world(cube.to_cube(points)), points, atol=1e-4)
    scene = torch.tensor([0, 1, 1])
    flat = cube.voxels_to_cube(points[scene, [3, 4, 5]], scene)
    assert torch.allclose(flat, cube.to_cube(points)[scene, [3, 4, 5]], atol=1e-5)
    assert torch.equal(cube.take(1).to_cube(points[1:]), cube.to_cube(points)[1:])


def test_outdoors_all_axes_have_one_scale():
    low, high = torch.tensor([-54.0, -54, -5]), torch.tensor([54.0, 54, 3])
    cube = UnitCube.of_range(low, high, scale=1 / 54, scenes=2)
    points = torch.tensor([[[54.0, -54, 3]], [[0, 0, -5.0]]])
    assert torch.allclose(cube.to_cube(points), points / 54)
    assert torch.allclose(cube.to_grid(cube.to_cube(points)), torch.tensor([[[1.0, -1, 1]], [[0, 0, -1.0]]]))


def test_a_cloud_without_extent_is_refused_by_name():
    point = torch.tensor([[[1.0, 2, 3], [1, 2, 3]]])
    with pytest.raises(ValueError, match="scene attic: all points of the cloud lie in one place"):
        UnitCube.of_boxes(point, names=["attic"])
    with pytest.raises(ValueError, match="scene number 0 of the batch: coordinates are not finite"):
        UnitCube.of_boxes(point * torch.nan)
    flat = UnitCube.of_boxes(torch.tensor([[[0.0, 0, 1], [4, 2, 1]]]))
    assert flat.to_cube(torch.tensor([[[2.0, 1, 1]]])).tolist() == [[[0, 0, -0.5]]], "a floor alone is fine"


def one_feature(point, shape, legacy=False):
    """The volume of a single voxel with the feature 1, and its cube; `point` is in the cube."""
    cube = UnitCube.of_boxes(BOX[1:], legacy=legacy)
    coord = cube.to_world(point[None, None])[0]
    return pool(torch.ones(1, 1), coord, torch.zeros(1, dtype=torch.int64), cube, shape), cube


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_features_are_read_where_they_were_stored(axis):
    shape = (32, 24, 16)
    for share in torch.linspace(-0.5, 0.5, 41):
        point = torch.full((3,), 0.013)
        point[axis] = share
        volume, cube = one_feature(point, shape)
        read = float(trilinear(volume, cube.to_grid(point)[None, None]))
        assert read >= 0.125 - 1e-5, f"at {share:.3f} a cell's feature reaches less than half a cell"
        cell = cube.to_cells(point, shape)
        middle = (cell / (torch.tensor(shape) - 1) * 2 - 1)[None, None]
        assert float(trilinear(volume, middle)) == pytest.approx(1, abs=1e-4)


def test_the_released_code_reads_six_cells_away():
    face = torch.tensor([0.5, 0.0, 0.0])
    volume, cube = one_feature(face, (128, 128, 32), legacy=True)
    assert int(cube.to_cells(face, (128, 128, 32))[0]) == 127
    assert float((cube.to_grid(face)[0] + 1) / 2 * 127) == pytest.approx(121.2, abs=0.05)
    assert float(trilinear(volume, cube.to_grid(face)[None, None])) == 0, "the feature is not found"
    volume, cube = one_feature(face, (128, 128, 32))
    assert float(trilinear(volume, cube.to_grid(face)[None, None])) > 0.12


def test_the_sampler_sees_the_field_that_is_rendered():
    points = torch.rand(1, 500, 3, generator=seeded()) * 1.1 - 0.55
    volume = normal(1, 12, 8, 16, 16)
    for legacy in (False, True):
        model = small_model(volume={"legacy": legacy}).requires_grad_(False)
        cube = UnitCube.of_boxes(BOX[1:], legacy=legacy)
        field = model.field.at(volume, cube)
        searched, rendered = field.sdf(points), field.values(points, points).sdf
        assert torch.allclose(field.sdf(points, "field"), rendered, atol=1e-5)
        assert torch.allclose(searched, rendered, atol=1e-5) != legacy
        grid = cube.to_grid(points, "sampler")
        outside = float((grid.abs() > 1).any(-1).float().mean())
        if legacy:  # the released code: a grid of -2.1 to 0.1, most of it outside
            assert float(grid.min()) == pytest.approx(-2.1, abs=0.02)
            assert float(grid.max()) == pytest.approx(0.1, abs=0.02)
            assert outside > 0.8
        else:
            assert outside < 1e-6


def test_pooling_is_the_mean_of_each_cell_and_says_what_is_empty():
    draw = seeded(2)
    coord = torch.rand(200, 3, generator=draw) * 2 - 1
    scene = torch.randint(2, (200,), generator=draw)
    features = normal(200, 5)
    cube = UnitCube.of_boxes(BOX[1:].expand(2, 2, 3))
    shape = (6, 5, 4)
    dense = pool(features, coord, scene, cube, shape, occupancy=True)
    assert dense.shape == (2, 6, 4, 5, 6)
    cells = cube.to_cells(cube.voxels_to_cube(coord, scene), shape)
    expected = torch.zeros(2, 6, 4, 5, 6)
    for b in range(2):
        for x in range(6):
            for y in range(5):
                for z in range(4):
                    inside = (scene == b) & (cells == torch.tensor([x, y, z])).all(1)
                    if inside.any():
                        expected[b, :5, z, y, x] = features[inside].mean(0)
                        expected[b, 5, z, y, x] = 1
    assert torch.allclose(dense, expected, atol=1e-6)
    assert 0 < float(dense[:, 5].mean()) < 1


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 5)])
def test_the_dense_net_keeps_the_sides_and_fills_what_is_empty(shape):
    torch.manual_seed(0)
    net = DenseUNet(3, 5, widths=(4, 6, 8))
    volume = torch.zeros(2, 3, *shape)
    volume[:, :, 1, 1, 1] = 1
    found = net(volume)
    assert found.shape == (2, 5, *shape)
    assert (found[:, :, 3, 3, 3] - found[:, :, -1, -1, -1]).abs().max() > 1e-4
    found.sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert DenseConv(3, 4)(volume).shape == (2, 4, *shape)
