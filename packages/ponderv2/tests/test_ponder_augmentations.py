"""Augmentations: cameras and points stay together through every one, and labelled points are never lost."""

from dataclasses import replace

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.cameras import project, unproject
from ponderv2.color_transforms import ChromaticAutoContrast, ChromaticJitter, ChromaticTranslation
from ponderv2.mixing import mix3d
from ponderv2.rays import all_rays
from ponderv2.samples import sample_of, through
from ponderv2.scenes import PointCloud
from ponderv2.synthetic import make_room
from ponderv2.transforms import (
    CenterShift,
    ElasticDistortion,
    GridSample,
    RandomDropout,
    RandomFlip,
    RandomJitter,
    RandomRotate,
    RandomScale,
    Shuffle,
    SphereCrop,
    Upright,
    about,
    finetuning_transforms,
    plain_transforms,
    pretraining_transforms,
)


@pytest.fixture(scope="module")
def room():
    return make_room(4, views=3, size=(20, 15), points=4000)


@pytest.fixture(scope="module")
def sample(room):
    return sample_of(room, [room.view(index) for index in range(3)])


@pytest.fixture
def random():
    return np.random.default_rng(7)


class Tilted:
    """A scene whose "up" is not z."""

    def __call__(self, sample, generator):
        world = np.eye(4)
        world[:3, :3] = about("x", 1.1) @ about("y", -0.4)
        return sample.moved(world)


SIMILARITIES = {
    "shift": (CenterShift(),),
    "shift in the plane": (CenterShift(floor=False),),
    "upright": (Tilted(), Upright()),
    "turn": (RandomRotate(-np.pi, np.pi),),
    "tilt": (RandomRotate(0.02, 0.05, "x"), RandomRotate(-0.05, -0.02, "y")),
    "scale": (RandomScale(0.5, 0.6),),
    "mirrored x and y": (RandomFlip(1.0),),
    "random flips": (RandomFlip(0.5), RandomFlip(0.5), RandomFlip(0.5)),
    "dropout": (RandomDropout(0.8),),
    "grid": (GridSample(0.1),),
    "crop": (SphereCrop(500),),
    "shuffle": (Shuffle(),),
    "all of pre-training": pretraining_transforms(0.05),
    "none": plain_transforms(0.05),
}


STILL = ("dropout", "grid", "crop", "shuffle")  # these choose points and move none


