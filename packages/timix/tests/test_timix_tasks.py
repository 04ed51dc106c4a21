"""The verbs finetune, evaluate and predict on every task, with a tiny model and images of one colour."""

import json
import signal
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml

from nonet.options import build
from nonet.runs import read_metrics
from nonet.testing import call_cli, numbers, plain_pages
from nonet.training.weight_files import read_safetensors
from nonet.vision_language.pair_folders import save_pair_model
from nonet.vision_language.tasks.task_module import TaskModule
from nonet.vision_language.tasks.task_options import FinetuneOptions

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
import tiny_task_files as tiny

PRESETS = Path(str(files("timix"))) / "presets/finetune"
TRAINER = ["--trainer.steps", 6, "--epochs", 0, "--trainer.log-every", 2, "--batch", 8, "--lr", 2e-3]


@pytest.fixture(autouse=True)
def _few_curves():
    with plain_pages(1):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_pair_model(tiny.model(), tiny.tokenizer(), folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("data"))


SHORT = ["--queue", 32, "--trainer.steps", 3, "--validate-epochs", 0, "--trainer.log-every", 1]


def finetune(task, model, data, out, *more):
    options = ["--model", model, "--train", data[task, "train"], "--val", data[task, "val"], "--image", 48]
    place = [] if out is None else ["--out", out]
    return call_cli("timix", "finetune", task, *options, *TRAINER, *more, *place)


MONITORS = {
    "retrieval": "R-mean", "vqa": "accuracy", "caption": "CIDEr-D", "nlvr2": "accuracy",
    "grounding": "accuracy",
}  # fmt: skip


@pytest.mark.parametrize("task", list(MONITORS))
def test_a_task_is_learnt_scored_and_used(task, model, data, tmp_path):
    more = ["--queue", 32] if task == "retrieval" else []
    done = finetune(task, model, data, tmp_path / "run", *more)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").exists()
    lines = read_metrics(tmp_path / "run")
    assert lines[-1][f"val/{MONITORS[task]}"] >= 0
    kept = json.loads((tmp_path / "run/scores.json").read_text())["scores"]

    found = call_cli(
        "timix", "evaluate", task, "--model", tmp_path / "run", "--data", data[task, "val"],
        "--out", tmp_path / "scores",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    again = json.loads((tmp_path / "scores/scores.json").read_text())["scores"]
    assert {name: again[name] for name in kept} == pytest.approx(kept)
    assert f"{MONITORS[task]}: {kept[MONITORS[task]]:.2f}" in found.stdout

    said = call_cli(
        "timix", "predict", task, "--model", tmp_path / "run/model", "--input", data[task, "val"],
        "--out", tmp_path / "said.jsonl",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "said.jsonl").read_text() == (tmp_path / "scores/predictions.jsonl").read_text()


def test_an_interrupted_run_goes_on_to_the_bit(model, data, tmp_path, monkeypatch):
    whole = finetune("retrieval", model, data, tmp_path / "whole", *SHORT)
    assert whole.returncode == 0, whole.stderr
    learn = TaskModule.training_step
    with monkeypatch.context() as patch:

        def interrupted(self, batch, batch_idx):
            if self.global_step == 1:
                signal.raise_signal(signal.SIGINT)
            return learn(self, batch, batch_idx)

        patch.setattr(TaskModule, "training_step", interrupted)
        part = tmp_path / "part"
        assert finetune("retrieval", model, data, part, *SHORT).returncode == 130
    assert not (part / "model").exists()
    again = finetune("retrieval", model, data, None, *SHORT, "--resume", part)
    assert again.returncode == 0, again.stderr
    assert numbers(part) == numbers(tmp_path / "whole")
    ours, theirs = (read_safetensors(f / "model/model.safetensors") for f in (part, tmp_path / "whole"))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("task", ["nlvr2", "grounding"])
def test_a_model_without_the_head_is_refused(task, model, data):
    done = call_cli("timix", "evaluate", task, "--model", model, "--data", data[task, "val"])
    assert done.returncode == 2
    assert f"no {task}_head.safetensors in it" in done.stderr
    assert "fine-tune the model on it first" in done.stderr


def test_validation_on_what_is_trained_on_is_refused_and_leaves_nothing(model, data, tmp_path):
    train = data["vqa", "train"]
    done = call_cli(
        "timix", "finetune", "vqa", "--model", model, "--train", train, "--val", train,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 2
    assert "examples for validation are trained on, too, such as" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_pretrained_model_captions_image_files(model, data, tmp_path):
    done = call_cli(
        "timix", "predict", "caption", "--model", model, "--input", data["folder"], "--out", tmp_path / "t",
        "--shortest", 2, "--longest", 5,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "was not fine-tuned for caption" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "t").read_text().splitlines()]
    assert len(lines) == len(list(Path(data["folder"]).glob("*.png")))


@pytest.mark.parametrize("task", list(MONITORS))
def test_presets_say_what_holds_without_them(task):
    named = PRESETS / f"paper-{task}.yaml"
    given = {name: value for name, value in yaml.safe_load(named.read_text()).items() if name != "trainer"}
    options = build(FinetuneOptions, [(given | {"model": "m", "train": ["t"]}, "preset")])
    plain = FinetuneOptions(task=task, model="m", train=("t",))
    assert options.settings() == plain.settings()
    for name in ("image", "batch", "epochs", "lr", "lr_visual"):
        assert getattr(options, name) == plain.filled(name)
    for name in ("queue", "momentum", "alpha", "rerank", "weight_decay"):
        assert getattr(options, name) == getattr(plain, name)
