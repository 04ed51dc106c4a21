"""Votes of fragments and variants; labels that are kept for one model only."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nonet.errors import UserError
from nonet.testing import normal
from ponderv2.prediction_cache import PredictionCache, file_name
from ponderv2.scenes import ChosenViews
from ponderv2.scored_scenes import ScoredCollate, ScoredScenes, upright
from ponderv2.vote_protocol import Variant, variants, vote

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms
from tiny_segmenters import config, model

WEIGHT = normal(6, 5, seed=4) * 3


class Pointwise(nn.Module):
    """Names a voxel by its own colour alone, so that the answer for a point is known beforehand."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch):
        self.seen.append(batch)
        return batch.features[:, :3] @ WEIGHT[:3]  # normals turn with the variant


@pytest.fixture(scope="module")
def scene():
    return rooms("scannet", each=1, points=3000)[0]


def test_thirteen_variants_are_turns_at_three_scales_and_the_mirrored_cloud():
    found = variants("thirteen")
    assert len(found) == len(set(found)) == 13
    assert variants("one") == (Variant(),)
    assert Variant().world().tolist() == np.eye(4).tolist()
    assert [each.quarters for each in variants("four")] == [0, 1, 2, 3]
    point = np.array([1.0, 2.0, 3.0, 1.0])
    assert (Variant(1, 1.05).world() @ point)[:3] == pytest.approx([-2.1, 1.05, 3.15])
    assert (found[-1].world() @ point)[:3].tolist() == [-1, -2, 3]


def test_every_point_is_named_by_its_own_votes(scene):
    stub = Pointwise()
    made = config()
    result = vote(stub, made, scene, over=variants("four"), batch=3)
    cloud = scene.cloud()
    shares = (torch.from_numpy(cloud.features(("color",))) @ WEIGHT[:3]).softmax(1)
    assert (result.labels() == shares.argmax(1).numpy()).all()
    times = result.probabilities.sum(1)
    assert times.min() > 3.99  # each of the four variants has each point at least once
    assert torch.allclose(result.probabilities, times[:, None] * shares, rtol=1e-4, atol=1e-5)
    assert result.passes == sum(len(batch) for batch in stub.seen)
    for batch in stub.seen:
        assert len(batch.cells.unique(dim=0)) == len(batch.cells)


def test_variants_are_what_the_model_sees(scene):
    stub = Pointwise()
    vote(stub, config(), scene, over=[Variant(1, 1.05)])
    whole = upright(scene).cloud.coord
    batch = stub.seen[0]
    found = batch.coord.numpy()
    wanted = whole[batch.index.numpy()] @ Variant(1, 1.05).world()[:3, :3].T
    shift = found - wanted
    assert np.abs(shift - shift[0]).max() < 1e-4  # but for the shift to the middle
    assert (np.floor((found - found.min(0)) / 0.3) - batch.cells[:, 1:].numpy()).max() <= 1


def test_one_variant_is_not_the_score_on_voxels():
    """The two rules name other points: all of them, and one of each voxel."""
    made, net = config(voxel=0.6), model(config())
    scene = rooms("scannet", each=1, points=400)[0]
    result = vote(net, made, scene, over=variants("one"))
    voxels = ScoredCollate(made.channels)([ScoredScenes([scene], made.voxel)[(0, 0)]])["batch"]
    assert len(result.labels()) == 400 > len(voxels.batch.cells)
    again = vote(net, made, scene, over=variants("one"), batch=8)
    assert torch.allclose(result.probabilities, again.probabilities, atol=1e-4)


# --------------------------------------------------------------------------------------------------- caches


class Moved(ChosenViews):
    """The scene with one point elsewhere."""

    def cloud(self):
        cloud = super().cloud()
        coord = cloud.coord.copy()
        coord[7] += 0.5
        return replace(cloud, coord=coord)


def test_labels_are_used_for_the_same_model_and_points_alone(scene, tmp_path):
    labels = np.arange(3000) % 5
    first = PredictionCache(tmp_path / "kept", "model 1, thirteen")
    assert first.read(scene) is None
    first.write(scene, labels)
    again = PredictionCache(tmp_path / "kept", "model 1, thirteen")
    assert again.read(scene).tolist() == labels.tolist()
    assert (again.used, again.stale) == (1, 0)
    other = PredictionCache(tmp_path / "kept", "model 2, thirteen")
    assert other.read(scene) is None
    assert again.read(Moved(scene, [0])) is None
    assert (again.used, again.stale, other.stale) == (1, 1, 1)
    turned = ChosenViews(scene, [0])
    assert again.read(turned).tolist() == labels.tolist()
    turned.up = (0.0, -1.0, 0.0)
    assert again.read(turned) is None, "voxels and turns go by the level"
    one, two = ChosenViews(scene, [0]), ChosenViews(scene, [0])
    one.dataset, two.dataset = "a b", "a_b"  # one file: norms and heads go by the data set
    again.write(one, labels)
    assert again.read(two) is None
    assert again.read(one).tolist() == labels.tolist()


def test_a_broken_file_is_stale_and_written_anew(scene, tmp_path):
    cache = PredictionCache(tmp_path, "model")
    cache.write(scene, np.zeros(3000, np.int64))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert cache.read(scene) is None
    assert cache.stale == 1
    cache.write(scene, np.ones(3000, np.int64))
    assert cache.read(scene).min() == 1
    assert [each.name for each in tmp_path.iterdir()] == ["scannet-room0000.npz"]


def test_without_a_folder_nothing_is_kept_and_a_file_is_none(scene, tmp_path):
    cache = PredictionCache(None, "model")
    cache.write(scene, np.zeros(3000, np.int64))
    assert cache.read(scene) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder for predictions"):
        PredictionCache(tmp_path / "file", "model")
    assert [file_name(name) for name in ("a/b c", "..", "scene0000_00")] == ["a_b_c", "_", "scene0000_00"]