@pytest.mark.parametrize("name", SIMILARITIES)
def test_project_undoes_unproject_after(name, room, sample, random):
    after = through(sample, SIMILARITIES[name], random)
    scale = np.cbrt(abs(np.linalg.det(after.world[:3, :3])))
    back = np.linalg.inv(after.world)
    for view, before in zip(after.views, sample.views, strict=True):
        v, u = np.divmod(np.arange(view.depth.size), 20)
        depth = view.depth.ravel()
        points = unproject(view, u, v, depth)
        found = project(view, points)
        np.testing.assert_allclose(found.u, u, atol=1e-9)
        np.testing.assert_allclose(found.v, v, atol=1e-9)
        np.testing.assert_allclose(found.depth, depth, atol=1e-9)
        # Pixels still lie where they did, and on the surfaces of the room.
        there = points @ back[:3, :3].T + back[:3, 3]
        np.testing.assert_allclose(there, unproject(before, u, v, depth), atol=1e-9)
        np.testing.assert_allclose(room.sdf(there), 0, atol=1e-6)
        rays = all_rays(view)
        ends = rays.origin + rays.direction * rays.depth[:, None]
        np.testing.assert_allclose(ends, points, atol=2e-6)
        np.testing.assert_allclose(np.linalg.norm(rays.direction, axis=1), 1, atol=1e-6)
        lengths = np.linalg.norm(unproject(before, u, v, depth) - before.camera_to_world[:3, 3], axis=1)
        np.testing.assert_allclose(rays.depth, lengths * scale, rtol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_points_are_those_of_the_scene_after(name, room, sample, random):
    after = through(sample, SIMILARITIES[name], random)
    whole = room.cloud()
    world = after.world
    np.testing.assert_allclose(
        after.cloud.coord, whole.coord[after.index] @ world[:3, :3].T + world[:3, 3], atol=2e-6
    )
    scale = np.cbrt(abs(np.linalg.det(world[:3, :3])))
    np.testing.assert_allclose(
        after.cloud.normal, whole.normal[after.index] @ world[:3, :3].T / scale, atol=1e-6
    )
    for field in ("semantic", "instance", "color"):
        assert np.array_equal(getattr(after.cloud, field), getattr(whole, field)[after.index])


def test_a_shift_moves_the_cameras(sample, random):
    """Regression: before the original's commit 82ad88a its shift missed the extrinsics."""
    after = CenterShift()(sample, random)
    moved = after.cloud.coord[0].astype(float) - sample.cloud.coord[0]
    assert np.abs(moved).max() > 1
    for view, before in zip(after.views, sample.views, strict=True):
        np.testing.assert_allclose(
            view.camera_to_world[:3, 3] - before.camera_to_world[:3, 3], moved, atol=1e-6
        )


def test_the_shift_centres_the_box_and_puts_it_on_the_floor(sample, random):
    low, high = (getattr(CenterShift()(sample, random).cloud.coord, side)(0) for side in ("min", "max"))
    np.testing.assert_allclose((low + high)[:2], 0, atol=1e-6)
    assert low[2] == pytest.approx(0, abs=1e-6)
    raised = sample.moved(np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1.0]]))
    after = CenterShift(floor=False)(raised, random).cloud.coord
    assert after.min(0)[2] == pytest.approx(2, abs=1e-6)
    np.testing.assert_allclose((after.min(0) + after.max(0))[:2], 0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SIMILARITIES if name not in STILL])
def test_without_the_update_of_cameras_the_oracle_fails(name, room, sample, random):
    """The oracle above can fail: with the cameras left behind, pixels leave the surfaces."""
    after = through(sample, SIMILARITIES[name], random)
    back = np.linalg.inv(after.world)
    view = sample.views[0]
    v, u = np.divmod(np.arange(view.depth.size), 20)
    there = unproject(view, u, v, view.depth.ravel()) @ back[:3, :3].T + back[:3, 3]
    assert np.abs(room.sdf(there)).max() > 0.01


