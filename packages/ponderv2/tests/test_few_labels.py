"""Limited reconstructions and annotations: files of the benchmark, what they hide, and what survives."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from ponderv2.batches import SceneDataset
from ponderv2.label_limits import (
    LimitedScene,
    limit_annotations,
    limit_scenes,
    read_annotations,
    read_scene_names,
)
from ponderv2.transforms import finetuning_transforms, plain_transforms

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms

LABELLED = {"room0000": [3, 5, 1700], "room0001": [0]}


@pytest.fixture(scope="module")
def scenes():
    return rooms("scannet", each=3)


def write_annotations(folder, kind):
    """The same labelled points in each of the formats."""
    path = folder / kind
    if kind == "points20":  # the public benchmark's: torch.save of a dictionary of arrays, without an ending
        torch.save({name: np.array(points) for name, points in LABELLED.items()}, path)
    elif kind == "tensors.pth":
        torch.save({name: torch.tensor(points) for name, points in LABELLED.items()}, path)
    elif kind.endswith(".json"):
        path.write_text(json.dumps(LABELLED))
    elif kind.endswith(".npz"):
        np.savez(path, **{name: np.array(points) for name, points in LABELLED.items()})
    else:
        path.mkdir()
        for name, points in LABELLED.items():
            (path / f"{name}.txt").write_text("\n".join(map(str, points)) + "\n")
    return path


@pytest.mark.parametrize("kind", ["points20", "tensors.pth", "points.json", "points.npz", "folder"])
def test_every_format_says_the_same(kind, tmp_path):
    found = read_annotations(write_annotations(tmp_path, kind))
    assert {name: points.tolist() for name, points in found.items()} == LABELLED


def test_a_limited_scene_has_these_labels_alone(scenes, tmp_path):
    limited = limit_annotations(scenes, write_annotations(tmp_path, "points20"))
    assert [scene.name for scene in limited] == ["room0000", "room0001"]
    full, cloud = scenes[0].cloud(), limited[0].cloud()
    assert np.flatnonzero(cloud.semantic >= 0).tolist() == LABELLED["room0000"]
    assert (cloud.semantic[LABELLED["room0000"]] == full.semantic[LABELLED["room0000"]]).all()
    assert np.flatnonzero(cloud.instance >= 0).tolist() == [
        point for point in LABELLED["room0000"] if full.instance[point] >= 0
    ]
    assert (cloud.coord == full.coord).all()
    assert scenes[0].view(0).label is not None
    assert limited[0].view(0).label is None
    assert limited[0].classes == scenes[0].classes
    assert limited.class_names == scenes.class_names


def test_no_augmentation_drops_a_labelled_point(scenes):
    """Of labelled points in one voxel one is kept; here no two share a voxel of 5 cm."""
    labelled = np.array([3, 5, 900, 1700])
    scene = LimitedScene(scenes[0], labelled)
    coord = scene.cloud().coord[labelled]
    assert len(np.unique(np.floor(coord / 0.2), axis=0)) == 4
    for transforms in (finetuning_transforms(0.05, crop_points=60), plain_transforms(0.05)):
        data = SceneDataset([scene], transforms, seed=0)
        for epoch in range(4):
            sample = data[(epoch, 0)].sample
            known = sample.cloud.semantic >= 0
            assert sorted(sample.index[known]) == labelled.tolist()
            assert sorted(sample.index[sample.kept]) == labelled.tolist()


def test_a_scene_list_chooses_scenes(scenes, tmp_path):
    path = tmp_path / "scenes.txt"
    path.write_text("# one percent\nroom0002\n\nroom0000  # twice as good\n")
    assert read_scene_names(path) == ("room0002", "room0000")
    assert [scene.name for scene in limit_scenes(scenes, path)] == ["room0000", "room0002"]


def test_lists_that_do_not_fit_are_refused(scenes, tmp_path):
    path = tmp_path / "list.txt"
    for text, message in (
        ("", "no scene is named"), ("room0000\nroom0000\n", "names room0000 twice"),
        ("room0000\nscene0001_00\n", "1 of 2 scenes are not in the data: scene0001_00; the data have"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(UserError, match=re.escape(str(path)) + ".*" + message):
            limit_scenes(scenes, path)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_scene_names(tmp_path / "absent")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        read_scene_names(path)


def test_annotations_that_do_not_fit_are_refused(scenes, tmp_path):
    path = tmp_path / "points.json"
    for found, message in (
        ({}, "holds no scenes"), ([1], "holds no scenes"),
        ({"room0000": [0.5]}, "numbers of points are whole"),
        ({"room0000": [-2]}, "-2 is no number of a point"),
    ):  # fmt: skip
        path.write_text(json.dumps(found))
        with pytest.raises(UserError, match=message):
            read_annotations(path)
    path.write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_annotations(path)
    path.write_text(json.dumps({"other": [1]}))
    with pytest.raises(UserError, match="1 scenes, such as other, and none is in the data, which have room"):
        limit_annotations(scenes, path)
    path.write_text(json.dumps({"room0000": [99_999]}))
    limited = limit_annotations(scenes, path)
    with pytest.raises(UserError, match="point 99999 is to be labelled, but the cloud has"):
        limited[0].cloud()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no SCENE\.txt"):
        read_annotations(tmp_path / "empty")
    (tmp_path / "empty" / "room0000.txt").write_text("4\nfour\n")
    with pytest.raises(UserError, match=r"room0000\.txt:2: not the number of a point: four"):
        read_annotations(tmp_path / "empty")
    (tmp_path / "broken.npz").write_text("nothing")
    with pytest.raises(UserError, match=r"broken\.npz: cannot be read"):
        read_annotations(tmp_path / "broken.npz")
    with pytest.raises(UserError, match="absent"):
        read_annotations(tmp_path / "absent")


@pytest.mark.parametrize("verb", ["finetune_insseg", "finetune_det"])
def test_objects_need_all_of_their_points(verb):
    options = importlib.import_module(f"ponderv2.commands.{verb}").Options
    with pytest.raises(UserError, match="la_file hides which points belong to an object"):
        options(data=("made:up",), la_file=Path("points.json"))
