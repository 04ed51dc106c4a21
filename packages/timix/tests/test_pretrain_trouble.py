"""The verb `pretrain` where something is wrong: options, files, losses, scores, the disk."""

import json
import resource
import sys
from pathlib import Path

import pytest
import torch

from nonet.runs import read_metrics
from nonet.testing import plain_pages
from nonet.training.checkpoints import WholeFiles, read_checkpoint
from nonet.vision_language.pair_folders import save_pair_model
from nonet.vision_language.pretraining.method import begin_with
from timix import mix_pass
from timix.mix_pass import MixPass
from timix.mix_training import method
from timix.module import MixModule

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import write_squares
from tiny_runs import pretrain
from tiny_training import BARE, ITC_ALONE, options

PLAIN = {"itc": BARE, "losses": ITC_ALONE}  # the shortest training there is
ITC = ("--mix.score", "itc")


@pytest.fixture(autouse=True)
def _no_curves():
    with plain_pages():
        yield


@pytest.fixture
def files(tmp_path):
    return write_squares(tmp_path)


def edited(path, change):
    """Write lines of JSON anew, after `change` has had their records."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_what_cannot_work_is_refused_before_there_is_a_run(tmp_path, files):
    run = tmp_path / "run"
    for words, text in (
        (("--mix.r-max", 1.0), "would paste a whole picture"),
        (("--mix.r-min", 0.01), "is less than one"),
        (("--mix.r-min", 0.8), "r_min 0.8 is above r_max 0.75"),
        (("--tpp.loc", 7), "blocks 0 to 1; set tpp.loc"),
        (("--rates.warmup", 4), "leaves nothing of 4 steps"),
        (("--val", files["pairs"]), "of the validation data are in the training data too"),
        (("--init", tmp_path), "no image-text model"),
        (("--model.image", 50), "nearest: 48 or 56"),
    ):
        found = pretrain(tmp_path, files, "--out", run, *words)
        assert (found.returncode, run.exists()) == (2, False), (words, found.stderr)
        assert text in found.stderr, found.stderr
    found = pretrain(tmp_path, files | {"pairs": tmp_path / "absent.jsonl"}, "--out", run)
    assert (found.returncode, run.exists()) == (2, False)
    assert "absent.jsonl: no such file" in found.stderr


def test_a_model_without_predictor_cannot_score_with_it(tmp_path, files):
    given = options(tmp_path)
    begin = begin_with(given, method(given), lambda line: None)
    save_pair_model(begin.model, begin.tokenizer, tmp_path / "model", "")
    model = ("--init", tmp_path / "model", "--out", tmp_path / "run")
    found = pretrain(tmp_path, files, *model, regions=False)
    assert found.returncode == 2
    assert "no patch predictor in it, and there is no --regions file: take mix.score attn" in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("steps", "spoilt", "what"),
    [
        ("joint", "mix", "loss"),
        ("separate", "mix", "loss"),
        ("separate", "pta", "loss"),
        ("separate", "pta", "gradient"),
    ],
)
def test_a_step_that_is_not_finite_is_skipped_and_its_pairs_are_named(
    tmp_path, files, monkeypatch, steps, spoilt, what
):
    name = {"mix": "_mix", "pta": "region_term"}[spoilt]
    whole, weights = getattr(MixModule, name), {}

    def spoil(self, *given):
        total, count = whole(self, *given)
        if self.global_step != 1:
            return total, count
        if what == "loss":
            return total * torch.nan, count
        total.register_hook(lambda gradient: gradient * torch.nan)
        return total, count

    def note(self, batch, number):
        weights[self.global_step] = [weight.detach().clone() for weight in self.parameters()]
        return step(self, batch, number)

    step = MixModule.training_step
    monkeypatch.setattr(MixModule, name, spoil)
    monkeypatch.setattr(MixModule, "training_step", note)
    given = PLAIN | {"mix": {"optim_steps": steps, "ramp": 0}}
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", **given)
    assert found.returncode == 0, found.stderr
    said = {"loss": "the loss is nan; ", "gradient": "the gradient is not finite, though the loss is "}[what]
    assert f"step 2: {said}" in found.stderr
    assert "the step is skipped (1 so far)" in found.stderr
    named = json.loads((tmp_path / "run" / "nonfinite.json").read_text())["ids"]
    assert len(named) == 6
    assert all("pairs.jsonl:" in place for place in named)
    moved = [not all(map(torch.equal, weights[at], weights[at + 1])) for at in range(3)]
    kept = steps == "separate" and spoilt == "mix"  # by then the steps of regions and pairs are taken
    assert moved == [True, kept, True]
    assert all(weight.isfinite().all() for weight in weights[3])
    assert read_metrics(tmp_path / "run")[-1]["skipped_steps"] == 1
    if spoilt == "pta":
        return
    ended = pretrain(tmp_path, files, "--out", tmp_path / "run2", "--skip-nonfinite", 1, **given)
    assert ended.returncode == 1
    assert "step 2: the loss is nan, and 1 steps in succession were skipped" in ended.stderr


def test_scores_that_are_not_finite_are_counted_and_many_end_the_run(tmp_path, files, monkeypatch):
    whole, bad = mix_pass.patch_scores, 1

    def spoilt(*given, **more):
        scores = whole(*given, **more)
        scores.view(-1)[:bad] = torch.nan
        return scores

    monkeypatch.setattr(mix_pass, "patch_scores", spoilt)
    given = PLAIN | {"mix": {"ramp": 0}}
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", *ITC, regions=False, **given)
    assert found.returncode == 0, found.stderr
    assert "4 patch scores were NaN or infinite, and counted as 0" in found.stderr
    assert all(line["train/mix"] > 0 for line in read_metrics(tmp_path / "run"))
    bad = 3  # of 216
    found = pretrain(tmp_path, files, "--out", tmp_path / "run2", *ITC, regions=False, **given)
    assert found.returncode == 1
    assert "3 of 216 patch scores are NaN or infinite" in found.stderr


def test_batches_of_one_pair_are_not_mixed_and_one_warning_says_so(tmp_path, files, monkeypatch):
    plans, whole = [], MixPass.plan

    def plan(self, scores, random):
        plans.append(whole(self, scores, random))
        return plans[-1]

    monkeypatch.setattr(MixPass, "plan", plan)
    given = PLAIN | {"batch": 1, "epochs": 0.125, "mix": {"ramp": 0}}
    with pytest.warns(UserWarning, match="a batch of one image is not mixed") as warned:
        found = pretrain(tmp_path, files, "--out", tmp_path / "run", *ITC, regions=False, **given)
    assert found.returncode == 0, found.stderr
    assert len(warned) == 1
    assert [(each.k.tolist(), each.lam.tolist()) for each in plans] == [([0], [1.0])] * 3


def test_an_odd_batch_is_mixed_without_an_image_that_meets_itself(tmp_path, files, monkeypatch):
    plans, whole = [], MixPass.plan

    def plan(self, scores, random):
        plans.append(whole(self, scores, random))
        return plans[-1]

    monkeypatch.setattr(MixPass, "plan", plan)
    given = PLAIN | {"batch": 5, "mix": {"ramp": 0}}
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", *ITC, regions=False, **given)
    assert found.returncode == 0, found.stderr
    assert {5} <= {each.batch for each in plans}
    assert not any((each.partner == each.rows).any() for each in plans)


def test_pictures_that_cannot_be_read_are_replaced_and_too_many_end_the_run(tmp_path, files):
    (tmp_path / "3.png").write_bytes(b"not a picture")
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", *ITC, regions=False, **PLAIN)
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("another image takes its place") == 1
    (tmp_path / "4.png").unlink()
    found = pretrain(tmp_path, files, "--out", tmp_path / "run2", *ITC, regions=False, **PLAIN)
    assert found.returncode == 1
    assert "images cannot be read, more than" in found.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_regions_and_empty_captions_are_left_out_counted_and_told(tmp_path, files, workers):
    def spoil(records):
        records[0]["image"] = "absent.png"
        records[1]["elems"][0]["bb"] = [100, 100, 5, 5]
        records[2]["elems"][0]["bb"] = [1, 1, 0, 5]
        records[3]["elems"][0]["bb"] = [1, 1, "wide", 5]
        records[4]["elems"][0]["caption"] = "?!"

    def empty(records):
        records[5]["caption"], records[6]["caption"][1] = "?!", "..."

    edited(files["regions"], spoil)
    edited(files["pairs"], empty)
    words = ("--unreadable", 0.1, "--trainer.workers", workers)
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", *words, **PLAIN)
    assert found.returncode == 0, found.stderr
    for line in (
        "left out: 2 captions empty after clean-up",
        "left out: 1 images whose captions are all empty",
        f"{files['regions']}:3: elems[0]: box [1, 1, 0, 5]",
        "regions: left out: 1 boxes that are not four numbers",
        "regions: left out: 1 boxes without area",
        "regions: left out: 1 regions whose text is empty after clean-up",
        "absent.png: no such file; another image takes its place",
        "regions.jsonl:2: all regions lie outside of 48 x 48 pixels; another image takes its place",
    ):
        assert found.stderr.count(line) == 1, (line, found.stderr)
    assert all(line["train/pta"] > 0 for line in read_metrics(tmp_path / "run"))


def test_fewer_pairs_than_a_batch_are_one_batch(tmp_path, files):
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--batch", 64, **PLAIN)
    assert found.returncode == 2  # a warm-up of one step leaves nothing of one
    words = ("--batch", 64, "--rates.warmup", 0)
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", *words, **PLAIN)
    assert found.returncode == 0, found.stderr
    assert "batch is 64, and there are 24 items" in found.stderr


def test_a_full_disk_ends_the_run_and_leaves_the_last_good_checkpoint(tmp_path, files, monkeypatch):
    whole, seen = WholeFiles.save_checkpoint, []

    def save(self, checkpoint, path, storage_options=None):
        seen.append(checkpoint["global_step"])
        free, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            if len(seen) == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
            whole(self, checkpoint, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (free, most))

    monkeypatch.setattr(WholeFiles, "save_checkpoint", save)
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", **PLAIN)
    assert found.returncode == 1
    assert "last.ckpt: the checkpoint could not be written" in found.stderr.splitlines()[-1]
    assert "the last good one is still there: make room on the disk" in found.stderr
    assert seen == [2, 4]
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["last.ckpt"]
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 2
    again = pretrain(tmp_path, files, "--resume", tmp_path / "run", **PLAIN)
    assert again.returncode == 0, again.stderr
