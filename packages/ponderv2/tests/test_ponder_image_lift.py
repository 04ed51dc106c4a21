"""The lift of image features into a volume: by a loop, by hand, and where nothing is seen."""

import math

import numpy as np
import pytest
import torch

from nonet.testing import data_folder, normal, seeded
from ponderv2.array_pickle import load_arrays
from ponderv2.image_lift import Cameras, DepthHead, FeaturePyramid, cell_centers, lift
from ponderv2.nuscenes import open_nuscenes
from ponderv2.outdoor_batches import OutdoorDataset, collate_outdoor
from ponderv2.outdoor_model import range_cube
from ponderv2.outdoor_options import OutdoorOptions

# a camera that looks along x of the world, 32 x 64 pixels
AHEAD = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
BACK = torch.tensor([[0.0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 0.5], [0, 0, 0, 1]])
K = torch.tensor([[30.0, 0, 31.5], [0, 30.0, 15.5], [0, 0, 1]])


def cameras(poses=(AHEAD, BACK), height=32, width=64, scenes=1):
    count = len(poses)
    return Cameras(
        images=torch.zeros(scenes, count, 3, 32, 64, dtype=torch.uint8),
        intrinsics=K.expand(scenes, count, 3, 3),
        from_world=torch.stack(poses).expand(scenes, count, 4, 4),
        sizes=torch.tensor([height, width]).expand(scenes, count, 2),
    )


def levels(channels=5, bins=8, images=2):
    shapes = [(8, 16), (4, 8)]  # strides 4 and 8
    features = [normal(images, channels, *shape, seed=i) for i, shape in enumerate(shapes)]
    chances = [normal(images, bins, *shape, seed=9 + i).softmax(1) for i, shape in enumerate(shapes)]
    return features, chances


def interpolated(grid, place):
    """Linear interpolation of an array (C, ...) at a place in units of its positions; zeros outside."""
    base = [math.floor(p) for p in place]
    total = np.zeros(grid.shape[0])
    for corner in np.ndindex(*(2,) * len(place)):
        index = [b + c for b, c in zip(base, corner, strict=True)]
        weight = math.prod(1 - abs(p - i) for p, i in zip(place, index, strict=True))
        if all(0 <= i < n for i, n in zip(index, grid.shape[1:], strict=True)):
            total += weight * grid[(slice(None), *index)]
    return total


def test_the_lift_is_the_sum_over_cameras_and_levels_of_a_loop():
    features, chances = levels()
    points = torch.rand(200, 3, generator=seeded()) * 16 - 8
    seen = cameras()
    found = lift(features, chances, seen, points, depth_bin=1.5)[0].T.double().numpy()
    expected, hits = np.zeros_like(found), 0
    for row, point in enumerate(points.double().numpy()):
        for number in range(2):
            local = seen.from_world[0, number].double().numpy() @ np.append(point, 1)
            if local[2] < 0.1:
                continue
            u, v = 30 * local[0] / local[2] + 31.5, 30 * local[1] / local[2] + 15.5
            if not (-0.5 <= u < 63.5 and -0.5 <= v < 31.5):
                continue
            hits += 1
            for stride, feature, chance in zip((4, 8), features, chances, strict=True):
                place = ((v + 0.5) / stride - 0.5, (u + 0.5) / stride - 0.5)
                depth = local[2] / 1.5 - 0.5
                one = interpolated(feature[number].double().numpy(), place)
                expected[row] += one * interpolated(chance[number].double().numpy()[None], (depth, *place))
    assert hits > 40
    assert found == pytest.approx(expected, abs=1e-5)


