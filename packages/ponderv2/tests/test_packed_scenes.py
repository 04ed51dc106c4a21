"""Packed data sets: the same to the bit, checked on the way, and nothing written to where they come from."""

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.options import build
from nonet.testing import call_cli
from ponderv2 import packed_scenes, preparing
from ponderv2.commands import pretrain
from ponderv2.commands.prepare import Options
from ponderv2.held_views import HeldScenes
from ponderv2.normals import with_normals
from ponderv2.packed_scenes import fused_anew, open_packed
from ponderv2.packing import EACH, whole_depth
from ponderv2.preparing import lines, prepare
from ponderv2.pretrain_data import read_pretrain_data
from ponderv2.reading import open_scenes
from ponderv2.scene_inputs import scene_input
from ponderv2.scenes import BadFrame, PointCloud, SceneList
from ponderv2.synthetic import make_rooms
from ponderv2.view_fusion import fuse_views
from ponderv2.view_split import training_part

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import opener, rooms


class Fused:
    """Makes a room's cloud one that is fused from its views, as those of folders of frames are."""

    fused = True

    def __init__(self, scene, numbers=None):
        self.whole, self.numbers = scene, list(range(len(scene.view_names)) if numbers is None else numbers)
        self.name, self.dataset, self.up = scene.name, scene.dataset, scene.up
        self.skipped, self.remarks = scene.skipped, scene.remarks
        self.classes, self.kept = scene.classes, scene.kept
        self.leave_out, self.step, self.spacing = scene.leave_out, 2, 0.05

    @property
    def view_names(self):
        return tuple(self.whole.view_names[number] for number in self.numbers)

    def view(self, index):
        return self.whole.view(self.numbers[index])

    def with_views(self, indices):
        return Fused(self.whole, [self.numbers[index] for index in indices])

    def cloud(self):
        views = [(self.view(index), None) for index in range(len(self.numbers))]
        return fuse_views(views, step=self.step, spacing=self.spacing)


def same_cloud(one: PointCloud, two: PointCloud):
    for name, values in vars(one).items():
        other = getattr(two, name)
        assert (values is None) == (other is None), name
        assert values is None or (values.dtype == other.dtype and np.array_equal(values, other)), name


def packed(monkeypatch, scenes, out, **values):
    monkeypatch.setattr(preparing, "open_scenes", opener(scenes))
    told = prepare(build(Options, [({"data": ("cloud:x",), "out": out, "image_side": 0} | values, "test")]))
    return told, open_scenes([f"packed:{out}"])


def test_what_is_read_is_what_was_packed_to_the_bit(monkeypatch, tmp_path):
    scenes = rooms("scannet", "s3dis", each=1)
    _, found = packed(monkeypatch, scenes, tmp_path / "packed")
    assert [scene.name for scene in found] == [scene.name for scene in scenes]
    assert [scene.dataset for scene in found] == ["scannet", "s3dis"]
    assert found.classes == scenes.classes
    for one, two in zip(scenes, found, strict=True):
        same_cloud(one.cloud(), two.cloud())
        assert two.up == one.up
        assert two.view_names == one.view_names
        for index in range(len(one.view_names)):
            first, second = one.view(index), two.view(index)
            for name in ("color", "depth", "label", "intrinsics", "camera_to_world"):
                a, b = getattr(first, name), getattr(second, name)
                assert a.dtype == b.dtype, name
                assert np.array_equal(a, b), name


def test_scenes_travel_to_workers_and_their_arrays_may_be_changed(monkeypatch, tmp_path):
    _, found = packed(monkeypatch, rooms("scannet"), tmp_path / "packed")
    view = found[0].view(1)
    view.color[:] = 0
    view.depth[:] = 0
    again = pickle.loads(pickle.dumps(found[0]))
    assert again.view(1).color.any()
    assert again.view(1).depth.any()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux which files are mapped")
def test_few_files_are_mapped_at_once_and_all_come_back(monkeypatch, tmp_path):
    """Two of the six files of three scenes; what was let go is mapped anew."""
    monkeypatch.setattr(packed_scenes, "MAPPED", 2)
    scenes = rooms("scannet", each=3)
    _, found = packed(monkeypatch, scenes, tmp_path / "packed")

    def mapped():
        lines = Path("/proc/self/maps").read_text().splitlines()
        return {line.rpartition(" ")[2] for line in lines if str(tmp_path) in line}

    for _ in range(2):
        for one, two in zip(scenes, found, strict=True):
            same_cloud(one.cloud(), two.cloud())
            assert np.array_equal(one.view(1).color, two.view(1).color)
            assert len(mapped()) <= 2
    assert mapped() == {
        str(tmp_path / "packed" / "00002-room0002" / name)
        for name in ("cloud.safetensors", "views-000.safetensors")
    }


