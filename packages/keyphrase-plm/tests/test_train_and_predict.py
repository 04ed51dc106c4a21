"""The journey through the command line: every family from a pre-trained folder to predictions."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from keyphrase_plm.cli import VERBS
from keyphrase_plm.layouts import PLAIN
from keyphrase_plm.loading import load_family
from keyphrase_plm.small_models import new_bart, new_bert
from keyphrase_plm.tagger import Tagger
from keyphrase_plm.tags import B, I, O
from keyphrase_plm.toy import corpus, words
from keyphrase_plm.train_options import TrainOptions
from keyphrase_plm.training_run import _documents
from keyphrase_plm.vocabulary import train_vocabulary
from nonet.cli import main
from nonet.runs import read_metrics
from nonet.testing import one_thread, replaced
from nonet.training.checkpoints import read_checkpoint

SHORT = (
    "--batch 8 --epochs 0 --select-size 8 --examples 3 --trainer.accelerator cpu --trainer.steps 4 "
    "--trainer.validate-every 2 --trainer.checkpoint-every 3 --trainer.log-every 1 --optimizer.lr 3e-3"
).split()
FAMILIES = ("tag", "seq2seq", "b2b", "prefix-lm")
LENGTHS = {
    "tag": [],
    "seq2seq": ["--model.max-source", 64, "--model.max-target", 24],
    "b2b": ["--model.max-source", 64, "--model.max-target", 24, "--model.max-output", 24,
            "--model.encoder-layers", 1, "--model.decoder-layers", 1],
    "prefix-lm": ["--model.max-source", 64, "--model.max-target", 24],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("NONET_PROGRESS", "0")
    with one_thread():
        yield


def command(*arguments):
    return main("keyphrase-plm", "about", "0", VERBS, argv=[*map(str, arguments)])


def write(path, documents):
    rows = [
        {"id": d.id, "title": d.title, "body": d.body, "present": d.present, "absent": d.absent}
        for d in documents
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with documents, an encoder and a BART that were not trained at all."""
    folder = tmp_path_factory.mktemp("journey")
    write(folder / "train.jsonl", corpus(24, 0))
    write(folder / "val.jsonl", corpus(10, 1))
    write(folder / "test.jsonl", corpus(12, 2))
    texts = [" ".join(words())] * 3 + [f"{document.title} {document.body}" for document in corpus(40, 3)]
    for name, kind, size in (("encoder", "wordpiece", 200), ("bart", "bpe", 360)):
        tokenizer = train_vocabulary(texts, size, kind=kind, positions=128)
        given = {"layers": 1, "width": 32, "heads": 2, "positions": 128}
        if name == "bart":
            model = new_bart(len(tokenizer), tokenizer, **given)
        else:
            model = new_bert(len(tokenizer), pad=tokenizer.pad_token_id, **given)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def training(place, family, *more):
    start = {"seq2seq": ["--init", place / "bart"], "b2b": ["--encoder", place / "encoder"]}
    documents = ["--train", place / "train.jsonl", "--val", place / "val.jsonl"]
    init = start.get(family, ["--init", place / "encoder"])
    given = ["train", family, *init, *documents, *SHORT, *LENGTHS[family]]
    return command(*replaced(given, *more))


@pytest.fixture(scope="module")
def models(place):
    """The run folder of each family, trained when it is asked for."""
    made = {}

    def model(family):
        if family not in made:
            with one_thread():
                assert training(place, family, "--out", place / f"run-{family}") == 0
            made[family] = place / f"run-{family}"
        return made[family]

    return model


