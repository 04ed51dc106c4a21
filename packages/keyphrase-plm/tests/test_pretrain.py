"""The verb `pretrain`: from raw text to a folder that transformers loads, resumed bit for bit."""

import json

import pytest
import torch

from keyphrase_plm.cli import VERBS
from nonet.cli import main
from nonet.testing import numbers, one_thread, replaced
from nonet.training.checkpoints import read_checkpoint

SMALL = (
    "--vocab-size 320 --length 32 --shape.layers 1 --shape.width 32 --shape.heads 2 --shape.positions 40 "
    "--batch-tokens 512 --val-size 6 --trainer.accelerator cpu --trainer.steps 8 --trainer.validate-every 4 "
    "--trainer.checkpoint-every 3 --trainer.log-every 1 --optimizer.lr 3e-3 --optimizer.warmup 0"
).split()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    words = "graph colouring survey deep network of sensor data aggregation with long short memory".split()
    rows = [
        {
            "title": " ".join(words[i % 5 : i % 5 + 3]),
            "abstract": " ".join(words[(i * j) % 13] for j in range(20)),
        }
        for i in range(80)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(*arguments):
    return main("keyphrase-plm", "about", "0", VERBS, argv=["pretrain", *map(str, arguments)])


def weights(folder):
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.parametrize("objective", ["mlm", "infill"])
def test_a_run_learns_and_goes_on_bit_for_bit_after_an_interruption(objective, texts, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer, BartForConditionalGeneration

    given = ["--data", texts, "--objective", objective, *SMALL]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*given, "--out", whole) == 0
    lines = numbers(whole)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    assert [line["step"] for line in lines if "val/loss" in line] == [4, 8]

    import nonet.training.callbacks as callbacks

    seen = callbacks.Interrupts.wanted
    try:  # a signal during step 5
        callbacks.Interrupts.wanted = lambda self, trainer: trainer.global_step == 5 or seen(self, trainer)
        assert command(*given, "--out", broken) == 130
    finally:
        callbacks.Interrupts.wanted = seen
    assert max(line["step"] for line in numbers(broken)) == 5
    assert command(*given, "--resume", broken) == 0
    assert numbers(broken) == lines
    ours, theirs = weights(broken), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())

    kind = AutoModelForMaskedLM if objective == "mlm" else BartForConditionalGeneration
    model, tokenizer = kind.from_pretrained(whole / "model"), AutoTokenizer.from_pretrained(whole / "model")
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert "pre-trained in its domain" in (whole / "model" / "README.md").read_text()
    assert (whole / "report.html").exists()


@pytest.mark.parametrize("objective", ["mlm", "infill"])
def test_a_loss_that_is_not_finite_costs_its_step_and_many_cost_the_run(
    objective, texts, tmp_path, capsys, monkeypatch
):
    from keyphrase_plm.infilling_objective import TextInfilling
    from keyphrase_plm.masked_words import MaskedWords

    kind = MaskedWords if objective == "mlm" else TextInfilling
    forward, lost = kind.forward, {}

    def poisoned(self, batch):
        total, count = forward(self, batch)
        if self.training:
            lost["step"] = lost.get("step", 0) + 1
        return total * (float("nan") if self.training and lost["step"] in lost["steps"] else 1), count

    monkeypatch.setattr(kind, "forward", poisoned)
    lost["steps"] = {3}
    given = ["--data", texts, "--objective", objective, *SMALL, "--max-skipped", "3"]
    assert command(*given, "--out", tmp_path / "once") == 0
    lines = [line for line in numbers(tmp_path / "once") if "lr" in line]
    assert [line.get("skipped_steps", 0) for line in lines] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert ["train/loss" in line for line in lines] == [True, True, False, True, True, True, True, True]
    assert all(value.isfinite().all() for value in weights(tmp_path / "once").values())

    lost |= {"step": 0, "steps": {4, 5, 6}}
    capsys.readouterr()
    assert command(*given, "--out", tmp_path / "many") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "in succession" in line]
    assert len(said) == 1
    assert "step 6: the loss is nan, and 3 steps in succession were skipped" in said[0]
    assert all(value.isfinite().all() for value in weights(tmp_path / "many").values())


def test_a_run_whose_rows_are_written_goes_on_without_reading_its_texts_again(texts, tmp_path, monkeypatch):
    import nonet.training.callbacks as callbacks

    mine, folder = tmp_path / "texts.jsonl", tmp_path / "run"
    mine.write_text(texts.read_text())
    given = ["--data", mine, *SMALL]
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.Interrupts, "wanted", lambda self, trainer: trainer.global_step == 2)
        assert command(*given, "--out", folder) == 130
    rows = {path.name: path.read_bytes() for path in (folder / "rows").iterdir()}
    assert "index.json" in rows
    mine.write_text('{"no": "text"}\n')
    assert command(*given, "--resume", folder) == 0
    assert {path.name: path.read_bytes() for path in (folder / "rows").iterdir()} == rows
    assert "80 texts, " in (folder / "log.txt").read_text()


def test_a_bad_record_anywhere_leaves_no_folder(texts, tmp_path, capsys):
    assert command("--data", texts, *SMALL, "--out", tmp_path / "first") == 0
    bad = tmp_path / "bad.jsonl"
    bad.write_text(texts.read_text() + '{"no": "text"}\n')
    for more in ([], ["--init", tmp_path / "first" / "model"]):
        capsys.readouterr()
        assert command("--data", bad, *SMALL, *more, "--out", tmp_path / "run") == 2
        assert "bad.jsonl:81: no text in the fields no" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_model_is_gone_on_with(texts, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command("--data", texts, *SMALL, "--out", first) == 0
    assert command("--data", texts, *SMALL, "--out", second, "--init", first / "model") == 0
    begun = next(line["train/loss"] for line in numbers(second))
    fresh = next(line["train/loss"] for line in numbers(first))
    assert begun < fresh - 0.1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--init", "nowhere/at/all"], "no folder nowhere/at/all"),
        (["--shape.heads", "3"], "3 heads do not divide a width of 32"),
        (["--length", "41"], "length 41 is more than shape.positions 40"),
        (["--text-field", "wrong"], "no field 'wrong'"),
        (["--vocab-size", "5"], "too small"),
        (["--share", "1"], "share is 1"),
        (["--data", "-"], "which standard input cannot be"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(more, message, texts, tmp_path, capsys):
    assert command(*replaced(["--data", texts, *SMALL], *more), "--out", tmp_path / "run") == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()
