"""The verb `pretrain` from files to a model folder: resumed to the bit, or refused in a line."""

import itertools
import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from nonet.cli import main
from nonet.data.shards import Shards
from nonet.data.text import TextReader
from nonet.testing import numbers, one_thread
from pegasus.building import build_shards
from pegasus.cli import VERBS
from pegasus.commands.pretrain import Options, _verdict
from pegasus.data import GapSentenceData, hold_out
from pegasus.model import load_model
from pegasus.module import SummarizerModule
from pegasus.options import CorpusOptions, GapOptions, MaskOptions, WordOptions
from pegasus.tokenizer import Tokenizer

SMALL = (
    "--model.size tiny --model.layers 1 --model.width 32 --model.heads 4 --model.feed-forward 48 "
    "--model.max-positions 64 --masks.max-input 64 --masks.max-target 32 --batch 8 --val-share 0.1 "
    "--optimizer.name adamw --optimizer.lr 2e-3 --trainer.accelerator cpu --trainer.steps 14 "
    "--trainer.validate-every 4 --trainer.checkpoint-every 4 --trainer.log-every 1 --masks.words 0.15"
).split()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


@pytest.fixture(scope="module")
def shards(toy_files, toy_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain") / "shards"
    build_shards(
        TextReader([toy_files / "corpus.txt"]), toy_tokenizer[0], folder, words=WordOptions(),
        gaps=GapOptions(ratio=0.25), corpus=CorpusOptions(),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def given(shards, toy_tokenizer):
    """The options of the runs that are compared."""
    return ["--data", str(shards), "--tokenizer", str(toy_tokenizer[1]), *SMALL]


def command(*arguments):
    return main("pegasus", "about", "0", VERBS, argv=["pretrain", *map(str, arguments)])


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with one_thread():
        assert command(*given, "--out", folder) == 0
    return folder


# ----------------------------------------------------------- a whole run


def test_a_run_leaves_numbers_checkpoints_and_a_model(undisturbed, toy_tokenizer, shards):
    lines = numbers(undisturbed)
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 15))
    assert [line["step"] for line in lines if "val/loss" in line] == [4, 8, 12, 14]
    assert {"train/gsg", "train/mlm", "lr"} < lines[0].keys()
    assert lines[-1]["val/loss"] == pytest.approx(lines[-1]["val/gsg"] + lines[-1]["val/mlm"])
    first, last = (lines[i]["val/gsg"] for i in (-1, [line["step"] for line in lines].index(4) + 1))
    assert first < last  # it learns
    checkpoints = ["checkpoints/last.ckpt", "checkpoints/best.ckpt"]
    model = ["model/README.md", "model/config.json", "model/spiece.model"]
    for name in ("options.yaml", "run.json", "log.txt", "report.html", *checkpoints, *model):
        assert (undisturbed / name).stat().st_size > 0, name
    assert Tokenizer.load(undisturbed / "model").sha256 == toy_tokenizer[0].sha256
    model = load_model(undisturbed / "model")
    assert (model.config.d_model, model.config.position_style) == (32, "tf")
    assert "gap sentences: ind-orig, ratio 0.25" in (undisturbed / "log.txt").read_text()  # the shards' own
    assert json.loads((undisturbed / "run.json").read_text())["sessions"][0]["exit"] == 0


def test_validation_is_over_held_out_documents(shards):
    train, val = hold_out(len(Shards(shards)), 0.1, seed=0)
    assert (len(train), len(val)) == (54, 6)
    assert sorted([*train, *val]) == list(range(60))
    assert hold_out(60, 0.1, seed=1)[1].tolist() != val.tolist()
    assert [len(part) for part in hold_out(60, 0.0, seed=0)] == [60, 0]
    assert [len(part) for part in hold_out(2, 0.99, seed=0)] == [1, 1]
    assert len(hold_out(1_000_000, 0.01, seed=0)[1]) == 2000


def test_raw_text_gives_the_run_of_its_shards(given, undisturbed, toy_files, tmp_path):
    words = ["--texts", toy_files / "corpus.txt", *given[2:], "--gaps.ratio", 0.25, "--out", tmp_path / "run"]
    assert command(*words) == 0
    assert numbers(tmp_path / "run") == numbers(undisturbed)
    assert weights(tmp_path / "run") == weights(undisturbed)
    assert "parts kept: 60" in (tmp_path / "run" / "log.txt").read_text()


# ----------------------------------------------------------- interruptions


