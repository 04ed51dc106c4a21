"""Items and batches of streets: rays, masks, shrunken images, and what moves together."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.testing import data_folder
from ponderv2.boxes3d import points_inside
from ponderv2.cameras import project, unproject
from ponderv2.kitti import open_kitti
from ponderv2.nuscenes import open_nuscenes
from ponderv2.outdoor_batches import (
    DETECTION,
    OutdoorDataset,
    collate_outdoor,
    keep_blocks,
    shrink,
    voxel_means,
)  # fmt: skip
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.outdoor_rays import UNKNOWN, camera_rays, sweep_rays
from ponderv2.samples import sample_of
from ponderv2.synthetic import make_room

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))

from made_up_streets import SIZE, street_image, write_nuscenes

OPTIONS = OutdoorOptions(
    low=(-20.0, -20.0, -3.0), high=(20.0, 20.0, 3.0), voxel=(0.5, 0.5, 0.5), cells=(10, 10, 3), rays=48,
    ray_near=2.0, ray_far=18.0, mask_block=4, image_scale=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    write_nuscenes(folder)
    return open_nuscenes(folder)


def test_voxels_hold_the_means_of_their_points(scenes):
    sample = sample_of(scenes[0])
    cells, features = voxel_means(sample, OPTIONS)
    points = sample.cloud.features(("coord", "strength"))
    inside = ((points[:, :3] >= OPTIONS.low) & (points[:, :3] < OPTIONS.high)).all(1)
    of_cell = {}
    for point in points[inside].astype(float):
        place = tuple(int(np.floor((point[axis] + (20, 20, 3)[axis]) / 0.5)) for axis in range(3))
        of_cell.setdefault(place, []).append(point)
    assert [tuple(cell) for cell in cells] == sorted(of_cell)
    for cell, feature in zip(cells, features, strict=True):
        assert feature == pytest.approx(np.mean(of_cell[tuple(cell)], 0), abs=1e-4)


def test_whole_blocks_are_dropped_and_so_many_stay():
    random = np.random.default_rng(0)
    cells = np.unique(random.integers(0, 40, (600, 3)), axis=0)
    kept = keep_blocks(cells, 8, 0.8, random)
    blocks = cells // 8
    there, stay = {tuple(b) for b in blocks}, {tuple(b) for b in blocks[kept]}
    assert len(stay) == round(0.2 * len(there))
    assert not stay & {tuple(b) for b in blocks[~kept]}
    assert keep_blocks(cells[:1], 8, 0.8, random).tolist() == [True]


def test_the_lidars_rays_end_in_its_points(scenes):
    sample = sample_of(scenes[0])
    rays, colored = sweep_rays(sample.cloud.coord, np.zeros(3), (), OPTIONS, np.random.default_rng(0))
    ends = rays.origin + rays.direction * rays.depth[:, None]
    gaps = np.linalg.norm(ends[:, None] - sample.cloud.coord[None], axis=2).min(1)
    assert gaps.max() < 1e-4
    assert rays.depth.min() > OPTIONS.ray_near
    assert rays.depth.max() < OPTIONS.ray_far
    assert not colored.any()
    assert (rays.color == 0).all()


def test_the_lidars_rays_have_the_colours_that_cameras_see_there(scenes):
    sample = sample_of(scenes[1], [scenes[1].view(0), scenes[1].view(1)])
    rays, colored = sweep_rays(
        sample.cloud.coord, np.zeros(3), sample.views, OPTIONS, np.random.default_rng(0)
    )
    ends = rays.origin + rays.direction * rays.depth[:, None]
    seen = np.zeros(len(ends), bool)
    for view in sample.views:
        place = project(view, ends)
        on = (place.depth > 0.1) & (place.u > -0.5) & (place.u < SIZE[0] - 0.5)
        on &= (place.v > -0.5) & (place.v < SIZE[1] - 0.5)
        for ray in np.flatnonzero(on & colored):
            column, row = round(place.u[ray]), round(place.v[ray])
            expected = street_image(1)[row, column] / 255
            assert rays.color[ray] == pytest.approx(expected, abs=1e-6)
        for ray in np.flatnonzero(on & ~colored):  # behind something nearer on the same pixel
            column, row = round(place.u[ray]), round(place.v[ray])
            assert 0 < view.depth[row, column] < place.depth[ray] - 0.5
        seen |= on
    assert colored.sum() > 10
    assert not (colored & ~seen).any()


def test_a_point_behind_another_one_takes_no_colour_from_its_pixel(scenes):
    view = scenes[0].view(0)
    near = unproject(view, np.array([40.0]), np.array([30.0]), np.array([5.0]))
    far = unproject(view, np.array([40.0]), np.array([30.0]), np.array([15.0]))
    lone = shrink(view, 0.5, near)  # only to have a view with the depth of one point
    assert (lone.depth > 0).sum() == 1
    rays, colored = sweep_rays(
        np.concatenate([near, far]), np.zeros(3), [lone], OPTIONS, np.random.default_rng(0)
    )
    first = np.isclose(rays.depth, np.linalg.norm(near))
    assert colored[first].all()
    assert not colored[~first].any()


def test_camera_rays_take_lidar_points_first_and_then_a_grid_below_the_sky(scenes):
    views = [scenes[0].view(0), scenes[0].view(1)]
    many = OutdoorOptions(
        low=OPTIONS.low, high=OPTIONS.high, rays=600, ray_near=2.0, ray_far=18.0, pixel_step=4, sky=0.4
    )
    rays, colored = camera_rays(views, many, np.random.default_rng(0))
    assert colored.all()
    assert len(rays.depth) == 1200
    for number, view in enumerate(views):
        part = slice(600 * number, 600 * (number + 1))
        depth, ends = rays.depth[part], rays.origin[part] + rays.direction[part] * 7
        place = project(view, ends)
        u, v = np.rint(place.u).astype(int), np.rint(place.v).astype(int)
        assert np.abs(place.u - u).max() < 1e-3
        known = depth > 0
        assert (view.depth[v[known], u[known]] > 0).all()
        steps = np.linalg.norm(np.linalg.inv(view.intrinsics) @ np.stack([u, v, np.ones(len(u))]), axis=0)
        assert depth[known] == pytest.approx((view.depth[v, u] * steps)[known], rel=1e-5)
        usable = view.depth[view.depth > 0]
        assert 0.3 * len(usable) < known.sum() <= len(usable)
        assert len({(a, b) for a, b in zip(u[known], v[known], strict=True)}) == known.sum()
        assert (depth[~known] == UNKNOWN).all()
        assert ((u[~known] % 4 == 0) & ((v[~known] - 26) % 4 == 0) & (v[~known] >= 26)).all()
        assert rays.color[part] == pytest.approx(view.color[v, u] / 255, abs=1e-6)
    few = OutdoorOptions(low=OPTIONS.low, high=OPTIONS.high, rays=20, ray_near=2.0, ray_far=18.0)
    assert (camera_rays(views, few, np.random.default_rng(0)).rays.depth > 0).all()


def test_shrunken_images_keep_the_place_of_every_point(scenes):
    view = scenes[0].view(0)
    small = shrink(view, 0.5, scenes[0].cloud().coord)
    assert small.color.shape == (SIZE[1] // 2, SIZE[0] // 2, 3)
    points = unproject(view, np.array([0.0, 95, 40]), np.array([0.0, 63, 20]), np.array([4.0, 9, 6]))
    place = project(small, points)
    assert place.u + 0.5 == pytest.approx((np.array([0.0, 95, 40]) + 0.5) / 2)
    assert place.v + 0.5 == pytest.approx((np.array([0.0, 63, 20]) + 0.5) / 2)
    # red is twice the column: in the middle of a pair of columns it is their mean
    assert small.color[8, 10, 0] == pytest.approx(2 * 20.5, abs=1)


@pytest.mark.parametrize("modality", ["lidar", "camera"])
def test_items_depend_on_seed_epoch_and_number_alone(scenes, modality):
    def item(seed, epoch, number):
        return OutdoorDataset(scenes, OPTIONS, modality, seed=seed)[(epoch, number)]

    first, again = item(3, 5, 1), item(3, 5, 1)
    other = [item(4, 5, 1), item(3, 6, 1)]
    assert np.array_equal(first.rays.rays.direction, again.rays.rays.direction)
    for one in other:
        assert not np.array_equal(first.rays.rays.direction, one.rays.rays.direction)
    if modality == "lidar":
        assert np.array_equal(first.cells, again.cells)
        assert first.views == ()
    else:
        assert first.cells is None
        assert all(np.array_equal(a, b) for a, b in zip(first.visible, again.visible, strict=True))
        assert [mask.sum() for mask in first.visible] == [6 - round(0.3 * 6)] * 2
        assert any(
            not np.array_equal(a, b) for one in other for a, b in zip(first.visible, one.visible, strict=True)
        )


def test_points_cameras_and_boxes_move_together(scenes):
    plain = OutdoorDataset(scenes, OPTIONS, "lidar", seed=0, rays=False, masks=False)
    moving = OutdoorDataset(scenes, OPTIONS, "camera", seed=0, rays=False, masks=False, transforms=DETECTION)
    for epoch in range(6):
        before, after = plain[(0, 1)], moving[(epoch, 1)]
        assert not np.allclose(after.world, np.eye(4))
        coord = scenes[1].cloud().coord
        moved = coord @ after.world[:3, :3].T + after.world[:3, 3]
        inside = points_inside(before.boxes, coord.astype(float))
        sure = inside | ~points_inside(_grown(before.boxes), coord.astype(float))
        assert (points_inside(_grown(after.boxes, 1e-4), moved) == inside)[sure].all()
        for view, still in zip(after.views, (scenes[1].view(0), scenes[1].view(1)), strict=True):
            one, two = project(view, moved), project(still, coord)
            front = two.depth > 0.5
            assert one.u[front] == pytest.approx(two.u[front], rel=1e-6, abs=1e-6)


def _grown(boxes, by=1e-3):
    from dataclasses import replace

    return replace(boxes, size=boxes.size + 2 * by)


def test_a_batch_of_lidar_frames(scenes):
    dataset = OutdoorDataset(scenes, OPTIONS, "lidar", seed=0)
    items = [dataset[(0, 0)], dataset[(0, 1)]]
    batch = collate_outdoor(items).to("cpu")
    assert batch.names == ("frame0", "frame1")
    assert batch.dataset == "nuscenes"
    assert batch.cells.dtype == torch.int64
    assert len(batch.cells) == len(items[0].cells) + len(items[1].cells)
    assert torch.equal(batch.cells[batch.cells[:, 0] == 1][:, 1:], torch.from_numpy(items[1].cells))
    assert torch.equal(batch.coord, batch.features[:, :3])
    assert batch.rays.depth.shape == batch.valid.shape == batch.colored.shape == (2, 48)
    assert batch.valid.all()
    assert 0 < batch.colored.sum() < batch.colored.numel()
    assert batch.cameras is None
    with pytest.raises(UserError, match="frame0, frame1: frames without boxes"):
        batch.true_boxes()


def test_cameras_of_different_sizes_and_numbers_are_padded(scenes):
    dataset = OutdoorDataset(scenes, OPTIONS, "camera", seed=0)
    first, second = dataset[(0, 0)], dataset[(0, 1)]
    small = shrink(second.views[0], 0.5, scenes[1].cloud().coord)
    second = second._replace(views=(small,), visible=(np.zeros((1, 2), bool),))
    batch = collate_outdoor([first, second])
    cameras = batch.cameras
    assert cameras.images.shape == (2, 2, 3, 64, 96)
    assert cameras.sizes.tolist() == [[[64, 96], [64, 96]], [[32, 48], [0, 0]]]
    assert torch.equal(cameras.images[1, 0, :, :32, :48].permute(1, 2, 0), torch.from_numpy(small.color))
    assert not cameras.images[1, 0, :, 32:].any()
    assert not cameras.images[1, 1].any()
    assert cameras.visible[1, 0].tolist() == [[False, False, True], [True, True, True]]
    assert batch.rays.depth.shape == (2, 96)


def test_no_colour_to_learn_means_that_no_image_is_read(tmp_path):
    write_nuscenes(tmp_path, 1)
    (tmp_path / "samples" / "CAM_FRONT" / "0000.png").write_bytes(b"no image")
    options = OutdoorOptions(low=OPTIONS.low, high=OPTIONS.high, rays=8, color_weight=0.0)
    item = OutdoorDataset(open_nuscenes(tmp_path), options, "lidar", seed=0)[(0, 0)]
    assert not item.rays.colored.any()
    with pytest.raises(UserError, match="not an image"):
        OutdoorDataset(open_nuscenes(tmp_path), OPTIONS, "lidar", seed=0)[(0, 0)]


def test_what_cannot_be_learned_from_is_refused(scenes, tmp_path):
    with pytest.raises(UserError, match="no frame is left"):
        OutdoorDataset([], OPTIONS, "lidar", seed=0)
    with pytest.raises(UserError, match="outdoor models read nuscenes and kitti"):
        OutdoorDataset([make_room(0, views=1, points=100)], OPTIONS, "lidar", seed=0)
    far = OutdoorOptions(low=(100.0, 0.0, 0.0), high=(120.0, 9.0, 9.0))
    with pytest.raises(UserError, match="frame frame0: no LiDAR point lies in the range"):
        OutdoorDataset(scenes, far, "lidar", seed=0)[(0, 0)]
    blind = OutdoorOptions(low=OPTIONS.low, high=OPTIONS.high, ray_near=49.0)
    with pytest.raises(UserError, match="frame frame0: no LiDAR point of the range lies 49 to 50 m away"):
        OutdoorDataset(scenes, blind, "lidar", seed=0)[(0, 0)]


def test_a_real_frame_of_kitti_gives_voxels_and_rays():
    scenes = open_kitti(data_folder("kitti-3frames"))
    options = OutdoorOptions(mask_ratio=0.0)
    item = OutdoorDataset(scenes, options, "lidar", seed=0)[(0, 0)]
    assert len(item.cells) > 40_000
    assert item.cells.max(0).tolist() <= [1440, 1440, 40]
    assert 0.05 < item.rays.colored.mean() < 0.5  # the camera sees 81 degrees of 360
    masked = OutdoorDataset(scenes, OutdoorOptions(), "lidar", seed=0)[(0, 0)]
    assert 0.1 < len(masked.cells) / len(item.cells) < 0.35