def test_box_centres_of_a_real_frame_are_read_where_nuscenes_saw_them():
    """Maps of pixel coordinates, lifted at the boxes' centres, give nuScenes' own projections of these."""
    (path,) = data_folder("mmdet3d-demo", "nuscenes").glob("*.pkl")
    info = load_arrays(path)["data_list"][0]
    options = OutdoorOptions(image_scale=0.5)
    dataset = OutdoorDataset(open_nuscenes(path), options, "camera", seed=0, rays=False, masks=False)
    cameras = collate_outdoor([dataset[(0, 0)]]).cameras
    assert cameras.images.shape == (1, 6, 3, 480, 800)  # 450 rows and padding
    centers = np.array([one["bbox_3d"][:3] for one in info["instances"]])
    rows, columns = (torch.arange(side // 4) * 4 + 1.5 for side in (480, 800))  # middles of 4 x 4 pixels
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    checked = 0
    for number, name in enumerate(info["images"]):
        chances = torch.ones(1, 100, 120, 200)
        one = Cameras(
            *(getattr(cameras, part)[:, number : number + 1] for part in
              ("images", "intrinsics", "from_world", "sizes"))
        )  # fmt: skip
        found = lift([torch.stack([u, v])[None]], [chances], one, torch.from_numpy(centers).float())[0].T
        for box in info["cam_instances"][name]:
            wanted = (np.array(box["center_2d"]) + 0.5) / 2 - 0.5
            if not ((wanted > 4) & (wanted < (795, 445))).all():
                continue
            gap = np.abs(found.numpy() - wanted).max(1).min()
            assert gap < 0.05
            checked += 1
    assert checked > 70


def test_a_sure_depth_puts_the_feature_there_and_nowhere_else():
    feature = torch.full((1, 1, 8, 16), 3.0)
    chance = torch.zeros(1, 10, 8, 16)
    chance[:, 4] = 1  # from 4 to 5 metres
    points = torch.tensor([[3.5, 0, 0], [4.25, 0, 0], [4.5, 0, 0], [5.0, 0, 0], [5.5, 0, 0], [-4.5, 0, 0]])
    found = lift([feature], [chance], cameras((AHEAD,)), points)
    assert found[0, 0].tolist() == pytest.approx([0, 2.25, 3, 1.5, 0, 0], abs=1e-5)


def test_padding_is_not_seen_and_an_absent_camera_sees_nothing():
    features, chances = levels(images=1)
    points = torch.tensor([[4.0, -3.0, 0.0], [4.0, 3.0, 0.0]])  # right and left half of the image
    both = lift(features, chances, cameras((AHEAD,)), points)
    left = lift(features, chances, cameras((AHEAD,), width=32), points)
    assert both.abs().sum(1).min() > 0
    assert torch.equal(left[0, :, 1], both[0, :, 1])
    assert not left[0, :, 0].any()
    assert not lift(features, chances, cameras((AHEAD,), height=0, width=0), points).any()


def test_scenes_of_a_batch_do_not_mix_and_gradients_pass():
    features, chances = levels(images=4)
    features = [feature.requires_grad_() for feature in features]
    points = torch.rand(50, 3, generator=seeded()) * 12 - 6
    both = lift(features, chances, cameras(scenes=2), points)
    second = lift([f[2:] for f in features], [c[2:] for c in chances], cameras(), points)
    assert torch.allclose(both[1], second[0], atol=1e-6)
    both[1].square().sum().backward()
    assert not features[0].grad[:2].any()
    assert features[0].grad[2:].any()


def test_half_precision_does_not_move_what_is_seen():
    features, chances = levels()
    points = torch.rand(100, 3, generator=seeded()) * 16 - 8
    expected = lift(features, chances, cameras(), points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lift(features, chances, cameras(), points), expected)


def test_cells_lie_where_the_volume_is_read():
    options = OutdoorOptions(low=(-6.0, -4.0, -2.0), high=(6.0, 5.0, 3.0), cells=(4, 3, 6))
    centers = cell_centers(options.low, options.high, options.cells)
    assert centers[0].tolist() == [-6, -4, -2]
    assert centers[1].tolist() == [-2, -4, -2]  # x is the fastest
    assert centers[-1].tolist() == [6, 5, 3]
    cube = range_cube(options, 1, torch.device("cpu"))
    found = cube.to_cells(cube.to_cube(centers[None]), options.cells)[0]
    z, y, x = torch.meshgrid(torch.arange(6), torch.arange(3), torch.arange(4), indexing="ij")
    assert torch.equal(found, torch.stack([x, y, z], -1).reshape(-1, 3))
    assert cell_centers((0, 0, 0), (2, 2, 4), (3, 1, 1)).tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2]]


def test_the_pyramid_hands_coarse_maps_down_and_the_depth_head_sums_to_one():
    torch.manual_seed(0)
    pyramid = FeaturePyramid((4, 6), 8)
    maps = [normal(2, 4, 8, 16), normal(2, 6, 4, 8).requires_grad_()]
    fine, coarse = pyramid(maps)
    assert fine.shape == (2, 8, 8, 16)
    assert coarse.shape == (2, 8, 4, 8)
    # by hand: lateral convolutions, the coarse one doubled by repetition, a 3 x 3 convolution
    above = pyramid.lateral[1](maps[1]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(fine, pyramid.smooth[0](pyramid.lateral[0](maps[0]) + above), atol=1e-5)
    chances = DepthHead(8, 2, 12)([fine, coarse])
    assert [chance.shape[1] for chance in chances] == [12, 12]
    assert all(torch.allclose(chance.sum(1), torch.ones(())) for chance in chances)
