"""Models that name a task's labels in another order: the same function, read by name wherever it is used."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "support"))
from tiny_encoders import texts, tiny

from cap_prune import toy
from cap_prune.commands import teacher
from cap_prune.evaluating import evaluate
from cap_prune.exporting import export
from cap_prune.loading import load_model
from cap_prune.preparing import prepare
from cap_prune.tasks import task_of
from cap_prune.teachers import load_teacher
from nonet.training.hub import save_folder
from nonet.training.options import OptimizerOptions, TrainerOptions

MNLI = task_of("mnli")
OLD = ("contradiction", "entailment", "neutral")


def renamed(source, folder, labels):
    """A copy of a classifier that gives the same answers, its outputs in the order of `labels`."""
    model, words = load_model(source)
    theirs = list(model.config.id2label.values())
    last = getattr(model.classifier, "out_proj", model.classifier)
    for weight in (last.weight, last.bias):
        weight.data = torch.stack([weight.data[theirs.index(label)] for label in labels])
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    return save_folder(model, words, folder, "")


def logits(model):
    with torch.no_grad():
        return model(**texts()).logits


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_outputs_come_in_the_order_of_the_task(kind, tmp_path):
    model = tiny(kind)
    model.config.id2label = {0: "Positive", 1: "negative"}
    save_folder(model, toy.tokenizer(), tmp_path / "model", "")
    found, _ = load_model(tmp_path / "model", task_of("sst2"))
    assert torch.equal(logits(found), logits(model)[:, [1, 0]])
    assert found.config.id2label == {0: "negative", 1: "positive"}
    assert found.config.label2id == {"negative": 0, "positive": 1}
    assert torch.equal(logits(load_model(tmp_path / "model")[0]), logits(model))


def test_three_labels_are_turned_the_right_way_round_and_stay_so_when_saved(tmp_path):
    torch.manual_seed(0)
    model = toy.new_bert(labels=OLD).eval()
    torch.nn.init.normal_(model.classifier.weight)
    torch.nn.init.normal_(model.classifier.bias)
    export(model, toy.tokenizer(), tmp_path / "packed", format="csr")
    found, words = load_model(tmp_path / "packed", MNLI)
    wanted = logits(model)[:, [OLD.index(label) for label in MNLI.labels]]
    assert torch.equal(logits(found), wanted)
    again = load_model(save_folder(found, words, tmp_path / "again", ""), MNLI)[0]
    assert torch.equal(logits(again), wanted)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A task of one word, a model that has learnt some of it, and the same with its labels turned round."""
    folder = tmp_path_factory.mktemp("place")
    toy.write_encoder(folder / "encoder", layers=1, width=16, heads=2, neurons=16, dropout=0.0)
    (folder / "task").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NONET_PROGRESS", "0")
        for side, count in (("train", 64), ("dev", 32)):
            rows = [
                {"text": f"the {noun} is {word}", "label": label}
                for noun in ("lion", "horse", "eagle", "whale", "tiger", "mouse", "piano", "drum")
                for word, label in zip(("good", "bad"), ("positive", "negative"), strict=True)
            ]
            rows = (rows * 8)[:count]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "task" / f"{side}.jsonl").write_text(lines, encoding="utf-8")
        teacher.run(options(folder, "encoder", steps=20, out=folder / "some"))
        renamed(folder / "some" / "model", folder / "turned", ("positive", "negative"))
        yield folder


def options(folder, model, *, steps, **values):
    return teacher.Options(
        model=str(folder / model), data=folder / "task", task="classify", max_length=16, batch=16, epochs=0,
        optimizer=OptimizerOptions(lr=3e-3, schedule="linear"),
        trainer=TrainerOptions(steps=steps, validate_every=0, accelerator="cpu"), **values,
    )  # fmt: skip


def score(folder, name):
    parts = prepare(options(folder, name, steps=1))
    return evaluate(load_model(folder / name)[0], parts.task, parts.dev)["accuracy"]


def test_a_training_goes_on_from_what_was_learnt_whatever_the_order(place, tmp_path):
    for name in ("some/model", "turned"):
        teacher.run(options(place, name, steps=20, out=tmp_path / Path(name).name))
    shutil.copytree(tmp_path / "turned" / "model", place / "more")
    assert 0.6 < score(place, "turned") < score(place, "more") == 1
    one, two = (load_model(tmp_path / name / "model")[0] for name in ("model", "turned"))
    assert two.config.id2label == {0: "negative", 1: "positive"}
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_teacher_says_the_same_whatever_the_order(place, tmp_path):
    chosen = options(place, "encoder", steps=1)
    parts = prepare(chosen)
    plain, turned = (
        load_teacher(str(place / name), chosen, parts, fic=False, force=False)
        for name in ("some/model", "turned")
    )
    said = [each.logits("cpu", tmp_path, print).tensors[0] for each in (plain, turned)]
    assert torch.equal(*said)
    assert turned.remarks == plain.remarks == ()
    assert len(list(tmp_path.iterdir())) == 1  # one file for both: they are one function
