"""Every layout, written from made-up rooms and read again; frames and folders that are not as they should."""

import os
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.cameras import unproject
from ponderv2.depth_units import suspected_unit
from ponderv2.frame_files import read_depth
from ponderv2.leveling import level_up, upright_of_cameras
from ponderv2.normals import with_normals
from ponderv2.reading import KINDS, open_scenes, parse_source
from ponderv2.s3dis import areas_of
from ponderv2.scannet import label_table
from ponderv2.scenes import BadFrame, SceneList
from ponderv2.synthetic import CLASSES, make_rooms
from ponderv2.synthetic_layouts import (
    TO_S3DIS,
    TO_SCANNET,
    TO_STRUCTURED3D,
    raw_depth,
    write_image,
    write_matrix,
    write_rooms,
    write_torch,
    write_views,
)
from ponderv2.tabletop import table_pose

SAME = np.arange(5)
UNIT = {"tum": 5000, "s3dis": 4000}


@pytest.fixture(scope="module")
def rooms():
    return make_rooms(6, seed=20, views=4, size=(32, 24), points=1500)


@pytest.fixture(scope="module")
def written(rooms, tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts")
    return {
        kind: write_rooms(kind, list(rooms), root / kind)
        for kind in ("rgbd", "7scenes", "tum", "scannet", "s3dis", "structured3d", "cloud", "tabletop")
    }


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


# --- frames that cannot be used


@pytest.fixture
def own(rooms, tmp_path):
    """One's own folder of one scene with four views and no cloud."""
    folder = tmp_path / "own"
    write_views(rooms[0], folder)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def spoil(own, index, *, pose=None, depth=None):
    if pose is not None:
        file = own / "pose" / f"{index:06d}.txt"
        write_matrix(file, pose(np.loadtxt(file)))
    if depth is not None:
        write_image(own / "depth" / f"{index:06d}.png", depth)


@pytest.mark.parametrize(
    ("pose", "reason"),
    [
        (lambda pose: np.full((4, 4), -np.inf), "pose not finite"),
        (lambda pose: pose * np.nan, "pose not finite"),
        (lambda pose: pose * [[2], [2], [2], [1]], "pose not rigid"),
        (lambda pose: np.zeros((4, 4)), "pose without a last row of 0 0 0 1"),
        (lambda pose: pose @ np.diag([-1, 1, 1, 1.0]), "pose mirrored"),
    ],
)
def test_a_frame_with_an_unsound_pose_is_left_out_named_and_counted(own, pose, reason):
    spoil(own, 2, pose=pose)
    scenes = open_scenes(f"rgbd:{own}")
    assert scenes[0].view_names == ("000000", "000001", "000003")
    assert dict(scenes.skipped) == {reason: 1}
    assert "000002.txt" in scenes.remarks[0]
    assert reason in scenes.remarks[0]


def test_a_pose_that_is_no_matrix_is_left_out(own):
    (own / "pose" / "000001.txt").write_text("1 2 3\n")
    (own / "pose" / "000002.txt").write_text("lost\n")
    scenes = open_scenes(f"rgbd:{own}")
    assert dict(scenes.skipped) == {"pose unreadable": 2}
    assert "wanted is a matrix of 4 x 4 or 3 x 4" in scenes.remarks[0]


def test_all_frames_left_out_is_an_error_with_the_reasons(own):
    for index in range(3):
        spoil(own, index, pose=lambda pose: pose * np.nan)
    (own / "depth" / "000003.png").unlink()
    with pytest.raises(UserError, match=r"no frame is left \(3 pose not finite, 1 no depth file\)"):
        open_scenes(f"rgbd:{own}")


@pytest.mark.parametrize(
    ("value", "kind"), [(0, np.uint16), (65535, np.uint16), (np.nan, np.float32), (-1, np.float32)]
)
def test_depth_of_nothing_is_a_bad_frame(own, value, kind, tmp_path):
    pixels = np.full((24, 32), value, kind)
    if kind is np.uint16:
        spoil(own, 1, depth=pixels)
    else:
        (own / "depth" / "000001.png").unlink()
        np.save(own / "depth" / "000001.npy", pixels)
    scene = open_scenes(f"rgbd:{own}")[0]
    with pytest.raises(BadFrame, match="no pixel has depth") as caught:
        scene.view(1)
    assert caught.value.reason == "no depth"
    assert "000001" in str(caught.value)
    assert scene.view(2).depth.any()


def test_pixels_of_nothing_are_masked(own):
    raw = np.full((24, 32), 2000, np.uint16)
    raw[0, :3] = 0, 65535, 65534
    spoil(own, 0, depth=raw)
    depth = open_scenes(f"rgbd:{own}")[0].view(0).depth
    assert depth[0, :3].tolist() == [0, 0, np.float32(65.534)]
    assert (depth[1:] == 2).all()
    values = np.array([[1.5, np.nan, np.inf, -np.inf, -2, 0]], np.float32)
    np.save(own / "d.npy", values)
    assert read_depth(own / "d.npy", 1).tolist() == [[1.5, 0, 0, 0, 0, 0]]


def test_files_that_are_no_images_are_bad_frames(own, rooms):
    (own / "color" / "000000.png").write_bytes(b"broken")
    write_image(own / "color" / "000001.png", np.zeros((10, 32, 3), np.uint8))
    spoil(own, 2, depth=np.full((24, 32), 9, np.uint8))
    (own / "depth" / "000003.png").write_bytes(b"")
    scene = open_scenes(f"rgbd:{own}", depth_scale=1000)[0]
    reasons = []
    for index in range(4):
        with pytest.raises(BadFrame) as caught:
            scene.view(index)
        reasons.append(caught.value.reason)
    assert reasons == [
        "colour unreadable",
        "colour of another shape",
        "not a depth image",
        "depth unreadable",
    ]
    with pytest.raises(UserError, match=r"none of its 4 views gives a point; the first: .*000000"):
        scene.cloud()
    assert sum(scene.skipped.values()) == 4


def test_colour_of_another_size_is_brought_to_that_of_depth(own, rooms):
    wide = np.repeat(np.repeat(rooms[0].view(0).color, 2, 0), 2, 1)
    write_image(own / "color" / "000000.png", wide)
    found = open_scenes(f"rgbd:{own}")[0].view(0)
    assert found.color.shape == (24, 32, 3)
    assert np.abs(found.color.astype(int) - rooms[0].view(0).color).mean() < 12


@pytest.mark.parametrize("scale", [1.0, 100.0, 5000.0, 10_000.0])
def test_depth_in_a_wrong_unit_is_refused_and_the_unit_is_named(own, rooms, scale):
    for index in range(4):
        raw = np.maximum(raw_depth(rooms[0].view(index), scale), 1)
        spoil(own, index, depth=raw)
    with pytest.raises(UserError, match=rf"is no room: give --depth-scale {scale:g} ") as caught:
        open_scenes(f"rgbd:{own}")
    assert "at 1000 units a metre the median depth is" in str(caught.value)
    scene = open_scenes(f"rgbd:{own}", depth_scale=scale)[0]
    assert np.abs(scene.view(0).depth - rooms[0].view(0).depth).max() <= 0.51 / scale


def test_processed_rooms_in_a_wrong_unit_are_refused_too(rooms, tmp_path):
    view, cloud = rooms[0].view(0), rooms[0].cloud()
    content = {
        "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
        "depth": raw_depth(view, 100),
    }  # fmt: skip
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "0.pth", content)
    write_torch(tmp_path / "Area_1" / "a.pth", {"coord": cloud.coord})
    with pytest.raises(
        UserError, match=r"at 4000 units a metre .* give --depth-scale 100 \(depth looks like cent"
    ):
        open_scenes(f"s3dis:{tmp_path}")
    assert open_scenes(f"s3dis:{tmp_path}", depth_scale=100)[0].view(0).depth.max() > 1


