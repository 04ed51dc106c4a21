"""Items and batches: what is drawn follows from seed, epoch and number; what cannot be used is said."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from nonet.data.batching import RandomBatches, StepSampler, loader
from nonet.errors import UserError
from ponderv2.batches import Collate, Item, SceneDataset, draw_views
from ponderv2.rays import Rays
from ponderv2.samples import Sample
from ponderv2.scenes import BadFrame, ChosenViews, PointCloud, Scene
from ponderv2.synthetic import make_room, make_rooms
from ponderv2.transforms import finetuning_transforms, plain_transforms, pretraining_transforms


@pytest.fixture(scope="module")
def rooms():
    return make_rooms(4, seed=40, views=4, size=(20, 15), points=2000)


@pytest.fixture(scope="module")
def dataset(rooms):
    return SceneDataset(rooms, pretraining_transforms(0.1), seed=5, views=3, rays=16)


class Given(Scene):
    """A scene of a cloud and views that a test makes."""

    def __init__(self, cloud, views=(), *, name="given", dataset="given"):
        super().__init__(name, dataset)
        self._cloud, self._views = cloud, views

    @property
    def view_names(self):
        return tuple(str(number) for number in range(len(self._views)))

    def cloud(self):
        return self._cloud

    def view(self, index):
        if isinstance(self._views[index], BadFrame):
            raise self._views[index]
        return self._views[index]


def item(points, *, name="a", dataset="d", rays=None, **channels):
    points = np.asarray(points, np.float32)
    cloud = PointCloud(points, color=np.full((len(points), 3), 127.5, np.float32), **channels)
    grid = np.floor(points / 0.1).astype(np.int64)
    sample = Sample(
        name, dataset, cloud, np.arange(len(points)), np.eye(4), grid=grid - grid.min(0), cell=0.1
    )
    return Item(sample, rays, 3)


def row(count, start=0.0):
    return np.column_stack([start + 0.1 * np.arange(count) + 0.05, np.zeros(count), np.zeros(count)])


def test_an_item_is_a_function_of_seed_epoch_and_number(rooms, dataset):
    again = SceneDataset(rooms, pretraining_transforms(0.1), seed=5, views=3, rays=16)
    again[(0, 3)], again[(9, 1)]  # what was read before does not matter
    first, second = dataset[(2, 1)], again[(2, 1)]
    assert np.array_equal(first.sample.index, second.sample.index)
    assert np.array_equal(first.sample.world, second.sample.world)
    for one, other in zip(first.rays, second.rays, strict=True):
        assert np.array_equal(one, other)
    for other in (dataset[(3, 1)], SceneDataset(rooms, pretraining_transforms(0.1), seed=6, views=3)[(2, 1)]):
        assert not np.array_equal(first.sample.world, other.sample.world)


@pytest.mark.slow
def test_two_workers_give_what_none_gives(dataset):
    def run(workers):
        sampler = StepSampler(RandomBatches(4, 2, 0), steps=4)
        return [batch for batch in loader(dataset, sampler, Collate(), workers=workers)]

    for one, other in zip(run(0), run(2), strict=True):
        assert one.names == other.names
        assert torch.equal(one.cells, other.cells)
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.rays.depth, other.rays.depth)


def test_a_batch_has_what_the_backbone_and_the_renderer_need(dataset, rooms):
    items = [dataset[(0, number)] for number in range(3)]
    batch = Collate()(items)
    sizes = [len(one.sample.cloud) for one in items]
    assert len(batch) == 3
    assert batch.names == ("room0040", "room0041", "room0042")
    assert batch.dataset == "synthetic"
    assert batch.cells.dtype == torch.int64
    assert torch.bincount(batch.cells[:, 0]).tolist() == sizes
    assert len(torch.unique(batch.cells, dim=0)) == len(batch.cells)
    assert batch.cells.min() == 0
    assert batch.features.shape == (sum(sizes), 6)
    assert batch.features.dtype == torch.float32
    assert batch.features.abs().max() <= 1 + 1e-5
    assert batch.rays.origin.shape == (3, 48, 3)
    assert batch.rays.label.dtype == torch.int64
    assert batch.valid.all()
    start = 0
    for number, size in enumerate(sizes):
        mine = slice(start, start + size)
        assert torch.equal(batch.box[number, 0], batch.coord[mine].amin(0))
        assert torch.equal(batch.box[number, 1], batch.coord[mine].amax(0))
        whole = torch.from_numpy(rooms[number].cloud().coord)[batch.index[mine]].double()
        world = batch.world[number]
        torch.testing.assert_close(
            batch.coord[mine].double(), whole @ world[:3, :3].T + world[:3, 3], atol=1e-5, rtol=0
        )
        assert torch.equal(
            batch.semantic[mine], torch.from_numpy(rooms[number].cloud().semantic)[batch.index[mine]]
        )
        start += size


def test_ray_ends_lie_on_the_surfaces_of_the_room_in_the_batch(dataset, rooms):
    batch = Collate()([dataset[(1, number)] for number in range(4)])
    ends = batch.rays.origin + batch.rays.direction * batch.rays.depth[..., None]
    for number, room in enumerate(rooms):
        back = np.linalg.inv(batch.world[number].numpy())
        there = ends[number].numpy() @ back[:3, :3].T + back[:3, 3]
        assert np.abs(room.sdf(there)).max() < 1e-5


def test_ray_ends_lie_in_the_box_of_the_points(rooms):
    """Regression: before the original's commit 6576cc1 points and rays were not in one normalised frame."""
    data = SceneDataset(rooms, plain_transforms(0.1), seed=0, views=4)
    batch = Collate()([data[(0, number)] for number in range(4)])
    ends = batch.rays.origin + batch.rays.direction * batch.rays.depth[..., None]
    low, high = batch.box[:, None, 0], batch.box[:, None, 1]
    margin = 0.05  # no point of 2000 need lie at the very top of a wall
    assert ((ends > low - margin) & (ends < high + margin)).all()
    assert batch.box[:, 0, 2].abs().max() < 1e-6


