"""The verbs `eval` and `predict`, run in process on tiny models."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForQuestionAnswering

from cap_prune import toy
from cap_prune.commands import eval as eval_verb
from cap_prune.commands import predict as predict_verb
from cap_prune.predicting import _row
from cap_prune.tasks import task_of
from nonet.data.prediction_lines import PredictionLines
from nonet.errors import UserError
from nonet.training.hub import save_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy.write_task(tmp_path_factory.mktemp("task"), train=4, dev=30)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder that says what it was trained on, as `teacher` and `prune` write it."""
    made = toy.new_bert(seed=1)
    made.config.cap_task = {"task": "classify", "max_length": 24, "align": "mean-pooling"}
    with torch.no_grad():
        made.classifier.weight.mul_(30)
        inputs = toy.tokenizer()([each.text for each in toy.sentences(30)], padding=True, return_tensors="pt")
        gaps = made(**inputs).logits.diff(dim=1)[:, 0].sort().values
        made.classifier.bias[1] -= gaps[14:16].mean()  # both labels occur
    return save_folder(made, toy.tokenizer(), tmp_path_factory.mktemp("models") / "model", "# tiny\n")


def stop(file, error):
    """Write one prediction and be interrupted."""

    def work():
        with file:
            file.write({"id": "1"})
            raise error

    with pytest.raises(error):
        work()


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_eval_prints_and_writes_what_predictions_say(model, data, tmp_path, capsys):
    out, said = tmp_path / "scores.json", tmp_path / "labels.jsonl"
    assert eval_verb.run(eval_verb.Options(model=str(model), data=data, out=out)) == 0
    printed = capsys.readouterr().out
    predict_verb.run(predict_verb.Options(model=str(model), input=(data / "dev.jsonl",), out=said))
    gold = [row["label"] for row in rows(data / "dev.jsonl")]
    share = sum(a["label"] == b for a, b in zip(rows(said), gold, strict=True)) / 30
    scores = json.loads(out.read_text())["scores"]["dev"]
    assert scores["accuracy"] == pytest.approx(share)
    assert scores["examples"] == 30
    assert f"classify dev   accuracy     {share:.4f}  (30 examples)" in printed


def test_predictions_do_not_depend_on_batches_or_formats(model, data, tmp_path):
    found = []
    texts = [row["text"] for row in rows(data / "dev.jsonl")]
    (tmp_path / "x.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    quoted = "".join(f'"{text}"\n' for text in texts)
    (tmp_path / "x.csv").write_text(f"text\n{quoted}", encoding="utf-8")
    inputs = (data / "dev.jsonl", tmp_path / "x.txt", tmp_path / "x.csv")
    for number, (path, batch) in enumerate(zip(inputs, (1, 7, 64), strict=True)):
        out = tmp_path / f"{number}.jsonl"
        predict_verb.run(predict_verb.Options(model=str(model), input=(path,), out=out, batch=batch))
        found.append(rows(out))
    labels = [[row["label"] for row in each] for each in found]
    assert labels[0] == labels[1] == labels[2]
    assert [row["id"] for row in found[0]] == [str(number) for number in range(1, 31)]
    assert set(labels[0]) == {"negative", "positive"}
    for ours, theirs in zip(found[0], found[2], strict=True):
        assert sum(ours["scores"].values()) == pytest.approx(1, abs=2e-5)
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=2e-5)


def test_a_label_hangs_on_no_digit_that_batches_decide():
    task = task_of("classify", toy.LABELS)
    for last in (-1e-7, 0.0, 1e-7):
        row = _row(task, np.asarray([1.0, 1.0 + last]))
        assert row == {"label": "negative", "scores": {"negative": 0.5, "positive": 0.5}}