def predictions(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def predict(model, place, out, *more):
    return command(
        "predict", "--model", model, "--input", place / "test.jsonl", "--out", out, "--device", "cpu", *more
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_saved_and_predicts_the_same_in_any_batches(family, place, models, tmp_path):
    run = models(family)
    lines = read_metrics(run)
    assert len([line for line in lines if "train/loss" in line]) == 4
    assert [line["step"] for line in lines if "val/f1" in line] == [2, 4]
    assert all({"val/loss", "val/phrases"} <= line.keys() for line in lines if "val/f1" in line)
    assert "what the model finds in them" in (run / "report.html").read_text()
    assert "nats a target token" in (run / "model" / "README.md").read_text()
    assert json.loads((run / "model" / "keyphrase.json").read_text())["family"] == family
    for name, tokens in (("one", 1), ("many", 4096)):
        assert predict(run / "model", place, tmp_path / name, "--decode.batch-tokens", tokens) == 0
    one, many = predictions(tmp_path / "one"), predictions(tmp_path / "many")
    assert [row["id"] for row in one] == [document.id for document in corpus(12, 2)]
    assert [row["phrases"] for row in one] == [row["phrases"] for row in many]
    for a, b in zip(one, many, strict=True):
        assert a.get("scores", []) == pytest.approx(b.get("scores", []), abs=1e-4)
        assert "" not in a["phrases"]


def test_the_model_folder_has_the_best_weights(place, models):
    run = models("prefix-lm")
    family = load_family(run / "model")
    kept = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    ours = family.state_dict()
    assert all(torch.equal(value, kept[f"family.{name}"]) for name, value in ours.items())


def test_training_goes_on_bit_for_bit(place, models, tmp_path, monkeypatch):
    """Of the tagger, whose head is drawn: the second run begins from the same seed in another state."""
    import nonet.training.callbacks as callbacks

    seen, broken = callbacks.Interrupts.wanted, tmp_path / "broken"
    whole = read_checkpoint(models("tag") / "checkpoints" / "last.ckpt")["state_dict"]
    torch.rand(7)
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.Interrupts, "wanted", lambda self, t: t.global_step == 3 or seen(self, t))
        assert training(place, "tag", "--out", broken) == 130
    assert training(place, "tag", "--resume", broken) == 0
    again = read_checkpoint(broken / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_a_loss_that_is_not_finite_costs_its_step(place, tmp_path, monkeypatch):
    from keyphrase_plm.tagger import Tagger

    forward, calls = Tagger.forward, []

    def poisoned(self, batch):
        total, count = forward(self, batch)
        calls.extend([1] if self.training else [])
        return total * (float("nan") if self.training and len(calls) == 2 else 1), count

    monkeypatch.setattr(Tagger, "forward", poisoned)
    assert training(place, "tag", "--out", tmp_path / "run") == 0
    lines = [line for line in read_metrics(tmp_path / "run") if "lr" in line]
    assert [line.get("skipped_steps", 0) for line in lines] == [0, 1, 1, 1]
    calls.clear()
    assert training(place, "tag", "--out", tmp_path / "other", "--max-skipped", 0) == 1


def test_a_prediction_that_was_killed_goes_on(place, models, tmp_path, monkeypatch, capsys):
    import keyphrase_plm.prediction_files as files

    model, out = models("prefix-lm") / "model", tmp_path / "out.jsonl"
    assert predict(model, place, tmp_path / "whole.jsonl") == 0
    write_one, written = files.PredictionFile.write, []

    def dies(self, prediction):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(prediction.id)
        write_one(self, prediction)

    with monkeypatch.context() as patched:
        patched.setattr(files.PredictionFile, "write", dies)
        assert predict(model, place, out) == 130
    part = out.with_name("out.jsonl.part")
    with part.open("a") as file:
        file.write('{"id": "toy-5", "phr')  # half a line, as a kill leaves it
    assert not out.exists()
    capsys.readouterr()
    assert predict(model, place, out, "--decode.batch-tokens", 64) == 0
    assert "5 were there already" in capsys.readouterr().err
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not part.exists()


def test_digits_become_one_token_with_a_row_of_embeddings(place, tmp_path):
    assert training(place, "prefix-lm", "--digit-token", "--out", tmp_path / "run") == 0
    family = load_family(tmp_path / "run" / "model")
    assert family.tokenizer.tokenize("the [digit] oak") == ["the", "[digit]", "oak"]
    assert family.model.get_input_embeddings().weight.shape[0] == len(family.tokenizer)


def test_a_subset_is_trained_on(place, tmp_path):
    assert training(place, "prefix-lm", "--train-size", 9, "--select", "loss", "--out", tmp_path / "run") == 0
    assert "train: 9 documents" in (tmp_path / "run" / "log.txt").read_text()


def test_methods_without_a_model_predict_and_go_on(place, tmp_path):
    for method in ("yake", "tfidf"):
        given = ["--method", method, "--input", place / "test.jsonl", "--out", tmp_path / method]
        assert command("predict", *given, "--top", 3) == 0
        found = predictions(tmp_path / method)
        assert [row["id"] for row in found] == [document.id for document in corpus(12, 2)]
        assert all(0 < len(row["phrases"]) <= 3 for row in found)


@pytest.fixture
def plain(place, tmp_path):
    """A file of plain text with signs at its words, and the same one as `prepare` writes it."""
    rows = [
        {"id": "1", "title": "Ash, birch", "abstract": "The cedar (dogwood), an ash-elm.",
         "keywords": ["Ash", "cedar", "ash-elm", "nowhere; at all"]},
        {"id": "2", "title": "", "abstract": "No fir; a gum, a hazel.", "keywords": "gum;hazel"},
    ]  # fmt: skip
    raw, ready = tmp_path / "raw.jsonl", tmp_path / "ready.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command("prepare", "--input", raw, "--out", ready, "--escape") == 0
    tagger = Tagger.tiny(AutoTokenizer.from_pretrained(place / "encoder"), seed=2, max_words=40)
    (tmp_path / "tagger").mkdir()
    tagger.save(tmp_path / "tagger")
    return raw, ready, tmp_path / "tagger"


def test_plain_text_is_trained_on_as_its_prepared_form(plain):
    raw, ready, model = plain
    family, found = load_family(model), []
    for path in (raw, ready):
        notes = []
        options = TrainOptions(train=(path,), val=(path,))
        found.append([*_documents(options, family, notes)])
        assert (f"2 {PLAIN}" in notes[0] or f"{PLAIN}: 2" in notes[0]) == (path == raw)
    for one, other in zip(*found, strict=True):
        bare = [[each._replace(where="") for each in side.documents] for side in (one, other)]
        assert bare[0] == bare[1]
        assert [row["labels"].tolist() for row in one.rows] == [row["labels"].tolist() for row in other.rows]
    # ash , birch the cedar ( dogwood ), an ash - elm .
    assert found[0][0].rows[0]["labels"].tolist() == [B, O, O, O, B, O, O, O, O, B, I, I, O]


def test_plain_text_is_predicted_as_its_prepared_form(plain, tmp_path, capsys):
    raw, ready, model = plain
    found = []
    for path in (raw, ready):
        out = tmp_path / f"out-{path.name}"
        capsys.readouterr()
        assert command("predict", "--model", model, "--input", path, "--out", out, "--device", "cpu") == 0
        assert (f"2 {PLAIN}" in capsys.readouterr().err) == (path == raw)
        found.append(out.read_text())
    assert found[0] == found[1]
    assert "spans" in found[0]


def refused(capsys, code, message):
    said = capsys.readouterr().err.strip()
    assert code == 2, said
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--init", "nowhere/at/all"], "no folder nowhere/at/all"),
        (["--train", "missing.jsonl"], "missing.jsonl"),
        (["--train-size", 25], "train_size is 25, but there are 24 documents"),
        (["--train-fraction", 2], "train_fraction is 2"),
        (["--batch", 0], "batch is 0"),
        (["--trainer.precision", "fp16"], "fp16"),
    ],
)
def test_mistakes_in_training_are_one_line_and_leave_no_folder(more, message, place, tmp_path, capsys):
    code = training(place, "prefix-lm", "--out", tmp_path / "run", *more)
    refused(capsys, code, message)
    assert not (tmp_path / "run").exists()