def test_instances_are_numbered_over_the_batch():
    items = [
        item(row(4), name="a", instance=np.array([7, -1, 7, 2]), semantic=np.array([1, 0, 1, 1])),
        item(row(3), name="b", instance=np.array([-1, -1, -1]), semantic=np.array([0, 0, 0])),
        item(row(2), name="c", instance=np.array([2, 0]), semantic=np.array([0, 3])),
    ]
    batch = Collate(("color",))(items)
    assert batch.instance.tolist() == [1, -1, 1, 0, -1, -1, -1, 3, 2]
    assert batch.semantic.tolist() == [1, 0, 1, 1, 0, 0, 0, 0, 3]


def test_scenes_without_labels_beside_others_are_ignored_there():
    batch = Collate(("color",))([item(row(2)), item(row(2), semantic=np.array([3, -1]))])
    assert batch.semantic.tolist() == [-1, -1, 3, -1]
    assert batch.instance is None
    assert Collate(("color",))([item(row(2))]).semantic is None


def test_a_batch_of_two_data_sets_is_refused_unless_allowed():
    items = [item(row(2), dataset="scannet"), item(row(2), dataset="s3dis")]
    with pytest.raises(UserError, match="mixes the data sets scannet, s3dis"):
        Collate(("color",))(items)
    assert Collate(("color",), one_dataset=False)(items).dataset == "scannet+s3dis"


def test_scenes_beyond_the_most_points_are_left_out_and_named():
    items = [item(row(5), name="a"), item(row(9), name="b"), item(row(3), name="c")]
    batch = Collate(("color",), max_points=10)(items)
    assert batch.names == ("a", "c")
    assert batch.dropped == ("b",)
    assert batch.cells[:, 0].tolist() == [0] * 5 + [1] * 3
    with pytest.raises(
        UserError, match=r"all scenes of a batch exceed 2 points \(a 5, b 9, c 3\): allow more"
    ):
        Collate(("color",), max_points=2)(items)


def test_a_cloud_without_a_channel_is_named():
    with pytest.raises(
        UserError,
        match=r"scene b: has no normal; estimate normals with --normals estimate, or .* its coord, color",
    ):
        Collate(("color", "normal"))([item(row(2), name="b")])
    with pytest.raises(UserError, match="smell is no channel"):
        Collate(("color", "smell"))


def test_views_of_some_scenes_only_are_refused():
    rays = Rays(
        *(np.zeros(shape, np.float32) for shape in ((2, 3), (2, 3), (2,), (2, 3))), np.zeros(2, np.int64)
    )
    with pytest.raises(UserError, match="2 scenes has views of 1 only"):
        Collate(("color",))([item(row(2), rays=rays), item(row(2))])
    with pytest.raises(UserError, match="clouds with views are not mixed"):
        Collate(("color",), mix=1.0)([item(row(2), rays=rays), item(row(2), rays=rays)])


def test_mixing_joins_the_clouds_pair_by_pair(rooms):
    data = SceneDataset(rooms, finetuning_transforms(0.1), seed=0)
    items = [data[(0, number)] for number in range(3)]
    batch = Collate(mix=1.0)(items)
    assert batch.names == ("room0040 + room0041", "room0042")
    assert len(torch.unique(batch.cells, dim=0)) == len(batch.cells)
    assert (batch.index[batch.cells[:, 0] == 0] == -1).all()
    assert (batch.index[batch.cells[:, 0] == 1] >= 0).all()
    again = Collate(mix=1.0)(items)
    assert torch.equal(batch.cells, again.cells)
    assert Collate(mix=0.0)(items).names == ("room0040", "room0041", "room0042")


def test_mixing_happens_as_often_as_it_says():
    items = [item(row(3), name="a"), item(row(3, 5.0), name="b")]
    mixed = sum(
        len(Collate(("color",), mix=0.8)([one._replace(seed=seed) for one in items])) == 1
        for seed in range(400)
    )
    assert 0.73 * 400 < mixed < 0.87 * 400


