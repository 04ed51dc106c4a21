"""Readers on real data: 7-Scenes, the tabletop frames, a cloud of ScanNet and one of a street."""

import re
from importlib.resources import files

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nonet.testing import data_folder
from ponderv2.batches import Collate, SceneDataset
from ponderv2.cameras import project, unproject
from ponderv2.reading import open_scenes
from ponderv2.transforms import plain_transforms, pretraining_transforms


@pytest.fixture(scope="module")
def office():
    return open_scenes(f"7scenes:{data_folder('rgbd-7scenes')}", frame_step=10)[0]


def test_seven_scenes_frames_are_read(office):
    assert len(office.view_names) == 10
    view = office.view(0)
    assert view.color.shape == (480, 640, 3)
    assert 0.5 < np.median(view.depth[view.depth > 0]) < 3
    assert view.depth.max() < 10, "65535 means that nothing was seen"
    assert view.intrinsics[0].tolist() == [585, 0, 320]
    assert not office.skipped


def test_two_frames_of_seven_scenes_see_the_same_surfaces(office):
    """Poses, intrinsics and unit fit together: what one frame sees lies where the other sees it."""
    first, second = office.view(0), office.view(1)
    v, u = np.mgrid[0:480:8, 0:640:8].reshape(2, -1)
    seen = first.depth[v, u] > 0
    at = project(second, unproject(first, u[seen], v[seen], first.depth[v[seen], u[seen]]))
    inside = (at.depth > 0) & (at.u > 0) & (at.u < 639) & (at.v > 0) & (at.v < 479)
    there = second.depth[at.v[inside].round().astype(int), at.u[inside].round().astype(int)]
    error = np.abs(there - at.depth[inside])[there > 0]
    assert len(error) > 1000
    assert np.median(error) < 0.02
    assert (error < 0.05).mean() > 0.8


def test_rays_of_seven_scenes_end_on_the_fused_cloud(office):
    from scipy.spatial import cKDTree

    found = SceneDataset(
        [office.with_views([0, 3])], pretraining_transforms(0.02, keep=1.0), seed=0, views=2
    )[(0, 0)]
    rays = found.rays
    ends = rays.origin + rays.direction * rays.depth[:, None]
    distance, _ = cKDTree(found.sample.cloud.coord).query(ends)
    assert np.median(distance) < 0.02
    assert np.percentile(distance, 90) < 0.05


def test_up_in_seven_scenes_is_level_and_not_an_axis(office):
    """Most normals lie along "up" or at right angles to it; the axis of the world is another direction."""
    up = np.array(office.up)
    assert 20 < np.degrees(np.arccos(-up[1])) < 35, "its poses begin with a camera that looked down"
    normals = office.with_views([0, 3, 6]).cloud().normal
    level = np.abs(normals @ up)
    assert (level > 0.97).mean() > 3 * (np.abs(normals[:, 1]) > 0.97).mean()
    assert (normals @ up > 0.9).sum() > 5 * (normals @ up < -0.9).sum(), "floors and desks face up"


def test_tabletop_frames_are_as_many_as_they_say():
    folder = data_folder("rgbd-tabletop")
    learn, test = (open_scenes(f"tabletop:{folder}:{half}-labelled") for half in ("learn", "test"))
    assert (len(learn), len(test)) == (37, 36)
    assert len(open_scenes(f"tabletop:{folder}")) == 107
    assert learn[0].name == "learn0"
    assert learn.class_names == ("table", "box", "cylinder")


PRESETS = [
    path for path in sorted(files("ponderv2").joinpath("presets").glob("*/*.yaml"))
    if "tabletop:" in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_labels_are_in_what_a_preset_s_example_names(preset):
    places = re.findall(r"tabletop:(\S+)", preset.read_text())
    assert len(places) == 2
    for place, count in zip(places, (37, 36), strict=True):
        scenes = open_scenes(f"tabletop:{data_folder() / place}")
        assert len(scenes) == count
        assert all(scene.decode is not None for scene in scenes), "frames of mixed kinds have no classes"


@pytest.mark.parametrize(("number", "kind"), [(0, 1), (36, 2)])
def test_a_tabletop_scene_stands_on_its_table(number, kind):
    scene = open_scenes(f"tabletop:{data_folder('rgbd-tabletop')}:learn-labelled")[number]
    cloud = scene.cloud()
    assert set(cloud.semantic) == {0, kind}
    table = cloud.semantic == 0
    assert np.percentile(np.abs(cloud.coord[table, 2]), 95) < 0.01
    objects = cloud.coord[~table, 2]
    assert objects.min() > -0.01
    assert 0.05 < objects.max() < 0.5
    assert np.median(cloud.normal[table, 2]) > 0.99
    assert len(set(cloud.instance) - {-1}) >= 2
    assert scene.view(0).camera_to_world[2, 3] > 0.3, "the camera is above the table"
    assert (scene.view(0).label[100:-100:20, 100:-100:20] >= 0).mean() > 0.5


def test_labels_of_a_tabletop_image_are_those_of_its_cloud():
    scene = open_scenes(f"tabletop:{data_folder('rgbd-tabletop')}:test-labelled")[3]
    view, cloud = scene.view(0), scene.cloud()
    v, u = np.nonzero(view.depth)
    distance, nearest = cKDTree(cloud.coord).query(unproject(view, u, v, view.depth[v, u]))
    near, image = cloud.semantic[nearest], view.label[v, u]
    both = (distance < 0.01) & (near >= 0) & (image >= 0)
    assert both.sum() > 0.3 * view.depth.size
    assert (near[both] == image[both]).mean() > 0.98


def test_a_scannet_cloud_of_mmdetection_is_read():
    (scene,) = open_scenes(f"scannet:{data_folder('mmdet3d-demo', 'scannet')}")
    cloud = scene.cloud()
    assert cloud.coord.shape == (40_684, 3)
    assert cloud.semantic is None
    assert 3 < np.ptp(cloud.coord, 0).max() < 12
    assert cloud.color.max() == 255
    batch = Collate(("color",))([SceneDataset([scene], plain_transforms(0.05), seed=0)[(0, 0)]])
    low, high = cloud.coord.min(0), cloud.coord.max(0)
    moved = cloud.coord.astype(np.float64) - [*((low + high) / 2)[:2], low[2]]
    assert len(batch.cells) == pytest.approx(len(np.unique(np.floor(moved / 0.05), axis=0)), rel=1e-3)


def test_a_street_cloud_has_the_voxels_that_are_known():
    (scene,) = open_scenes(f"cloud:{data_folder('spconv-cloud', 'benchmark-pc.npz')}")
    assert len(scene.cloud()) == 198_130
    found = SceneDataset([scene], plain_transforms(0.1), seed=0)[(0, 0)]
    coord = scene.cloud().coord
    low, high = coord.min(0), coord.max(0)
    moved = coord.astype(np.float64) - [*((low + high) / 2)[:2], low[2]]
    assert len(found.sample.cloud) == pytest.approx(len(np.unique(np.floor(moved / 0.1), axis=0)), rel=1e-3)
