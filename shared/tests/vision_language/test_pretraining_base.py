"""Pre-training without a method of its own: options, a run, zero-shot retrieval, matching seen again."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from nonet.errors import UserError
from nonet.runs import read_metrics
from nonet.testing import one_thread
from nonet.training.options import TrainerOptions
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_folders import load_extra, load_pair_model
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.pair_optimizer import PairRates
from nonet.vision_language.pair_passes import look
from nonet.vision_language.patch_detector import PREDICTOR, PatchDetector
from nonet.vision_language.pretraining.method import Method, begin_with
from nonet.vision_language.pretraining.options import ItcOptions, LossOptions, PretrainOptions, RegionOptions
from nonet.vision_language.pretraining.region_module import RegionModule
from nonet.vision_language.pretraining.running import build_losses, pretrain, twin_and_queue
from nonet.vision_language.pretraining.zero_shot import ZeroShot, recalls

MODEL = dataclasses.replace(
    TINY, vit_width=32, vit_depth=2, vit_heads=2, text_width=32, text_heads=2, text_hidden=64, embed=16,
    vocabulary=200, vit_attention_dropout=0.0, dropout=0.0, text_layers=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures of one colour with a brighter square, pairs and regions of them."""
    from PIL import Image

    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    pairs, regions = [], []
    for number in range(20):
        pixels = np.full((48, 48, 3), random.integers(60, 120, 3), np.uint8)
        x, y = (int(place) for place in random.integers(0, 33, 2))
        pixels[y : y + 16, x : x + 16] += 100
        Image.fromarray(pixels).save(folder / f"{number}.png")
        pairs.append({"image": f"{number}.png", "caption": f"square number {number}"})
        regions.append({"image": f"{number}.png", "elems": [{"bb": [x, y, 16, 16], "caption": "square"}]})
    for name, rows in (("pairs", pairs), ("regions", regions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def options(files, **values):
    plain = {
        "pairs": (files / "pairs.jsonl",), "regions": (files / "regions.jsonl",), "model": MODEL,
        "pretrained": False, "batch": 6, "epochs": 1.0, "val_size": 2, "itc": ItcOptions(queue=8),
        "rates": PairRates(lr=1e-3, lr_visual=1e-3, warmup=1, warmup_unit=1),
        "trainer": TrainerOptions(accelerator="cpu", log_every=1, clip=1.0, validate_every=0),
    }  # fmt: skip
    return PretrainOptions(**plain | values)


def method(given, **values):
    def build(begin, steps, steps_per_epoch):
        losses = build_losses(given, begin)
        twin, queue = twin_and_queue(given, begin.model, losses)
        return RegionModule(
            begin.model, losses, given.rates, steps=steps, steps_per_epoch=steps_per_epoch,
            detector=begin.detector, block=0, twin=twin, queue=queue, alpha=given.itc.alpha,
        )  # fmt: skip

    plain = {
        "package": "none", "boxes": RegionOptions(regions_batch=6), "guided": False, "build": build,
        "box_free": "do without", "how": "Nothing was done.", "remarks": ("a remark",),
        "limits": ("A limit.",),
    }  # fmt: skip
    return Method(**plain | values)


def test_a_run_trains_pairs_and_regions_and_saves_both(files, tmp_path, capsys):
    given = options(files, out=tmp_path / "run")
    with one_thread():
        done = pretrain(given, method(given, files={"note.json": "{}"}))
    assert done.folder == tmp_path / "run"
    assert done.writes
    assert {"steps", "pairs", "gmac_per_pair", "R-mean"} <= done.row.keys()
    assert "a remark" in capsys.readouterr().err
    trained = [line for line in read_metrics(done.folder) if "train/loss" in line]
    assert len(trained) == 3
    for line in trained:
        parts = ("itc", "itm", "mlm", "prefix", "pta")
        assert line["train/loss"] == pytest.approx(sum(line[f"train/{part}"] for part in parts), rel=1e-5)
    loaded = load_pair_model(done.folder)
    assert load_extra(loaded.folder, PREDICTOR, PatchDetector(32))
    assert (loaded.folder / "note.json").read_text() == "{}"
    card = (loaded.folder / "README.md").read_text()
    assert "Nothing was done." in " ".join(card.split())
    assert "- A limit." in card


def test_a_method_that_needs_a_detector_is_told_what_to_do_without(files, tmp_path):
    given = options(files, regions=())
    assert begin_with(given, method(given), print).detector is None
    with pytest.raises(UserError, match="there is no --regions file: do without"):
        begin_with(given, method(given, guided=True), print)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pairs": ()}, "pairs names no file"),
        ({"batch": 0}, "batch is 0"),
        ({"corrupt_captions": 1.5}, "corrupt_captions is 1.5; it is a share"),
        ({"epochs": -1.0}, "epochs is -1"),
        ({"trainer": TrainerOptions(strategy="fsdp")}, "leave it at auto"),
    ],
)
def test_options_that_cannot_be_are_refused(files, values, text):
    with pytest.raises(UserError, match=text):
        options(files, **values)


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (RegionOptions, {"regions_batch": 0}, "regions_batch is 0"),
        (RegionOptions, {"regions_prob": 1.5}, "regions_prob is 1.5"),
        (RegionOptions, {"max_length": 1}, "max_length is 1"),
        (RegionOptions, {"loss_weight": -1.0}, "loss_weight is -1"),
        (ItcOptions, {"queue": -1}, "itc.queue is -1"),
        (ItcOptions, {"momentum": 0.0}, "without itc.momentum there is no queue"),
        (LossOptions, {"itm": -0.1}, "losses.itm is -0.1"),
    ],
)
def test_groups_of_options_that_cannot_be_are_refused(kind, values, text):
    with pytest.raises(UserError, match=text):
        kind(**values)