def test_a_batch_moves_to_a_device_with_all_its_tensors(dataset):
    batch = Collate()([dataset[(0, 0)]]).to("meta")
    assert batch.cells.device.type == "meta"
    assert batch.rays.color.device.type == "meta"
    assert batch.valid.device.type == "meta"
    assert batch.names == ("room0040",)


def test_views_are_drawn_once_each_while_there_are_enough(rooms):
    for seed in range(10):
        names = [view.name for view in draw_views(rooms[0], 4, np.random.default_rng(seed))]
        assert sorted(names) == ["000000", "000001", "000002", "000003"]


def test_too_few_views_come_again(rooms):
    part = rooms[0].with_views([1, 3])
    names = Counter(view.name for view in draw_views(part, 5, np.random.default_rng(0)))
    assert set(names) == {"000001", "000003"}
    assert sum(names.values()) == 5
    assert draw_views(part, 0, np.random.default_rng(0)) == []


def test_a_bad_frame_is_replaced_counted_and_named(rooms):
    view = rooms[0].view(0)
    scene = Given(rooms[0].cloud(), [BadFrame("no depth", "a.png"), view, BadFrame("no depth", "b.png")])
    for seed in range(5):
        assert draw_views(scene, 1, np.random.default_rng(seed)) == [view]
    assert scene.skipped == {"no depth": 2}
    assert sorted(scene.remarks) == ["a.png: no depth", "b.png: no depth"]


def test_a_scene_without_a_usable_view_is_an_error(rooms):
    scene = Given(rooms[0].cloud(), [BadFrame("no depth", "a.png")])
    with pytest.raises(
        UserError, match=r"scene given: none of 1 views can be used; the first: a.png: no depth"
    ):
        draw_views(scene, 2, np.random.default_rng(0))
    with pytest.raises(UserError, match="none of 0 views"):
        draw_views(Given(rooms[0].cloud()), 2, np.random.default_rng(0))


def test_fewer_pixels_than_rays_still_give_a_batch(rooms):
    view = rooms[0].view(0)
    depth = np.zeros_like(view.depth)
    depth[7, 9] = 2
    scene = Given(rooms[0].cloud(), [replace(view, depth=depth)])
    found = SceneDataset([scene], pretraining_transforms(0.1), seed=0, views=2, rays=30)[(0, 0)]
    assert found.rays.depth.shape == (60,)
    assert np.ptp(found.rays.depth) < 1e-6


@pytest.mark.parametrize("count", [1, 5])
def test_points_in_one_place_are_an_error(count):
    scene = Given(PointCloud(np.full((count, 3), 2.5, np.float32)))
    with pytest.raises(UserError, match="scene given: all 1 points lie in one place"):
        SceneDataset([scene], plain_transforms(0.1), seed=0)[(0, 0)]


def test_a_plane_of_points_passes():
    coord = np.random.default_rng(0).random((300, 3)).astype(np.float32) * np.array([1, 1, 0], np.float32)
    scene = Given(PointCloud(coord))
    batch = Collate(("coord",))([SceneDataset([scene], pretraining_transforms(0.02), seed=0)[(0, 0)]])
    assert torch.isfinite(batch.features).all()


def test_labels_can_be_left_behind(rooms):
    hidden = SceneDataset(rooms, pretraining_transforms(0.1), seed=5, views=2, rays=8, labels=False)
    found = hidden[(0, 0)]
    assert (found.rays.label == -1).all()
    assert found.sample.cloud.semantic is None
    shown = SceneDataset(rooms, pretraining_transforms(0.1), seed=5, views=2, rays=8)[(0, 0)]
    assert (shown.rays.label >= 0).all()


def test_scenes_come_again_with_other_draws(rooms):
    twice = SceneDataset(rooms, pretraining_transforms(0.1), seed=5, loop=2)
    assert len(twice) == 8
    first, second = twice[(0, 1)], twice[(0, 5)]
    assert first.sample.name == second.sample.name
    assert not np.array_equal(first.sample.world, second.sample.world)
    with pytest.raises(IndexError):
        twice[(0, 8)]


def test_no_scenes_and_no_voxels_are_refused(rooms):
    with pytest.raises(UserError, match="no scene is left"):
        SceneDataset([], plain_transforms(), seed=0)
    with pytest.raises(ValueError, match="GridSample"):
        SceneDataset(rooms, (), seed=0)


def test_limited_labels_stay_through_a_whole_item():
    room = make_room(41, views=0, points=2000)
    room.kept = np.array([5, 1999, 700])
    sample = SceneDataset([room], finetuning_transforms(0.05, crop_points=200), seed=0)[(0, 0)].sample
    assert set(sample.index[sample.kept]) == {5, 700, 1999}


def test_chosen_views_pass_everything_on(rooms):
    part = rooms[0].with_views([2])
    assert isinstance(part, ChosenViews)
    assert part.cloud() is rooms[0].cloud()
    assert part.classes == rooms[0].classes
    assert part.skipped is rooms[0].skipped
