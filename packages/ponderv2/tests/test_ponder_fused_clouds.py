"""Clouds that are fused from views, whole and of some views alone, and clouds that a scene brings."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.normals import with_normals
from ponderv2.reading import open_scenes
from ponderv2.scenes import SceneList

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from written_layouts import own_folder, six_rooms, write_layouts


@pytest.fixture(scope="module")
def rooms():
    return six_rooms()


@pytest.fixture(scope="module")
def written(rooms, tmp_path_factory):
    return write_layouts(rooms, tmp_path_factory.mktemp("layouts"), ("scannet",))


@pytest.fixture
def own(rooms, tmp_path):
    return own_folder(rooms[0], tmp_path / "own")


def test_a_fused_cloud_lies_on_the_surfaces_with_their_normals(own, rooms):
    (scene,) = open_scenes(f"rgbd:{own}")
    scene.spacing = 0.02
    cloud = scene.cloud()
    distance = rooms[0].sdf(cloud.coord.astype(np.float64))
    assert np.percentile(np.abs(distance), 90) < 5e-3
    step = 0.02
    along = (rooms[0].sdf(cloud.coord + step * cloud.normal.astype(np.float64)) - distance) / step
    assert np.median(along) > 0.99
    assert (along > 0.9).mean() > 0.85
    assert set(cloud.semantic) <= set(range(5))
    assert scene.cloud() is cloud
    cells = np.floor(cloud.coord / 0.02)
    assert len(np.unique(cells, axis=0)) > 0.97 * len(cells), "means may leave their cell by rounding only"


def test_a_part_of_the_views_gives_a_cloud_of_these_alone(own, rooms):
    (scene,) = open_scenes(f"rgbd:{own}")
    scene.spacing = None
    part = scene.with_views([2])
    assert part.view_names == ("000002",)
    assert scene.fused
    assert part.fused
    assert with_normals(SceneList([scene]))[0].with_views([2]).fused
    cloud, view = part.cloud(), rooms[0].view(2)
    from ponderv2.cameras import project

    found = project(view, cloud.coord)
    assert np.abs(found.u - found.u.round()).max() < 1e-2
    assert len(cloud) < view.depth.size
    assert len(scene.cloud()) > 3 * len(cloud)
    with pytest.raises(UserError, match="has 4 views, and none with number 4"):
        scene.with_views([0, 4])
    with pytest.raises(UserError, match="no view is chosen"):
        scene.with_views([])


def test_a_scene_with_its_own_cloud_keeps_it_whole(written, rooms):
    part = open_scenes(f"scannet:{written['scannet']}:train")[0].with_views([3, 1])
    assert part.view_names == ("60", "20")
    assert not part.fused
    assert not with_normals(SceneList([part]))[0].with_views([0]).fused
    assert part.view(0).name == "60"
    assert len(part.cloud()) == 1500