@pytest.mark.parametrize(("kind", "scale", "names"), [
    ("s3dis", 4000, ("Area_1/a", "Area_1/b")),
    ("structured3d", 1000, ("train/scene_00000/room_0", "train/scene_00000/room_1")),
])  # fmt: skip
def test_each_processed_room_is_asked_for_its_unit(kind, scale, names, rooms, tmp_path):
    for number, (name, units) in enumerate(zip(names, (scale, 100), strict=True)):
        view = rooms[number].view(0)
        content = {
            "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
            "depth": raw_depth(view, units),
        }  # fmt: skip
        write_torch(tmp_path / f"{name}_rgbd" / "0.pth", content)
        write_torch(tmp_path / f"{name}.pth", {"coord": rooms[number].cloud().coord})
    first, second = open_scenes(f"{kind}:{tmp_path}")
    assert first.view(0).depth.max() > 1
    with pytest.raises(UserError, match=f"scene {second.name}: at {scale} units a metre"):
        second.view(0)


def test_a_unit_file_counts(own, rooms):
    for index in range(4):
        spoil(own, index, depth=raw_depth(rooms[0].view(index), 5000))
    (own / "depth_scale.txt").write_text("5000\n")
    (own / "up.txt").write_text("-y\n")
    scene = open_scenes(f"rgbd:{own}")[0]
    assert np.abs(scene.view(0).depth - rooms[0].view(0).depth).max() < 1e-3
    assert scene.up == (0, -1, 0)
    (own / "up.txt").write_text("level\n")
    np.testing.assert_allclose(open_scenes(f"rgbd:{own}")[0].up, (0, 0, 1), atol=5e-3)
    (own / "up.txt").write_text("north\n")
    with pytest.raises(UserError, match="'north' is no axis"):
        open_scenes(f"rgbd:{own}")


