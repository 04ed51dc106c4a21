"""Runs that cannot begin, and trouble around them: processes, labels, unusable frames, disks."""

import errno
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.options import build
from nonet.testing import call_cli, one_thread, plain_pages, replaced
from nonet.training.checkpoints import read_checkpoint
from ponderv2 import pretrain_data
from ponderv2.commands.pretrain import Options
from ponderv2.commands.probe import Options as ProbeOptions
from ponderv2.label_scan import scan_labels
from ponderv2.left_out import LIST, SHOWN, LeftOut
from ponderv2.normals import with_normals
from ponderv2.pretrain_data import read_pretrain_data, scan_learned
from ponderv2.reading import open_scenes
from ponderv2.run_settings import run_settings
from ponderv2.scenes import ChosenViews
from ponderv2.synthetic import CLASSES
from ponderv2.synthetic_layouts import write_image, write_ply_cloud, write_rooms

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from made_up_streets import write_nuscenes
from small_runs import WORDS, opener, rooms, write_text


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with one_thread(), plain_pages():
        yield


def pretrain(folder, *more, data="synthetic:2"):
    """A run of four steps, with some options otherwise."""
    return call_cli(
        "ponderv2", *replaced(["pretrain", "--data", data, *WORDS, "--val-scenes", "0"], *more),
        "--out", folder,
    )  # fmt: skip


# ---- processes


def refused(done, folder, text):
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]
    assert not folder.exists()


def test_batches_smaller_than_the_number_of_processes_leave_no_run(tmp_path, monkeypatch):
    """One scene of s3dis beside two of scannet: two processes cannot share it."""
    both = rooms("scannet", "s3dis")
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(both.of(list(both)[:3])))
    done = pretrain(tmp_path / "run", "--trainer.devices", "2")
    refused(done, tmp_path / "run", "data set 2 of 2, 1 scenes, has batches of 1 for 2 processes")


def test_so_do_those_of_a_fine_tuning_and_those_of_streets(tmp_path):
    two = ("--trainer.devices", "2", "--trainer.accelerator", "cpu", "--out", tmp_path / "run")
    done = call_cli("ponderv2", "finetune", "semseg", "--data", "synthetic:1", "--size", "tiny", *two)
    refused(done, tmp_path / "run", "data set 1 of 1, 1 scenes, has batches of 1 for 2 processes")
    write_nuscenes(tmp_path / "streets")
    words = ("--data", f"nuscenes:{tmp_path / 'streets'}", "--modality", "lidar", "--size", "tiny")
    done = call_cli("ponderv2", "pretrain", *words, "--batch", "1", "--trainer.validate-every", "0", *two)
    refused(done, tmp_path / "run", "there are batches of 1 for 2 processes: use fewer devices, raise batch")


# ---- labels


def refusal(scenes, *, points=False, images=False):
    with pytest.raises(UserError) as caught:
        scan_labels(list(scenes), scenes.classes, points=points, images=images)
    return str(caught.value)


def spoiled(number):
    """Two rooms; that view of the last one has labels out of range."""
    scenes = rooms("scannet")
    view = scenes[1].view

    def read(index):
        found = view(index)
        label = found.label.copy()
        label[5, :3] = 7, 5, -3
        return replace(found, label=label) if index == number else found

    scenes[1].view = read
    return scenes


def labelled(tmp_path):
    """Options of a pre-training that learns from labels, and holds view 2 of four out."""
    return ("--supervision", "labels2d", "--text", write_text(tmp_path / "text.npz"))


def test_labels_out_of_range_end_a_pre_training_before_it_begins(tmp_path, monkeypatch):
    """The last view of the last scene has one: no sample of scenes and views would show it."""
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(spoiled(3)))
    done = pretrain(tmp_path / "run", *labelled(tmp_path))
    refused(done, tmp_path / "run", "scene room0001, view 000003: labels -3, 5, 7 are none of the 5 classes")


@pytest.mark.parametrize(
    ("name", "value"), [("text", "absent.npz"), ("ratios", "s3dis=2"), ("init", "absent")]
)
def test_labels_are_read_after_all_else_was_checked(name, value, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_data, "open_scenes", opener(spoiled(3)))
    words = {"supervision": "labels2d", "text": write_text(tmp_path / "text.npz"), name: value}
    given = [word for option, each in words.items() for word in (f"--{option}", each)]
    given += ["--prompt", "ppt"] if name == "ratios" else []
    done = pretrain(tmp_path / "run", *given)
    refused(done, tmp_path / "run", value.split("=")[0])
    assert "labels -3" not in done.stderr


