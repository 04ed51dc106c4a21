"""Labels are looked through before anything is learned or scored: values out of range, names that differ."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2 import labelled_scenes
from ponderv2.labelled_scenes import check_names, count_labels, read_labelled
from ponderv2.scenes import ChosenViews, SceneList
from ponderv2.synthetic import CLASSES

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import opener, rooms


class Changed(ChosenViews):
    """A scene whose labels are made otherwise."""

    def __init__(self, scene, change):
        super().__init__(scene, [0])
        self.change = change

    def cloud(self):
        return self.change(super().cloud())


@pytest.fixture(scope="module")
def scenes():
    return rooms("scannet", "s3dis")


def changed(scenes, number, change):
    """The scenes, one of them otherwise."""
    return scenes.of([Changed(each, change) if i == number else each for i, each in enumerate(scenes)])


def test_classes_are_counted_for_each_data_set(scenes, monkeypatch):
    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(scenes))
    found = read_labelled(["made:up"], objects=True)
    assert found.classes == {"scannet": CLASSES, "s3dis": CLASSES}
    wanted = sum(np.bincount(scene.cloud().semantic, minlength=5) for scene in list(scenes)[:2])
    assert found.counts["scannet"].tolist() == wanted.tolist()
    assert [[scene.dataset for scene in part] for part in found.parts()] == [["scannet"] * 2, ["s3dis"] * 2]


def test_a_class_without_a_point_is_told(scenes, monkeypatch):
    def without(cloud):
        return replace(cloud, semantic=np.where(cloud.semantic == 2, -1, cloud.semantic))

    few = SceneList([Changed(scenes[0], without)], class_names={"scannet": CLASSES})
    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(few))
    assert read_labelled(["made:up"]).remarks == ("scannet: no point is labelled box",)


def test_labels_out_of_range_are_listed_with_their_scenes(scenes, monkeypatch):
    def odd(cloud):
        labels = cloud.semantic.copy()
        labels[:3] = 7, 255, -4
        return replace(cloud, semantic=labels)

    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(changed(scenes, 1, odd)))
    out = r"out of range in 1 of 4 scenes: room0001 has -4, 7, 255; .* 0 to 4, and -1"
    with pytest.raises(UserError, match=out):
        read_labelled(["made:up"])


def test_data_without_labels_or_objects_are_refused(scenes, monkeypatch):
    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(scenes.of([])))
    with pytest.raises(UserError, match="made:up: no scene"):
        read_labelled(["made:up"])
    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(SceneList(list(scenes))))
    with pytest.raises(UserError, match="scannet has no labels"):
        read_labelled(["made:up"])
    bare = changed(scenes, 0, lambda cloud: replace(cloud, semantic=None))
    with pytest.raises(
        UserError, match="1 of 4 scenes have no labels: room0000; scannet: label them, or leave"
    ):
        count_labels(bare, dict.fromkeys(("scannet", "s3dis"), CLASSES))
    plain = changed(scenes, 0, lambda cloud: replace(cloud, instance=None))
    with pytest.raises(UserError, match="room0000: its points have no numbers of objects"):
        count_labels(plain, dict.fromkeys(("scannet", "s3dis"), CLASSES), objects=True)
    hidden = scenes.of([Changed(scenes[0], lambda cloud: replace(cloud, semantic=cloud.semantic * 0 - 1))])
    with pytest.raises(UserError, match="scannet: no point of any scene has a label"):
        count_labels(hidden, {"scannet": CLASSES})


def test_scenes_without_labels_are_counted_and_the_first_named_with_a_way_out(scenes):
    def bare(cloud):
        return replace(cloud, semantic=None)

    many = SceneList([*scenes, *(Changed(scenes[0], bare) for _ in range(7))], class_names=scenes.classes)
    for number, scene in enumerate(many[4:]):
        scene.name, scene.dataset = f"learn{number}", "tabletop"
    classes = dict.fromkeys(("scannet", "s3dis", "tabletop"), CLASSES)
    with pytest.raises(UserError) as said:
        count_labels(many, classes)
    assert str(said.value) == (
        "7 of 11 scenes have no labels: learn0, learn1, learn2, learn3, learn4 and 2 more; tabletop: frames "
        "with mixed objects have none: name the split learn-labelled or test-labelled (packed data: in "
        "`prepare`)"
    )


@pytest.mark.parametrize("kind", ["kitti", "nuscenes"])
def test_streets_are_refused_before_they_are_read(kind, monkeypatch):
    monkeypatch.setattr(labelled_scenes, "open_scenes", None)
    with pytest.raises(
        UserError, match=f"{kind}:absent: {kind} shows streets, .* --modality lidar.*outdoor-l"
    ):
        read_labelled(["synthetic:1", f"{kind}:absent"])


def test_class_names_that_differ_are_listed(scenes, monkeypatch):
    check_names("s3dis", CLASSES, {"scannet": CLASSES})  # the only data set of a model may have another name
    with pytest.raises(UserError, match="the same classes in another order, such as wall, floor"):
        check_names("scannet", ("wall", "floor", *CLASSES[2:]), {"scannet": CLASSES})
    with pytest.raises(
        UserError, match=r"6 classes are not the 5 expected; it lacks sphere and has ball, cube be"
    ):
        check_names("scannet", (*CLASSES[:4], "ball", "cube"), {"scannet": CLASSES})
    with pytest.raises(UserError, match="kitti: the model was trained on scannet, s3dis"):
        check_names("kitti", CLASSES, {"scannet": CLASSES, "s3dis": CLASSES})
    monkeypatch.setattr(labelled_scenes, "open_scenes", opener(scenes))
    with pytest.raises(UserError, match="it lacks chair and has"):
        read_labelled(["made:up"], classes={"scannet": ("chair",), "s3dis": CLASSES})
