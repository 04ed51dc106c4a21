"""The verbs `evaluate` and `predict`: rules that do not mix, sums of folds, stale labels, all formats."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nonet.testing import one_thread
from ponderv2.finetune_options import GroupOptions
from ponderv2.point_files import read_ply
from ponderv2.scannet_classes import CLASSES_20
from ponderv2.synthetic import CLASSES, MadeUpScene
from ponderv2.task_models import save_task
from ponderv2.task_scores import SemanticJudge

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms
from tiny_segmenters import config, model, run

CPU = ("--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def one():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def scenes():
    return rooms("scannet", each=2, points=700)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "semseg"
    save_task(path, model(config(voxel=0.5)), config(voxel=0.5), {})
    return path


def evaluate(scenes, folder, *words):
    done = run("evaluate", "--model", folder, "--data", "train:x", *CPU, *words, train=scenes)
    assert done.returncode == 0, done.stderr
    return done


def scores_of(path):
    return json.loads((path / "scores.json").read_text())


def test_each_rule_counts_its_own_points(scenes, folder, tmp_path):
    done = evaluate(scenes, folder, "--out", tmp_path / "voxels", "--batch", "2")
    assert f"2 scenes, scored on voxels of 0.5 m, from {folder}\n" in done.stdout
    done = evaluate(scenes, folder, "--out", tmp_path / "points", "--rule", "points")
    assert f"2 scenes, scored on points, by voxels of 0.5 m, from {folder}\n" in done.stdout
    evaluate(scenes, folder, "--out", tmp_path / "votes", "--tta", "--variants", "one", "--batch", "8")
    counts = {}
    for rule in ("voxels", "points", "votes"):
        found = scores_of(tmp_path / rule)
        assert found["rule"] == rule
        assert found["scenes"] == ["scannet/room0000", "scannet/room0001"]
        counts[rule] = np.sum(found["confusion"]["scannet"])
        unit = "voxels" if rule == "voxels" else "points"
        assert sum(row[unit] for row in found["classes"]["scannet"]) == counts[rule]
    assert counts["points"] == counts["votes"] == 1400 > counts["voxels"]
    assert "Scored on votes" in (tmp_path / "votes" / "report.html").read_text()


def test_scores_do_not_depend_on_the_batch(scenes, folder, tmp_path):
    for batch in ("1", "2"):
        evaluate(scenes, folder, "--out", tmp_path / batch, "--batch", batch)
    assert scores_of(tmp_path / "1")["confusion"] == scores_of(tmp_path / "2")["confusion"]


def test_folds_are_counted_together_and_rules_do_not_mix(tmp_path):
    """mIoU of the sum is not the mean of the folds': .5 and 1 of 3 and 1 points give .75 and .333, not .5."""
    paths = []
    for number, (found, true) in enumerate((([0, 0, 1], [0, 0, 0]), ([1], [1]))):
        judge = SemanticJudge({"s3dis": ("ceiling", "floor")})
        judge.add("s3dis", np.array(found), np.array(true))
        path = tmp_path / f"area{number}"
        path.mkdir()
        record = judge.record() | {"scenes": [f"s3dis/room{number}"]}
        (path / "scores.json").write_text(json.dumps(record))
        paths.append(path)
    done = run("evaluate", "--sum", *paths, "--out", tmp_path / "all", train=None)
    assert done.returncode == 0, done.stderr
    total = scores_of(tmp_path / "all")
    assert total["scores"]["miou"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2, abs=1e-3)
    assert total["scores"]["accuracy"] == 75
    assert total["confusion"]["s3dis"] == [[2, 1, 0], [0, 1, 0]]
    again = run("evaluate", "--sum", paths[0], paths[0] / "scores.json", train=None)
    assert again.returncode == 2
    assert "counts scene s3dis/room0, which" in again.stderr
    record = json.loads((paths[1] / "scores.json").read_text()) | {"rule": "votes"}
    (paths[1] / "scores.json").write_text(json.dumps(record))
    mixed = run("evaluate", "--sum", *paths, train=None)
    assert mixed.returncode == 2
    assert "scored on votes with 2 classes, and" in mixed.stderr
    (paths[1] / "scores.json").write_text("{}")
    assert "not the scores of a semantic segmentation" in run("evaluate", "--sum", *paths, train=None).stderr


