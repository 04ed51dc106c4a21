"""The verb `pretrain` from documents to a model folder: resumed to the bit, or refused in a line."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from nonet.cli import main
from nonet.testing import numbers, one_thread, replaced
from prop_ir.cli import VERBS
from prop_ir.commands.pretrain import Options
from prop_ir.model import HEAD_FILE, load_prop, load_ranker
from prop_ir.module import PropModule
from prop_ir.pretraining import _optimizer, _verdict
from prop_ir.store import Store
from prop_ir.toy import collection, write_collection, write_encoder

SMALL = (
    "--max-length 64 --batch 8 --pairs 2 --val-share 0.1 --head new --loss logistic "
    "--sampler.floor 2 --sampler.keep 1e-2 --optimizer.lr 2e-3 --trainer.accelerator cpu "
    "--trainer.steps 14 --trainer.validate-every 4 --trainer.checkpoint-every 4 --trainer.log-every 1"
).split()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder with docs.jsonl (60 notices) and an encoder."""
    folder = tmp_path_factory.mktemp("toy")
    write_collection(collection(60, 5, seed=0), folder)
    write_encoder(folder / "encoder", layers=1, width=32, heads=2)
    return folder


def command(*words, verb="pretrain"):
    return main("prop-ir", "about", "0", VERBS, argv=[verb, *map(str, words)])


@pytest.fixture(scope="module")
def store(toy):
    words = ["--corpus", toy / "docs.jsonl", "--tokenizer", toy / "encoder", "--out", toy / "store"]
    assert command(*words, verb="prepare") == 0
    return toy / "store"


@pytest.fixture(scope="module")
def given(toy, store):
    """The options of the runs that are compared."""
    return ["--store", str(store), "--init", str(toy / "encoder"), *SMALL]


@pytest.fixture(scope="module")
def given_corpus(toy):
    return ["--corpus", str(toy / "docs.jsonl"), "--init", str(toy / "encoder"), *SMALL]


def weights(folder):
    return [(folder / "model" / name).read_bytes() for name in ("model.safetensors", HEAD_FILE)]


@pytest.fixture(scope="module")
def undisturbed(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with one_thread():
        assert command(*given, "--out", folder) == 0
    return folder


# ----------------------------------------------------------- a whole run


def test_a_run_leaves_numbers_checkpoints_and_a_model(undisturbed, toy, store):
    lines = numbers(undisturbed)
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 15))
    assert [line["step"] for line in lines if "val/loss" in line] == [4, 8, 12, 14]
    assert {"train/rop", "train/mlm", "train/accuracy", "lr"} < lines[0].keys()
    last = lines[-1]
    assert last["val/loss"] == pytest.approx(last["val/rop"] + last["val/mlm"])
    assert last["val/mlm"] < next(line["val/mlm"] for line in lines if "val/mlm" in line)  # it learns
    model = [f"model/{name}" for name in ("README.md", "config.json", "tokenizer.json", HEAD_FILE)]
    checkpoints = ["checkpoints/last.ckpt", "checkpoints/best.ckpt"]
    for name in ("options.yaml", "run.json", "log.txt", "report.html", *checkpoints, *model):
        assert (undisturbed / name).stat().st_size > 0, name
    log = (undisturbed / "log.txt").read_text()
    assert f"held-out pairs in the right order: {last['val/accuracy']:.1%} (chance: 50 %)" in log
    assert "54 documents, 108 pairs an epoch, 1 epochs" in log
    assert "60 documents" in (undisturbed / "model" / "README.md").read_text()
    ranker, tokenizer = load_ranker(undisturbed / "model", head="require", say=pytest.fail)
    Store(store).check_tokenizer(tokenizer)
    plain = AutoModelForSequenceClassification.from_pretrained(undisturbed / "model")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, ranker.state_dict()[name])


def test_a_collection_gives_the_run_of_its_store(given_corpus, undisturbed, tmp_path):
    assert command(*given_corpus, "--out", tmp_path / "run") == 0
    assert numbers(tmp_path / "run") == numbers(undisturbed)
    assert weights(tmp_path / "run") == weights(undisturbed)
    assert len(Store(tmp_path / "run" / "store")) == 60


def test_the_rate_rises_over_a_tenth_of_the_steps_unless_told_otherwise():
    options = Options(init="x")
    assert _optimizer(options).warmup == 10_000
    assert (options.optimizer.lr, options.optimizer.schedule, options.trainer.clip) == (2e-5, "linear", 1.0)
    assert _optimizer(Options(init="x", warmup_share=0.0)).warmup == 0


# ----------------------------------------------------------- interruptions


KILLED = """
import os, signal, sys
from prop_ir import cli, module
step = module.PropModule.training_step
def training_step(self, batch, number):
    if self.trainer.global_step == int(os.environ["DIE_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, number)
module.PropModule.training_step = training_step
sys.argv[0] = "prop-ir"
sys.exit(cli.main())
"""

