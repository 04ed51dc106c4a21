"""Backbones that learn from two views: the loss, the views, and a run that goes on where it ended."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from nonet.runs import read_metrics
from nonet.testing import call_cli, normal, numbers, one_thread, plain_pages
from updetr.backbones import build_backbone, load_backbone_weights
from updetr.self_supervised import ViewModule
from updetr.view_contrast import contrast
from updetr.view_data import ViewData, random_crop, views_of

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import write_rectangles

WORDS = (
    "--backbone", "resnet-tiny", "--size", "24", "--batch", "6", "--val-size", "2", "--trainer.steps", "4",
    "--trainer.accelerator", "cpu", "--trainer.log-every", "1", "--trainer.checkpoint-every", "2",
    "--trainer.validate-every", "0", "--optimizer.warmup", "2",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread(), plain_pages():
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    write_rectangles(folder / "pictures", 20)
    words = ("updetr", "backbone", "--images", folder / "pictures", *WORDS)
    ended = call_cli(*words, "--out", folder / "run")
    assert ended.returncode == 0, ended.stderr
    return folder, words, ended


# ------------------------------------------------------------------------------------------------- the loss


def test_the_loss_is_that_of_finding_each_view_s_partner_one_by_one():
    features, temperature = F.normalize(normal(8, 5), dim=1), 0.3
    expected, found = [], []
    for view in range(8):
        partner = view + 1 if view % 2 == 0 else view - 1
        others = [other for other in range(8) if other != view]
        likeness = {other: float(features[view] @ features[other]) / temperature for other in others}
        total = sum(math.exp(value) for value in likeness.values())
        expected.append(-math.log(math.exp(likeness[partner]) / total))
        found.append(max(likeness, key=likeness.get) == partner)
    loss, share = contrast(features, temperature)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert share.item() == pytest.approx(np.mean(found))


def test_features_that_are_all_alike_have_the_loss_of_guessing():
    features = torch.ones(10, 4) / 2
    assert contrast(features, 0.1)[0].item() == pytest.approx(math.log(9), rel=1e-5)


def test_partners_that_are_alone_alike_have_no_loss():
    features = torch.eye(4).repeat_interleave(2, 0)
    loss, found = contrast(features, 0.05)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert found.item() == 1


# ------------------------------------------------------------------------------------------------ the views


def test_crops_have_areas_and_aspects_in_their_ranges():
    random = np.random.default_rng(0)
    crops = np.stack([random_crop(400, 300, 0.2, random) for _ in range(1500)])
    x, y, width, height = crops.T
    assert min(x.min(), y.min()) == 0
    assert ((x + width <= 400) & (y + height <= 300)).all()
    assert (x + width).max() == 400
    area, aspect = width * height / 120_000, width / height
    assert area.min() == pytest.approx(0.2, abs=0.02)
    assert (aspect.min(), aspect.max()) == pytest.approx((3 / 4, 4 / 3), abs=0.02)
    small = area < 0.4  # larger ones do not always fit
    assert np.log(aspect[small]).mean() == pytest.approx(0, abs=0.02)


def test_a_crop_of_a_very_wide_image_is_its_middle():
    assert random_crop(1000, 30, 0.9, np.random.default_rng(0)).tolist() == [480, 0, 40, 30]


def test_views_are_mirrored_half_of_the_time_and_cut_where_it_was_drawn(tmp_path):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    Image.fromarray(ramp.copy()).save(tmp_path / "ramp.png")
    data = ViewData([tmp_path / "ramp.png"] * 40, seed=0, size=16)
    batch = data.collate([data[(0, index)] for index in range(40)])
    none = batch["draws"]
    batch["draws"] = none._replace(
        jitter=torch.zeros_like(none.jitter), grey=none.grey, sigma=torch.zeros_like(none.sigma)
    )
    views = views_of(batch, 16)
    assert views.shape == (80, 3, 16, 16)
    falls = views[:, 0, 0, 0] > views[:, 0, 0, -1]
    assert torch.equal(falls, batch["mirrored"].flatten())
    assert 25 <= int(falls.sum()) <= 55
    level = (views[:, 0].mean((1, 2)) * 0.229 + 0.485) * 255
    crops = batch["crops"].flatten(0, 1)
    middle = (crops[:, 0] + (crops[:, 2] - 1) / 2) * 4
    assert torch.allclose(level, middle, atol=2)


def test_views_of_an_image_differ_and_follow_from_seed_epoch_and_index(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    data = ViewData([tmp_path / "a.png"] * 2, seed=0, size=16)
    first = data[(0, 0)]
    assert not torch.equal(first.crops[0], first.crops[1])
    assert torch.equal(data[(0, 0)].crops, first.crops)
    for other in (data[(0, 1)], data[(1, 0)]):
        assert not torch.equal(other.crops, first.crops)


# -------------------------------------------------------------------------------------------------- the run


def test_a_run_leaves_weights_that_a_frozen_backbone_loads(work):
    folder, _, ended = work
    assert ended.stdout.strip() == str(folder / "run")
    file = folder / "run" / "model" / "backbone.safetensors"
    assert f"--backbone resnet-tiny: --backbone-weights {file}" in ended.stderr
    said, frozen = [], build_backbone("resnet-tiny").freeze().eval()
    load_backbone_weights(frozen, file, said.append)
    trained, pixels = build_backbone("resnet-tiny", norm="batch").eval(), normal(2, 3, 32, 48)
    trained.load_state_dict(load_file(file), strict=False)
    assert torch.allclose(frozen(pixels)[-1], trained(pixels)[-1], atol=1e-4)
    assert frozen.bn1.running_mean.abs().max() > 0
    facts = json.loads((folder / "run" / "model" / "backbone.json").read_text())
    assert facts["backbone"] == "resnet-tiny"
    assert facts["images"] == 18
    assert {"val/loss", "val/found"} == facts["scores"].keys()
    assert (folder / "run" / "report.html").is_file()


def test_a_run_learns_and_logs_how_often_partners_are_found(work):
    lines = [line for line in read_metrics(work[0] / "run") if "train/loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(0 <= line["train/found"] <= 1 for line in lines)
    assert lines[-1]["lr"] < max(line["lr"] for line in lines) == pytest.approx(1e-3)


def test_an_interrupted_run_goes_on_bit_for_bit(work, tmp_path, monkeypatch):
    folder, words, _ = work
    whole = ViewModule.training_step

    def training_step(self, batch, number):
        if self.global_step == 3:
            raise KeyboardInterrupt
        return whole(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ViewModule, "training_step", training_step)
        assert call_cli(*words, "--out", tmp_path / "run").returncode == 130
    again = call_cli(*words, "--resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "run") == numbers(folder / "run")
    ours, theirs = (load_file(at / "run" / "model" / "backbone.safetensors") for at in (tmp_path, folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--size", "8"), "size is 8; a view has at least 16"),
        (("--batch", "1"), "batch is 1"),
        (("--temperature", "0"), "temperature is 0"),
        (("--least-area", "0"), "least_area is 0"),
        (("--keep-images", "-1"), "0 or more"),
        (("--backbone", "resnet99"), "no backbone resnet99|only resnet-tiny"),
        (("--images", "nowhere"), "nowhere: no such file or folder"),
        (("--init", "nowhere.pth"), "nowhere.pth"),
    ],
)
def test_what_cannot_work_is_refused_before_there_is_a_folder(work, tmp_path, words, text):
    _, usual, _ = work
    ended = call_cli(*usual, "--out", tmp_path / "run", *words)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert re.search(text, ended.stderr)
    assert not (tmp_path / "run").exists()


def test_two_images_are_needed_to_compare(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    ended = call_cli("updetr", "backbone", "--images", tmp_path, *WORDS, "--out", tmp_path / "run")
    assert ended.returncode == 2
    assert "1 images to compare with each other" in ended.stderr
