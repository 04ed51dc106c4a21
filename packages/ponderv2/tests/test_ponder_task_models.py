"""Heads, prompts, folders, and objects from votes that are right."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from nonet.errors import UserError
from nonet.testing import normal
from ponderv2.finetune_options import GroupOptions
from ponderv2.judging import judge_outputs, new_judge
from ponderv2.object_boxes import extent, true_boxes
from ponderv2.offset_targets import offset_targets
from ponderv2.point_group import FoundObject, Votes, _without_doubles, find_objects
from ponderv2.scenes import PointCloud
from ponderv2.scored_scenes import ScoredCollate, ScoredScenes
from ponderv2.segmentor import PromptedBackbone
from ponderv2.semantic_heads import LanguageHead, LinearHead, dataset_place
from ponderv2.spunet import build_spunet
from ponderv2.synthetic import CLASSES
from ponderv2.task_models import load_task, save_task, start_backbone

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms
from tiny_segmenters import BACKBONE, config, model


@pytest.fixture(scope="module")
def scenes():
    return rooms("scannet", points=16_000)


def scored(scenes, voxel=0.12):
    """The scenes as they are scored."""
    data = ScoredScenes(scenes, voxel)
    return ScoredCollate(("color", "normal"))([data[(0, number)] for number in range(len(data))])["batch"]


# ------------------------------------------------------------------------------------------------------ heads


def test_language_head_is_scaled_cosine_to_the_names_of_the_batchs_data_set():
    text = {"scannet": normal(4, 6, seed=1) * 3, "s3dis": normal(3, 6, seed=2)}
    head = LanguageHead(5, text, logit_scale=1.5)
    features = normal(7, 5, seed=3)
    projected = (features @ head.project.weight.T + head.project.bias).detach()
    for dataset, vectors in text.items():
        wanted = [
            [np.exp(1.5) * float(p @ v) / float(p.norm() * v.norm()) for v in vectors] for p in projected
        ]
        assert head(features, dataset).detach().numpy() == pytest.approx(np.array(wanted), rel=1e-4)
    assert [name for name, _ in head.named_parameters()] == ["project.weight", "project.bias"]
    with pytest.raises(UserError, match="data set kitti: the model was trained on scannet, s3dis"):
        head(features, "kitti")
    with pytest.raises(UserError, match="data set none"):
        head(features)
    with pytest.raises(ValueError, match="several widths"):
        LanguageHead(5, {"a": torch.ones(2, 3), "b": torch.ones(2, 4)})


def test_linear_heads_are_one_for_each_data_set():
    head = LinearHead(5, {"scannet": 4, "s3dis": 3})
    features = normal(7, 5)
    assert head(features, "scannet").shape == (7, 4)
    assert torch.equal(head(features, "s3dis"), features @ head.linear[1].weight.T + head.linear[1].bias)
    assert dataset_place(("only",), None) == 0


def test_a_prompt_says_whose_norms_another_data_set_uses(scenes):
    torch.manual_seed(0)
    backbone = build_spunet(replace(BACKBONE, datasets=("s3dis", "scannet"))).eval()
    batch = scored(scenes[:1]).batch
    of = {name: PromptedBackbone(backbone)(replace(batch, dataset=name)) for name in ("s3dis", "scannet")}
    assert not torch.allclose(of["s3dis"], of["scannet"])
    other = replace(batch, dataset="tabletop")
    assert torch.equal(PromptedBackbone(backbone, "s3dis")(other), of["s3dis"])
    assert torch.equal(PromptedBackbone(backbone, "s3dis")(batch), of["scannet"])  # its own norms come first
    with pytest.raises(UserError, match="norms for s3dis, scannet"):
        PromptedBackbone(backbone)(other)
    with pytest.raises(UserError, match="prompt is kitti, but the backbone has norms for s3dis, scannet"):
        PromptedBackbone(backbone, "kitti")
    with pytest.raises(UserError, match="one norm for all: leave prompt out"):
        PromptedBackbone(build_spunet(BACKBONE), "s3dis")


# ---------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("task", ["semseg", "insseg", "det"])
def test_a_saved_model_answers_the_same(task, scenes, tmp_path):
    made = config(task, groups=GroupOptions(radius=2.0, least=7))
    first = model(made)
    save_task(tmp_path / "model", first, made, {"data": "rooms", "scores": {"miou": 12.5, "macc": None}})
    loaded = load_task(str(tmp_path / "model"))
    assert loaded.config == made
    batch = scored(scenes[:1]).batch
    with torch.no_grad():
        one, two = first(batch), loaded.model(batch)
    pairs = zip(one, two, strict=True) if task != "semseg" else [(one, two)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert "| miou | 12.5 |" in (tmp_path / "model" / "README.md").read_text()


def test_the_key_of_a_model_follows_its_weights_and_its_configuration(tmp_path):
    keys = set()
    for name, made, seed in (("a", config(), 0), ("b", config(), 1), ("c", config(voxel=0.4), 0)):
        save_task(tmp_path / name, model(made, seed), made, {})
        keys.add(load_task(str(tmp_path / name)).key)
    save_task(tmp_path / "again", model(config(), 0), config(), {})
    assert len(keys) == 3
    assert load_task(str(tmp_path / "again")).key in keys


def test_a_head_by_names_keeps_its_vectors(tmp_path):
    made = config(
        head="text", text_width=6, classes={"scannet": CLASSES, "s3dis": CLASSES[:3]},
        datasets=("scannet", "s3dis"),
    )  # fmt: skip
    text = {"scannet": normal(5, 6), "s3dis": normal(3, 6, seed=1)}
    first = model(made, text=text)
    save_task(tmp_path / "model", first, made, {})
    loaded = load_task(str(tmp_path / "model")).model
    assert torch.equal(loaded.head.text_of("s3dis"), first.head.text_of("s3dis"))
    assert loaded.head.text_of("s3dis").norm(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_a_backbone_is_taken_and_the_head_is_not(tmp_path):
    made = config()
    save_task(tmp_path / "source", model(made, 3), made, {})
    source, target, said = load_task(str(tmp_path / "source")).model, model(config("insseg"), 4), []
    semantic = target.semantic.weight.clone()
    start_backbone(target, str(tmp_path / "source"), allow_partial=False, say=said.append)
    mine, theirs = target.features.backbone.state_dict(), source.features.backbone.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert torch.equal(target.semantic.weight, semantic)
    assert "matched" in said[0]
    assert "unexpected       0" in said[0]
    start_backbone(target, None, allow_partial=False, say=said.append)
    assert said[-1] == "from scratch: the backbone has random weights"


def test_a_backbone_that_hardly_fits_is_refused_unless_it_is_allowed(tmp_path):
    wide = config(backbone=replace(BACKBONE, channels=(8, 16, 16, 8)))
    save_task(tmp_path / "wide", model(wide, 5), wide, {})
    target, said = model(config()), []
    before = target.features.backbone.stem.conv.weight.clone()
    with pytest.raises(UserError, match=r"do not fit the model: .*--allow-partial"):
        start_backbone(target, str(tmp_path / "wide"), allow_partial=False, say=said.append)
    assert torch.equal(target.features.backbone.stem.conv.weight, before)
    start_backbone(target, str(tmp_path / "wide"), allow_partial=True, say=said.append)
    assert not torch.equal(target.features.backbone.stem.conv.weight, before)
    assert "other shape" in said[-1]


# ---------------------------------------------------------------------------------------------------- objects


def right_votes(scored_batch, middle):
    """Votes that know the truth of their voxels."""
    batch = scored_batch.batch
    thing = (batch.semantic > 1) & (batch.instance >= 0)
    targets = offset_targets(
        batch.coord, batch.cells[:, 0], torch.where(thing, batch.instance, -1), middle=middle
    )
    return Votes(20.0 * one_hot(batch.semantic.clamp(min=0), 5).float(), targets.offset)


def test_right_votes_find_all_objects(scenes):
    """Voxels of 12 cm blur the rims of objects, and nothing else is lost."""
    batch = scored(scenes)
    made = config("insseg", voxel=0.12, groups=GroupOptions(least=20))
    judge = new_judge(made)
    judge_outputs(made, right_votes(batch, "mean"), batch, judge)
    numbers = judge.numbers()
    assert numbers["ap25"] == numbers["ap50"] == 1.0
    assert numbers["ap"] > 0.8
    assert [row["class"] for row in judge.rows("scannet")] == list(CLASSES[2:])
    empty = new_judge(made)
    judge_outputs(made, Votes(torch.zeros(len(batch.batch.coord), 5), batch.batch.coord * 0), batch, empty)
    assert empty.numbers()["ap25"] == 0.0  # all is called floor, which is no object


def test_right_votes_give_right_boxes(scenes):
    batch = scored(scenes)
    made = config("det", voxel=0.12, groups=GroupOptions(least=20))
    judge = new_judge(made)
    judge_outputs(made, right_votes(batch, "box"), batch, judge)
    numbers = judge.numbers()
    assert numbers["ap25"] == numbers["ap50"] == 1.0
    assert sum(row["boxes"] for row in judge.rows("scannet")) == sum(
        len(true_boxes(scene.cloud, (0, 1)).labels) for scene in batch.scenes
    )


def test_objects_of_several_scenes_are_told_apart_and_numbered_within_them(scenes):
    batch = scored(scenes)
    votes = right_votes(batch, "mean")
    together = find_objects(votes, batch.batch, voxel=0.12, groups=GroupOptions(least=20), ignored=(0, 1))
    for number, own in enumerate(together):
        alone = scored(scenes[number : number + 1])
        found = find_objects(
            right_votes(alone, "mean"), alone.batch, voxel=0.12, groups=GroupOptions(least=20),
            ignored=(0, 1),
        )[0]  # fmt: skip
        assert [(each.voxels.tolist(), each.label) for each in own] == [
            (each.voxels.tolist(), each.label) for each in found
        ]
        assert all(0.99 < each.score <= 1 for each in own)


def test_offsets_that_lead_nowhere_are_no_error(scenes):
    """An untrained network, or one that diverged: its voxels are grouped somewhere, or where they are."""
    batch = scored(scenes[:1])
    votes = right_votes(batch, "mean")
    options = {"voxel": 0.12, "groups": GroupOptions(least=20), "ignored": (0, 1)}
    for value in (1e30, float("nan"), float("-inf")):
        found = find_objects(
            votes._replace(offset=torch.full_like(votes.offset, value)), batch.batch, **options
        )
        assert sum(len(each.voxels) for each in found[0]) > 0
    still = find_objects(votes._replace(offset=votes.offset * 0), batch.batch, **options)
    nan = find_objects(votes._replace(offset=votes.offset * float("nan")), batch.batch, **options)
    assert [each.voxels.tolist() for each in nan[0]] == [each.voxels.tolist() for each in still[0]]


def test_of_objects_that_overlap_the_better_one_is_kept():
    def found(first, last, score):
        return FoundObject(np.arange(first, last), 2, score)

    objects = [found(0, 10, 0.9), found(5, 15, 0.8), found(9, 20, 0.7)]
    assert [each.score for each in _without_doubles(objects)] == [0.9, 0.7]  # 5 of 15 are too many


def test_boxes_by_hand():
    coord = np.array([[0, 0, 0], [2, 4, 1], [5, 5, 5], [6, 6, 5], [9, 9, 9]], np.float32)
    cloud = PointCloud(coord, semantic=np.array([2, 2, 3, 3, -1]), instance=np.array([4, 4, 7, 7, 8]))
    boxes = true_boxes(cloud)
    assert boxes.boxes.tolist() == [[1, 2, 0.5, 2, 4, 1], [5.5, 5.5, 5, 1, 1, 0.001]]  # flat, with a volume
    assert boxes.labels.tolist() == [2, 3]
    assert boxes.scores.tolist() == [1, 1]
    assert true_boxes(cloud, ignored=(2,)).labels.tolist() == [3]
    assert len(true_boxes(cloud, ignored=(2, 3)).boxes) == 0
    assert extent(coord[:1]).tolist() == [0, 0, 0, 0.001, 0.001, 0.001]
