"""The verb `pretrain`: runs, resuming, what is saved, what cannot be."""

import json
import sys
from pathlib import Path

import pytest

from nonet.report.page import Page
from nonet.runs import read_metrics
from nonet.testing import call_cli, data_folder, numbers, one_thread
from nonet.training.checkpoints import read_checkpoint
from nonet.vision_language.training_stages import read_stages
from pta_vlp import pretraining
from pta_vlp.model_folders import load_model
from pta_vlp.pretrain_module import PtaModule

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
from square_regions import config, write_squares


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    """Drawing a run's curves takes longer than such a run: the page of one run only is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        drawn = pretraining.run_page
        patch.setattr(
            pretraining, "run_page", lambda folder: drawn(folder) if folder.name == "drawn" else Page("")
        )
        yield


@pytest.fixture
def files(tmp_path):
    return write_squares(tmp_path)


def pretrain(tmp_path, files, *words, regions=True, **options):
    given = ["--pairs", files["pairs"], *(["--regions", files["regions"]] if regions else [])]
    with one_thread():
        return call_cli("pta-vlp", "pretrain", "--config", config(tmp_path, **options), *given, *words)


def test_a_run_leaves_a_model_its_detector_its_selection_a_card_and_a_page(tmp_path, files):
    found = pretrain(
        tmp_path, files, "--out", tmp_path / "drawn", "--keep-ramp", 0.5, val_size=2, select={"keep": 0.4}
    )
    assert found.returncode == 0, found.stderr
    run = tmp_path / "drawn"
    assert found.stdout.strip().endswith("drawn")
    loaded = load_model(run)
    assert loaded.detector is not None
    assert (loaded.options.selection, loaded.options.block, loaded.options.keep) == ("text", 0, 0.4)
    lines = read_metrics(run)
    trained = [line for line in lines if "train/loss" in line]
    assert [line["train/keep"] for line in trained] == pytest.approx([1, 0.7, 0.4, 0.4])
    parts = ("itc", "itm", "mlm", "prefix", "pta")
    for line in trained:
        assert line["train/loss"] == pytest.approx(sum(line[f"train/{part}"] for part in parts), rel=1e-5)
        assert all(line[f"train/{part}"] > 0 for part in parts)
        assert 0 <= line["train/pta_recall@keep"] <= 1
    assert {"val/TR@1", "val/IR@10", "val/R-mean"} <= lines[-1].keys()
    cost = json.loads((run / "cost.json").read_text())
    kinds = {kind.removeprefix("pairs and regions, "): each for kind, each in cost["kinds"].items()}
    assert {kind: each["share"] for kind, each in kinds.items()} == pytest.approx(
        {"36 patches": 1 / 4, "25 patches": 1 / 4, "14 patches": 1 / 2}, abs=0.05
    )  # one batch of the pass is smaller
    whole, less, least = (kinds[f"{left} patches"]["gmac_per_pair"] for left in (36, 25, 14))
    assert whole > less > least > 0
    (stage,) = read_stages(run / "model")
    assert (stage["verb"], stage["steps"], stage["losses"]) == ("pretrain", 4, list(parts))
    assert stage["gmac_per_example"] == pytest.approx(cost["gmac_per_pair"], abs=1e-4)
    card = (run / "model" / "README.md").read_text()
    assert "Behind block 0 0.4 of the patches were kept, by the attention of CLS" in card
    assert "Cost of pretrain: 4 steps, " in card
    assert "gmac_per_pair" in (run / "report.html").read_text()


REPRUNED = ("--itm-reprune", "--score-alpha", 0.5, "--allow-text-conditioned-itc")


@pytest.mark.parametrize("words", [(), REPRUNED], ids=["attention", "text"])
def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(tmp_path, files, monkeypatch, words):
    straight = pretrain(tmp_path, files, "--out", tmp_path / "one", *words)
    assert straight.returncode == 0, straight.stderr
    step = PtaModule.training_step

    def stops(self, batch, number):
        if self.global_step == 2:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(PtaModule, "training_step", stops)
    assert pretrain(tmp_path, files, "--out", tmp_path / "two", *words).returncode == 130
    monkeypatch.undo()
    again = pretrain(tmp_path, files, "--resume", tmp_path / "two", *words)
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    one, two = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("one", "two"))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    parts = {name.split(".")[0] for name in one["state_dict"]}
    assert parts == {"model", "twin", "queue", "detector"} | ({"detector_twin"} if words else set())
    for name, value in one["state_dict"].items():
        same = value == two["state_dict"][name]
        assert bool(same if isinstance(same, bool) else same.all()), name


def test_without_regions_attention_selects_and_the_model_says_so(tmp_path, files):
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", regions=False)
    assert found.returncode == 0, found.stderr
    assert "no regions, so no patch detector: patches are selected by the attention of CLS" in found.stderr
    loaded = load_model(tmp_path / "run")
    assert loaded.detector is None
    assert loaded.options.selection == "attention"
    more = ("--init", tmp_path / "run", "--out", tmp_path / "run2")
    asked = pretrain(tmp_path, files, *more, "--itm-reprune", regions=False)
    assert asked.returncode == 2
    assert "no patch predictor in it, and there is no --regions file: set score_alpha to 0" in asked.stderr
    learnt = pretrain(tmp_path, files, *more)
    assert learnt.returncode == 0, learnt.stderr
    assert load_model(tmp_path / "run2").detector is not None
    again = ("--init", tmp_path / "run2", "--out", tmp_path / "run3")
    kept = pretrain(tmp_path, files, *again, "--itm-reprune", regions=False)
    assert kept.returncode == 0, kept.stderr
    assert "the patch predictor stays as it is" in kept.stderr
    assert load_model(tmp_path / "run3").options.selection == "text"


def test_what_cannot_work_is_refused_before_there_is_a_run(tmp_path, files):
    run = tmp_path / "run"
    for words, text in (
        (("--score-alpha", 1.0), "contrasted by features that have seen their captions"),
        (("--score-alpha", 2.0), "score_alpha is 2; it lies in 0..1"),
        (("--itm-reprune", "--losses.itm", 0.0), "itm_reprune is about matching"),
        (("--itm-reprune", "--select.selection", "random"), "select.selection is random: take text or mixed"),
        (("--select.block", 7), "blocks 0 to 2; set select.block"),
        (("--select.selection", "off", "--select.block", 7), "blocks 0 to 2; set select.block"),
        (("--select.keep", 0.0), "keep is 0"),
        (("--pta.regions-batch", 0), "regions_batch is 0"),
        (("--rates.warmup", 4), "leaves nothing of 4 steps"),
        (("--model.image", 50), "nearest: 48 or 56"),
        (("--init", tmp_path), "no image-text model"),
        (("--keep-ramp", -1.0), "keep_ramp is -1"),
    ):
        found = pretrain(tmp_path, files, "--out", run, *words)
        assert (found.returncode, run.exists()) == (2, False), (words, found.stderr)
        assert text in found.stderr, found.stderr
    found = pretrain(tmp_path, files, "--out", run, "--itm-reprune", regions=False)
    assert (found.returncode, run.exists()) == (2, False)
    assert "itm_reprune asks the detector, which learns from regions" in found.stderr


def test_a_run_does_not_go_on_with_another_selection(tmp_path, files):
    assert pretrain(tmp_path, files, "--out", tmp_path / "run").returncode == 0
    found = pretrain(tmp_path, files, "--resume", tmp_path / "run", "--select.keep", 0.3)
    assert found.returncode == 2
    assert "select.keep is 0.3 here but 0.5 in the checkpoint" in found.stderr


@pytest.mark.parametrize("selection", ["random", "off", "mixed"])
def test_other_selections_train(tmp_path, files, selection):
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--select.selection", selection)
    assert found.returncode == 0, found.stderr
    assert load_model(tmp_path / "run").options.selection == selection
    assert len([line for line in read_metrics(tmp_path / "run") if line["train/loss"] > 0]) == 4


def test_regions_that_are_cut_off_or_lie_outside_are_counted(tmp_path, files):
    lines = [json.loads(line) for line in files["regions"].read_text().splitlines()]
    for line in lines:
        line["elems"][0]["caption"] = "red green blue yellow red green"
        line["elems"].append({"bb": [100, 100, 9, 9], "caption": "nowhere"})
    files["regions"].write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = pretrain(tmp_path, files, "--out", tmp_path / "run", "--pta.max-length", 4)
    assert found.returncode == 0, found.stderr
    (said,) = [line for line in found.stderr.splitlines() if "were cut off at their most word pieces" in line]
    assert "regions: of 24 texts" in said
    assert " 0 were cut off" not in said
    assert "(max_length); 0 times" not in said


@pytest.mark.slow
def test_regions_of_coco_are_built_learnt_and_measured(tmp_path):
    coco = data_folder("coco-mini")
    notes, images = coco / "annotations", coco / "train2017"
    built = call_cli(
        "pta-vlp", "regions", "build", "--coco", notes / "instances_train2017.json",
        "--captions", notes / "captions_train2017.json", "--images", images,
        "--out", tmp_path / "regions.jsonl",
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    files = {"pairs": notes / "captions_train2017.json", "regions": tmp_path / "regions.jsonl"}
    words = ("--images", images, "--region-images", images, "--itm-reprune", "--out", tmp_path / "run")
    found = pretrain(tmp_path, files, *words, val_size=8, model={"positions": 64})
    assert found.returncode == 0, found.stderr
    trained = [line for line in read_metrics(tmp_path / "run") if "train/pta" in line]
    assert all(line["train/pta"] > 0 for line in trained)
    alone = call_cli(
        "pta-vlp", "detector", "--preset", "tiny", "--model", tmp_path / "run", "--region-images", images,
        "--regions", files["regions"], "--epochs", 1, "--out", tmp_path / "alone",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    assert 0 < read_metrics(tmp_path / "alone")[-1]["val/recall@0.5"] < 1


@pytest.mark.slow
def test_two_processes_pretrain(tmp_path, files):
    from nonet.testing import run_cli

    words = ["--pairs", files["pairs"], "--regions", files["regions"], "--trainer.devices", 2, *REPRUNED]
    found = run_cli(
        "pta-vlp", "pretrain", "--config", config(tmp_path, val_size=2), *words, "--out", tmp_path / "run"
    )
    assert found.returncode == 0, found.stderr
    trained = [line for line in read_metrics(tmp_path / "run") if "train/pta" in line]
    assert len(trained) == 4
    assert all(line["train/loss"] > 0 for line in trained)
    assert "val/R-mean" in read_metrics(tmp_path / "run")[-1]
