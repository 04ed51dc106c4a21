"""The verbs finetune, evaluate and predict on every task, at several shares of patches, with a tiny model."""

import json
import signal
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "support_pta_vlp"))
import square_tasks

from nonet.options import build
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, replaced, seeded
from nonet.training.weight_files import read_safetensors
from nonet.vision_language.pair_passes import look
from nonet.vision_language.tasks.starting import load_task, start_task
from nonet.vision_language.tasks.task import reading_of
from nonet.vision_language.tasks.task_files import Expression
from nonet.vision_language.tasks.task_module import TaskModule
from nonet.vision_language.tasks.task_options import UseOptions
from pta_vlp.cost import Tower, pruned_macs
from pta_vlp.evaluating import box_patches, box_recall
from pta_vlp.late_selection import LateLook, LateMatching
from pta_vlp.pruned_tasks import Pruning
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions
from pta_vlp.task_options import PrunedFinetuneOptions

PRESETS = Path(str(files("pta_vlp"))) / "presets/finetune"
MONITORS = {
    "retrieval": "R-mean", "vqa": "accuracy", "caption": "CIDEr-D", "nlvr2": "accuracy",
    "grounding": "accuracy",
}  # fmt: skip
SAID = {
    "retrieval": "runs at full length, and for the matching head 18 of 36 patches are kept by text",
    "caption": "18 of 36 patches are kept by attention, behind block 0 of 0 to 2; selection text has no text",
    "vqa": "18 of 36 patches are kept by text, behind block 0 of 0 to 2",
    "nlvr2": "18 of 36 patches are kept by text",
    "grounding": "18 of 36 patches are kept by text",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return square_tasks.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return square_tasks.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model without a detector, and without a word on selection."""
    folder = square_tasks.save(tmp_path_factory.mktemp("plain") / "model", with_detector=False)
    (folder / "select.json").unlink()
    return folder


def finetune(task, model, data, out, *more):
    place = [] if out is None else ["--out", out]
    return call_cli(
        "pta-vlp", "finetune", task, "--model", model, "--train", data[task, "train"], "--val",
        data[task, "val"], "--image", 48, "--trainer.steps", 3, "--epochs", 0, "--trainer.log-every", 1,
        "--validate-epochs", 0, "--batch", 8, "--lr", 2e-3, "--lr-visual", 1e-3, *more, *place,
    )  # fmt: skip


def evaluate(task, model, data, *more):
    return call_cli("pta-vlp", "evaluate", task, "--model", model, "--data", data[task, "val"], *more)


@pytest.mark.parametrize("task", list(MONITORS))
def test_a_task_is_learnt_scored_and_used_on_the_kept_patches(task, model, data, tmp_path):
    done = finetune(task, model, data, tmp_path / "run", *(["--queue", 32] if task == "retrieval" else []))
    assert done.returncode == 0, done.stderr
    assert SAID[task] in (tmp_path / "run/log.txt").read_text()
    kept = json.loads((tmp_path / "run/scores.json").read_text())["scores"]
    before, after = (folder / "patch_detector.safetensors" for folder in (model, tmp_path / "run/model"))
    old, new = read_safetensors(before), read_safetensors(after)
    assert [name for name in old if not torch.equal(old[name], new[name])] == []
    assert json.loads((tmp_path / "run/model/select.json").read_text()) == json.loads(
        (model / "select.json").read_text()
    )

    found = evaluate(task, tmp_path / "run", data, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    assert SAID[task] in found.stderr
    again = json.loads((tmp_path / "scores/scores.json").read_text())
    assert {name: again["scores"][name] for name in kept} == pytest.approx(kept)
    assert [stage.get("verb", stage.get("from")) for stage in again["training"]] == [
        str(model), f"finetune {task}",
    ]  # fmt: skip
    assert again["selection"] == {
        "selection": "text",
        "block": 0,
        "keep": 0.5,
        "alpha": 1.0,
        "fuse": True,
        "late": False,
    }
    assert "keep: 0.5 (18 patches)" in found.stdout
    assert f"{MONITORS[task]}: {kept[MONITORS[task]]:.2f}" in found.stdout

    said = call_cli(
        "pta-vlp", "predict", task, "--model", tmp_path / "run/model", "--input", data[task, "val"],
        "--out", tmp_path / "said.jsonl",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "said.jsonl").read_text() == (tmp_path / "scores/predictions.jsonl").read_text()


@pytest.mark.parametrize("task", ["vqa", "retrieval", "caption"])
def test_with_all_patches_answers_are_those_of_a_model_without_selection(task, model, data, tmp_path):
    found = evaluate(task, model, data, "--keep", 0.3, 1, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    rows = [line.split() for line in found.stdout.splitlines()]
    assert rows[:2] == [["keep", "0.3", "1"], ["patches", "10", "36"]]
    ours = [json.loads(row) for row in (tmp_path / "scores/predictions-1.jsonl").read_text().splitlines()]
    bare = load_task(UseOptions(task=task, model=str(model)), lambda line: None)
    assert bare.see is None
    examples = bare.read([str(data[task, "val"])], None, None, truth=True)
    expected = bare.evaluate(examples, reading_of(bare.model.config), batch=32).lines
    assert ours == json.loads(json.dumps(expected))
    fewer = (tmp_path / "scores/predictions-0.3.jsonl").read_text()
    assert fewer != (tmp_path / "scores/predictions-1.jsonl").read_text()
    kept = json.loads((tmp_path / "scores/scores.json").read_text())["kept"]
    assert [(one["keep"], one["patches"]) for one in kept] == [(0.3, 10), (1.0, 36)]
    assert float(rows[2][1]) == pytest.approx(next(iter(kept[0]["scores"].values())), abs=0.005)


def test_grounding_says_how_much_of_its_boxes_is_kept(model, data, tmp_path):
    run = tmp_path / "run"
    assert finetune("grounding", model, data, run, "--keep", 0.2).returncode == 0
    shares = ["--keep", 0.1, 0.25, 0.99, 1]
    found = evaluate("grounding", run, data, *shares, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    kept = json.loads((tmp_path / "scores/scores.json").read_text())["kept"]
    recalls = [one["scores"].get("recall@keep") for one in kept]
    # a box covers 9 of 36 patches: 3 kept ones are a third of it at most, and all but one at least 8 of 9
    assert 0 <= recalls[0] <= 100 / 3 + 1e-4
    assert recalls[0] <= recalls[1] <= recalls[2]
    assert recalls[2] >= 100 * 8 / 9 - 1e-4
    assert recalls[3] is None
    row = next(line.split() for line in found.stdout.splitlines() if line.startswith("recall@keep"))
    assert row[-1] == "-"
    assert float(row[1]) == pytest.approx(recalls[0], abs=0.005)


def test_selection_by_attention_needs_no_detector_and_is_said(plain, data, tmp_path):
    found = evaluate("vqa", plain, data, "--keep", 0.5, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    assert "no patch detector in it, so patches are kept by the attention of CLS" in found.stderr
    assert "18 of 36 patches are kept by attention" in found.stderr
    assert not (tmp_path / "scores/select.json").exists()
    refused = evaluate("vqa", plain, data, "--keep", 0.5, "--selection", "text")
    assert refused.returncode == 2
    assert "selection text needs a patch detector" in refused.stderr


def test_a_detector_that_never_learned_selects_only_where_it_is_asked_to(plain, data, tmp_path):
    forced = ["--selection", "text", "--untrained-detector"]
    for name in ("one", "two"):
        found = evaluate("vqa", plain, data, "--keep", 0.5, *forced, "--out", tmp_path / name)
        assert found.returncode == 0, found.stderr
        assert "no patch detector in it; one with random weights" in found.stderr
        assert "18 of 36 patches are kept by text" in found.stderr
    one, two = ((tmp_path / name / "predictions.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    refused = finetune("vqa", plain, data, tmp_path / "run", *forced)
    assert refused.returncode == 2
    assert "fine-tuning would keep a detector that has learnt nothing" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_retrieval_by_attention_drops_patches_in_the_tower(model, data, tmp_path):
    more = ["--selection", "attention", "--keep", 0.5, "--queue", 32]
    done = finetune("retrieval", model, data, tmp_path / "run", *more)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "run/log.txt").read_text()
    assert "retrieval: 18 of 36 patches are kept by attention, behind block 0" in log
    scores = json.loads((tmp_path / "run/scores.json").read_text())["scores"]
    found = evaluate("retrieval", tmp_path / "run", data, "--out", tmp_path / "scores")
    assert json.loads((tmp_path / "scores/scores.json").read_text())["scores"]["R-mean"] == pytest.approx(
        scores["R-mean"]
    ), found.stderr


@pytest.mark.parametrize("selection", ["random", "mixed"])
def test_other_selections_answer_alike_twice(selection, model, data, tmp_path):
    for name in ("one", "two"):
        more = ["--selection", selection, "--score-alpha", 0.5, "--out", tmp_path / name]
        found = evaluate("vqa", model, data, *more)
        assert found.returncode == 0, found.stderr
    one, two = ((tmp_path / name / "predictions.jsonl").read_text() for name in ("one", "two"))
    assert one == two


def test_patches_may_be_dropped_behind_the_tower(model, data, tmp_path):
    done = finetune("vqa", model, data, tmp_path / "run", "--late", "True")
    assert done.returncode == 0, done.stderr
    assert (
        "18 of 36 patches are kept by text, behind block 2 of 0 to 2"
        in (tmp_path / "run/log.txt").read_text()
    )
    scores = json.loads((tmp_path / "run/scores.json").read_text())["scores"]
    assert evaluate("vqa", tmp_path / "run", data, "--out", tmp_path / "scores").returncode == 0
    found = json.loads((tmp_path / "scores/scores.json").read_text())
    assert found["selection"]["late"] is True
    assert found["scores"]["accuracy"] == pytest.approx(scores["accuracy"])


def test_an_interrupted_run_goes_on_to_the_bit(model, data, tmp_path, monkeypatch):
    assert finetune("vqa", model, data, tmp_path / "whole").returncode == 0
    learn = TaskModule.training_step
    with monkeypatch.context() as patch:

        def interrupted(self, batch, batch_idx):
            if self.global_step == 1:
                signal.raise_signal(signal.SIGINT)
            return learn(self, batch, batch_idx)

        patch.setattr(TaskModule, "training_step", interrupted)
        assert finetune("vqa", model, data, tmp_path / "part").returncode == 130
    again = finetune("vqa", model, data, None, "--resume", tmp_path / "part")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "part") == numbers(tmp_path / "whole")
    ours, theirs = (
        read_safetensors(tmp_path / name / "model/model.safetensors") for name in ("part", "whole")
    )
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(("words", "said"), [
    (["--keep", 0], "keep is 0; it is above 0 and at most 1"),
    (["--keep", 1.5], "keep is 1.5; it is above 0 and at most 1"),
    (["--keep", 0.5, 0.5], "keep is 0.5 0.5: name each share once"),
    (["--score-alpha", 2], "alpha is 2; it lies in 0..1"),
    (["--block", 1], "has learnt to look behind block 0; leave out block, or take selection attention"),
    (["--block", 3, "--selection", "attention"], "block 3: the vision tower has blocks 0 to 2"),
    (["--image", 50], "nearest: 48 or 56"),
])  # fmt: skip
def test_a_selection_that_cannot_be_is_refused_and_leaves_nothing(words, said, model, data, tmp_path):
    done = evaluate("vqa", model, data, "--out", tmp_path / "scores", *words)
    assert done.returncode == 2
    assert said in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "scores").exists()


def test_one_patch_is_kept_at_least_with_a_warning(model, data):
    with pytest.warns(UserWarning, match="keep 0.01 of 36 patches is none: one is kept"):
        found = evaluate("vqa", model, data, "--keep", 0.01)
    assert "keep: 0.01 (1 patches)" in found.stdout


def test_validation_on_what_is_trained_on_is_refused_and_leaves_nothing(model, data, tmp_path):
    words = ["--model", model, "--train", data["vqa", "train"], "--val", data["vqa", "val"]]
    again = replaced(words, "--val", data["vqa", "train"])
    done = call_cli("pta-vlp", "finetune", "vqa", *again, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "examples for validation are trained on, too, such as" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", list(MONITORS))
def test_presets_say_what_holds_without_them_but_for_the_share(task):
    named = PRESETS / f"paper-{task}.yaml"
    given = {name: value for name, value in yaml.safe_load(named.read_text()).items() if name != "trainer"}
    options = build(PrunedFinetuneOptions, [(given | {"model": "m", "train": ["t"]}, "preset")])
    bare = PrunedFinetuneOptions(task=task, model="m", train=("t",))
    assert options.settings() == bare.settings()
    for name in ("image", "batch", "epochs", "lr", "lr_visual"):
        assert getattr(options, name) == bare.filled(name)
    for name in ("queue", "momentum", "alpha", "rerank", "weight_decay"):
        assert getattr(options, name) == getattr(bare, name)
    # the released code drops patches where the text is there first
    wanted = 1.0 if task in ("retrieval", "caption") else 0.5
    assert options.on(SelectOptions(keep=0.3), options.keep) == SelectOptions(keep=wanted)


def test_a_trunk_runs_once_an_image_and_is_counted_so(model, data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert finetune("grounding", model, data, run).returncode == 0
    rows, trunk = [], PrunedVision.trunk
    monkeypatch.setattr(
        PrunedVision,
        "trunk",
        lambda self, images, **more: rows.append(len(images)) or trunk(self, images, **more),
    )
    found = evaluate("grounding", run, data, "--keep", 0.5, 0.25, "--out", tmp_path / "scores")
    assert found.returncode == 0, found.stderr
    assert rows == [4, 4]  # of eight expressions
    kept = json.loads((tmp_path / "scores/scores.json").read_text())["kept"]
    tower = Tower(36, 32, 3)
    for one, keep in zip(kept, (0.5, 0.25), strict=True):
        options = SelectOptions(block=0, keep=keep)
        assert one["scores"]["vision GMAC"] == pytest.approx(pruned_macs(tower, options, texts=2) / 1e9)


def test_patches_of_boxes_are_those_of_the_resized_image(tmp_path):
    Image.new("RGB", (120, 60)).save(tmp_path / "wide.png")
    # 120 x 60 becomes 32 x 32: x by 4/15, y by 8/15; the box is then (8, 16, 8, 8), one patch of 8
    found = box_patches(
        [Expression("1", str(tmp_path / "wide.png"), "it", (30, 30, 30, 15), "a:1")], (32, 32), 8
    )
    assert found.nonzero().tolist() == [[0, 2 * 4 + 1]]
    kept = torch.tensor([[3, 9], [0, 9]])
    boxes = torch.zeros(2, 16, dtype=torch.bool)
    boxes[0, [9, 10]] = boxes[1, [0, 9]] = True
    assert box_recall(boxes, kept) == (1 / 2 + 1) / 2


def test_the_detector_learns_on_from_the_boxes_of_grounding(model, data, tmp_path):
    done = finetune("grounding", model, data, tmp_path / "run", "--alignment", 2)
    assert done.returncode == 0, done.stderr
    lines = read_metrics(tmp_path / "run")
    terms = ("alignment", "distance", "overlap")
    assert lines[0]["train/loss"] == pytest.approx(sum(lines[0][f"train/{name}"] for name in terms), rel=1e-5)
    before, after = (folder / "patch_detector.safetensors" for folder in (model, tmp_path / "run/model"))
    old, new = read_safetensors(before), read_safetensors(after)
    assert not any(torch.equal(old[name], new[name]) for name in old)


def test_alignment_is_the_cross_entropy_of_patches_and_boxes(model, data):
    options = PrunedFinetuneOptions(task="grounding", model=str(model), train=("t",), image=48)
    pruning = Pruning(options, 0.5, 0.5)
    task = start_task(options, lambda line: None, pruning).eval()
    examples = task.read([str(data["grounding", "val"])], None, None, truth=True)
    reading = reading_of(task.model.config)
    batch = task.collate([task.item(examples, index, reading, None) for index in range(3)])
    task.losses(batch, random=torch.Generator(), passed=0.0)
    total, count = task.more(batch)["alignment"]
    detector = square_tasks.detector()
    middle = task.model.vision.blocks(task.model.vision.embed(batch["images"]), 0, 1)
    text = task.model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0]
    logs = detector(middle[:, 1:], text, batch["of_image"]).log_softmax(-1)
    # squares of 24 pixels at (0, 8) and (24, 16), in patches of 8
    left = [row * 6 + column for row in (1, 2, 3) for column in (0, 1, 2)]
    right = [row * 6 + column for row in (2, 3, 4) for column in (3, 4, 5)]
    inside = torch.zeros(3, 36, dtype=torch.int64)
    for number, patches in enumerate((left, right, left)):
        inside[number, patches] = 1
    expected = -logs.gather(2, inside[:, :, None]).mean()
    torch.testing.assert_close(total / count, 0.5 * expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("task", "words", "said"), [
    ("vqa", [], "alignment learns from boxes, which grounding has, not vqa"),
    ("grounding", ["--keep", 1], "take selection text or mixed, and keep below 1"),
])  # fmt: skip
def test_alignment_that_cannot_be_is_refused(task, words, said, model, data, tmp_path):
    done = finetune(task, model, data, tmp_path / "run", "--alignment", 1, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_images_of_another_size_have_more_patches(model, data):
    found = evaluate("vqa", model, data, "--image", 64, "--keep", 0.5)
    assert found.returncode == 0, found.stderr
    assert "positions: resampled from 6 x 6 to 8 x 8" in found.stderr
    assert "32 of 64 patches are kept by text" in found.stderr


def test_retrieval_learns_and_searches_by_the_same_selection_and_leaves_it_at_all_patches(model):
    options = PrunedFinetuneOptions(task="retrieval", model=str(model), train=("t",), image=48, queue=8)
    pruning = Pruning(options, 0.5)
    task = start_task(options, lambda line: None, pruning)
    learnt = task.pair_losses
    assert isinstance(task.matching, LateMatching)
    assert isinstance(learnt.see, LateLook)
    assert learnt.see_pairs == learnt.see.pairs
    assert task.see is None  # the index is at full length
    images = torch.randn(2, 3, 48, 48, generator=seeded())
    with torch.no_grad():
        torch.testing.assert_close(task.image_tokens(images), task.model.vision(images))
    pruning.use(task, 1)
    assert (task.matching, learnt.see, learnt.see_pairs, task.see) == (None, look, None, None)
    pruning.options = SelectOptions(selection="attention", block=0)
    pruning.use(task, 0.25)
    assert task.matching is None
    with torch.no_grad():
        seen = learnt.see(task.model, {"images": images}).tokens
        assert seen.shape[1] == 1 + 9 + 1
        torch.testing.assert_close(task.image_tokens(images), seen)