KILLED_PREPARING = """
import os, signal, sys
from nonet.data.shards import ShardWriter
from prop_ir import cli
append, count = ShardWriter.append, iter(range(100))
def killed(self, row):
    if next(count) == 33:
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, row)
ShardWriter.append = killed
sys.argv[0] = "prop-ir"
sys.exit(cli.main())
"""


def killed(program, *words, **variables):
    line = [sys.executable, "-c", program, "pretrain", *map(str, words)]
    done = subprocess.run(
        line, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["store", "corpus"])
def test_a_killed_run_is_resumed_to_the_bit(source, request, undisturbed, tmp_path):
    words = request.getfixturevalue({"store": "given", "corpus": "given_corpus"}[source])
    folder = tmp_path / "run"
    killed(KILLED, *words, "--out", folder, DIE_AT="10")
    assert [entry["step"] for entry in numbers(folder)][-1] == 10  # beyond the checkpoint of step 8
    assert not (folder / "model").exists()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "train')  # as if it had died while writing
    assert command(*words, "--resume", folder) == 0
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [session["exit"] for session in sessions] == [None, 0]


@pytest.mark.slow
def test_a_run_killed_while_it_prepares_is_resumed_to_the_bit(given_corpus, undisturbed, tmp_path):
    folder = tmp_path / "run"
    killed(KILLED_PREPARING, *given_corpus, "--out", folder)
    assert not (folder / "metrics.jsonl").exists()
    assert not (folder / "store" / "meta.json").exists()
    assert command(*given_corpus, "--resume", folder) == 0
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)


def test_a_run_killed_when_its_model_was_saved_is_finished(given, undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "report.html").unlink()
    assert command(*given, "--resume", folder) == 0
    assert (folder / "report.html").exists()
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_good(
    given, undisturbed, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    step = PropModule.training_step
    with monkeypatch.context() as patch:
        patch.setattr(
            PropModule,
            "training_step",
            lambda self, *rest: step(self, *rest) * (math.nan if self.trainer.global_step == 6 else 1),
        )
        assert command(*given, "--out", folder) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("prop-ir pretrain: step 7: the loss is nan")
    assert len(json.loads((folder / "nonfinite.json").read_text())["ids"]) == 8
    assert command(*given, "--resume", folder.parent) == 0  # the newest run below the folder
    assert numbers(folder) == numbers(undisturbed)
    assert weights(folder) == weights(undisturbed)


def test_a_run_is_not_resumed_with_other_options(given, undisturbed, tmp_path, capsys):
    before = numbers(undisturbed)
    for changes, message in (
        (["--batch", 6], "batch"),
        (["--trainer.seed", 1], "seed"),
        (["--pairs", 3], "other data, batch size or seed"),
        (["--max-length", 48], "max_length is 48 here but 64 in the checkpoint"),
        (["--loss", "hinge"], "loss is hinge here but logistic in the checkpoint"),
        (["--sampler.keep", "1e-3"], "sampler.keep is 0.001 here but 0.01 in the checkpoint"),
        (["--masks.share", "0.1"], "masks.share is 0.1 here but 0.15 in the checkpoint"),
        (["--val-share", 0.2], "other data, batch size or seed"),
    ):
        assert command(*given, *changes, "--resume", undisturbed) == 2, message
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert numbers(undisturbed) == before
    assert command(*given, "--resume", tmp_path) == 2
    assert "no run to go on with (no run.json)" in capsys.readouterr().err


# ----------------------------------------------------------- what is trained


def test_without_a_loss_a_head_stays_as_it_was(given, toy, tmp_path):
    start, _ = load_prop(toy / "encoder", head="new", say=lambda _: None)
    short = [*given, "--trainer.steps", 2]
    assert command(*short, "--rop-weight", 0, "--out", tmp_path / "mlm") == 0
    assert command(*short, "--mlm-weight", 0, "--out", tmp_path / "rop") == 0
    for name in ("mlm", "rop"):
        found, _ = load_prop(tmp_path / name / "model", say=pytest.fail)
        for key, value in start.state_dict().items():
            ranking = "pooler" in key or "classifier" in key
            stays = ranking if name == "mlm" else key.startswith("words.")
            if key == "ranker.classifier.bias":  # it is in both scores, and their difference is what counts
                stays = True
            moved = not torch.equal(found.state_dict()[key], value)
            assert moved != stays, (name, key)
    assert "train/mlm" not in numbers(tmp_path / "rop")[0]
    lines = numbers(tmp_path / "mlm")
    assert lines[0]["train/loss"] == lines[0]["train/mlm"]


def test_the_best_weights_are_those_of_the_lowest_validation_loss(given, tmp_path):
    # Each step undoes all before it.
    rising = ["--optimizer.lr", 30, "--optimizer.warmup", 13]
    words = [*given, "--weights", "best", *rising, "--optimizer.schedule", "constant"]
    assert command(*words, "--out", tmp_path / "run") == 0
    lines = [line for line in numbers(tmp_path / "run") if "val/loss" in line]
    best = min(lines, key=lambda line: line["val/loss"])
    assert best is not lines[-1]
    kept = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert kept["global_step"] == best["step"]
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, value in saved.items():
        assert torch.equal(kept["state_dict"][f"objective.model.ranker.{name}"], value)
    assert f"order: {best['val/accuracy']:.1%}" in (tmp_path / "run" / "log.txt").read_text()


def test_pre_training_goes_on_from_its_own_folder(given, undisturbed, tmp_path):
    words = [*given, "--optimizer.lr", "1e-12", "--trainer.steps", "2", "--head", "keep"]
    assert command(*words, "--init", undisturbed / "model", "--out", tmp_path / "run") == 0
    first, second = (
        load_prop(folder / "model")[0].state_dict() for folder in (undisturbed, tmp_path / "run")
    )
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6)