def test_labels_are_read_by_the_first_process_alone_and_not_where_views_are_held_out(tmp_path, monkeypatch):
    words = {
        "data": ("made:up",), "supervision": "labels2d", "text": str(write_text(tmp_path / "text.npz")),
        "voxel": 0.4, "hold_out": 4,
    }  # fmt: skip
    options = build(Options, [(words, "test")])
    for number, rank, wrong in ((3, "0", True), (3, "1", False), (2, "0", False)):
        monkeypatch.setattr(pretrain_data, "open_scenes", opener(spoiled(number)))
        monkeypatch.setenv("RANK", rank)
        data = read_pretrain_data(options, lambda text: None)
        if wrong:
            with pytest.raises(UserError, match="view 000003: labels -3, 5, 7"):
                scan_learned(options, data)
        else:
            scan_learned(options, data)


def test_labels_of_points_are_looked_at_where_they_teach():
    scenes = rooms("scannet")
    cloud = scenes[1].cloud()
    semantic = cloud.semantic.copy()
    semantic[7] = 5
    scenes[1].cloud = lambda: replace(cloud, semantic=semantic)
    assert "scene room0001, points: labels 5 are none" in refusal(scenes, points=True, images=True)
    scan_labels(list(scenes), scenes.classes, points=False, images=True)
    scenes[1].cloud = lambda: replace(cloud, semantic=None)
    assert "its points have no labels: set point_text to 0" in refusal(scenes, points=True)
    scenes.classes.clear()
    assert "scannet has no names of its classes" in refusal(scenes, images=True)


class Packed(ChosenViews):
    """A scene whose views were checked, and may not be read again."""

    checked = True

    def view(self, index):
        raise AssertionError("read again")


def test_what_was_checked_when_it_was_packed_is_not_read_again():
    scenes = rooms("scannet")
    packed = scenes.of(Packed(scene, range(4)) for scene in scenes)
    scan_labels(list(with_normals(packed)), packed.classes, points=True, images=True)
    assert packed[0].with_views([1, 2]).checked
    with pytest.raises(AssertionError):
        packed[0].view(0)


def test_the_labels_of_a_cloud_in_a_file_are_checked_as_it_is_read(tmp_path):
    """Hence by `prepare`, too, which all packed data went through."""
    (room,) = rooms("rgbd", each=1)
    folder = write_rooms("rgbd", [room], tmp_path / "rgbd")
    cloud = room.cloud()
    assert open_scenes(f"rgbd:{folder}")[0].cloud().semantic.max() < len(CLASSES)
    semantic = cloud.semantic.copy()
    for wrong, told in ((9, r"\)$"), (255, r"\); write -1, not 255, for what has no class$")):
        semantic[3] = wrong
        write_ply_cloud(folder / room.name / "cloud.ply", replace(cloud, semantic=semantic))
        with pytest.raises(
            UserError, match=rf"cloud\.ply: labels {wrong} are none of the 5 classes .*{told}"
        ):
            open_scenes(f"rgbd:{folder}")[0].cloud()


# ---- frames and scenes that are left out


def test_frames_that_a_worker_leaves_out_and_dropped_scenes_are_named_and_counted(tmp_path):
    """One of two rooms has an empty depth image, and both together have more voxels than are allowed."""
    folder = write_rooms("rgbd", list(rooms("rgbd")), tmp_path / "rgbd")
    write_image(folder / "room0001" / "depth" / "000002.png", np.zeros((24, 32), np.uint16))
    words = ("--hold-out", "0", "--views", "4", "--trainer.workers", "1", "--max-points", "600")
    done = pretrain(tmp_path / "run", *words, data=f"rgbd:{folder}")
    assert done.returncode == 0, done.stderr
    line = f"{folder / 'room0001' / 'depth' / '000002.png'}: no pixel has depth"
    assert done.stderr.count(f"{line} (left out)") == 1
    assert f"left out: 1 frames that cannot be used ({tmp_path / 'run' / LIST})" in done.stderr
    dropped = [name for name in ("room0000", "room0001") if f"scene {name}: over max_points" in done.stderr]
    assert dropped
    assert f"left out: {len(dropped)} scenes over max_points, 4 times in all: " in done.stderr
    listed = (tmp_path / "run" / LIST).read_text().splitlines()
    assert sorted(listed) == sorted([line, *(f"scene {name}: over max_points" for name in dropped)])


class Said:
    """A run that remembers what it says."""

    writes = True

    def __init__(self, folder):
        self.folder, self.lines = folder, []

    def say(self, text):
        self.lines.append(text)