def test_an_interrupted_prediction_goes_on_where_it_stopped(model, data, tmp_path):
    options = predict_verb.Options(model=str(model), input=(data / "dev.jsonl",), out=tmp_path / "a.jsonl")
    predict_verb.run(options)
    whole = options.out.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    marked = [lines[0].replace('"id": "1", ', '"id": "1", "kept": 1, '), *lines[1:5], lines[5][:20]]
    options.out.unlink()
    file = PredictionLines(options.out, predict_verb._settings(options, 24, 128))
    stop(file, KeyboardInterrupt)
    file.part.write_text("".join(marked), encoding="utf-8")
    predict_verb.run(options)
    assert options.out.read_text(encoding="utf-8") == "".join([marked[0], *lines[1:]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]
    with pytest.raises(UserError, match=r"a\.jsonl exists; give another name, or --overwrite"):
        predict_verb.run(options)


def test_an_unfinished_file_of_other_options_is_not_gone_on_with(tmp_path):
    stop(PredictionLines(tmp_path / "x", {"model": "a"}), RuntimeError)
    with pytest.raises(UserError, match="was begun with model = 'a', and now it is 'b'; give the same"):
        PredictionLines(tmp_path / "x", {"model": "b"})
    assert PredictionLines(tmp_path / "x", {"model": "b"}, overwrite=True).resumed == 0
    again = PredictionLines(tmp_path / "x", {"model": "a"})
    assert again.resumed == 1

    class Item:
        id = "7"

    with pytest.raises(UserError, match="prediction 1 is of '1', but the input has '7' there"):
        list(again.remaining([Item()]))
    with pytest.raises(UserError, match="1 predictions, but the input has 0 records"):
        list(again.remaining([]))
    with pytest.raises(ValueError, match="outside of the with block"):
        again.write({"id": "2"})
    with pytest.raises(RuntimeError), PredictionLines(tmp_path / "y", {}):
        raise RuntimeError
    assert not list(tmp_path.glob("y*"))


def test_texts_that_are_cut_are_counted(model, tmp_path, capsys):
    path = tmp_path / "x.txt"
    path.write_text("good film\n" + "good " * 40 + "\n", encoding="utf-8")
    predict_verb.run(predict_verb.Options(model=str(model), input=(path,), out=tmp_path / "out.jsonl"))
    assert "2 records; 1 cut to 24 tokens" in capsys.readouterr().err


def test_predict_refuses_what_it_cannot_read(model, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "x", "text": "good"}\n{"body": "y"}\n', encoding="utf-8")
    options = {"model": str(model), "out": tmp_path / "out.jsonl"}
    with pytest.raises(UserError, match=r"bad\.jsonl:2: no field 'text'; fields are body"):
        predict_verb.run(predict_verb.Options(input=(bad,), **options))
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"empty\.txt: holds no records"):
        predict_verb.run(predict_verb.Options(input=(tmp_path / "empty.txt",), **options))
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(UserError, match="batch is 0"):
        predict_verb.Options(input=(bad,), batch=0, **options)


def test_pairs_are_read_from_named_fields(model, tmp_path):
    path, plain = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    path.write_text('{"id": 5, "a": "the film was good", "b": "bad"}\n', encoding="utf-8")
    options = predict_verb.Options(model=str(model), input=(path,), out=plain, fields=("a", "b"))
    predict_verb.run(options)
    whole = AutoModelForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        logits = whole(**toy.tokenizer()("the film was good", "bad", return_tensors="pt")).logits
    (row,) = rows(plain)
    assert row["id"] == "5"
    assert list(row["scores"].values()) == pytest.approx(logits.softmax(1)[0].tolist(), abs=2e-5)


def test_eval_needs_a_task_and_data(tmp_path, data):
    folder = toy.write_encoder(tmp_path / "model")
    with pytest.raises(UserError, match="does not say which task it was trained on; name it with --task"):
        eval_verb.run(eval_verb.Options(model=str(folder), data=data))
    with pytest.raises(UserError, match="absent: no such file or folder"):
        eval_verb.run(eval_verb.Options(model=str(folder), data=tmp_path / "absent", task="sst2"))
    with pytest.raises(UserError, match="max_length is 128, but the model has 64 positions"):
        eval_verb.run(eval_verb.Options(model=str(folder), data=data, task="classify"))
    with pytest.raises(UserError, match="stride is -1"):
        eval_verb.Options(model="x", data=data, stride=-1)


def test_squad_is_scored_and_answered(tmp_path):
    words = toy.tokenizer(64)
    text = toy.sentences(1, 0)[0].text
    word = text.split()[2]
    answer = {"text": word, "answer_start": text.index(word)}
    entry = {"id": "q", "question": "which word", "answers": [answer]}
    value = {"data": [{"paragraphs": [{"context": text, "qas": [entry]}]}]}
    (tmp_path / "dev-v1.1.json").write_text(json.dumps(value), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, cap_task={"task": "squad", "max_length": 64},
    )  # fmt: skip
    torch.manual_seed(0)
    folder = save_folder(BertForQuestionAnswering(config), words, tmp_path / "model", "# tiny\n")
    out = tmp_path / "scores.json"
    eval_verb.run(eval_verb.Options(model=str(folder), data=tmp_path, out=out, stride=8))
    scores = json.loads(out.read_text())["scores"]["dev"]
    path = tmp_path / "in.jsonl"
    path.write_text(
        json.dumps({"id": "q", "question": "which word", "context": text}) + "\n", encoding="utf-8"
    )
    predict_verb.run(
        predict_verb.Options(model=str(folder), input=(path,), out=tmp_path / "out.jsonl", stride=8)
    )
    (row,) = rows(tmp_path / "out.jsonl")
    assert text[row["start"] :].startswith(row["answer"])
    assert row["answer"]
    assert scores["exact_match"] == 100.0 * (row["answer"] == word)
    assert scores["examples"] == 1