def test_upright_turns_the_scenes_up_to_z(sample, random):
    after = Upright()(Tilted()(sample, random), random)
    np.testing.assert_allclose(after.up, (0, 0, 1), atol=1e-9)
    floor = after.cloud.semantic == 0
    np.testing.assert_allclose(after.cloud.normal[floor] @ (0, 0, 1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("axis", "vector", "turned"),
    [("z", (1, 0, 0), (0, 1, 0)), ("x", (0, 1, 0), (0, 0, 1)), ("y", (0, 0, 1), (1, 0, 0))],
)
def test_turns_are_counter_clockwise(axis, vector, turned):
    np.testing.assert_allclose(about(axis, np.pi / 2) @ vector, turned, atol=1e-12)


def test_turns_and_scales_stay_in_their_limits(sample):
    angles, scales = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        world = RandomScale()(RandomRotate(-0.1, 0.1)(sample, random), random).world
        scales.append(np.cbrt(np.linalg.det(world[:3, :3])))
        angles.append(np.arctan2(world[1, 0], world[0, 0]))
    assert min(scales) >= 0.9
    assert max(scales) <= 1.1
    assert np.ptp(scales) > 0.15
    assert np.abs(angles).max() <= 0.1
    assert np.ptp(angles) > 0.15


def test_dropout_keeps_the_share_that_it_says(sample, random):
    after = RandomDropout(0.8)(sample, random)
    assert len(after.cloud) == 800
    assert len(set(after.index)) == 800
    assert RandomDropout(0.8, p=0.0)(sample, random) is sample
    assert len(RandomDropout(1.0)(sample, random).cloud) == 1


def limited(sample, count=40):
    return replace(
        sample, kept=np.sort(np.random.default_rng(1).choice(len(sample.cloud), count, replace=False))
    )


@pytest.mark.parametrize(
    "transforms",
    [
        (RandomDropout(0.95),),
        (SphereCrop(60),),
        (SphereCrop(20),),
        (Shuffle(),),
        (RandomDropout(0.9), Shuffle(), SphereCrop(100), Shuffle()),
    ],
)
def test_labelled_points_are_kept_and_renumbered(transforms, sample, random):
    before = limited(sample)
    after = through(before, transforms, random)
    assert set(after.index[after.kept]) == set(before.kept)
    assert (np.diff(after.kept) > 0).all()
    assert len(after.cloud) < len(before.cloud) or isinstance(transforms[0], Shuffle)


def test_a_voxel_keeps_its_labelled_point(sample):
    coord = np.array(
        [[0.05, 0.05, 0.05], [0.06, 0.05, 0.05], [0.3, 0.05, 0.05], [0.01, 0.01, 0.01]], np.float32
    )
    few = replace(sample, cloud=PointCloud(coord), index=np.arange(4), views=(), kept=np.array([1]))
    for seed in range(20):
        after = GridSample(0.1)(few, np.random.default_rng(seed))
        assert after.index.tolist() == [1, 2]
        assert after.kept.tolist() == [0]
        assert after.grid.tolist() == [[0, 0, 0], [3, 0, 0]]


def test_of_two_labelled_points_in_a_voxel_one_is_kept(sample):
    coord = np.zeros((3, 3), np.float32)
    few = replace(sample, cloud=PointCloud(coord), index=np.arange(3), views=(), kept=np.array([0, 2]))
    chosen = {int(GridSample(0.1)(few, np.random.default_rng(seed)).index[0]) for seed in range(30)}
    assert chosen == {0, 2}


def test_labelled_points_survive_fine_tuning_unless_they_share_a_voxel(sample):
    few = replace(limited(sample, 10), views=())
    after = through(few, finetuning_transforms(0.02, crop_points=100), np.random.default_rng(2))
    assert set(after.index[after.kept]) == set(few.kept)
    assert len(after.cloud) == 100


def test_to_drop_a_labelled_point_is_refused(sample):
    with pytest.raises(ValueError, match="must be kept"):
        limited(sample).take(np.arange(1))


def test_the_grid_has_one_random_point_a_voxel(sample):
    random = np.random.default_rng(0)
    after = GridSample(0.2)(sample, random)
    cells = np.floor(sample.cloud.coord / 0.2).astype(int)
    assert len(after.cloud) == len(np.unique(cells, axis=0))
    assert len(np.unique(after.grid, axis=0)) == len(after.grid)
    assert after.grid.min() == 0
    mine = np.floor(after.cloud.coord / 0.2).astype(int)
    assert np.array_equal(after.grid, mine - mine.min(0))
    firsts = np.array([GridSample(0.2)(sample, np.random.default_rng(seed)).index[:50] for seed in range(5)])
    assert (firsts != firsts[0]).any(), "the choice is random"
    again = GridSample(0.2)(sample, np.random.default_rng(0))
    assert np.array_equal(again.index, after.index)


def test_every_point_of_a_voxel_is_chosen_as_often(sample):
    coord = np.array([[0.01 * i, 0, 0] for i in range(5)], np.float32)
    few = replace(sample, cloud=PointCloud(coord), index=np.arange(5), views=())
    counts = np.bincount(
        [GridSample(1.0)(few, np.random.default_rng(s)).index[0] for s in range(1000)], minlength=5
    )
    assert counts.min() > 140
    assert counts.max() < 260


def test_more_voxels_along_an_axis_than_keys_can_number_are_refused(sample, random):
    far = np.array([[0, 0, 0], [5000, 0, 0]], np.float32)
    long = replace(sample, cloud=PointCloud(far), index=np.arange(2), views=())
    with pytest.raises(UserError, match=r"scene room0004: .*give larger voxels, or the right unit"):
        GridSample(0.02)(long, random)


def test_a_crop_keeps_what_is_nearest(sample, random):
    after = SphereCrop(300)(sample, random)
    assert len(after.cloud) == 300
    inside = np.zeros(len(sample.cloud), bool)
    inside[after.index] = True
    coord = sample.cloud.coord
    reached = [np.linalg.norm(coord - centre, axis=1) for centre in coord[inside]]
    assert any(distance[inside].max() <= distance[~inside].min() for distance in reached)
    assert len(SphereCrop(None, rate=0.25)(sample, random).cloud) == 1000
    assert len(SphereCrop(10_000)(sample, random).cloud) == 4000


def test_shaken_and_bent_points_with_cameras_are_refused(sample, random):
    for transform in (RandomJitter(), ElasticDistortion(p=1.0)):
        with pytest.raises(UserError, match="cameras look"):
            transform(sample, random)


def test_jitter_is_clipped(sample, random):
    alone = replace(sample, views=())
    moved = RandomJitter(0.01, 0.02)(alone, random).cloud.coord - alone.cloud.coord
    assert np.abs(moved).max() <= 0.02 + 1e-6
    assert moved.std() == pytest.approx(0.0096, rel=0.05)


def test_elastic_distortion_moves_neighbours_alike(sample, random):
    alone = replace(sample, views=())
    moved = ElasticDistortion(p=1.0)(alone, random).cloud.coord - alone.cloud.coord
    assert 0.02 < np.abs(moved).mean() < 0.5
    from scipy.spatial import cKDTree

    distance, near = cKDTree(alone.cloud.coord).query(alone.cloud.coord, 2)
    close = distance[:, 1] < 0.05
    apart = np.linalg.norm(moved[close] - moved[near[close, 1]], axis=1)
    assert apart.mean() < 0.2 * np.linalg.norm(moved, axis=1).mean()


def test_elastic_distortion_of_a_plane_and_of_one_point(sample, random):
    for coord in (np.zeros((1, 3)), np.random.default_rng(0).random((50, 3)) * [1, 1, 0]):
        few = replace(
            sample, cloud=PointCloud(coord.astype(np.float32)), index=np.arange(len(coord)), views=()
        )
        assert np.isfinite(ElasticDistortion(p=1.0)(few, random).cloud.coord).all()


def gray(values, sample):
    color = np.repeat(np.array(values, np.float32)[:, None], 3, 1)
    return replace(sample, cloud=PointCloud(np.zeros((len(values), 3), np.float32), color=color))


def test_auto_contrast_blends_towards_the_full_range(sample):
    before = gray([100, 150, 200], sample)
    after = ChromaticAutoContrast(p=1.0)(before, np.random.default_rng(0)).cloud.color[:, 0]
    share = (100 - after[0]) / 100  # stretched, 100 becomes 0
    assert 0 < share < 1
    np.testing.assert_allclose(
        after, (1 - share) * np.array([100, 150, 200]) + share * np.array([0, 127.5, 255]), rtol=1e-5
    )


def test_auto_contrast_leaves_one_colour_alone(sample, random):
    before = gray([40, 40], sample)
    assert np.array_equal(ChromaticAutoContrast(p=1.0)(before, random).cloud.color, before.cloud.color)


def test_translation_of_colours_is_one_for_all_points(sample, random):
    before = gray([100, 120, 140], sample)
    moved = ChromaticTranslation(p=1.0)(before, random).cloud.color - before.cloud.color
    np.testing.assert_allclose(moved, np.tile(moved[:1], (3, 1)), atol=1e-4)
    assert np.abs(moved).max() <= 255 * 0.05
    assert len(set(moved[0].round(3))) == 3


def test_noise_of_colours_has_its_deviation_and_stays_in_range(sample, random):
    before = gray([128] * 2000 + [0] * 100, sample)
    after = ChromaticJitter(p=1.0)(before, random).cloud.color
    assert (after[:2000] - 128).std() == pytest.approx(255 * 0.05, rel=0.05)
    assert after.min() == 0


def test_colours_of_nothing_pass(sample, random):
    bare = replace(sample, cloud=PointCloud(np.zeros((2, 3), np.float32)))
    for transform in (ChromaticAutoContrast(1.0), ChromaticTranslation(1.0), ChromaticJitter(1.0)):
        assert transform(bare, random).cloud.color is None


def test_augmentations_change_nothing_that_they_are_given(sample):
    before = sample.cloud.coord.copy(), sample.cloud.color.copy(), sample.views[0].camera_to_world.copy()
    through(sample, pretraining_transforms(0.05), np.random.default_rng(0))
    through(replace(sample, views=()), finetuning_transforms(0.05), np.random.default_rng(0))
    after = sample.cloud.coord, sample.cloud.color, sample.views[0].camera_to_world
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_same_generator_gives_the_same_sample(sample):
    first, second = (
        through(sample, pretraining_transforms(0.05), np.random.default_rng(3)) for _ in range(2)
    )
    assert np.array_equal(first.index, second.index)
    assert np.array_equal(first.world, second.world)


def test_pre_training_keeps_a_fifth_and_gives_voxels(sample, random):
    after = through(sample, pretraining_transforms(0.001), random)
    assert len(after.cloud) == 800
    assert after.grid.shape == (800, 3)


def test_mixed_rooms_have_each_voxel_once_and_their_own_objects(room):
    other = make_room(9, views=0, points=4000)
    first, second = (
        through(sample_of(scene), plain_transforms(0.1), np.random.default_rng(0)) for scene in (room, other)
    )
    mixed = mix3d(first, second, np.random.default_rng(1))
    assert len(np.unique(mixed.grid, axis=0)) == len(mixed.grid)
    assert max(len(first.cloud), len(second.cloud)) < len(mixed.cloud) <= len(first.cloud) + len(second.cloud)
    objects = [len(set(part.cloud.instance) - {-1}) for part in (first, second)]
    assert mixed.cloud.instance.max() + 1 == first.cloud.instance.max() + second.cloud.instance.max() + 2
    assert len(set(mixed.cloud.instance) - {-1}) == sum(objects)
    held = np.floor(mixed.cloud.coord / 0.1).astype(int)
    assert np.array_equal(mixed.grid, held - held.min(0))


def test_mixing_needs_one_voxel_size_and_no_views(sample, random):
    fine, coarse = (GridSample(size)(replace(sample, views=()), random) for size in (0.1, 0.2))
    with pytest.raises(UserError, match=r"voxels of 0\.1 and 0\.2 m"):
        mix3d(fine, coarse, random)
    with pytest.raises(UserError, match="have views"):
        mix3d(GridSample(0.1)(sample, random), fine, random)


def test_mixing_keeps_labelled_points(sample):
    first = GridSample(0.05)(limited(replace(sample, views=()), 15), np.random.default_rng(0))
    second = GridSample(0.05)(limited(replace(sample, views=()), 25), np.random.default_rng(1))
    mixed = mix3d(first, second, np.random.default_rng(2))
    cells = {
        tuple(cell)
        for part in (first, second)
        for cell in np.floor(part.cloud.coord[part.kept] / 0.05).astype(int)
    }
    assert {tuple(cell) for cell in np.floor(mixed.cloud.coord[mixed.kept] / 0.05).astype(int)} == cells


def test_points_that_are_not_finite_and_no_points_are_refused(sample, random):
    broken = replace(
        sample, cloud=PointCloud(np.array([[0, 0, np.nan], [0, 0, 0]], np.float32)), index=np.arange(2)
    )
    with pytest.raises(UserError, match="1 of 2 points are not finite"):
        CenterShift()(broken, random)
    with pytest.raises(UserError, match="no point is left"):
        GridSample()(broken.take(np.zeros(0, int)), random)
