"""Whole fine-tunings in rooms: what runs log and leave, going on bit for bit, what is refused."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nonet.options import build
from nonet.runs import read_metrics, read_record
from nonet.testing import numbers, one_thread, replaced
from nonet.training.checkpoints import read_checkpoint
from ponderv2 import finetune_module
from ponderv2.commands.finetune_semseg import Options
from ponderv2.finetune_module import FinetuneModule
from ponderv2.model_folders import read_model
from ponderv2.room_tasks import RoomTask
from ponderv2.start_model import read_start
from ponderv2.task_models import load_task, save_task

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from small_runs import rooms, write_text
from tiny_segmenters import BACKBONE, WORDS, config, made_up, model, run


@pytest.fixture(scope="module", autouse=True)
def one():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def scenes():
    return rooms("scannet", each=2, points=1500)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, scenes):
    """A run of four steps, validated after two of them and at the end."""
    folder = tmp_path_factory.mktemp("finetune") / "run"
    done = run(
        "finetune", "semseg", "--data", "train:x", "--val", "val:x", *WORDS, "--trainer.validate-every", "2",
        "--lovasz", "1", "--out", folder, train=scenes, val=scenes[:1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_logs_its_terms_and_its_validation(whole):
    folder, done = whole
    assert done.stdout.strip() == str(folder)
    lines = read_metrics(folder)
    steps = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert line["train/loss"] == pytest.approx(line["train/ce"] + line["train/lovasz"], rel=1e-5)
    validated = [line for line in lines if "val/miou" in line]
    assert [line["step"] for line in validated] == [2, 4]
    assert {"val/loss", "val/macc", "val/accuracy"} <= validated[0].keys()
    assert "1 scenes of the validation have the name of one to train on" in done.stderr
    assert "from scratch: the backbone has random weights" in done.stderr
    assert "3,000 points of 5 classes; voxels of 0.3 m, as given; 4 steps" in done.stderr
    assert re.search(r"\nscannet +voxels +IoU", done.stderr)  # what is counted are voxels


def test_a_run_leaves_the_last_weights_their_scores_and_a_page(whole):
    folder, _ = whole
    kept = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    loaded = load_task(str(folder))
    state = loaded.model.state_dict()
    assert all(torch.equal(value, kept[f"model.{name}"]) for name, value in state.items())
    scores = json.loads((folder / "scores.json").read_text())
    last = [line for line in read_metrics(folder) if "val/miou" in line][-1]
    assert scores["rule"] == "voxels"
    assert scores["scores"]["miou"] == pytest.approx(100 * last["val/miou"], abs=1e-3)
    page = (folder / "report.html").read_text()
    assert "Scores on voxels" in page
    assert "cylinder" in page
    found = read_model(folder)
    assert (found.kind, found.facts["verb"], found.config["voxel"]) == ("semseg", "finetune semseg", 0.3)


def test_an_interrupted_run_goes_on_bit_for_bit(whole, scenes, tmp_path, monkeypatch):
    folder, _ = whole
    step = FinetuneModule.training_step
    words = ("finetune", "semseg", "--data", "train:x", "--val", "val:x", *WORDS, "--trainer.validate-every",
             "2", "--lovasz", "1")  # fmt: skip

    def interrupted(self, batch, number):
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "training_step", interrupted)
        done = run(*words, "--out", tmp_path / "cut", train=scenes, val=scenes[:1])
        assert done.returncode == 130
    done = run(*words, "--resume", tmp_path / "cut", train=scenes, val=scenes[:1])
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "cut") == numbers(folder)
    one, two = (load_file(each / "model" / "model.safetensors") for each in (folder, tmp_path / "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for flag, value, text in (
        ("--voxel", "0.4", "voxel is 0.4 here but 0.3 in the checkpoint"),
        ("--size", "small", "backbone is 6 32 "),
        ("--lovasz", "2", "lovasz is 2.0 here but 1.0 in the checkpoint"),
        ("--rates.weight-decay", "0.5", "rates.weight_decay is 0.5 here but "),
        ("--backbone-rate", "0", "backbone_rate is 0.0 here but 1.0 in the checkpoint"),
    ):
        sessions = len(read_record(tmp_path / "cut")["sessions"])
        other = run(*replaced(words, flag, value), "--resume", tmp_path / "cut", train=scenes, val=scenes[:1])
        assert other.returncode == 2
        assert text in other.stderr
        assert "resumed" not in other.stderr
        assert len(read_record(tmp_path / "cut")["sessions"]) == sessions == 2
        assert not list((tmp_path / "cut").glob("options-3.yaml"))


def test_a_log_says_where_the_size_of_voxels_comes_from(whole):
    folder, _ = whole
    found = []
    for more in ({"init": str(folder)}, {"init": str(folder), "voxel": 0.5}, {}):
        start = read_start(Options(data=("train:x",), **more), ("scannet",), found.append)
        found.append((start.voxel, start.origin))
    warned = f"warning: voxels of 0.5 m, but {folder} was trained on 0.3 m"
    assert found == [(0.3, f"from {folder}"), warned, (0.5, "as given"), (0.02, "the default")]


def test_the_best_validation_is_kept_where_it_is_asked_for(scenes, tmp_path, monkeypatch):
    """The judge says .9 after two steps and .1 after four."""
    given = iter([0.9, 0.1])
    monkeypatch.setattr(finetune_module, "gathered", lambda judge: [Fixed(next(given))])
    done = run(
        "finetune", "semseg", "--data", "train:x", "--val", "val:x", *WORDS, "--keep", "best",
        "--trainer.validate-every", "2", "--out", tmp_path / "run", train=scenes, val=scenes[:1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert best["global_step"] == 2
    state = load_task(str(tmp_path / "run")).model.state_dict()
    assert all(torch.equal(value, best["state_dict"][f"model.{name}"]) for name, value in state.items())


class Fixed:
    """A judge that says a number."""

    def __init__(self, miou):
        self.miou = miou

    def numbers(self):
        return {"miou": self.miou}


def test_a_run_learns(scenes, tmp_path):
    done = run(
        "finetune", "semseg", "--data", "train:x", *replaced(WORDS, "--trainer.steps", "25"),
        "--rates.lr", "0.1", "--out", tmp_path / "run", train=scenes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [line["train/loss"] for line in read_metrics(tmp_path / "run") if "train/loss" in line]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    assert not (tmp_path / "run" / "scores.json").exists()  # nothing was validated


@pytest.mark.parametrize("task", ["insseg", "det"])
def test_objects_and_boxes_are_learned_and_scored(task, scenes, tmp_path):
    done = run(
        "finetune", task, "--data", "train:x", "--val", "val:x", *WORDS, "--groups.least", "5",
        "--out", tmp_path / "run", train=scenes, val=scenes[:1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = next(line for line in read_metrics(tmp_path / "run") if "train/loss" in line)
    parts = ("ce", "offset_l1", "offset_direction")
    assert line["train/loss"] == pytest.approx(sum(line[f"train/{name}"] for name in parts), rel=1e-5)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["rule"] == "points"
    assert {"ap25", "ap50"} <= scores["scores"].keys()
    assert [row["class"] for row in scores["classes"]["scannet"]] == ["box", "cylinder", "sphere"]


def test_several_data_sets_share_the_names_of_their_classes(tmp_path):
    both = rooms("scannet", "s3dis", each=1, points=1500)
    done = run(
        "finetune", "semseg", "--data", "train:x", "--val", "val:x", *WORDS, "--head", "text",
        "--text", write_text(tmp_path / "text.npz"), "--ratios", "scannet=2", "--lovasz", "1",
        "--out", tmp_path / "run", train=both, val=both,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = [line for line in read_metrics(tmp_path / "run") if "val/miou" in line][-1]
    mean = (last["val/scannet/miou"] + last["val/s3dis/miou"]) / 2
    assert last["val/miou"] == pytest.approx(mean)
    loaded = load_task(str(tmp_path / "run"))
    assert loaded.config.backbone.datasets == ("scannet", "s3dis")
    assert loaded.config.head == "text"
    assert loaded.config.text_width == 8


def test_few_labels_are_all_that_is_learned_from(scenes, tmp_path):
    (tmp_path / "list.txt").write_text("room0001\n")
    (tmp_path / "points.json").write_text(json.dumps({"room0001": [1, 2, 3], "room0000": [4]}))
    options = build(
        Options,
        [({"data": ["train:x"], "size": "tiny", "voxel": 0.3, "augment": "none", "batch": 1,
           "lr_file": str(tmp_path / "list.txt"), "la_file": str(tmp_path / "points.json")}, "test")],
    )  # fmt: skip
    with made_up(scenes):
        task = RoomTask(options, "semseg", print)
    assert [scene.name for scene in task.train.scenes] == ["room0001"]
    feed = task.learning(0)
    batch = feed.collate([feed.dataset[(0, int(i))] for i in feed.batches.epoch(0)[0]])["batch"]
    known = batch.semantic >= 0
    assert sorted(batch.index[known].tolist()) == [1, 2, 3]
    assert int(task.train.counts["scannet"].sum()) == 3


# -------------------------------------------------------------------------------------- starting from a model


def test_a_pre_trained_backbone_brings_channels_voxels_and_weights(scenes, tmp_path):
    made = config(voxel=0.35, channels=("color",), backbone=replace(BACKBONE, in_channels=3))
    source = model(made)
    save_task(tmp_path / "source", source, made, {})
    words = [word for word in WORDS if word not in ("--voxel", "0.3")]
    done = run(
        "finetune", "semseg", "--data", "train:x", *words, "--init", tmp_path / "source",
        "--backbone-rate", "0", "--out", tmp_path / "run", train=scenes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = load_task(str(tmp_path / "run"))
    assert (loaded.config.voxel, loaded.config.channels) == (0.35, ("color",))
    mine, theirs = loaded.model.features.state_dict(), source.features.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)  # frozen, with its norms
    assert not torch.equal(loaded.model.head.linear[0].weight, source.head.linear[0].weight)
    assert "missing          0" in done.stderr


def test_a_probe_learns_one_layer_on_what_stays_as_it_is(scenes, tmp_path):
    save_task(tmp_path / "source", model(config()), config(), {})
    words = ("probe", "--data", "train:x", "--val", "val:x", "--init", tmp_path / "source", "--batch", "1",
             "--trainer.accelerator", "cpu", "--trainer.steps", "12", "--trainer.log-every", "1",
             "--rates.lr", "0.05")  # fmt: skip
    done = run(*words, "--out", tmp_path / "kept", train=scenes, val=scenes[:1])
    assert done.returncode == 0, done.stderr
    source, loaded = (load_task(str(tmp_path / name)).model for name in ("source", "kept"))
    theirs = source.features.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in loaded.features.state_dict().items())
    losses = [line["train/loss"] for line in read_metrics(tmp_path / "kept") if "train/loss" in line]
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "kept" / "scores.json").read_text())["rule"] == "voxels"
    again = run(*words, "--memory", "0", "--out", tmp_path / "anew", train=scenes, val=scenes[:1])
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "anew") == numbers(tmp_path / "kept")  # memory changes nothing


def test_a_probe_of_random_weights_gives_the_norms_their_statistics_first(scenes, tmp_path):
    words = ("probe", "--data", "train:x", "--size", "tiny", "--batch", "1", "--trainer.accelerator", "cpu",
             "--trainer.steps", "1", "--voxel", "0.35", "--out", tmp_path / "run")  # fmt: skip
    done = run(*words, train=scenes)
    assert done.returncode == 0, done.stderr
    assert f"statistics from {len(scenes)} batches" in done.stderr
    state = load_task(str(tmp_path / "run")).model.features.state_dict()
    variances = [value for name, value in state.items() if name.endswith("running_var")]
    assert all(not torch.equal(value, torch.ones_like(value)) for value in variances[:3])
    resumed = ("--resume" if word == "--out" else word for word in words)
    done = run(*resumed, train=scenes)  # its checkpoint brings them
    assert done.returncode == 0, done.stderr
    assert "statistics from" not in done.stderr
    again = load_task(str(tmp_path / "run")).model.features.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())


def test_settled_norms_hold_the_means_of_what_they_saw():
    from ponderv2.probing import settle_norms

    norm = torch.nn.BatchNorm1d(2, momentum=0.01)
    batches = [torch.randn(50, 2, generator=torch.Generator().manual_seed(seed)) * 3 + 7 for seed in (0, 1)]
    settle_norms(norm, batches, norm)
    assert torch.allclose(norm.running_mean, (batches[0].mean(0) + batches[1].mean(0)) / 2, atol=1e-5)
    assert torch.allclose(norm.running_var, (batches[0].var(0) + batches[1].var(0)) / 2, atol=1e-4)
    assert norm.momentum == 0.01
    assert not norm.training


# --------------------------------------------------------------------------------------------------- refusals


def refused(tmp_path, scenes, *words, val=None):
    done = run("finetune", *words, "--out", tmp_path / "none", train=scenes, val=val)
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "none").exists()
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_what_cannot_work_is_refused_before_there_is_a_folder(scenes, tmp_path):
    base = ("semseg", "--data", "train:x", *WORDS)
    assert "keep is best, but val names no scenes" in refused(tmp_path, scenes, *base, "--keep", "best")
    assert "head text and text come together" in refused(tmp_path, scenes, *base, "--head", "text")
    assert "ratios name kitti" in refused(tmp_path, scenes, *base, "--ratios", "kitti=2")
    assert "absent" in refused(tmp_path, scenes, *base, "--init", tmp_path / "absent")
    assert "prompt is s3dis" in refused(tmp_path, scenes, *base, "--prompt", "s3dis")
    text = write_text(tmp_path / "text.npz", names=("floor", "wall"))
    assert "no text vectors for box, cylinder, sphere" in refused(
        tmp_path, scenes, *base, "--head", "text", "--text", text
    )
    two = rooms("scannet", "s3dis", each=1, points=500)
    assert "insseg learns from one data set, not from scannet, s3dis" in refused(
        tmp_path, two, "insseg", "--data", "train:x", *WORDS
    )
    for task in ("insseg", "det"):
        assert "la_file hides which points belong to an object" in refused(
            tmp_path, scenes, task, "--data", "train:x", *WORDS, "--la-file", tmp_path / "points.json"
        )
    other = rooms("scannet", each=1, points=500)
    other.classes["scannet"] = ("floor", "wall", "box", "cylinder", "ball")
    assert "lacks sphere and has ball" in refused(tmp_path, scenes, *base, "--val", "val:x", val=other)
    bare = rooms("scannet", each=1, points=500)
    cloud = bare[0].cloud()
    bare[0].cloud = lambda: replace(cloud, semantic=None)
    assert "1 of 1 scenes have no labels" in refused(tmp_path, scenes, *base, "--val", "val:x", val=bare)
    streets = refused(tmp_path, scenes, "det", "--data", "kitti:x", *WORDS)
    assert "kitti:x: kitti shows streets" in streets
    assert "--modality lidar" in streets


def test_a_loss_that_is_not_finite_names_its_scene_and_term(scenes, tmp_path, monkeypatch):
    losses = FinetuneModule.training_step

    def broken(self, batch, number):
        if self.global_step == 2:
            batch["batch"].features[batch["batch"].cells[:, 0] == 1] = float("nan")
        return losses(self, batch, number)

    monkeypatch.setattr(FinetuneModule, "training_step", broken)
    words = ("finetune", "semseg", "--data", "train:x", *WORDS, "--mix3d", "0")
    done = run(*words, "--out", tmp_path / "run", train=scenes)
    assert done.returncode == 1
    assert "ce" in done.stderr
    assert "room000" in done.stderr
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2
    found = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert found["step"] == 3