def test_what_is_left_out_is_said_once_and_the_list_goes_on(tmp_path):
    def finished(known, *batches):
        run = Said(tmp_path)
        notes = LeftOut(run, known)
        for remarks, dropped in batches:
            notes.on_train_batch_end(None, None, None, SimpleNamespace(remarks=remarks, dropped=dropped), 0)
        notes.on_train_end(None, None)
        return run.lines

    names = [f"{number}.png: no depth" for number in range(SHOWN + 2)]
    lines = finished(
        ["old.png: no depth"], (names[:2], ("b",)), (["old.png: no depth"], ()), (names, ("a", "b"))
    )
    assert lines == [
        *(f"{name} (left out)" for name in names[:2]),
        "scene b: over max_points together with the others of a batch (left out)",
        *(f"{name} (left out)" for name in names[2:SHOWN]),
        "more frames are left out",
        "scene a: over max_points together with the others of a batch (left out)",
        f"left out: {SHOWN + 3} frames that cannot be used ({tmp_path / LIST})",
        f"left out: 2 scenes over max_points, 3 times in all: b 2, a 1 ({tmp_path / LIST})",
    ]
    before = (tmp_path / LIST).read_text().splitlines()
    assert before == ["old.png: no depth", *names, "scene b: over max_points", "scene a: over max_points"]
    finished([], (["new.png: no depth", names[0]], ()))
    assert (tmp_path / LIST).read_text().splitlines() == [*before, "new.png: no depth"]
    assert finished([], ([], ())) == []


def test_a_run_that_breaks_off_lists_what_it_left_out_so_far(tmp_path):
    run = Said(tmp_path)
    notes = LeftOut(run, ["old.png: no depth"])
    batch = SimpleNamespace(remarks=["new.png: no depth"], dropped=["a"])
    notes.on_train_batch_end(None, None, None, batch, 0)
    notes.on_exception(None, None, KeyboardInterrupt())
    listed = ["old.png: no depth", "new.png: no depth", "scene a: over max_points"]
    assert (tmp_path / LIST).read_text().splitlines() == listed
    LeftOut(Said(tmp_path / "gone"), ["old.png: no depth"]).on_exception(None, None, OSError())
    run.writes = False
    (tmp_path / LIST).unlink()
    notes.on_exception(None, None, KeyboardInterrupt())
    assert not (tmp_path / LIST).exists()


# ---- going on


def test_a_run_may_go_on_with_other_options_where_they_change_no_number():
    def kept(**trainer):
        values = {"data": ("made:up",), "epochs": 2.0, "memory": 1, **trainer}
        options = build(ProbeOptions, [(values, "test")])
        return run_settings(options, options.trainer)

    other = {"epochs": 3.0, "memory": 2, "trainer": {"checkpoint_every": 3, "log_every": 7, "workers": 2}}
    assert kept() == kept(**other)
    assert kept() != kept(trainer={"seed": 1})
    assert kept() != kept(batch=3)


# ---- disks


def contents(folder):
    """Everything below a folder: bytes, sizes and times of files, times of folders."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size, path.is_file() and path.read_bytes())
        for path in [folder, *folder.rglob("*")]
    }


def test_a_read_only_data_set_is_pre_trained_on_and_stays_as_it_is(tmp_path):
    """Regression: the original renames bad views of this layout to .bad as it trains. One has no pose."""
    folder = write_rooms("s3dis", list(rooms("s3dis")), tmp_path / "s3dis")
    spoiled = sorted(folder.rglob("*_rgbd/*.pth"))[1]
    torch.save(torch.load(spoiled, weights_only=False) | {"extrinsic": np.full((4, 4), np.nan)}, spoiled)
    places = [path for path in [folder, *folder.rglob("*")] if path.is_dir()]
    before = contents(folder)
    try:
        for place in places:
            place.chmod(0o555)  # an administrator may write all the same: hence the comparison
        words = ("--views", "4", "--trainer.steps", "2")
        done = pretrain(tmp_path / "run", *words, data=f"s3dis:{folder}")
    finally:
        for place in places:
            place.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert f"{spoiled}: pose not finite" in done.stderr
    assert contents(folder) == before


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    """The second checkpoint breaks off after half of its bytes."""
    save, times = torch.save, []

    def full(content, path, **more):
        save(content, path, **more)
        if Path(path).name.startswith(".last.ckpt"):
            times.append(content["global_step"])
            if len(times) == 2:
                Path(path).write_bytes(Path(path).read_bytes()[: Path(path).stat().st_size // 2])
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        done = pretrain(tmp_path / "run")
    assert done.returncode == 1
    kept = tmp_path / "run" / "checkpoints" / "last.ckpt"
    *_, line = done.stderr.splitlines()
    assert f"{kept}: the checkpoint could not be written ([Errno 28] No space left on device)" in line
    assert "the last good one is still there: make room on the disk, and resume the run" in line
    assert "Traceback" not in done.stderr
    assert times == [2, 4]
    assert [path.name for path in kept.parent.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(kept)["global_step"] == 2
    done = call_cli(
        "ponderv2", *replaced(["pretrain", "--data", "synthetic:2", *WORDS], "--val-scenes", "0"), "--resume",
        tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(kept)["global_step"] == 4