def test_units_are_suspected_by_a_usual_room():
    assert suspected_unit(2100) == 1000
    assert suspected_unit(9800) == 5000
    assert suspected_unit(2.4) == 1


def test_labels_without_a_class_are_an_error_with_the_numbers(own):
    label = np.zeros((24, 32), np.uint8)
    label[0, :2] = 7, 200
    write_image(own / "label" / "000000.png", label)
    with pytest.raises(
        UserError, match=r"000000.png: labels 7, 200 are none of the 5 classes \(floor, wall, box"
    ):
        open_scenes(f"rgbd:{own}")[0].view(0)


def test_labels_of_a_cloud_without_a_class_are_an_error(tmp_path, rooms):
    cloud = rooms[0].cloud()
    content = {
        "coord": cloud.coord,
        "color": cloud.color,
        "normal": cloud.normal,
        "semantic_gt20": cloud.semantic + 17,
    }
    write_torch(tmp_path / "train" / "scene0000_00.pth", content)
    with pytest.raises(UserError, match=r"scene0000_00.pth: labels 20, 21 are none of the 20 classes"):
        open_scenes(f"scannet:{tmp_path}:train")[0].cloud()


def test_raw_label_images_are_refused_as_nyu40():
    with pytest.raises(UserError, match="number 1191, and NYU40's end at 40"):
        label_table((1, 2), "scannet")(np.array([[1, 1191]]))
    semantic, _ = label_table((1, 2), "scannet")(np.array([[0, 1, 2, 40]], np.uint16))
    assert semantic.tolist() == [[-1, 0, 1, -1]]
    semantic, _ = label_table((1, 1191), "scannet200")(np.array([[1191, 7]], np.uint16))
    assert semantic.tolist() == [[1, -1]]


def test_label_images_of_another_size_are_read_by_nearest_pixels(own, rooms):
    label = rooms[0].view(0).label
    big = np.repeat(np.repeat(label, 3, 0), 3, 1).astype(np.uint8)
    write_image(own / "label" / "000000.png", big)
    assert np.array_equal(open_scenes(f"rgbd:{own}")[0].view(0).label, label)


