"""Users' files: every format, labels found in them, and faults with their place and number."""

import json

import pytest

from cap_prune.encoding import read_texts, resolve_task
from cap_prune.record_files import labels_found, read_records
from cap_prune.tasks import task_of
from nonet.errors import UserError

AB = task_of("classify", ("a", "b"))


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_formats_give_the_same_texts(tmp_path):
    rows = [{"text": 'one, "two"', "label": "b"}, {"text": "three", "label": "a"}]
    lines(tmp_path / "x.jsonl", *rows)
    (tmp_path / "x.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "x.csv").write_text('label,text\nb,"one, ""two"""\na,three\n', encoding="utf-8")
    (tmp_path / "x.tsv").write_text('text\tlabel\none, "two"\tb\nthree\ta\n', encoding="utf-8")
    for suffix in ("jsonl", "json", "csv", "tsv"):
        found = read_records(AB, tmp_path / f"x.{suffix}", "train")
        assert (found.first, found.second, found.labels) == (['one, "two"', "three"], None, [1, 0]), suffix


def test_a_saved_data_set_is_read_by_the_names_of_its_labels(tmp_path):
    import datasets

    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["contradiction", "entailment", "neutral"]),
        }
    )
    rows = {"premise": ["p", "q"], "hypothesis": ["r", "s"], "label": [0, 2]}
    hidden = {"premise": ["p"], "hypothesis": ["r"], "label": [-1]}
    saved = datasets.DatasetDict(
        {
            "validation_matched": datasets.Dataset.from_dict(rows, features=features),
            "test_matched": datasets.Dataset.from_dict(hidden, features=features),
        }
    )
    saved.save_to_disk(tmp_path / "mnli")
    found = read_texts(task_of("mnli"), tmp_path / "mnli", "dev")
    assert (found.first, found.second, found.labels) == (["p", "q"], ["r", "s"], [2, 1])
    with pytest.raises(UserError, match=r"mnli/test_matched:row 1: label is -1: the labels of this file"):
        read_texts(task_of("mnli"), tmp_path / "mnli", "test")
    with pytest.raises(
        UserError, match="no split for the train side; there are validation_matched, test_mat"
    ):
        read_texts(task_of("mnli"), tmp_path / "mnli", "train")


def test_labels_are_found_in_the_data_and_ordered(tmp_path):
    path = lines(
        tmp_path / "train.jsonl", *({"text": "x", "label": label} for label in ("no", "yes", "maybe"))
    )
    assert resolve_task("classify", tmp_path).labels == ("maybe", "no", "yes")
    numbers = lines(tmp_path / "n.jsonl", *({"text": "x", "label": label} for label in (10, 9, -1)))
    assert labels_found(task_of("classify"), numbers) == ("-1", "9", "10")
    assert path.exists()


@pytest.mark.parametrize("others", [[], [0], [0, 1], [2, 0, 1], ["no", "yes"], ["no", 1]])
def test_a_hidden_label_among_others_is_refused_with_its_place(tmp_path, others):
    labels = [*others, -1, *others, "-1"]
    path = lines(tmp_path / "train.jsonl", *({"text": "x", "label": label} for label in labels))
    where = rf"train\.jsonl:{len(others) + 1}: label is -1: it is hidden, .*; 2 bad rows in all"
    with pytest.raises(UserError, match=where):
        resolve_task("classify", tmp_path)
    lines(path, {"text": "x", "label": 1}, {"text": "y", "label": -1})
    assert resolve_task("classify", tmp_path).labels == ("-1", "1")


def test_pairs_and_regressions(tmp_path):
    path = lines(tmp_path / "dev.jsonl", {"text": "a", "text2": "b", "label": 2.5})
    found = read_records(task_of("regress"), tmp_path, "dev")
    assert (found.first, found.second, found.labels) == (["a"], ["b"], [2.5])
    assert read_records(task_of("stsb"), path, "dev").labels == [2.5]  # a task of GLUE in a file of one's own
    with pytest.raises(UserError, match=r"t\.jsonl:1: no field 'sentence1' and 'sentence2' of task rte"):
        read_texts(task_of("rte"), lines(tmp_path / "t.jsonl", {"text": "a", "label": "entailment"}), "dev")


def test_all_bad_rows_are_counted_and_the_first_is_named(tmp_path):
    path = lines(
        tmp_path / "x.jsonl", {"text": "fine", "label": "a"}, {"text": None, "label": "a"},
        {"text": "x", "label": "c"}, {"text": "x", "label": None}, {"text": "x", "label": [1]},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"x\.jsonl:2: text is missing; it is a text; 4 bad rows in all"):
        read_records(AB, path, "train")
    path.write_text('{"text": "x", "label": "a"}\n{"text": "x"\nno\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.jsonl:2: not valid JSON .*; 2 bad rows in all"):
        read_records(AB, path, "train")
    table = tmp_path / "x.csv"
    table.write_text("text,label\nx,a\nx\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.csv:3: 1 cells, but the header names 2 .*; 1 bad row in all"):
        read_records(AB, table, "train")


def test_missing_columns_name_those_that_are_there(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"sentence": "x", "label": "a"})
    with pytest.raises(
        UserError, match=r"x\.jsonl:1: no field 'text' of task classify; fields are sentence, l"
    ):
        read_records(AB, path, "train")
    lines(path, {"text": "x", "class": "a"})
    with pytest.raises(
        UserError, match=r"x\.jsonl:1: no field 'label' with the label; fields are text, class"
    ):
        read_records(AB, path, "train")
    assert read_records(AB, path, "train", labelled=False).labels is None


def test_quotes_of_a_spreadsheet_in_a_tsv_are_noticed(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\n"he said ""no"""\ta\n"odd" and "even"\tb\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.tsv:2: a cell is quoted the way of CSV.*\(1 such rows\).*\.csv"):
        read_records(AB, path, "train")


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\nfine,a\ncaf\xe9,b\n")
    with pytest.raises(UserError, match=r"x\.csv:3: not UTF-8 \(1 such line\)"):
        read_records(AB, path, "train")


def test_a_folder_has_one_file_for_a_side(tmp_path):
    with pytest.raises(
        UserError, match=r"no dev or validation with one of the suffixes \.jsonl.*task classify"
    ):
        read_records(AB, tmp_path, "dev")
    lines(tmp_path / "validation.jsonl", {"text": "x", "label": "a"})
    assert read_records(AB, tmp_path, "dev").first == ["x"]
    (tmp_path / "dev.csv").write_text("text,label\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"both dev\.csv and validation\.jsonl could be the dev side"):
        read_records(AB, tmp_path, "dev")
    with pytest.raises(UserError, match="holds no examples"):
        read_records(AB, tmp_path / "dev.csv", "dev")