def test_depth_is_kept_in_16_bits_where_that_loses_nothing():
    whole = (np.arange(1, 601).reshape(20, 30) * 7 / np.float32(5000)).astype(np.float32)
    numbers, scale = whole_depth(whole)
    assert numbers.dtype == np.uint16
    assert np.array_equal((numbers / np.float32(scale)).astype(np.float32), whole)
    assert whole_depth(np.full((2, 2), np.pi, np.float32)) is None
    assert whole_depth(np.full((2, 2), 70_000, np.float32)) is None


def test_many_views_lie_in_several_files(monkeypatch, tmp_path):
    scenes = make_rooms(1, views=EACH + 2, size=(8, 6), points=500)
    _, found = packed(monkeypatch, scenes, tmp_path / "packed", hold_out=0)
    files = sorted(path.name for path in (tmp_path / "packed" / "00000-room0000").glob("views*"))
    assert files == ["views-000.safetensors", "views-001.safetensors"]
    assert np.array_equal(found[0].view(EACH + 1).color, scenes[0].view(EACH + 1).color)


def test_a_fused_cloud_is_packed_without_held_out_views_too(monkeypatch, tmp_path):
    (room,) = rooms("7scenes", each=1, views=8)
    scene = Fused(room)
    _, found = packed(monkeypatch, SceneList([scene], class_names={}), tmp_path / "packed", hold_out=4)
    same_cloud(found[0].cloud(), scene.cloud())
    kept = [0, 1, 3, 4, 5, 7]
    part = training_part(found[0], 4)
    same_cloud(part.cloud(), scene.with_views(kept).cloud())
    assert len(part.cloud()) < len(found[0].cloud())
    other = found[0].with_views([0, 1])  # not what was packed: fused anew
    same_cloud(other.cloud(), scene.with_views([0, 1]).cloud())
    same_cloud(part.with_views([0, 1]).cloud(), other.cloud())


def test_it_is_said_where_a_run_holds_out_other_views_than_were_packed(monkeypatch, tmp_path):
    (room,) = rooms("7scenes", each=1, views=8)
    _, found = packed(monkeypatch, SceneList([Fused(room)], class_names={}), tmp_path / "packed", hold_out=4)
    assert fused_anew(found, 4) is None
    assert fused_anew(found, 0) is None, "all views: the whole cloud is packed"
    assert fused_anew(found, 9) is None, "so few views keep all"
    told = fused_anew(found, 8)
    assert told.startswith("1 scenes were packed with hold-out 4, and this run has 8")
    assert "prepare with --hold-out 8" in told
    assert fused_anew(with_normals(found), 8) == told
    _, own = packed(monkeypatch, rooms("7scenes", each=1, views=8), tmp_path / "own", hold_out=4)
    assert fused_anew(own, 8) is None, "clouds of their own are not fused"
    said = []
    values = {"data": (f"packed:{tmp_path / 'packed'}",), "hold_out": 8, "voxel": 0.4, "rays": 24}
    read_pretrain_data(build(pretrain.Options, [(values, "test")]), said.append)
    assert said == [told]


def test_what_is_packed_from_packed_data_forgets_no_held_out_views(monkeypatch, tmp_path):
    (room,) = rooms("7scenes", each=1, views=8)
    _, first = packed(monkeypatch, SceneList([Fused(room)], class_names={}), tmp_path / "a", hold_out=4)
    _, again = packed(monkeypatch, first, tmp_path / "b", hold_out=4)
    assert first[0].fused
    assert again[0].fused
    assert (again[0].step, again[0].spacing) == (2, 0.05)
    for indices in ([0, 1, 3, 4, 5, 7], [2, 6]):
        same_cloud(again[0].with_views(indices).cloud(), first[0].with_views(indices).cloud())
    given = scene_input(again[0], voxel=0.2, channels=("color",), every=4)
    assert given.fused
    assert "made of the other 6" in given.statement
    for scenes, own in (([again[0]], 0), ([again[0], room], 1)):
        held = HeldScenes(scenes, every=4, voxel=0.4, channels=("color",), side=16)
        assert held.whole() == own


def test_normals_that_are_estimated_hide_nothing_of_how_a_cloud_is_fused(monkeypatch, tmp_path):
    (room,) = rooms("7scenes", each=1, views=8)
    scenes = with_normals(SceneList([Fused(room)], class_names={}))
    _, found = packed(monkeypatch, scenes, tmp_path / "packed", hold_out=4)
    assert (found[0].step, found[0].spacing) == (2, 0.05)
    assert found[0].fused


def test_options_of_reading_that_packing_settled_are_refused(monkeypatch, tmp_path):
    packed(monkeypatch, rooms("scannet", each=1), tmp_path / "packed")
    for name, value in (("depth_scale", 1000.0), ("up", "y"), ("frame_step", 2)):
        with pytest.raises(UserError, match=f"{name} is settled when data are packed"):
            open_scenes(f"packed:{tmp_path / 'packed'}", **{name: value})


