"""Files of predictions: written, interrupted, gone on with, and read; and the made-up corpus."""

import json
from pathlib import Path

import pytest

from keyphrase_plm.documents import Document, Prediction
from keyphrase_plm.prediction_files import PredictionFile, as_row, read_predictions, stamps
from keyphrase_plm.presence import split, stemmer
from keyphrase_plm.sequences import source_words
from keyphrase_plm.toy import corpus, words
from nonet.errors import UserError
from nonet.testing import data_folder

DOCUMENTS = [Document(f"d{k}", "", "text") for k in range(5)]
OPTIONS = {"model": "m", "beams": 1}


def prediction(document):
    return Prediction(document.id, ("a net", document.id), (-0.5, -1.25), ((0, 2), (3, 4)), 7)


def write(path, count=5, options=OPTIONS, **more):
    """Predictions of the first documents; then the process is interrupted."""
    with PredictionFile(path, options, **more) as file:
        for number, document in enumerate(file.remaining(DOCUMENTS)):
            if file.done == count and count < 5:
                raise KeyboardInterrupt(number)
            file.write(prediction(document))
    return file


def test_what_is_written_is_read_back_whole(tmp_path):
    write(tmp_path / "new" / "out.jsonl")
    assert list(read_predictions(tmp_path / "new" / "out.jsonl")) == [prediction(d) for d in DOCUMENTS]
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("torn", ["", '{"id": "d3", "phr', '{"id": "d3", "phrases": []}', "\x00\x00"])
def test_an_interrupted_file_goes_on_after_its_last_whole_line(tmp_path, torn):
    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(path, 3)
    assert not path.exists()
    part = tmp_path / "out.jsonl.part"
    part.write_text(part.read_text() + torn)
    file = write(path)
    assert (file.resumed, file.done) == (3, 5)
    write(tmp_path / "whole.jsonl")
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"]


def test_other_options_and_other_input_are_refused_unless_it_begins_again(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(path, 2)
    with pytest.raises(UserError, match=r"out\.jsonl\.part was begun with beams = 1, and now it is 4"):
        write(path, options=OPTIONS | {"beams": 4})
    with pytest.raises(UserError, match=r"prediction 1 is of 'd0', but the input has 'd1' there"):
        list(PredictionFile(path, OPTIONS).remaining(DOCUMENTS[1:]))
    with pytest.raises(UserError, match=r"2 predictions, but the input has 1 records"):
        list(PredictionFile(path, OPTIONS).remaining(DOCUMENTS[:1]))
    assert write(path, options=OPTIONS | {"beams": 4}, overwrite=True).resumed == 0
    with pytest.raises(UserError, match=r"out\.jsonl exists; give another name, or --overwrite"):
        write(path)


def test_a_part_without_its_options_is_refused(tmp_path):
    path = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").write_text('{"id": "d0", "phrases": []}\n')
    with pytest.raises(UserError, match=r"out\.jsonl\.part\.json is missing or damaged; remove both"):
        write(path)


def test_a_mistake_before_the_first_prediction_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out.jsonl", 0)
    assert not list(tmp_path.iterdir())


def test_lines_of_text_are_predictions_by_number_and_blank_ones_are_empty(tmp_path):
    path = tmp_path / "hypotheses.hypo"
    path.write_text("a net ; b;a net\n\n ; ;\n")
    assert [found[:2] for found in read_predictions(path)] == [("1", ("a net", "b")), ("2", ()), ("3", ())]


def test_real_predictions_have_one_line_for_each_document():
    path = data_folder("stackexchange-kp", "my_sample_prediction", "StackExchange_predictions.txt")
    found = list(read_predictions(path))
    assert len(found) == 4945
    assert found[1].phrases[:3] == ("iphone", "software", "hardware")
    assert max(len(prediction.phrases) for prediction in found) == 20


def test_phrases_may_be_a_text_and_empty_ones_go(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"id": 1, "prediction": "a ; ; b"}, {"id": "2", "phrases": ["", " a  b ", "a b"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [found[:2] for found in read_predictions(path)] == [("1", ("a", "b")), ("2", ("a b",))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"phrases": []}, "no field 'id'"),
        ({"id": None, "phrases": []}, "the id is None"),
        ({"id": "a", "words": []}, "no field 'phrases'; fields are id, words"),
        ({"id": "a", "phrases": [1]}, "neither a list of texts nor a text"),
        ({"id": "a", "phrases": ["x", "y"], "scores": [1]}, "'scores' has to hold one entry for each phrase"),
        ({"id": "a", "phrases": ["x", "x"], "scores": [1, 2]}, "a phrase is empty or comes twice"),
        ({"id": "a", "phrases": ["x"], "scores": ["high"]}, "scores are numbers"),
        ({"id": "a", "phrases": ["x"], "spans": [3]}, "spans are pairs of whole numbers"),
    ],
)
def test_predictions_of_wrong_types_are_refused_with_their_line(tmp_path, row, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "first", "phrases": []}\n' + json.dumps(row) + "\n")
    with pytest.raises(UserError, match=rf"a\.jsonl:2: .*{message}"):
        list(read_predictions(path))


def test_a_document_with_two_predictions_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "phrases": []}\n' * 2)
    with pytest.raises(UserError, match=r"a\.jsonl:2: the id 'a' was there before"):
        list(read_predictions(path))
    with pytest.raises(UserError, match=r"b\.jsonl: no such file; predictions are"):
        list(read_predictions(tmp_path / "b.jsonl"))


def test_an_empty_prediction_is_an_empty_list():
    assert as_row(Prediction("a")) == {"id": "a", "phrases": []}


def test_made_up_documents_have_the_phrases_they_claim_and_are_the_same_each_time():
    documents = corpus(40, seed=1)
    assert documents == corpus(60, seed=1)[:40]
    assert documents != corpus(40, seed=2)
    vocabulary = set(words())
    for document in documents:
        phrases = [*document.present, *document.absent]
        assert split(source_words(document), phrases, stemmer()) == (
            list(document.present),
            list(document.absent),
        )
        assert (len(document.present), len(document.absent)) == (2, 1)
        assert set(f"{document.title} {document.body} {' '.join(phrases)}".split()) <= vocabulary


def test_a_file_whose_content_changed_has_another_stamp(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("a")
    before = stamps([path, Path("-")])
    assert before == stamps([path, Path("-")])
    assert before["-"] == [0, 0]
    path.write_text("ab")
    assert stamps([path, Path("-")]) != before
    inside = stamps([tmp_path])
    (tmp_path / "more").write_text("abc")
    assert stamps([tmp_path]) != inside
