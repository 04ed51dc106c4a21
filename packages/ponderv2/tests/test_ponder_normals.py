"""Estimated normals: made once for each scene, kept within a limit, and gone with the scene."""

import gc
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms

from ponderv2 import normals
from ponderv2.held_views import HeldScenes
from ponderv2.normals import EstimatedNormals, estimate_normals, with_normals
from ponderv2.scenes import ChosenViews, PointCloud, Scene


class Bare(Scene):
    """Points on a floor, and no normals."""

    view_names = ()

    def __init__(self, name="floor", count=50):
        super().__init__(name, "made up")
        self.coord = np.random.default_rng(0).random((count, 3)).astype(np.float32) * [2, 2, 0]

    def cloud(self):
        return PointCloud(self.coord.astype(np.float32))

    def view(self, index):
        raise IndexError(index)


@pytest.fixture
def estimated(monkeypatch):
    """Numbers of points that normals were estimated for, one a call."""
    calls = []

    def counted(coord):
        calls.append(len(coord))
        return estimate_normals(coord)

    monkeypatch.setattr(normals, "estimate_normals", counted)
    return calls


def test_normals_are_estimated_once_a_scene(estimated):
    scene, other = EstimatedNormals(Bare()), EstimatedNormals(Bare(count=40))
    first = scene.cloud()
    np.testing.assert_allclose(np.abs(first.normal), np.tile([0, 0, 1.0], (50, 1)), atol=1e-6)
    assert np.array_equal(scene.cloud().normal, first.normal)
    assert len(other.cloud().normal) == len(other.cloud()) == 40
    assert estimated == [50, 40]


def test_a_copy_in_another_process_begins_without_them(estimated):
    scene = EstimatedNormals(Bare())
    small = len(pickle.dumps(scene))
    wanted = scene.cloud().normal
    assert len(pickle.dumps(scene)) == small
    assert np.array_equal(pickle.loads(pickle.dumps(scene)).cloud().normal, wanted)
    assert estimated == [50, 50]


def test_what_is_kept_has_a_limit_and_ends_with_its_scene(estimated, monkeypatch):
    gc.collect()
    held = sum(each.nbytes for each in normals._kept.values())
    monkeypatch.setattr(normals, "KEPT", held + 1.5 * 50 * 3 * 4)
    first, second = EstimatedNormals(Bare("first")), EstimatedNormals(Bare("second"))
    for scene in (first, second, first, second):
        scene.cloud()
    assert len(estimated) == 3, "the second finds no room"
    del first, scene
    gc.collect()
    for _ in range(2):
        second.cloud()
    assert len(estimated) == 4


class Stripped(ChosenViews):
    """A room with four views, and no normals."""

    def cloud(self):
        return replace(super().cloud(), normal=None)


def test_normals_of_validated_scenes_are_estimated_once_and_not_at_every_validation(estimated):
    """Without the held-out view the scene is another one than that which holds it."""
    whole = rooms("scannet", each=1)
    scenes = with_normals(whole.of([Stripped(whole[0], range(4))]))
    held = HeldScenes(list(scenes), every=4, voxel=0.4, channels=("normal",), side=16)
    first, again = held[(0, 0)], held[(0, 0)]
    assert len(first.held) == 1
    assert torch.equal(first.batch.features, again.batch.features)
    assert len(estimated) == 1


def test_a_clouds_own_normals_stay(estimated):
    (own,) = rooms("scannet", each=1)
    (scene,) = with_normals(rooms("scannet", each=1))
    assert np.array_equal(scene.cloud().normal, own.cloud().normal)
    assert estimated == []
