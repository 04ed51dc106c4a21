"""The verb `pretrain`: runs, resuming, regions, noise, what cannot be."""

import json
import sys
from pathlib import Path

import pytest
import torch

from nonet.data.batching import RandomBatches, StepSampler, loader
from nonet.options import build, read
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, one_thread
from nonet.training.checkpoints import read_checkpoint
from nonet.vision_language.pair_folders import load_extra, load_pair_model
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.pretraining.method import begin_with
from nonet.vision_language.pretraining.pairs_and_regions import NumberedBatches
from nonet.vision_language.pretraining.zero_shot import recalls
from timix.commands.pretrain import Options
from timix.mix_training import method

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import config, write_squares


@pytest.fixture
def files(tmp_path):
    return write_squares(tmp_path)


def pretrain(tmp_path, files, *words, regions=True, **options):
    given = ["--pairs", files["pairs"], *(["--regions", files["regions"]] if regions else [])]
    with one_thread():
        return call_cli("timix", "pretrain", "--config", config(tmp_path, **options), *given, *words)


def test_a_run_leaves_a_model_its_predictor_a_card_and_a_page(tmp_path, files):
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--corrupt-captions", 0.3, val_size=2)
    assert found.returncode == 0, found.stderr
    run = tmp_path / "run"
    assert found.stdout.strip().endswith("run")
    loaded = load_pair_model(run)
    detector = PatchDetector(32)
    assert load_extra(loaded.folder, "patch_detector", detector)
    assert loaded.tokenizer.cls_token_id is not None
    lines = read_metrics(run)
    trained = [line for line in lines if "train/loss" in line]
    assert [line["train/mix_weight"] for line in trained] == pytest.approx([0, 1 / 4, 1 / 2, 3 / 4])
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
    assert "device hours" in card
    assert "gmac_per_pair" in (run / "report.html").read_text()


def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(tmp_path, files, monkeypatch):
    from timix.module import MixModule

    straight = pretrain(tmp_path, files, "--out", tmp_path / "one")
    assert straight.returncode == 0, straight.stderr
    step = MixModule.training_step

    def stops(self, batch, number):
        if self.global_step == 2:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(MixModule, "training_step", stops)
    assert pretrain(tmp_path, files, "--out", tmp_path / "two").returncode == 130
    monkeypatch.undo()
    again = pretrain(tmp_path, files, "--resume", tmp_path / "two")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    one, two = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("one", "two"))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    parts = {name.split(".")[0] for name in one["state_dict"]}
    assert parts == {"model", "twin", "queue", "detector"}
    for name, value in one["state_dict"].items():
        same = value == two["state_dict"][name]
        assert bool(same if isinstance(same, bool) else same.all()), name


def test_a_run_does_not_go_on_with_another_queue_or_size(tmp_path, files):
    assert pretrain(tmp_path, files, "--out", tmp_path / "run").returncode == 0
    queue = ("--itc.queue", 8, "--resume", tmp_path / "run")
    longer = pretrain(tmp_path, files, *queue)
    assert longer.returncode == 2
    assert "queue has 16 pairs" in longer.stderr
    assert pretrain(tmp_path, files, *queue, "--reset-queue").returncode == 0
    larger = pretrain(tmp_path, files, "--resume", tmp_path / "run", "--model.image", 64)
    assert larger.returncode == 2
    assert "model.image is 64 here but 48 in the checkpoint" in larger.stderr


def test_a_loss_that_is_not_finite_skips_the_step_and_names_the_pairs(tmp_path, files, monkeypatch):
    from timix.module import MixModule

    extra = MixModule.extra_terms

    def spoiled(self, batch, found, moment):
        terms = extra(self, batch, found, moment)
        if moment.step == 1:
            terms["mix"] = (terms["mix"][0] * torch.nan, terms["mix"][1])
        return terms

    monkeypatch.setattr(MixModule, "extra_terms", spoiled)
    found = pretrain(tmp_path, files, "--out", tmp_path / "run")
    assert found.returncode == 0
    assert "step 2: the loss is nan; the step is skipped" in found.stderr
    named = json.loads((tmp_path / "run" / "nonfinite.json").read_text())["ids"]
    assert len(named) == 6
    assert all("pairs.jsonl:" in place for place in named)
    ended = pretrain(tmp_path, files, "--out", tmp_path / "run2", "--skip-nonfinite", 1)
    assert ended.returncode == 1
    assert "1 steps in succession were skipped" in ended.stderr