def pairs_batch():
    draws = torch.Generator().manual_seed(0)
    return {
        "images": torch.randn(4, 3, 48, 48, generator=draws),
        "input_ids": torch.randint(5, 200, (4, 7), generator=draws),
        "attention_mask": torch.ones(4, 7, dtype=torch.int64), "image_ids": torch.arange(4),
    }  # fmt: skip


def test_matching_asks_again_for_the_pairs_that_were_drawn():
    torch.manual_seed(0)
    model, batch, asked = PairModel(MODEL).eval(), pairs_batch(), []

    def again(model, seen, images, text):
        asked.append((images, text))
        return seen.tokens[images]

    found = []
    for see_pairs in (None, again):
        losses = PairLosses(weights={"itm": 1.0}, see=look, see_pairs=see_pairs)
        found.append(losses(model, batch, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(found[0].terms["itm"], found[1].terms["itm"])
    ((images, text),) = asked
    assert images[:4].tolist() == [0, 1, 2, 3]
    assert torch.equal(text[:4], found[1].text_tokens)
    assert text.shape == (12, 7, 32)
    zeros = PairLosses(
        weights={"itm": 1.0}, see_pairs=lambda model, seen, images, text: 0 * seen.tokens[images]
    )
    other = zeros(model, batch, generator=torch.Generator().manual_seed(1)).terms["itm"]
    assert abs(float((other[0] - found[0].terms["itm"][0]).detach())) > 1e-6


def test_zero_shot_retrieval_sees_what_it_is_told_to():
    torch.manual_seed(0)
    model, batch = PairModel(MODEL).eval(), pairs_batch()
    batch |= {"numbers": torch.arange(4), "owners": torch.tensor([0, 1, 2, 3]), "lost": 1}
    seen = []
    shot = ZeroShot(lambda model, images: seen.append(images) or model.encode_image(images))
    shot.add(model, batch)
    found = shot.take()
    plain = ZeroShot()
    plain.add(model, batch)
    assert plain.take() == found
    assert torch.equal(seen[0], batch["images"])
    assert found["unreadable"] == 1
    assert found["TR@10"] == 100
    assert shot.take() == {}


def test_recalls_are_those_of_the_pairs_whatever_their_order():
    e = np.eye(3, dtype=np.float32)
    parts = [(np.array([8]), e[[0]], np.array([5]), e[[1]]), (np.array([5]), e[[1]], np.array([8]), e[[2]])]
    assert recalls(parts) == recalls(parts[::-1])
    assert recalls(parts)["TR@1"] == pytest.approx(50)  # text 2 is as far from both images