def test_labels_of_other_weights_are_never_used(scenes, folder, tmp_path):
    words = ("--tta", "--variants", "one", "--batch", "8", "--cache", tmp_path / "cache")
    evaluate(scenes, folder, *words, "--out", tmp_path / "first")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert sorted(kept) == ["scannet-room0000.npz", "scannet-room0001.npz"]
    again = evaluate(scenes, folder, *words, "--out", tmp_path / "again")
    assert "labels of 2 scenes were there, those of 0" in again.stdout
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == kept
    assert scores_of(tmp_path / "first")["confusion"] == scores_of(tmp_path / "again")["confusion"]
    save_task(tmp_path / "other", model(config(voxel=0.5), 1), config(voxel=0.5), {})
    other = evaluate(scenes, tmp_path / "other", *words, "--out", tmp_path / "second")
    assert "labels of 0 scenes were there, those of 2" in other.stdout
    plain = evaluate(scenes, tmp_path / "other", *words[:-2], "--out", tmp_path / "plain")
    assert "labels of" not in plain.stdout
    assert scores_of(tmp_path / "second")["confusion"] == scores_of(tmp_path / "plain")["confusion"]


def test_what_cannot_be_scored_is_refused(scenes, folder, tmp_path):
    def refused(*words, train=scenes):
        done = run("evaluate", *words, train=train)
        assert done.returncode == 2
        return done.stderr

    assert "needs --model and --data, or --sum" in refused("--model", folder)
    assert "tta votes classes" in refused(
        "--model", objects_folder(tmp_path, "insseg"), "--data", "train:x", "--tta"
    )
    assert "cache is for the votes of tta" in refused("--model", folder, "--data", "t:x", "--cache", tmp_path)
    others = rooms("scannet", each=1, points=500)
    others.classes["scannet"] = (*CLASSES[:4], "ball")
    assert "lacks sphere and has ball" in refused("--model", folder, "--data", "train:x", train=others)
    for field, told in (
        ("semantic", "1 of 1 scenes have no labels: room0000"),
        ("normal", "has no normal; estimate normals with --normals estimate"),
    ):
        (lacking,) = bare = rooms("scannet", each=1, points=500)
        cloud = replace(lacking.cloud(), **{field: None})
        lacking.cloud = lambda cloud=cloud: cloud
        assert told in refused("--model", folder, "--data", "train:x", *CPU, train=bare)
    assert "--modality lidar" in refused("--model", folder, "--data", "kitti:x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert "is not empty" in refused("--model", folder, "--data", "train:x", "--out", tmp_path / "full")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"format": 1, "kind": "ponder", "config": {}}')
    assert "is no fine-tuned model" in refused("--model", tmp_path / "odd", "--data", "train:x")


# ------------------------------------------------------------------------------------------------ predictions


def objects_folder(tmp_path, task):
    made = config(task, voxel=0.5, groups=GroupOptions(radius=3.0, least=1), stuff=())
    path = tmp_path / task
    save_task(path, model(made), made, {})
    return path


def predict(scenes, model_folder, out, *words):
    done = run("predict", "train:x", "--model", model_folder, "--out", out, *CPU, *words, train=scenes)
    assert done.returncode == 0, done.stderr
    return done


def test_classes_are_written_in_every_format_for_every_point(scenes, folder, tmp_path):
    done = predict(scenes, folder, tmp_path / "out", "--write", "ply", "npz", "txt", "label")
    assert done.stdout.strip().endswith(
        f"2 scenes, each as SCENE.ply, SCENE.npz, SCENE.txt, SCENE.label, SCENE.png: {tmp_path / 'out'}"
    )
    with np.load(tmp_path / "out" / "room0000.npz") as found:
        labels = found["semantic"]
        assert list(found["names"]) == list(CLASSES)
        assert ((found["probability"] > 1 / 5 - 1e-6) & (found["probability"] <= 1)).all()
    cloud, truth = read_ply(tmp_path / "out" / "room0000.ply"), scenes[0].cloud()
    assert (cloud.coord == truth.coord).all()  # in the scene's own world and order
    assert cloud.semantic.tolist() == labels.tolist()
    assert len(np.unique(cloud.color, axis=0)) == len(np.unique(labels))
    text = (tmp_path / "out" / "room0000.txt").read_text().split()
    assert list(map(int, text)) == labels.tolist()
    assert np.fromfile(tmp_path / "out" / "room0000.label", "<u4").tolist() == labels.tolist()
    picture = Image.open(tmp_path / "out" / "room0000.png")
    assert picture.width > 640
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 3


def test_votes_may_name_the_points(scenes, folder, tmp_path):
    predict(scenes[:1], folder, tmp_path / "out", "--tta", "--variants", "one", "--write", "npz")
    with np.load(tmp_path / "out" / "room0000.npz") as found:
        assert len(found["semantic"]) == 700
        assert found["probability"].max() <= 1 + 1e-6


def test_objects_are_written_as_numbers_and_as_masks(scenes, tmp_path):
    predict(
        scenes[:1], objects_folder(tmp_path, "insseg"), tmp_path / "out", "--write", "npz", "txt", "label"
    )
    with np.load(tmp_path / "out" / "room0000.npz") as found:
        instance, label, score = found["instance"], found["label"], found["score"]
    assert len(instance) == 700
    assert list(score) == sorted(score, reverse=True)
    lines = (tmp_path / "out" / "room0000.txt").read_text().splitlines()
    assert len(lines) == len(label) > 0
    for number, line in enumerate(lines):
        name, kind, sure = line.split()
        mask = np.loadtxt(tmp_path / "out" / name, dtype=int)
        assert set(np.flatnonzero(instance == number)) <= set(np.flatnonzero(mask))
        assert (int(kind), float(sure)) == (label[number], pytest.approx(score[number], abs=1e-6))
    packed = np.fromfile(tmp_path / "out" / "room0000.label", "<u4")
    assert (packed >> 16).tolist() == (instance + 1).tolist()


def test_boxes_are_written_with_the_way_back_to_the_scene(scenes, tmp_path):
    predict(scenes[:1], objects_folder(tmp_path, "det"), tmp_path / "out", "--score", "0.01")
    found = json.loads((tmp_path / "out" / "room0000.json").read_text())
    assert found["boxes"]
    back = np.array(found["to_scene"])
    cloud = scenes[0].cloud().coord
    for box in found["boxes"]:
        assert box["class"] in CLASSES
        corners = [np.array(box["center"]) + sign * np.array(box["size"]) / 2 for sign in (-1, 1)]
        low, high = (back[:3, :3] @ corner + back[:3, 3] for corner in corners)
        assert (low > cloud.min(0) - 1e-2).all()
        assert (high < cloud.max(0) + 1e-2).all()
    assert (tmp_path / "out" / "room0000.png").exists()


def test_the_benchmarks_numbers_are_for_its_classes(scenes, folder, tmp_path):
    done = run("predict", "t:x", "--model", folder, "--out", tmp_path / "out", "--write", "benchmark", *CPU,
               train=scenes)  # fmt: skip
    assert done.returncode == 2
    assert "are not ScanNet's 20" in done.stderr
    made = config(classes={"scannet": CLASSES_20}, voxel=0.5)
    save_task(tmp_path / "model", model(made), made, {})
    predict(scenes[:1], tmp_path / "model", tmp_path / "out", "--write", "benchmark", "npz", "--no-pictures")
    with np.load(tmp_path / "out" / "room0000.npz") as found:
        labels = found["semantic"]
    numbers = np.loadtxt(tmp_path / "out" / "room0000.txt", dtype=int)
    table = [*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39]
    assert numbers.tolist() == [table[label] for label in labels]
    assert not list((tmp_path / "out").glob("*.png"))


def test_scenes_whose_files_would_have_one_name_are_refused(folder, tmp_path):
    two = rooms("scannet", "s3dis", each=1, points=300)
    two[0].name, two[1].name = "a/room", "a_room"
    made = config(classes={"scannet": CLASSES, "s3dis": CLASSES}, voxel=0.5)
    save_task(tmp_path / "model", model(made), made, {})
    done = run("predict", "t:x", "--model", tmp_path / "model", "--out", tmp_path / "out", *CPU, train=two)
    assert done.returncode == 2
    assert "scannet a/room and s3dis a_room would both be written as a_room" in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_that_rooms_do_not_look_at_are_refused(scenes, folder, tmp_path):
    det = objects_folder(tmp_path, "det")
    for words, message in (
        (
            ("evaluate", "--model", folder, "--data", "train:x", "--workers", "2"),
            "workers read frames of streets",
        ),
        (("predict", "train:x", "--model", folder, "--workers", "2"), "workers read frames of streets"),
        (
            ("predict", "train:x", "--model", det, "--write", "npz"),
            "boxes of rooms are written as SCENE.json",
        ),
    ):
        done = run(*words, "--out", tmp_path / "out", *CPU, train=scenes)
        assert done.returncode == 2
        assert message in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_scene_that_cannot_be_read_is_left_out_and_named(scenes, folder, tmp_path, monkeypatch):
    cloud = MadeUpScene.cloud

    def colourless(self):
        found = cloud(self)
        return replace(found, normal=None) if self.name == "room0001" else found

    monkeypatch.setattr(MadeUpScene, "cloud", colourless)
    done = predict(scenes, folder, tmp_path / "out", "--write", "npz", "--no-pictures")
    assert "left out: scene room0001: has no normal; estimate normals with --normals estimate" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["room0000.npz"]