def test_a_cloud_of_its_own_stays_whole(monkeypatch, tmp_path):
    _, found = packed(monkeypatch, rooms("scannet", each=1), tmp_path / "packed")
    assert not found[0].fused
    assert not found[0].with_views([0]).fused
    same_cloud(found[0].with_views([0]).cloud(), found[0].cloud())


def test_images_are_shrunk_and_views_left_out_as_asked(monkeypatch, tmp_path):
    scenes = rooms("scannet", each=1)
    _, found = packed(monkeypatch, scenes, tmp_path / "packed", image_side=16, view_step=2)
    assert found[0].view_names == scenes[0].view_names[::2]
    small, large = found[0].view(1), scenes[0].view(2)
    assert small.depth.shape == (12, 16)
    assert small.intrinsics[0, 0] == pytest.approx(large.intrinsics[0, 0] / 2)


def test_the_account_counts_what_is_left_out_labels_and_units(monkeypatch, tmp_path):
    scenes = rooms("scannet", each=1)
    view = scenes[0].view

    def faulty(index):
        if index == 1:
            raise BadFrame("no depth", "frame-1.png", "no pixel has depth")
        return view(index)

    scenes[0].view = faulty
    told, found = packed(monkeypatch, scenes, tmp_path / "packed")
    assert len(found[0].view_names) == 3
    facts = told["data sets"]["scannet"]
    assert (facts["scenes"], facts["views"], facts["points"]) == (1, 3, 2000)
    cloud = scenes[0].cloud()
    assert facts["labelled points"]["floor"] == int((cloud.semantic == 0).sum())
    depths = [np.median(d[d > 0]) for d in (view(i).depth for i in (0, 2, 3))]
    assert facts["median depth, m"] == pytest.approx(float(np.median(depths)), abs=1e-3)
    assert told["left out"] == {"no depth": 1}
    text = "\n".join(lines(told))
    assert "left out: 1 for no depth" in text
    assert "frame-1.png" in text
    assert "labelled pixels: floor" in text


def test_scenes_without_labels_are_told_where_others_have_some(monkeypatch, tmp_path):
    scenes = rooms("tabletop", each=3, views=1)
    cloud = scenes[1].cloud()
    scenes[1].cloud = lambda: replace(cloud, semantic=None)
    told, _ = packed(monkeypatch, scenes, tmp_path / "some")
    assert told["data sets"]["tabletop"]["without labelled points"] == ["room0001"]
    (line,) = [line for line in lines(told) if "have no labelled points" in line]
    assert line.startswith("tabletop: 1 of 3 scenes have no labelled points: room0001; frames with mixed obj")
    assert "learn-labelled" in line
    told, _ = packed(monkeypatch, scenes.of([scenes[1]]), tmp_path / "none")
    assert "tabletop: no labelled points" in lines(told)
    assert not [line for line in lines(told) if "have no labelled" in line]
    told, _ = packed(monkeypatch, scenes.of([scenes[0]]), tmp_path / "all")
    assert not [line for line in lines(told) if "no labelled" in line]


def test_a_broken_scene_ends_it_unless_it_may_be_left_out(monkeypatch, tmp_path):
    scenes = rooms("scannet")
    cloud = scenes[1].cloud()

    def broken():
        raise UserError("scene room0001: labels 99 are none of the 5 classes")

    scenes[1].cloud = broken
    with pytest.raises(
        UserError, match=r"1 of 2 scenes cannot be used: scene room0001: labels 99.*--skip-broken"
    ):
        packed(monkeypatch, scenes, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []
    told, found = packed(monkeypatch, scenes, tmp_path / "packed", skip_broken=True)
    assert [scene.name for scene in found] == ["room0000"]
    assert len(told["broken scenes"]) == 1
    scenes[1].cloud = lambda: replace(cloud)
    scenes[0].cloud = broken


def test_a_data_set_is_only_checked_where_no_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = call_cli("ponderv2", "prepare", "--data", "synthetic:1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data sets"]["synthetic"]["views"] == 8
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_into_a_data_set_or_over_a_folder(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for out, message in (("set/packed", "lies in the data set"), ("full", "exists already")):
        done = call_cli("ponderv2", "prepare", "--data", f"rgbd:{tmp_path / 'set'}", "--out", tmp_path / out)
        assert done.returncode == 2
        assert message in done.stderr
    assert [path.name for path in (tmp_path / "set").iterdir()] == []


def test_folders_that_are_not_packed_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no packed\.json"):
        open_packed(tmp_path)
    with pytest.raises(UserError, match="no splits"):
        open_packed(tmp_path, "train")
    (tmp_path / "packed.json").write_text('{"format": 9}')
    with pytest.raises(UserError, match="format is 9"):
        open_packed(tmp_path)
