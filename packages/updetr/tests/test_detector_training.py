"""Whole runs of pre-training and fine-tuning: what they leave, say, refuse, and how they go on."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from nonet.errors import RunFailed
from nonet.report import Page
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, one_thread, plain_pages, replaced
from nonet.training.seeds import seed_all
from updetr import finetune_run, pretrain_run
from updetr.commands.pretrain import Options
from updetr.file_notes import FileNotes
from updetr.image_rows import Note
from updetr.loading import load_model
from updetr.module import FinetuneModule
from updetr.pretrain_module import PretrainModule
from updetr.pretrain_run import new_patch_detector
from updetr.train_options import RateOptions, SizeOptions

sys.path.insert(0, str(Path(__file__).parent / "support_updetr"))
from rectangles import SMALL, write_rectangles

SIZE = SizeOptions(width=16, heads=2, encoder_layers=1, decoder_layers=2, hidden=16, queries=8)
LENGTH = ("--batch", "4", "--trainer.accelerator", "cpu", "--trainer.log-every", "1", "--trainer.steps", "4")
PRETRAIN = (
    *SMALL, *LENGTH, "--num-patches", "4", "--patch-size", "32", "--scales", "48", "--longest", "64",
    "--val-size", "1", "--trainer.checkpoint-every", "2",
)  # fmt: skip
FINETUNE = (
    *LENGTH, "--epochs", "0", "--scales", "48", "64", "--longest", "96", "--crop", "0",
    "--trainer.validate-every", "2", "--trainer.checkpoint-every", "2",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    """Drawing a run's curves takes longer than such a run: the page of one run only is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        drawn = pretrain_run.run_page

        def page(folder):
            return drawn(folder) if folder.name == "tuned" else Page("a run")

        patch.setattr(pretrain_run, "run_page", page)
        patch.setattr(finetune_run, "run_page", page)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory, _plain_pages):
    """Pictures with boxes, a pre-training of four steps, a fine-tuning of four from it."""
    folder = tmp_path_factory.mktemp("updetr")
    data, val = write_rectangles(folder / "train", 12), write_rectangles(folder / "val", 4, seed=1)
    pre = call_cli("updetr", "pretrain", "--images", folder / "train", *PRETRAIN, "--out", folder / "pre")
    assert pre.returncode == 0, pre.stderr
    sides = ("--data", data, "--val", val, "--init", folder / "pre")
    with plain_pages(1):
        tuned = call_cli("updetr", "finetune", *sides, *FINETUNE, "--out", folder / "tuned")
    assert tuned.returncode == 0, tuned.stderr
    return folder, sides, pre, tuned