KILLED = """
import os, signal, sys
from pegasus import cli, module
step = module.SummarizerModule.training_step
def training_step(self, batch, number):
    if self.trainer.global_step == int(os.environ["DIE_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, number)
module.SummarizerModule.training_step = training_step
sys.argv[0] = "pegasus"
sys.exit(cli.main())
"""


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_bit(given, undisturbed, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setenv("DIE_AT", "10")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    line = [sys.executable, "-c", KILLED, "pretrain", *given, "--out", str(folder)]
    assert subprocess.run(line, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert [entry["step"] for entry in numbers(folder)][-1] == 10  # beyond the checkpoint of step 8
    assert not (folder / "model").exists()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "train')  # as if it had died while writing
    assert command(*given, "--resume", folder) == 0
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [session["exit"] for session in sessions] == [None, 0]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_good(
    given, undisturbed, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    step = SummarizerModule.training_step
    with monkeypatch.context() as patch:
        patch.setattr(
            SummarizerModule,
            "training_step",
            lambda self, *rest: step(self, *rest) * (math.nan if self.trainer.global_step == 6 else 1),
        )
        assert command(*given, "--out", folder) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pegasus pretrain: step 7: the loss is nan")
    found = json.loads((folder / "nonfinite.json").read_text())
    assert found["step"] == 7
    assert len(found["ids"]) == 8
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    assert not (folder / "model").exists()
    assert command(*given, "--resume", folder.parent) == 0  # the newest run below the folder
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)


def test_a_run_is_not_resumed_with_other_data_or_batches(given, undisturbed, tmp_path, capsys):
    before = numbers(undisturbed)
    for changes, message in (
        (
            ["--batch", 6],
            "other data, batch size or seed: batches an epoch is 9 here but 7 in the checkpoint",
        ),
        (["--trainer.seed", 1], "seed"),
        (["--trainer.accumulate", 2], "accumulate is 2 here but 1 in the checkpoint"),
        (["--val-share", 0.2], "other data, batch size or seed"),
    ):
        assert command(*given, *changes, "--resume", undisturbed) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert numbers(undisturbed) == before
    assert command(*given, "--resume", tmp_path) == 2
    assert "no run to go on with (no run.json)" in capsys.readouterr().err


# ----------------------------------------------------------- masks and gaps


def test_masks_are_fresh_in_every_epoch_unless_fixed(shards, toy_tokenizer):
    words = toy_tokenizer[0].starts_word
    gaps = GapOptions(strategy="random", ratio=0.4)
    fresh = GapSentenceData(Shards(shards), gaps, MaskOptions(), words, seed=3)
    fixed = GapSentenceData(Shards(shards), gaps, MaskOptions(), words, seed=3, fixed=True)

    def targets(data, epoch):
        return [data.example((epoch, i)).target_ids.tolist() for i in range(len(data))]

    assert targets(fresh, 0) != targets(fresh, 1)
    assert targets(fresh, 1) == targets(fresh, 1)
    assert targets(fixed, 0) == targets(fixed, 1)
    for i, target in enumerate(targets(fixed, 5)):
        row = Shards(shards)[i]
        starts = np.concatenate([[0], row["ends"]])
        stored = [row["pieces"][starts[j] : starts[j + 1]].tolist() for j in row["chosen"]]
        assert target == [*itertools.chain.from_iterable(stored), 1]


def test_fixed_masks_change_nothing_in_the_first_epoch(given, undisturbed, tmp_path):
    assert command(*given, "--masks-each-epoch", "fixed", "--out", tmp_path / "run") == 0
    ours, other = (
        [line["train/loss"] for line in numbers(folder) if "train/loss" in line]
        for folder in (tmp_path / "run", undisturbed)
    )
    assert ours[:6] == other[:6]  # 54 documents in batches of 8: the seventh batch ends the epoch
    assert ours[8:] != other[8:]


def test_one_epoch_is_every_document_once_and_ids_are_rows_of_the_shards(shards, toy_tokenizer):
    train, val = hold_out(60, 0.1, seed=0)
    data = GapSentenceData(
        Shards(shards), GapOptions(), MaskOptions(words=0.2), toy_tokenizer[0].starts_word, rows=train
    )
    assert [data[(0, i)]["id"] for i in range(len(data))] == train.tolist()
    assert set(data[(0, 0)]) == {"id", "input", "target", "words"}
    assert not set(train) & set(val)


# ----------------------------------------------------------- was it enough?


def test_the_verdict_compares_with_the_entropy_of_single_tokens(undisturbed, shards, toy_tokenizer):
    log = (undisturbed / "log.txt").read_text()
    val = GapSentenceData(
        Shards(shards), GapOptions(ratio=0.25), MaskOptions(words=0.15, max_input=64, max_target=32),
        toy_tokenizer[0].starts_word, fixed=True, rows=hold_out(60, 0.1, seed=0)[1],
    )  # fmt: skip
    counts = np.bincount(np.concatenate([val.example((0, i)).target_ids for i in range(6)]))
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log(shares)).sum()
    loss = min(line["val/gsg"] for line in numbers(undisturbed) if "val/gsg" in line)
    assert f"validation loss {loss:.3f} nats a token, {entropy - loss:.3f} below" in log
    assert f"of single tokens ({entropy:.3f}): under 0.5; fine-tuning will not benefit" in log
    assert (
        "target tokens an epoch; below 1,000,000 a model trained from scratch tends to write the same" in log
    )
    assert "fine-tuning will not benefit" in (undisturbed / "model" / "README.md").read_text()


def test_the_verdict_by_hand():
    assert _verdict(2.0, 2.5, GapOptions()).endswith("0.500 below that of single tokens (2.500)")
    assert "will not benefit" in _verdict(2.01, 2.5, GapOptions())
    assert "nothing to say" in _verdict(None, 2.5, GapOptions())
    assert "nothing to say" in _verdict(2.0, 2.5, GapOptions(strategy="none"))


# ----------------------------------------------------------- from a model


def test_a_run_goes_on_from_a_model_and_its_shape(given, undisturbed, tmp_path):
    words = [*given, "--optimizer.lr", "1e-12", "--trainer.steps", "2", "--model.width", "64"]
    assert command(*words, "--init", undisturbed / "model", "--out", tmp_path / "run") == 0
    first, second = (load_model(folder / "model").state_dict() for folder in (undisturbed, tmp_path / "run"))
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert str(undisturbed / "model") in card


# ----------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--trainer.precision", "fp16"], "fp16 overflows in PEGASUS- and T5-like models"),
        (["--trainer.precision", "fp16"], "use bf16"),
        (["--texts", "a.txt"], "give either --data SHARDS or --texts FILES"),
        (["--data", "nowhere"], "nowhere"),
        (["--tokenizer", "nowhere"], "nowhere does not exist"),
        (["--init", "nowhere"], "nowhere"),
        (["--model.width", "30"], "a width of 30 does not split into 4 heads"),
        (["--gaps.ratio", "0"], "ratio is 0"),
        (["--gaps.ratio", "1.5"], "the share of sentences to cut lies in (0, 1]"),
        (["--masks.mask", "0.5"], "they add up to 1"),
        (["--gaps.strategy", "best"], "ind-orig"),
        (["--no-such-option", "1"], "no-such-option"),
        (["--trainer.steps", "0"], "steps is 0; it is at least 1"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(given, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    assert command(*given, *changes, "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
    assert error.startswith("pegasus pretrain: ")
    assert not (tmp_path / "run").exists()


def test_shards_of_another_tokenizer_are_refused(given, toy_reports, tmp_path, capsys):
    Tokenizer.train([report.text for report in toy_reports], 180, tmp_path / "other", threads=1)
    assert command(*given, "--tokenizer", tmp_path / "other", "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert f"built with another tokenizer than {tmp_path / 'other'}; build it again" in error
    assert not (tmp_path / "run").exists()


def test_a_model_of_a_smaller_vocabulary_is_refused(given, undisturbed, tmp_path, capsys):
    from pegasus.model import new_model
    from pegasus.options import ModelOptions

    shape = ModelOptions(size="tiny", layers=1, width=16, heads=2, max_positions=64)
    new_model(shape, 200).save_pretrained(tmp_path / "model")
    assert command(*given, "--init", tmp_path / "model", "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the tokenizer has 293 ids and the model 200 embeddings" in error
    assert not (tmp_path / "run").exists()


def test_a_corpus_of_too_few_documents_is_refused(given, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("One flood. Two floods. Three floods.\nToo short.\n")
    assert command("--texts", tmp_path / "a.txt", *given[2:], "--out", tmp_path / "run") == 2
    assert "1 documents are too few to train on" in capsys.readouterr().err.splitlines()[-1]


def test_a_batch_larger_than_the_corpus_is_all_of_it(given, tmp_path):
    words = [*given, "--batch", "256", "--trainer.steps", "2", "--masks.words", "0"]
    assert command(*words, "--out", tmp_path / "run") == 0
    lines = numbers(tmp_path / "run")
    assert "train/mlm" not in lines[0]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2]


def test_options_say_what_the_paper_does():
    options = Options(tokenizer=None)
    assert (options.optimizer.name, options.optimizer.lr, options.label_smoothing) == ("adafactor", 0.01, 0.0)
    assert (options.batch, options.trainer.steps) == (256, 500_000)
