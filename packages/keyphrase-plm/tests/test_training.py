"""Training of any family: what is kept, when it stops, that it goes on bit for bit, several processes."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from keyphrase_plm.data import encode_documents, subset
from keyphrase_plm.documents import Document
from keyphrase_plm.training import best_of, fit
from nonet.errors import RunFailed, UserError
from nonet.runs import Run, read_metrics
from nonet.testing import numbers, one_thread
from nonet.testing_ranks import two_processes
from nonet.training.options import OptimizerOptions, TrainerOptions

sys.path.insert(0, str(Path(__file__).parent / "support"))
from word_family import WordFamily, documents

TRAINER = TrainerOptions(
    steps=8, validate_every=2, checkpoint_every=3, log_every=1, devices=1, accelerator="cpu"
)
OPTIMIZER = OptimizerOptions(lr=0.3)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def rows(count, seed=0):
    family = WordFamily()
    return [family.encode(document) for document in documents(count, seed)]


def new_run(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, "keyphrase_plm", "train", writes=True)


def train(folder, family=None, **more):
    family = family or WordFamily()
    given = {"val": rows(12, 1), "batch_tokens": 200, "trainer": TRAINER, "optimizer": OPTIMIZER} | more
    fit(family, given.pop("rows", rows(40)), new_run(folder), **given)
    return family, numbers(folder)


class Judge:
    """Scores by a list, one number a validation."""

    def __init__(self, *scores):
        self.scores, self.weights = list(scores), []

    def __call__(self, family):
        self.weights.append(family.model.weight.detach().clone())
        return {"f1": self.scores[len(self.weights) - 1], "phrases": 0.0}


def test_the_loss_is_the_mean_over_words_and_falls(tmp_path):
    family, metrics = train(tmp_path, select="last")
    losses = [line["train/loss"] for line in metrics if "train/loss" in line]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    assert not family.training
    held_out = rows(12, 1)
    seen = [line["val/loss"] for line in metrics if "val/loss" in line]
    logits = torch.cat([family.model(torch.from_numpy(r["ids"]).long())[:, 0] for r in held_out])
    labels = torch.cat([torch.from_numpy(r["labels"]).float() for r in held_out])
    whole = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).item()
    assert seen[-1] == pytest.approx(
        whole, rel=0.15
    )  # a tenth of the words is not looked at, always the same


def test_the_weights_of_the_greatest_f1_are_kept(tmp_path):
    judge = Judge(0.1, 0.4, 0.2, 0.3)
    family, metrics = train(tmp_path, select="f1", judge=judge)
    assert torch.equal(family.model.weight, judge.weights[1])
    assert best_of(metrics, "val/f1", greatest=True) == pytest.approx(0.4)
    last, _ = train(tmp_path / "last", select="last")
    assert torch.equal(last.model.weight, judge.weights[3])


def test_the_weights_of_the_lowest_loss_are_kept(tmp_path):
    contrary = [{**row, "labels": 1 - row["labels"]} for row in rows(12, 1)]
    judge = Judge(0, 0, 0, 0)
    family, metrics = train(tmp_path, select="loss", val=contrary, judge=judge)
    losses = [line["val/loss"] for line in metrics if "val/loss" in line]
    assert losses == sorted(losses)
    assert torch.equal(family.model.weight, judge.weights[0])


def test_it_stops_when_nothing_gets_better(tmp_path):
    judge = Judge(0.3, 0.2, 0.1, 0.0)
    _, metrics = train(tmp_path, select="f1", judge=judge, patience=2)
    assert metrics[-1]["step"] == 6


def test_it_goes_on_bit_for_bit_after_an_interruption(tmp_path, monkeypatch):
    import nonet.training.callbacks as callbacks

    whole, lines = train(tmp_path / "whole", select="f1", judge=Judge(0.1, 0.4, 0.2, 0.3))
    seen = callbacks.Interrupts.wanted
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.Interrupts, "wanted", lambda self, t: t.global_step == 5 or seen(self, t))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", select="f1", judge=Judge(0.1, 0.4))
    broken, again = train(tmp_path / "broken", select="f1", judge=Judge(0.2, 0.3))
    assert again == lines
    assert torch.equal(broken.model.weight, whole.model.weight)


def test_another_batch_size_or_length_is_refused_when_going_on(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match="other data, batch size or seed"):
        train(tmp_path, batch_tokens=300)
    with pytest.raises(UserError, match="steps is 9 here but 8 in the checkpoint"):
        train(tmp_path, trainer=replace(TRAINER, steps=9))


def test_epochs_are_passes_over_the_rows(tmp_path):
    _, metrics = train(tmp_path, epochs=3, batch=10, batch_tokens=None, val=())
    assert metrics[-1]["step"] == 12


def test_the_warm_up_is_a_share_of_the_steps(tmp_path):
    _, metrics = train(tmp_path, warmup_share=0.5, val=(), trainer=replace(TRAINER, steps=8))
    rates = [line["lr"] for line in metrics if "lr" in line]
    assert rates[:5] == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3])


def test_a_loss_that_is_no_number_ends_the_run_and_names_its_rows(tmp_path):
    class Broken(WordFamily):
        def forward(self, batch):
            total, count = super().forward(batch)
            return total * (float("nan") if self.model.weight.abs().max() > 0.5 else 1.0), count

    with pytest.raises(RunFailed, match="the loss is nan; its examples are in"):
        train(tmp_path, Broken(), val=())
    told = json.loads((tmp_path / "nonfinite.json").read_text())
    assert told["step"] == 3
    assert told["ids"]
    assert {index for _, index in told["indices"]} == set(told["ids"])
    assert (tmp_path / "checkpoints").is_dir()


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(UserError, match="no rows to train on"):
        train(tmp_path, rows=[])


# ----------------------------------------------------------- data


KEYS = [f"d{i}" for i in range(100)]


def test_smaller_subsets_are_parts_of_larger_ones():
    small, large = (set(subset(KEYS, size=size, seed=3)) for size in (10, 40))
    assert small < large
    assert len(small) == 10
    assert len(large) == 40
    assert set(subset(KEYS, fraction=0.4, seed=3)) == large
    assert set(subset(KEYS, size=40, seed=4)) != large
    turned = {99 - i for i in subset(KEYS[::-1], size=40, seed=3)}
    assert turned == large, "the order of the file does not matter"
    assert subset(KEYS[:5]) == [0, 1, 2, 3, 4]


def test_subsets_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="train_size is 101, but there are 100 documents"):
        subset(KEYS, size=101)
    with pytest.raises(UserError, match="exclude each other"):
        subset(KEYS, size=1, fraction=0.1)


def test_documents_without_text_are_left_out_and_counted():
    given = [*documents(3), Document("empty", " ", "", ("x",)), Document("bare", "a title", "")]
    encoded = encode_documents(WordFamily(), given, side="train")
    assert [document.id for document in encoded.documents] == ["d0", "d1", "d2", "bare"]
    assert any("1 documents without text left out" in note for note in encoded.notes)
    assert any("1 documents without any gold phrase" in note for note in encoded.notes)
    with pytest.raises(UserError, match=r"val: no documents with text \(1 empty ones\)"):
        encode_documents(WordFamily(), [Document("empty", "", "")], side="val")


# ----------------------------------------------------------- several processes


def both(folder):
    run = Run(Path(folder), "keyphrase_plm", "train", writes=os.environ["RANK"] == "0")
    family = WordFamily()
    fit(
        family, rows(40), run, val=rows(12, 1), batch=10, batch_tokens=None, optimizer=OPTIMIZER,
        select="last", trainer=replace(TRAINER, devices=2, strategy="ddp"),
    )  # fmt: skip
    return family.model.weight.detach().numpy()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    (tmp_path / "two").mkdir()
    first, second = two_processes(both, str(tmp_path / "two"))
    alone, metrics = train(tmp_path / "one", batch=10, batch_tokens=None, select="last")
    assert (first == second).all()
    np.testing.assert_allclose(first, alone.model.weight.detach().numpy(), atol=1e-5)
    ours = [line["val/loss"] for line in metrics if "val/loss" in line]
    theirs = [line["val/loss"] for line in read_metrics(tmp_path / "two") if "val/loss" in line]
    assert theirs == pytest.approx(ours, rel=1e-5)
