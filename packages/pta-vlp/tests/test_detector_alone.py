"""The verb `detector`: a detector learns beside a model that stays as it is."""

import sys
from pathlib import Path

import pytest
import torch

from nonet.report.page import Page
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, one_thread, replaced
from nonet.training.checkpoints import read_checkpoint
from nonet.training.weight_files import read_safetensors
from nonet.vision_language.caption_tokenizer import train_tokenizer
from nonet.vision_language.pair_config import config_from
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.region_files import read_regions
from nonet.vision_language.training_stages import read_stages
from pta_vlp import detector_training
from pta_vlp.boxes_kept import recall_of_boxes
from pta_vlp.detector_data import held_out
from pta_vlp.detector_module import DetectorModule
from pta_vlp.model_folders import detector_for, load_model, save_model
from pta_vlp.select_options import SelectOptions

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
from square_regions import COLOURS, MODEL, write_squares


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    """Drawing a run's curves takes longer than such a run: the page of one run only is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        drawn = detector_training.run_page
        patch.setattr(
            detector_training,
            "run_page",
            lambda folder: drawn(folder) if folder.name == "drawn" else Page(""),
        )
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures, regions.jsonl, a model without a detector, and one with."""
    folder = tmp_path_factory.mktemp("detector")
    write_squares(folder, 40)
    tokenizer = train_tokenizer([" ".join(COLOURS)] * 2, 64)
    config = config_from(MODEL | {"vocabulary": len(tokenizer), "decoder_layers": 0}, "test")
    torch.manual_seed(0)
    model = PairModel(config).eval()
    with torch.no_grad():  # texts of a new model are hardly told apart
        draws = torch.Generator().manual_seed(0)
        for name, weight in model.text.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.0 if "embeddings" in name else 0.3, generator=draws)
    for name, detector in (("model", None), ("equipped", detector_for(model))):
        chosen = SelectOptions(selection="attention" if detector is None else "text", block=1, alpha=0.7)
        save_model(model, detector, tokenizer, folder / name, "# tiny\n", options=chosen)
    return folder


def words(place, out, *more, model="model"):
    given = ["--model", place / model, "--regions", place / "regions.jsonl", "--pta.regions-batch", 16,
             "--epochs", 2, "--augment.operations", 0, "--trainer.accelerator", "cpu",
             "--trainer.log-every", 1, "--trainer.checkpoint-every", 2]  # fmt: skip
    return replaced(given, *([] if out is None else ["--out", out]), *more)


def train(place, out, *more, **others):
    with one_thread():
        return call_cli("pta-vlp", "detector", *words(place, out, *more, **others))


def test_boxes_are_learnt_and_the_model_stays_as_it_is(place, tmp_path):
    found = train(place, tmp_path / "drawn", "--epochs", 30, "--optimizer.lr", 1e-2, "--validate", 5)
    assert found.returncode == 0, found.stderr
    assert "a new detector begins with random weights" in found.stderr
    loaded = load_model(tmp_path / "drawn")
    assert loaded.detector is not None
    assert loaded.options == SelectOptions(selection="text", block=1, keep=0.5, alpha=0.7)
    before = read_safetensors(place / "model" / "model.safetensors")
    after = read_safetensors(tmp_path / "drawn" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    lines = [line for line in read_metrics(tmp_path / "drawn") if "val/ap" in line]
    best = max(lines, key=lambda line: line["val/ap"])
    # a box of 16 pixels covers 4 to 9 patches of 36: a guess has an average precision of .25 at most
    assert lines[0]["val/ap"] < best["val/ap"]
    assert best["val/ap"] > 0.6, best
    assert best["val/recall@0.5"] > 0.8
    card = (tmp_path / "drawn" / "model" / "README.md").read_text()
    assert "The model's own weights are as they were." in " ".join(card.split())
    assert f"{best['val/ap']:.4g}" in card
    assert "recall@0.5" in (tmp_path / "drawn" / "report.html").read_text()
    first, second = read_stages(tmp_path / "drawn" / "model")
    assert first == {"from": str(place / "model")}
    assert (second["verb"], second["losses"]) == ("detector", ["pta"])
    assert second["examples"] == 16 * second["steps"] == 16 * lines[-1]["step"]
    assert second["device_hours"] >= 0


def test_a_resumed_run_is_the_undisturbed_one_to_the_bit_and_checkpoints_leave_the_model_out(
    place, tmp_path, monkeypatch
):
    straight = train(place, tmp_path / "one")
    assert straight.returncode == 0, straight.stderr
    step = DetectorModule.training_step

    def stops(self, batch, number):
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(DetectorModule, "training_step", stops)
    assert train(place, tmp_path / "two").returncode == 130
    monkeypatch.undo()
    again = train(place, None, "--resume", tmp_path / "two")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    one, two = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("one", "two"))
    assert {name.split(".")[0] for name in one["state_dict"]} == {"detector"}
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    assert one["optimizer_states"][0]["state"].keys() == two["optimizer_states"][0]["state"].keys()