def test_all_samplers_and_losses_run(given, tmp_path):
    for number, (sampler, loss) in enumerate((("topk500", "hinge"), ("uniform", "softmax_hinge"))):
        words = ["--sampler.sampler", sampler, "--loss", loss, "--trainer.steps", 1, "--val-share", 0]
        assert command(*given, *words, "--bert-adam", "--out", tmp_path / str(number)) == 0
    assert "no documents were held out" in (tmp_path / "1" / "log.txt").read_text()
    assert not (tmp_path / "1" / "checkpoints" / "best.ckpt").exists()


def test_the_verdict_by_hand():
    assert _verdict({"val/accuracy": 0.812}) == "held-out pairs in the right order: 81.2% (chance: 50 %)"
    assert "it has hardly learnt" in _verdict({"val/accuracy": 0.549})
    assert _verdict({}).startswith("no documents were held out")


# ----------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--corpus", "a.jsonl"], "give either --store STORE or --corpus FILES"),
        (["--store", "nowhere"], "nowhere: no store here"),
        (["--init", "no/such/folder"], "no folder no/such/folder"),
        (["--max-length", "129"], "max_length is 129, but"),
        (["--max-length", "4"], "max_length 4 leaves no room"),
        (["--batch", "0"], "batch is 0; it is 1 or more"),
        (["--pairs", "0"], "pairs is 0; it is 1 or more"),
        (["--val-share", "1"], "val_share is 1; the share kept for validation lies in [0, 1)"),
        (["--warmup-share", "1"], "warmup_share is 1; it lies in [0, 1)"),
        (["--mlm-weight", "-1"], "mlm_weight is -1; it is 0 or more"),
        (["--head-rate", "0"], "head_rate is 0; it is positive"),
        (["--rop-weight", "0", "--masks.share", "0"], "there is nothing to learn"),
        (["--bert-adam", "--optimizer.name", "adafactor"], "bert_adam takes the place of adamw"),
        (["--sampler.sampler", "bprop"], "--sampler.sampler bprop and --terms WEIGHTS (of bprop-attn) go"),
        (["--sampler.floor", "100000"], "no word occurs 100000 times in these 60 documents"),
        (["--optimizer.warmup", "20"], "warmup 20 leaves nothing of 14 steps"),
        (["--masks.share", "2"], "masks.share is 2"),
        (["--loss", "best"], "softmax_hinge"),
        (["--trainer.steps", "0"], "steps is 0; it is at least 1"),
        (["--trainer.accelerator", "gpu"], "accelerator is gpu, but torch sees no GPU here"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(given, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    assert command(*given, *changes, "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
    assert error.startswith("prop-ir pretrain: ")
    assert not (tmp_path / "run").exists()


def test_a_store_of_another_tokenizer_is_refused(given, toy, tmp_path, capsys):
    from prop_ir.pieces import load_tokenizer

    folder = write_encoder(tmp_path / "other", layers=1, width=32, heads=2)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["newword"])
    tokenizer.save_pretrained(folder)
    assert command(*given, "--init", folder, "--out", tmp_path / "run") == 2
    assert "was made with another tokenizer than that of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_collection_of_one_document_is_too_few(given_corpus, tmp_path, capsys):
    (tmp_path / "one.jsonl").write_text(json.dumps({"id": "a", "text": "storm storm wind wind"}) + "\n")
    words = replaced(given_corpus, "--corpus", tmp_path / "one.jsonl", "--sampler.floor", 1)
    assert command(*words, "--out", tmp_path / "run") == 2
    assert "1 documents are too few to train on" in capsys.readouterr().err.splitlines()[-1]