def test_processed_views_that_cannot_be_used(tmp_path, rooms, written):
    view = rooms[0].view(0)
    good = {
        "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
        "depth": raw_depth(view, 4000), "depth_mask": view.depth > 0,
    }  # fmt: skip
    cloud = rooms[0].cloud()
    write_torch(tmp_path / "Area_1" / "a.pth", {"coord": cloud.coord, "color": cloud.color})
    bad = {
        "0": good | {"extrinsic": np.full((4, 4), np.nan)},
        "1": good | {"depth_mask": np.zeros((24, 32), bool)},
        "2": {name: good[name] for name in ("intrinsic", "extrinsic", "rgb")},
        "3": good | {"rgb": view.color[:-1]},
        "4": good | {"depth": np.full((24, 32), 65535, np.uint16)},
        "5": good,
    }
    for name, content in bad.items():
        write_torch(tmp_path / "Area_1" / "a_rgbd" / f"{name}.pth", content)
    ignored = np.full((24, 32), -1)
    ignored[0, :3] = 0, 12, -100
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "6.pth", good | {"semantic_map": ignored})
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "7.pth", good | {"semantic_map": ignored + 1})
    scene = open_scenes(f"s3dis:{tmp_path}:1")[0]
    reasons = []
    for index in range(5):
        with pytest.raises(BadFrame) as caught:
            scene.view(index)
        reasons.append(caught.value.reason)
    assert reasons == [
        "pose not finite",
        "no depth",
        "view unreadable",
        "colour of another shape",
        "no depth",
    ]
    assert scene.view(5).label is None
    label = scene.view(6).label
    assert label[0, :4].tolist() == [0, 12, -1, -1]
    assert (label[1:] == -1).all()
    with pytest.raises(UserError, match=r"7.pth: labels 13 are none of the 13 classes"):
        scene.view(7)
    assert scene.cloud().normal is None
    assert scene.cloud().semantic is None


# --- clouds that are fused from views


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


def test_tum_frames_are_matched_by_time(written, rooms, tmp_path):
    folder = write_rooms("tum", rooms[:1], tmp_path / "tum") / "room0020"
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    late = lines[2].split()
    late[0] = f"{float(late[0]) + 0.5:.6f}"
    lines[2] = " ".join(late)
    lines[3] = " ".join([*lines[3].split()[:4], "0", "0", "0", "0"])
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    scenes = open_scenes(f"tum:{folder}")
    assert dict(scenes.skipped) == {"no pose at its time": 1, "pose not rigid": 1}
    assert len(scenes[0].view_names) == 2
    (folder / "rgb.txt").write_text("soon rgb/1.png\n")
    with pytest.raises(UserError, match=r"rgb.txt:1: does not begin with a time"):
        open_scenes(f"tum:{folder}")


def test_tum_folders_know_their_cameras(rooms, tmp_path):
    folder = write_rooms("tum", rooms[:1], tmp_path / "tum") / "room0020"
    (folder / "camera-intrinsics.txt").unlink()
    known = folder.rename(tmp_path / "rgbd_dataset_freiburg2_desk")
    assert open_scenes(f"tum:{known}")[0].view(0).intrinsics[0, 0] == 520.9
    other = known.rename(tmp_path / "mine")
    assert open_scenes(f"tum:{other}")[0].view(0).intrinsics.tolist() == [
        [525, 0, 319.5],
        [0, 525, 239.5],
        [0, 0, 1],
    ]


def test_where_up_is_in_seven_scenes_is_seen_from_floors_and_tops(written, rooms):
    scene = open_scenes(f"7scenes:{written['7scenes']}")[0]
    np.testing.assert_allclose(scene.up, (0, -1, 0), atol=5e-3)
    floor = rooms[0].view(0).label == 0
    view = scene.view(0)
    v, u = np.nonzero(floor)
    np.testing.assert_allclose(unproject(view, u, v, view.depth[v, u])[:, 1], 0, atol=2e-3)
    assert scene.with_views([1]).up == scene.up
    assert open_scenes(f"7scenes:{written['7scenes']}", up="z")[0].up == (0, 0, 1)