def test_a_known_detector_goes_on_or_begins_anew(place, tmp_path):
    on = train(place, tmp_path / "on", "--epochs", 0, "--trainer.steps", 1, "--optimizer.lr", 1e-9,
               model="equipped")  # fmt: skip
    assert on.returncode == 0, on.stderr
    assert "the model's detector goes on learning" in on.stderr
    start = read_safetensors(place / "equipped" / "patch_detector.safetensors")
    end = read_safetensors(tmp_path / "on" / "model" / "patch_detector.safetensors")
    for name, value in start.items():
        torch.testing.assert_close(end[name], value, rtol=0, atol=1e-6)
    other = train(place, tmp_path / "other", "--block", 0, model="equipped")
    assert other.returncode == 2
    assert "has learnt to look behind block 1, not 0" in other.stderr
    fresh = train(place, tmp_path / "fresh", "--block", 0, "--fresh", "--share", 0.25, model="equipped")
    assert fresh.returncode == 0, fresh.stderr
    assert load_model(tmp_path / "fresh").options == SelectOptions(block=0, keep=0.25, alpha=0.7)
    assert "val/recall@0.25" in read_metrics(tmp_path / "fresh")[-1]


def test_what_cannot_work_is_refused_before_there_is_a_run(place, tmp_path):
    run = tmp_path / "run"
    for more, text in (
        (("--block", 7), "blocks 0 to 2"),
        (("--model", tmp_path), "no image-text model"),
        (("--regions", tmp_path / "none.jsonl"), "no such file"),
        (("--share", 1.5), "share is 1.5"),
        (("--pta.regions-prob", 0.5), "every step has regions"),
        (("--resize", 50), "nearest: 48 or 56"),
        (("--val", place / "regions.jsonl"), "of the validation data is in the training data, too"),
        (("--optimizer.warmup", 900), "leaves nothing of"),
        (("--trainer.strategy", "fsdp"), "leave it at auto"),
    ):
        found = train(place, run, *more)
        assert (found.returncode, run.exists()) == (2, False), (more, found.stderr)
        assert text in found.stderr, found.stderr
        assert len(found.stderr.splitlines()) == 1, found.stderr


def test_images_are_kept_out_with_all_of_their_records(place):
    files = [place / "regions.jsonl"] * 2  # each image twice
    table = read_regions(files)
    train_part, val = held_out(table, 500, 3)
    assert (len(train_part), len(val)) == (72, 8)
    names = [{part.files[row] for row in range(len(part))} for part in (train_part, val)]
    assert not names[0] & names[1]
    rows = {table.files[row]: row for row in range(len(table))}
    for part in (train_part, val):
        for row in range(len(part)):
            assert part.regions(row) == table.regions(rows[part.files[row]])
    assert held_out(table, 0, 3)[1] is None
    assert [own.files[0] for own in held_out(table, 1, 3)] == [own.files[0] for own in held_out(table, 1, 3)]


def test_a_run_without_held_out_images_keeps_the_last_weights(place, tmp_path):
    found = train(place, tmp_path / "run", "--val-size", 0, "--epochs", 1)
    assert found.returncode == 0, found.stderr
    assert not any("val/ap" in line for line in read_metrics(tmp_path / "run"))
    assert load_model(tmp_path / "run").detector is not None


def test_pictures_that_cannot_be_used_are_replaced_or_end_the_run(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    write_squares(folder, 40)
    tokenizer = train_tokenizer([" ".join(COLOURS)] * 2, 64)
    model = PairModel(config_from(MODEL | {"vocabulary": len(tokenizer)}, "test"))
    save_model(
        model, None, tokenizer, folder / "model", "# tiny\n", options=SelectOptions(selection="off", block=1)
    )
    (folder / "3.png").write_bytes(b"not a picture")
    found = train(folder, tmp_path / "run")
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("another image takes its place") == 1
    for number in range(4, 12):
        (folder / f"{number}.png").unlink()
    found = train(folder, tmp_path / "run2")
    assert found.returncode == 1
    assert "images cannot be read, more than" in found.stderr


def test_the_module_sees_what_the_detector_alone_would(place):
    loaded = load_model(place / "equipped")
    module = DetectorModule(loaded.model, loaded.detector, None, block=1, steps=1)
    module.train()
    assert not loaded.model.training
    assert loaded.detector.training
    batch = {
        "images": torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)),
        "of_image": torch.tensor([1, 0, 1]), "input_ids": torch.tensor([[2, 5], [2, 6], [2, 7]]),
        "attention_mask": torch.ones(3, 2, dtype=torch.int64),
    }  # fmt: skip
    tokens = loaded.model.vision.blocks(loaded.model.vision.embed(batch["images"]), 0, 2)
    text = loaded.model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0]
    wanted = torch.cat([
        loaded.detector(tokens[image : image + 1, 1:], text[row : row + 1])
        for row, image in enumerate([1, 0, 1])
    ])  # fmt: skip
    torch.testing.assert_close(module.logits(batch), wanted)
    module.logits(batch).sum().backward()
    assert all(weight.grad is None for weight in loaded.model.parameters())
    assert all(weight.grad is not None for weight in loaded.detector.parameters())


@pytest.mark.slow
def test_two_processes_train_a_detector_and_measure_every_image_once(place, tmp_path):
    from nonet.testing import run_cli

    more = ("--trainer.devices", 2, "--epochs", 0, "--trainer.steps", 2, "--validate", 0)
    found = run_cli("pta-vlp", "detector", *words(place, tmp_path / "two", *more))
    assert found.returncode == 0, found.stderr
    lines = read_metrics(tmp_path / "two")
    assert [line["train/loss"] > 0 for line in lines if "train/loss" in line] == [True, True]
    loaded = load_model(tmp_path / "two")
    table = held_out(read_regions([place / "regions.jsonl"]), 500, 0)[1]
    measured = recall_of_boxes(loaded, table, [loaded.options], [0.5])["text"]
    assert lines[-1]["val/recall@0.5"] == pytest.approx(measured["recall@0.5"])
    assert lines[-1]["val/ap"] == pytest.approx(measured["ap"], rel=1e-5)
