"""Every layout, written from made-up rooms and read again: views, clouds, classes, splits, sources."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.cameras import unproject
from ponderv2.reading import KINDS, open_scenes, parse_source
from ponderv2.s3dis import areas_of
from ponderv2.synthetic import CLASSES
from ponderv2.synthetic_layouts import (
    TO_S3DIS,
    TO_SCANNET,
    TO_STRUCTURED3D,
    write_rooms,
)

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from written_layouts import six_rooms, write_layouts

SAME = np.arange(5)
UNIT = {"tum": 5000, "s3dis": 4000}


@pytest.fixture(scope="module")
def rooms():
    return six_rooms()


@pytest.fixture(scope="module")
def written(rooms, tmp_path_factory):
    return write_layouts(rooms, tmp_path_factory.mktemp("layouts"))


def contents(folder):
    """Every file with its bytes and its time."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


# kind, class map, whether views have labels
LAYOUTS = [
    ("rgbd", SAME, True),
    ("7scenes", None, False),
    ("tum", None, False),
    ("scannet", TO_SCANNET, True),
    ("s3dis", TO_S3DIS, True),
    ("structured3d", TO_STRUCTURED3D, True),
]


@pytest.mark.parametrize(("kind", "classes", "labelled"), LAYOUTS)
def test_views_come_back_as_they_were(kind, classes, labelled, rooms, written):
    scenes = open_scenes(f"{kind}:{written[kind]}")
    assert len(scenes) == 6
    assert scenes.datasets == (kind,)
    assert not scenes.skipped
    order = {"scannet": [0, 3, 1, 4, 2, 5], "structured3d": [0, 3, 1, 4, 2, 5]}.get(kind, range(6))
    for scene, number in zip(scenes, order, strict=True):
        assert len(scene.view_names) == 4
        for index in (0, 3):
            found, true = scene.view(index), rooms[number].view(index)
            assert np.abs(found.depth - true.depth).max() <= 0.5001 / UNIT.get(kind, 1000) + 1e-6
            assert np.array_equal(found.depth > 0, true.depth > 0)
            assert np.array_equal(found.color, true.color)
            np.testing.assert_allclose(found.intrinsics, true.intrinsics, atol=1e-9)
            if kind != "7scenes":
                np.testing.assert_allclose(found.camera_to_world, true.camera_to_world, atol=1e-9)
            if labelled:
                assert np.array_equal(found.label, np.where(true.label < 0, -1, classes[true.label]))
            else:
                assert found.label is None


@pytest.mark.parametrize(("kind", "classes", "labelled"), LAYOUTS)
def test_pixels_lie_on_the_surfaces_of_the_room(kind, classes, labelled, rooms, written):
    """Regression: before the original's commit 1093eb6 Structured3D's extrinsics were wrong."""
    scene, room = open_scenes(f"{kind}:{written[kind]}")[0], rooms[0]
    view = scene.view(2)
    v, u = np.nonzero(view.depth)
    points = unproject(view, u, v, view.depth[v, u])
    if kind == "7scenes":  # y and z were exchanged when it was written
        points = points[:, [0, 2, 1]] * [1, 1, -1]
    assert np.abs(room.sdf(points)).max() < 2e-3


@pytest.mark.parametrize(
    ("kind", "classes"), [("scannet", TO_SCANNET), ("s3dis", TO_S3DIS), ("structured3d", TO_STRUCTURED3D)]
)
def test_clouds_come_back_with_their_classes(kind, classes, rooms, written):
    cloud, true = open_scenes(f"{kind}:{written[kind]}")[0].cloud(), rooms[0].cloud()
    assert np.array_equal(cloud.coord, true.coord)
    assert np.array_equal(cloud.normal, true.normal)
    assert np.array_equal(cloud.color, true.color)
    assert np.array_equal(cloud.semantic, classes[true.semantic])
    assert np.array_equal(cloud.instance, true.instance)


@pytest.mark.parametrize("kind", ["scannet", "structured3d"])
def test_wall_is_class_0_and_counts(kind, written):
    """Regression: in 2D the original ignores class 0, which is the wall (the ceiling of S3DIS)."""
    scene = open_scenes(f"{kind}:{written[kind]}")[0]
    assert scene.classes[0] == "wall"
    assert (scene.view(0).label == 0).sum() > 50
    assert (scene.cloud().semantic == 0).sum() > 50


def test_scannet_frames_are_found_by_their_names(written):
    """Regression: the original counts into its list by the number in a name: another frame with a stride."""
    scene = open_scenes(f"scannet:{written['scannet']}:train")[0]
    assert scene.view_names == ("0", "20", "40", "60")
    assert scene.view(3).name == "60"
    stepped = open_scenes(f"scannet:{written['scannet']}:train", frame_step=2)[0]
    assert stepped.view_names == ("0", "40")


