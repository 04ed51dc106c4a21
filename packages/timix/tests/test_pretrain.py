"""The verb `pretrain`: a run, resuming it, its batches, and what is kept out of it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.data.batching import RandomBatches, StepSampler, generator, loader
from nonet.runs import read_metrics
from nonet.testing import numbers, plain_pages
from nonet.training.checkpoints import read_checkpoint
from nonet.vision_language.pair_folders import load_extra, load_pair_model
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.method import begin_with
from nonet.vision_language.pretraining.pairs_and_regions import NumberedBatches
from nonet.vision_language.pretraining.zero_shot import recalls
from timix.mix_training import method
from timix.module import MixModule
from timix.text_aware_mix import TextAwareMix

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import write_squares
from tiny_runs import pretrain
from tiny_training import options

MORE = ("--corrupt-captions", 0.3)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Pairs and regions; the run `one` of four steps, and `half`, one like it that was stopped after two."""
    folder = tmp_path_factory.mktemp("work")
    files = write_squares(folder)
    with plain_pages(2):
        found = pretrain(folder, files, "--out", folder / "one", *MORE, val_size=2)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip().endswith("one")
    step = MixModule.training_step

    def stops(self, batch, number):
        if self.global_step == 2:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MixModule, "training_step", stops)
        stopped = pretrain(folder, files, "--out", folder / "half", *MORE, val_size=2)
    assert stopped.returncode == 130
    return folder, files


@pytest.fixture(autouse=True)
def _no_curves(work):
    with plain_pages():
        yield


def resumed(work, tmp_path, *words):
    """Go on with a copy of `half`."""
    folder, files = work
    shutil.copytree(folder / "half", tmp_path / "run")
    return pretrain(folder, files, "--resume", tmp_path / "run", *MORE, *words, val_size=2)


def test_a_run_leaves_a_model_its_predictor_a_card_and_a_page(work):
    run = work[0] / "one"
    loaded = load_pair_model(run)
    detector = PatchDetector(32)
    assert load_extra(loaded.folder, "patch_detector", detector)
    assert loaded.tokenizer.cls_token_id is not None
    lines = read_metrics(run)
    trained = [line for line in lines if "train/loss" in line]
    assert [line["train/mix_weight"] for line in trained] == pytest.approx([0, 1 / 4, 1 / 2, 3 / 4])
    assert [line["train/alpha"] for line in trained] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [line["train/lam"] == 1 for line in trained] == [True, False, False, False]
    assert all(line["train/pta"] > 0 for line in trained)
    assert {"val/TR@1", "val/IR@10", "val/R-mean"} <= lines[-1].keys()
    wrong = [json.loads(line) for line in (run / "wrong_captions.jsonl").read_text().splitlines()]
    assert len(wrong) == int(0.3 * 44)
    assert all(entry["was"] != entry["now"] for entry in wrong)
    assert len(json.loads((run / "data.json").read_text())) == 2
    assert json.loads((run / "cost.json").read_text())["gmac_per_pair"] > 0
    card = (run / "model" / "README.md").read_text()
    assert "30% of its captions were wrong on purpose" in card
    assert "Cost of pretrain: 4 steps, 22 examples seen, " in card
    page = (run / "report.html").read_text()
    assert "gmac_per_pair" in page
    assert page.count("<svg") == 2  # of many more, as curves take long to draw


def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(work, tmp_path):
    again = resumed(work, tmp_path)
    assert again.returncode == 0, again.stderr
    one, two = work[0] / "one", tmp_path / "run"
    assert numbers(one) == numbers(two)
    first, second = (read_checkpoint(run / "checkpoints/last.ckpt") for run in (one, two))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    parts = {name.split(".")[0] for name in first["state_dict"]}
    assert parts == {"model", "twin", "queue", "detector"}
    for name, value in first["state_dict"].items():
        same = value == second["state_dict"][name]
        assert bool(same if isinstance(same, bool) else same.all()), name