def test_what_cannot_work_is_refused_before_there_is_a_run(tmp_path, files):
    run = tmp_path / "run"
    for words, text in (
        (("--mix.r-max", 1.0), "would paste a whole picture"),
        (("--mix.r-min", 0.01), "is less than one"),
        (("--tpp.loc", 7), "blocks 0 to 1; set tpp.loc"),
        (("--rates.warmup", 4), "leaves nothing of 4 steps"),
        (("--val", files["pairs"]), "of the validation data are in the training data too"),
        (("--init", tmp_path), "no image-text model"),
        (("--model.image", 50), "nearest: 48 or 56"),
    ):
        found = pretrain(tmp_path, files, "--out", run, *words)
        assert (found.returncode, run.exists()) == (2, False), (words, found.stderr)
        assert text in found.stderr, found.stderr


def test_a_model_without_predictor_cannot_score_with_it(tmp_path, files):
    plain = pretrain(tmp_path, files, "--out", tmp_path / "run", "--mix.score", "itc", regions=False)
    assert plain.returncode == 0, plain.stderr
    model = ("--init", tmp_path / "run", "--out", tmp_path / "run2")
    found = pretrain(tmp_path, files, *model, regions=False)
    assert found.returncode == 2
    assert "no patch predictor in it, and there is no --regions file: take mix.score attn" in found.stderr
    larger = pretrain(
        tmp_path, files, *model, "--mix.score", "attn", "--resize", 64, "--keep", "best", regions=False,
        val_size=2,
    )  # fmt: skip
    assert larger.returncode == 0, larger.stderr
    assert load_pair_model(tmp_path / "run2").model.vision.grid == (8, 8)
    assert "positions: resampled from 6 x 6 to 8 x 8" in larger.stderr


def test_pictures_that_cannot_be_read_are_replaced_and_too_many_end_the_run(tmp_path, files):
    (tmp_path / "3.png").write_bytes(b"not a picture")
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--mix.score", "itc", regions=False)
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("another image takes its place") == 1
    (tmp_path / "4.png").unlink()
    found = pretrain(tmp_path, files, "--out", tmp_path / "run2", "--mix.score", "itc", regions=False)
    assert found.returncode == 1
    assert "images cannot be read, more than" in found.stderr


def test_fewer_pairs_than_a_batch_are_one_batch(tmp_path, files):
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--batch", 64)
    assert found.returncode == 2  # a warm-up of one step leaves nothing of one
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--batch", 64, "--rates.warmup", 0)
    assert found.returncode == 0, found.stderr
    assert "batch is 64, and there are 24 items" in found.stderr


def test_batches_are_the_same_for_any_number_of_workers(tmp_path, files):
    lines = {"pairs": [str(files["pairs"])], "regions": [str(files["regions"])]}
    given = build(Options, [read(config(tmp_path, **lines))])
    begin = begin_with(given, method(given), lambda line: None)
    seen = []
    for workers in (0, 2):
        visits = begin.visits(given)
        visits.regions = begin.make_regions(given)(0, 1)
        sampler = NumberedBatches(RandomBatches(20, 6, 0), start=2, steps=3)
        seen.append(list(loader(visits, sampler, begin.collate(given), workers=workers)))
    assert len(seen[0]) == 3
    for one, two in zip(*seen, strict=True):
        for name in ("images", "input_ids", "image_ids", "target_ids"):
            assert torch.equal(one[name], two[name])
        assert torch.equal(one["regions"]["images"], two["regions"]["images"])
        assert torch.equal(one["regions"]["masks"], two["regions"]["masks"])
        assert len(one["regions"]["masks"]) == 6
    plain = StepSampler(RandomBatches(20, 6, 0), start=2, steps=1)
    assert next(iter(NumberedBatches(RandomBatches(20, 6, 0), start=2, steps=1)))[:-1] == next(iter(plain))


def test_recalls_do_not_depend_on_the_order_of_the_parts():
    import numpy as np

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


@pytest.mark.slow
def test_two_processes_train_and_resume(tmp_path, files):
    from nonet.testing import run_cli

    words = ["--pairs", files["pairs"], "--regions", files["regions"], "--trainer.devices", 2]
    path = config(tmp_path, val_size=2)
    found = run_cli("timix", "pretrain", "--config", path, *words, "--out", tmp_path / "run")
    assert found.returncode == 0, found.stderr
    trained = [line for line in read_metrics(tmp_path / "run") if "train/mix" in line]
    assert len(trained) == 4
    assert all(line["train/loss"] > 0 for line in trained)
    assert "val/R-mean" in read_metrics(tmp_path / "run")[-1]