def test_documents_without_any_text_cannot_be_trained_on(place, tmp_path, capsys):
    path = tmp_path / "empty.jsonl"
    path.write_text('{"id": "1", "title": "", "body": " ", "present": [], "absent": []}\n')
    code = training(place, "prefix-lm", "--train", path, "--out", tmp_path / "run")
    refused(capsys, code, "train: no documents with text (1 empty ones)")


def test_a_tokenizer_of_another_model_is_refused(place, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(place / "encoder", mixed)
    for path in (place / "bart").glob("token*"):
        shutil.copy(path, mixed / path.name)
    code = command("pretrain", "--init", mixed, "--data", place / "train.jsonl", "--out", tmp_path / "run")
    refused(capsys, code, "rows of embeddings: they are not of one model")


def test_a_folder_that_is_no_keyphrase_model_is_refused_and_told_what_it_is_for(place, tmp_path, capsys):
    refused(
        capsys, predict(place / "encoder", place, tmp_path / "out"), "start from it with 'train ... --init'"
    )
    refused(capsys, predict(tmp_path / "none", place, tmp_path / "out"), "no such folder")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "keyphrase.json").write_text('{"family": "lda", "version": 1}')
    refused(capsys, predict(broken, place, tmp_path / "out"), "family is 'lda'; there are tag, seq2seq")
    assert not (tmp_path / "out").exists()


def test_a_model_or_a_method_is_needed(place, tmp_path, capsys):
    given = ["--input", place / "test.jsonl", "--out", tmp_path / "out"]
    refused(capsys, command("predict", *given), "give either --model FOLDER or --method NAME")
    refused(capsys, command("predict", *given, "--method", "lda"), "unknown method 'lda'; there are")


def test_an_existing_file_is_not_replaced(place, tmp_path, capsys):
    (tmp_path / "out").write_text("mine\n")
    refused(capsys, predict(place / "encoder", place, tmp_path / "out"), "exists")
    assert (tmp_path / "out").read_text() == "mine\n"