def test_a_run_does_not_go_on_with_another_queue_unless_that_is_said(work, tmp_path):
    refused = resumed(work, tmp_path / "kept", "--itc.queue", 8)
    assert refused.returncode == 2
    assert "the checkpoint's queue has 16 pairs of 16 numbers, this one 8 of 16" in refused.stderr
    done = resumed(work, tmp_path / "reset", "--itc.queue", 8, "--reset-queue")
    assert done.returncode == 0, done.stderr
    state = read_checkpoint(tmp_path / "reset/run/checkpoints/last.ckpt")["state_dict"]
    assert state["queue.images"].shape == (8, 16)
    assert state["queue._extra_state"] == {"filled": 8, "next": 2}  # of a batch of 6 and one of 4


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model.image", 64), "model.image is 64 here but 48 in the checkpoint"),
        (("--model.patch", 16), "model.patch is 16 here but 8 in the checkpoint"),
        (("--batch", 8), "batch is 8 here but 6 in the checkpoint"),
    ],
)
def test_a_run_does_not_go_on_with_another_size(work, tmp_path, words, text):
    refused = resumed(work, tmp_path, *words)
    assert refused.returncode == 2
    assert text in refused.stderr


def test_another_size_of_images_resamples_the_positions_of_a_model(work, tmp_path):
    folder, files = work
    words = ("--init", folder / "one", "--resize", 64, "--keep", "best", "--mix.score", "attn")
    larger = pretrain(tmp_path, files, *words, "--out", tmp_path / "run", regions=False, val_size=2)
    assert larger.returncode == 0, larger.stderr
    assert "positions: resampled from 6 x 6 to 8 x 8" in larger.stderr
    assert load_pair_model(tmp_path / "run").model.vision.grid == (8, 8)


def test_mixed_batches_are_the_same_for_any_number_of_workers(work, tmp_path):
    given = options(tmp_path)
    begin = begin_with(given, method(given), lambda line: None)
    mixer, seen = TextAwareMix(6), []
    for workers in (0, 1, 2):
        visits = begin.visits(given)
        visits.regions = begin.make_regions(given)(0, 1)
        sampler = NumberedBatches(RandomBatches(20, 6, 0), start=2, steps=3)
        batches = list(loader(visits, sampler, begin.collate(given), workers=workers))
        for step, batch in enumerate(batches, 2):
            scores = batch["images"].mean(1).unflatten(1, (6, 8)).unflatten(3, (6, 8)).mean((2, 4))
            batch["mixed"] = mixer.pixels(batch["images"], mixer.plan(scores, generator(0, "mix", step, 0)))
        seen.append(batches)
    assert len(seen[0]) == 3
    for one, *others in zip(*seen, strict=True):
        assert not torch.equal(one["mixed"], one["images"])
        assert len(one["regions"]["masks"]) == 6
        for other in others:
            for name in ("images", "mixed", "input_ids", "image_ids", "target_ids"):
                assert torch.equal(one[name], other[name])
            assert torch.equal(one["regions"]["images"], other["regions"]["images"])
            assert torch.equal(one["regions"]["masks"], other["regions"]["masks"])
    plain = StepSampler(RandomBatches(20, 6, 0), start=2, steps=1)
    assert next(iter(NumberedBatches(RandomBatches(20, 6, 0), start=2, steps=1)))[:-1] == next(iter(plain))


def test_recalls_do_not_depend_on_the_order_of_the_parts():
    e = np.eye(4, dtype=np.float32)
    wrong = (e[1] * 0.9 + e[3]).astype(np.float32)  # a text of image 7 that is nearer to image 9
    parts = [
        (np.array([9, 3]), e[[3, 0]], np.array([3, 9]), e[[0, 3]]),
        (np.array([7]), e[[1]], np.array([7, 7]), np.stack([wrong, e[1]])),
    ]
    found = recalls(parts)
    assert found == recalls(parts[::-1])
    assert found["TR@1"] == pytest.approx(200 / 3)  # the wrong text stands before the own one of image 9
    assert found["IR@1"] == pytest.approx(75)
    assert found["TR@10"] == found["IR@10"] == 100