def same_weights(one, two, *names):
    for name in names:
        first, second = load_file(one / "model" / name), load_file(two / "model" / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def ends_at(step, module, monkeypatch, error=KeyboardInterrupt):
    """Let a training end when so many steps are done, as if by Ctrl-C unless another error is given."""
    whole = module.training_step

    def training_step(self, batch, number):
        if self.global_step == step:
            raise error
        return whole(self, batch, number)

    monkeypatch.setattr(module, "training_step", training_step)


def test_pretraining_leaves_a_model_and_says_that_it_finds_nothing_yet(work):
    folder, _, pre, _ = work
    run = folder / "pre"
    assert pre.stdout.strip() == str(run)
    assert "WARNING: the backbone has random weights" in pre.stderr
    assert "patches are not found yet" in pre.stderr
    assert {"config.json", "model.safetensors", "pretext.safetensors", "updetr.json"} <= {
        path.name for path in (run / "model").iterdir()
    }
    (line,) = [line for line in read_metrics(run) if "val/loss" in line]
    assert {"val/iou", "val/own_group", "val/found_iou", "val/floor"} <= line.keys()
    steps = [line for line in read_metrics(run) if "train/loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["lr"] for line in steps] == pytest.approx([1e-4, 1e-4, 1e-4, 1e-5])  # falls after two thirds
    for line in steps:
        parts = [line[f"train/{name}"] for name in ("class", "l1", "giou", "reconstruction")]
        assert line["train/loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_pretraining_leaves_the_frozen_backbone_alone_and_trains_the_rest(work):
    folder, *_ = work
    options = Options(images=folder, backbone="resnet-tiny", num_patches=4, size=SIZE)
    seed_all(0)
    before, after = new_patch_detector(options, lambda text: None), load_model(folder / "pre")
    assert before.detector.backbone.frozen
    assert not any(weight.requires_grad for weight in before.detector.backbone.parameters())
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    changed = {name for (name, old), new in pairs if not torch.equal(old, new)}
    assert not [name for name in changed if name.startswith("detector.backbone")]
    assert {"patch2query.weight", "detector.query_embed.weight", "detector.input_proj.weight"} <= changed


@pytest.mark.parametrize(("rate", "trained"), [(0.0, False), (1e-5, True)])
def test_a_backbone_that_is_trained_in_pretraining_is_warned_of(tmp_path, rate, trained):
    options = Options(
        images=tmp_path, backbone="resnet-tiny", num_patches=4, size=SIZE, rates=RateOptions(backbone_lr=rate)
    )
    said = []
    model = new_patch_detector(options, said.append)
    assert [line for line in said if "62.0 to 74.0 AP50" in line] == [pretrain_run.UNFROZEN] * trained
    assert any(weight.requires_grad for weight in model.detector.backbone.parameters()) is trained


def test_an_interrupted_pretraining_goes_on_bit_for_bit(work, tmp_path, monkeypatch):
    folder, *_ = work
    words = ("pretrain", "--images", folder / "train", *PRETRAIN)
    with monkeypatch.context() as patch:
        ends_at(3, PretrainModule, patch)
        assert call_cli("updetr", *words, "--out", tmp_path / "run").returncode == 130
    assert not (tmp_path / "run" / "model").exists()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    refused = call_cli("updetr", *words, "--match", "group", "--resume", tmp_path / "run")
    assert refused.returncode == 2
    assert "match is group here but global in the checkpoint" in refused.stderr
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    again = call_cli("updetr", *words, "--resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "run") == numbers(folder / "pre")
    same_weights(tmp_path / "run", folder / "pre", "model.safetensors", "pretext.safetensors")


def test_finetuning_starts_from_the_pretrained_weights_and_keeps_the_best_validated_ones(work):
    folder, _, _, tuned = work
    run = folder / "tuned"
    assert tuned.stdout.strip() == str(run)
    assert "other classes: the head for red, blue starts anew" in tuned.stderr
    assert "random weights" not in tuned.stderr
    validated = [line for line in read_metrics(run) if "val/AP" in line]
    assert [line["step"] for line in validated] == [2, 4]
    assert {"val/loss", "val/l1", "val/giou", "val/AP50", "val/AP75"} <= validated[0].keys()
    detector = load_model(run)
    assert detector.config.labels == ("red", "blue")
    assert "<svg" in (run / "report.html").read_text()
    old, new = (
        load_file(folder / "pre" / "model" / "model.safetensors"),
        load_file(run / "model" / "model.safetensors"),
    )
    stem = next(name for name in old if "embedder" in name and name.endswith("weight"))
    assert torch.equal(old[stem], new[stem])  # the stem is frozen


def test_finetuning_starts_from_a_detector_of_transformers_by_its_name(work, tmp_path):
    folder, sides, *_ = work
    plain = tmp_path / "detector"
    done = call_cli("updetr", "export", "hf", "--model", folder / "tuned", "--out", plain)
    assert done.returncode == 0, done.stderr
    assert not (plain / "updetr.json").exists()
    words = replaced(
        (*sides, *FINETUNE), "--init", f"hf:{plain}", "--trainer.steps", "1", "--rates.lr", "1e-9"
    )
    done = call_cli("updetr", "finetune", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "random weights" not in done.stderr
    theirs, ours = load_model(plain), load_model(tmp_path / "run")
    assert ours.config.labels == theirs.config.labels == ("red", "blue")  # the classes' head is kept
    for name in ("class_embed.weight", "query_embed.weight", "input_proj.weight"):
        torch.testing.assert_close(ours.state_dict()[name], theirs.state_dict()[name], atol=1e-6, rtol=0)
    assert "hf:NAME" in call_cli("updetr", "finetune", "--help").stdout


def test_evaluate_says_what_the_run_said(work, tmp_path):
    folder, (_, _, _, val, *_), *_ = work
    words = ("--model", folder / "tuned", "--data", val, "--device", "cpu", "--out", tmp_path / "scored")
    done = call_cli("updetr", "evaluate", *words)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scored" / "scores.json").read_text())["scores"]
    assert scores == json.loads((folder / "tuned" / "scores.json").read_text())["scores"]
    best = max(line["val/AP"] for line in read_metrics(folder / "tuned") if "val/AP" in line)
    assert scores["AP"] == pytest.approx(best, abs=1e-3)
    assert "AR100" in done.stdout
    again = call_cli("updetr", "evaluate", *words)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    other = call_cli("updetr", "evaluate", "--model", folder / "pre", "--data", val)
    assert other.returncode == 2
    assert "fine-tune it" in other.stderr


def test_an_interrupted_finetuning_goes_on_bit_for_bit(work, tmp_path, monkeypatch):
    folder, sides, *_ = work
    with monkeypatch.context() as patch:
        ends_at(3, FinetuneModule, patch)
        first = call_cli("updetr", "finetune", *sides, *FINETUNE, "--out", tmp_path / "run")
        assert first.returncode == 130
    again = call_cli("updetr", "finetune", *sides, *FINETUNE, "--resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "run") == numbers(folder / "tuned")
    same_weights(tmp_path / "run", folder / "tuned", "model.safetensors")


def test_a_lack_of_memory_names_what_to_lower_and_the_run_goes_on_from_its_last_checkpoint(
    work, tmp_path, monkeypatch
):
    folder, sides, *_ = work
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with monkeypatch.context() as patch:
        ends_at(3, FinetuneModule, patch, error)
        first = call_cli("updetr", "finetune", *sides, *FINETUNE, "--out", tmp_path / "run")
    assert first.returncode == 1
    last = first.stderr.strip().splitlines()[-1]
    assert "memory does not suffice: lower batch (and raise trainer.accumulate), scales or longest" in last
    assert "last.ckpt" in last
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "scores.json").exists()
    assert not list((tmp_path / "run").rglob("*.part"))
    again = call_cli("updetr", "finetune", *sides, *FINETUNE, "--resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "run") == numbers(folder / "tuned")
    same_weights(tmp_path / "run", folder / "tuned", "model.safetensors")


def test_several_seeds_have_runs_of_their_own_and_a_mean(work, tmp_path):
    _, sides, *_ = work
    words = ("finetune", *sides, *FINETUNE, "--trainer.steps", "1", "--seeds", "2", "--fraction", "0.5")
    done = call_cli("updetr", *words, "--out", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert "6 images" in done.stderr
    found = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert found["seeds"] == [0, 1]
    each = [
        json.loads((tmp_path / "both" / f"seed-{s}" / "scores.json").read_text())["scores"] for s in (0, 1)
    ]
    heads = [
        load_file(tmp_path / "both" / f"seed-{seed}" / "model" / "model.safetensors")[
            "class_labels_classifier.weight"
        ]
        for seed in (0, 1)
    ]
    assert not torch.equal(*heads)
    ar = found["scores"]["AR100"]
    assert ar["values"] == [one["AR100"] for one in each]
    assert ar["mean"] == pytest.approx(sum(ar["values"]) / 2)
    assert ar["sd"] == pytest.approx(abs(ar["values"][0] - ar["values"][1]) / 2**0.5)
    shutil.rmtree(tmp_path / "both" / "seed-1")  # as if it had been interrupted before its second run
    before = (tmp_path / "both" / "run.json").read_bytes()
    for more, text in (("--rates.lr", "0.5"), "rates is "), (("--seeds", "1"), "give --seeds, too"):
        refused = call_cli("updetr", *words, *more, "--resume", tmp_path / "both")
        assert refused.returncode == 2
        assert text in refused.stderr
    assert (tmp_path / "both" / "run.json").read_bytes() == before
    again = call_cli("updetr", *words, "--resume", tmp_path / "both")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "both" / "summary.json").read_text()) == found


def test_sizes_that_the_model_to_start_from_does_not_have_are_refused(work, tmp_path):
    folder, sides, *_ = work
    for words, text in [
        (("finetune", *sides, "--size.width", "32"), "width is 32, but that of"),
        (("finetune", *sides, "--size.queries", "12"), "queries is 12, but that of"),
        (
            ("pretrain", "--images", folder / "train", "--init", folder / "pre", "--arch", "detr"),
            "arch is detr",
        ),
    ]:
        done = call_cli("updetr", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert text in done.stderr
        assert "leave it out" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_class_without_boxes_and_training_images_among_those_to_validate_on_are_warned_of(work, tmp_path):
    folder, _, _, tuned = work
    write_rectangles(tmp_path / "some", 3)
    write_rectangles(tmp_path / "held", 2, seed=1)
    shutil.copy(tmp_path / "some" / "002.png", tmp_path / "held" / "001.png")
    for name in ("some", "held"):
        record = json.loads((tmp_path / f"{name}.json").read_text())
        record["categories"].append({"id": 3, "name": "green"})
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    data, val = (f"coco:{tmp_path / name}.json,{tmp_path / name}" for name in ("some", "held"))
    words = (
        "--data",
        data,
        "--val",
        val,
        "--init",
        folder / "pre",
        *replaced(FINETUNE, "--trainer.steps", "1"),
    )
    done = call_cli("updetr", "finetune", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "warning: no box to train on of green" in done.stderr
    same = tmp_path / "held" / "001.png"
    assert f"warning: 1 validation images are training images, too, such as {same}: scores" in done.stderr
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())["classes"]
    assert [(row["class"], row["boxes"], row["AP"]) for row in rows][2] == ("green", 0, "n/a")
    assert "no box to train on" not in tuned.stderr
    assert "are training images, too" not in tuned.stderr


def test_a_broken_image_is_said_listed_and_left_out(work, tmp_path):
    folder, *_ = work
    data = write_rectangles(tmp_path / "some", 3)
    broken = tmp_path / "some" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    words = ("--data", data, "--init", folder / "pre", *FINETUNE, "--trainer.steps", "1")
    done = call_cli("updetr", "finetune", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"{broken}: cannot be decoded" in done.stderr
    assert (tmp_path / "run" / "skipped.txt").read_text().startswith(f"{broken}: ")
    for name in ("000.png", "002.png"):
        (tmp_path / "some" / name).write_bytes(b"nothing")
    none = call_cli("updetr", "finetune", *words, "--out", tmp_path / "none")
    assert none.returncode == 1
    assert "and 32 other images cannot be used" in none.stderr


def test_a_broken_image_that_is_alone_in_its_batch_does_not_end_a_run(work, tmp_path):
    folder, *_ = work
    data = write_rectangles(tmp_path / "some", 3)
    broken = tmp_path / "some" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    words = ("--data", data, "--init", folder / "pre", *replaced(FINETUNE, "--batch", "1"))
    done = call_cli("updetr", "finetune", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "skipped.txt").read_text().startswith(f"{broken}: ")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_broken_images_to_validate_on_are_said_and_listed_and_not_scored(work, tmp_path):
    folder, *_ = work
    val = write_rectangles(tmp_path / "held", 4)
    broken = tmp_path / "held" / "002.png"
    broken.write_bytes(broken.read_bytes()[:60])
    words = (
        "--data",
        write_rectangles(tmp_path / "some", 3),
        "--val",
        val,
        "--init",
        folder / "pre",
        *FINETUNE,
    )
    words = replaced(words, "--batch", "1")  # the broken one is alone in its batch
    done = call_cli("updetr", "finetune", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{broken}: cannot be decoded") == 1
    (line,) = (tmp_path / "run" / "skipped.txt").read_text().splitlines()
    assert line.startswith(f"{broken}: ")
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["unreadable"] == [line]
    assert len([line for line in read_metrics(tmp_path / "run") if "val/AP" in line]) == 2
    for name in ("000.png", "001.png"):
        (tmp_path / "held" / name).write_bytes(b"nothing")
    most = call_cli("updetr", "finetune", *words, "--out", tmp_path / "most")
    assert most.returncode == 1
    assert "3 of 4 images cannot be used" in most.stderr
    assert len((tmp_path / "most" / "skipped.txt").read_text().splitlines()) == 3
    assert not (tmp_path / "most" / "model").exists()


def test_what_only_the_scoring_at_the_end_could_not_read_is_said_once(tmp_path):
    said = []
    run = SimpleNamespace(say=said.append, folder=tmp_path, writes=True)
    files = FileNotes(run, 4, 20)
    files.on_train_batch_end(None, None, None, {"notes": [Note("a", "broken", True)]}, 0)
    files.on_validation_batch_end(None, None, None, {"notes": [Note("b", "broken", True)]}, 0)
    gone = [f"{number}: gone" for number in range(7)]
    files.scored(["b: broken", *gone])
    left_out = [f"{line} (left out)" for line in ["a: broken", "b: broken", *gone[:5]]]
    assert said == [*left_out, "more files are left out"]
    listed = (tmp_path / "skipped.txt").read_text().splitlines()
    assert listed == ["a: broken", "b: broken", *gone]
    FileNotes(run, 4, 20).scored(["c: gone"])  # of a session that goes on
    assert (tmp_path / "skipped.txt").read_text().splitlines() == [*listed, "c: gone"]
    part = FileNotes(run, 4)  # what is held out is a part of the data: one account
    part.on_train_batch_end(None, None, None, {"notes": [Note("a", "broken", True)]}, 0)
    part.on_validation_batch_end(None, None, None, {"notes": [Note("b", "broken", True)]}, 0)
    with pytest.raises(RunFailed, match="3 of 4 images cannot be used"):
        part.on_validation_batch_end(None, None, None, {"notes": [Note("c", "broken", True)]}, 1)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_images(work, tmp_path):
    _, sides, *_ = work
    wild = ("--rates.lr", "1e30", "--trainer.clip", "none", "--trainer.validate-every", "0")
    done = call_cli("updetr", "finetune", *sides, *FINETUNE, *wild, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "the loss is nan" in done.stderr
    found = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert len(found["ids"]) == 4
    assert not (tmp_path / "run" / "model").exists()