def test_level_is_the_direction_that_most_agree_on():
    random = np.random.default_rng(0)
    truth = np.array([0.3, -0.2, 0.93])
    truth /= np.linalg.norm(truth)
    level = truth + random.normal(0, 0.03, (300, 3))
    other = random.normal(0, 1, (700, 3))
    normals = np.concatenate([level, other])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = level_up(normals, (0, 0, 1))
    assert found @ truth > np.cos(np.radians(1.5))
    assert level_up(normals, found) @ truth > np.cos(np.radians(1.5)), "from nearby the same"
    few = np.array([[0, 0, 1.0]] + [[1.0, 0, 0]] * 99)
    assert level_up(few, (0, 0.1, 1))[1] > 0.05, "one of a hundred does not decide"
    assert level_up(np.zeros((0, 3)), (0, 0, 2)).tolist() == [0, 0, 1]


def test_cameras_say_roughly_where_up_is(rooms):
    found = upright_of_cameras(rooms[0].poses)
    assert found[2] > 0.9
    assert upright_of_cameras([np.eye(4), np.diag([-1, -1, 1, 1.0])]).tolist() == [0, 0, 1]


def test_tabletop_frames_have_classes_by_their_numbers(written):
    scenes = open_scenes(f"tabletop:{written['tabletop']}:learn-labelled")
    box, cylinder = scenes[0], scenes[-1]
    assert (box.name, cylinder.name[:6]) == ("learn0", "learn3")
    cloud = box.cloud()
    assert set(cloud.semantic) <= {0, 1}
    assert set(cylinder.cloud().semantic) <= {0, 2}
    objects = set(cloud.instance) - {-1}
    assert all((cloud.semantic[cloud.instance == number] == 1).all() for number in objects)
    assert (cloud.instance[cloud.semantic == 0] == -1).all()
    assert scenes.class_names == ("table", "box", "cylinder")


def test_a_table_is_found_below_its_camera(rooms):
    pose = rooms[0].poses[0]
    view = rooms[0].seen_from(pose, np.array([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]), (41, 31))
    found = table_pose(view.depth, view.intrinsics)
    v, u = np.nonzero(view.depth)
    points = unproject(view, u, v, view.depth[v, u])
    from dataclasses import replace

    stood = unproject(replace(view, camera_to_world=found), u, v, view.depth[v, u])
    label = view.label[v, u]
    largest = np.bincount(label[label >= 0]).argmax()
    across = stood[label == largest]
    assert np.percentile(np.abs(across[:, 2]), 40) < 5e-3, "most of the largest plane lies at z = 0"
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    assert found[2, 3] > 0, "the camera is above it"
    distances = np.linalg.norm(points[:50, None] - points[None, 50:100], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(stood[:50, None] - stood[None, 50:100], axis=2), distances, atol=1e-9
    )


def test_a_table_of_too_few_points_still_has_a_pose():
    depth = np.zeros((4, 4), np.float32)
    depth[0, 0] = 1
    assert np.isfinite(table_pose(depth, np.eye(3))).all()


def test_files_of_a_scene_are_asked_for_by_name(own):
    (own / "intrinsics.txt").write_text("500 500 320\n")
    with pytest.raises(
        UserError, match=r"intrinsics.txt: 3 numbers; wanted is a matrix of 3 x 3 or 4 x 4 or 1 x 4"
    ):
        open_scenes(f"rgbd:{own}")
    (own / "intrinsics.txt").write_text("500 500 320 240\n")
    assert open_scenes(f"rgbd:{own}")[0].view(0).intrinsics[1].tolist() == [0, 500, 240]
    (own / "intrinsics.txt").write_text("0 500 320 240\n")
    with pytest.raises(UserError, match="no intrinsics of a camera"):
        open_scenes(f"rgbd:{own}")
    os.unlink(own / "intrinsics.txt")
    with pytest.raises(UserError, match="no such file; it holds"):
        open_scenes(f"rgbd:{own}")