def test_splits_name_their_parts(written):
    assert [scene.name for scene in open_scenes(f"scannet:{written['scannet']}:val")] == [
        "scene0001_00",
        "scene0004_00",
    ]
    assert len(open_scenes(f"structured3d:{written['structured3d']}:train+test")) == 4
    assert [scene.name for scene in open_scenes(f"s3dis:{written['s3dis']}:test")] == ["Area_5/room0024"]
    assert len(open_scenes(f"s3dis:{written['s3dis']}:train")) == 5
    assert len(open_scenes(f"s3dis:{written['s3dis']}:not-3")) == 5
    assert [scene.name for scene in open_scenes(f"7scenes:{written['7scenes']}:test")] == [
        "seq-04",
        "seq-05",
        "seq-06",
    ]
    assert [scene.name for scene in open_scenes(f"7scenes:{written['7scenes']}:seq-02")] == ["seq-02"]
    assert [scene.name for scene in open_scenes(f"tum:{written['tum']}:room0021")] == ["room0021"]
    assert [scene.name for scene in open_scenes(f"rgbd:{written['rgbd']}:room0021")] == ["room0021"]
    assert areas_of("1+2+3") == {1, 2, 3}
    assert areas_of("Area_6") == {6}
    assert areas_of(None) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("kind", "split", "text"),
    [
        ("scannet", "all", "no split all; name train, val, test"),
        ("s3dis", "Area_7", "no split Area_7"),
        ("structured3d", "dev", "no split dev"),
        ("7scenes", "seq-09", "no sequence of the split seq-09; there are seq-01"),
        ("tum", "desk", "named desk"),
        ("rgbd", "desk", "named desk"),
        ("cloud", "desk", "no such file or folder"),
        ("tabletop", "val", "no split val"),
    ],
)
def test_splits_that_are_not_there(kind, split, text, written):
    with pytest.raises(UserError, match=text):
        open_scenes(f"{kind}:{written[kind]}:{split}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("synthetic", "packed")])
def test_an_empty_or_absent_folder_is_one_line(kind, tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError) as caught:
            open_scenes(f"{kind}:{path}")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_sources_are_taken_apart(tmp_path):
    assert parse_source("7scenes:a/b") == ("7scenes", Path("a/b"), None)
    assert parse_source("scannet:a/b:val") == ("scannet", Path("a/b"), "val")
    assert parse_source("scannet:C:/data:val") == ("scannet", Path("C:/data"), "val")
    (tmp_path / "odd:name").mkdir()
    assert parse_source(f"rgbd:{tmp_path / 'odd:name'}")[2] is None
    for wrong in ("a/b", "lidar:a", "rgbd:", "rgbd"):
        with pytest.raises(UserError, match="one of the kinds scannet"):
            parse_source(wrong)
    with pytest.raises(UserError, match="no data are named"):
        open_scenes([])
    with pytest.raises(UserError, match="up w is no axis"):
        open_scenes("synthetic:1", up="w")
    with pytest.raises(UserError, match="must be positive"):
        open_scenes("synthetic:1", frame_step=0)


def test_several_sources_become_one_list(written):
    scenes = open_scenes(
        [f"scannet:{written['scannet']}:train", f"s3dis:{written['s3dis']}:1", "synthetic:1"]
    )
    assert scenes.datasets == ("scannet", "s3dis", "synthetic")
    assert scenes.class_names is None
    assert scenes.classes["synthetic"] == CLASSES
    assert scenes[:2].class_names == scenes.classes["scannet"]
    assert scenes[0].skipped is scenes.skipped


def test_data_of_one_kind_with_other_classes_are_refused(written, rooms, tmp_path):
    other = write_rooms("rgbd", rooms[:1], tmp_path / "other")
    (other / "classes.txt").write_text("floor\nwall\nbox\ntin\nball\n")
    with pytest.raises(
        UserError, match="its classes are not those of other rgbd data: ball, cylinder, sphere, tin"
    ):
        open_scenes([f"rgbd:{written['rgbd']}", f"rgbd:{other}"])


def test_nothing_is_written_into_a_data_set(written):
    """Regression: the original renames views to .bad and writes lists and predictions beside the data."""
    for kind, folder in written.items():
        before = contents(folder)
        for scene in open_scenes(f"{kind}:{folder}")[:2]:
            scene.cloud()
            for index in range(len(scene.view_names)):
                scene.view(index)
        assert contents(folder) == before


def test_clouds_of_all_formats_are_equal(rooms, written):
    scenes = open_scenes(f"cloud:{written['cloud']}")
    assert {scene.file.suffix for scene in scenes} == {".ply", ".pcd", ".npz"}
    assert scenes.class_names == CLASSES
    for scene, room in zip(scenes, rooms, strict=True):
        found, true = scene.cloud(), room.cloud()
        assert np.array_equal(found.coord, true.coord)
        assert np.array_equal(found.semantic, true.semantic)
        assert np.abs(found.color - true.color).max() <= 0.5
        assert scene.view_names == ()
    with pytest.raises(UserError, match="has no views"):
        scenes[0].view(0)


def test_one_cloud_is_a_file(written):
    (scene,) = open_scenes(f"cloud:{written['cloud'] / 'room0020.ply'}", up="-y")
    assert scene.name == "room0020"
    assert scene.up == (0, -1, 0)
