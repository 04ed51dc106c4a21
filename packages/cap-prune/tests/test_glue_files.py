"""GLUE's files as they are: counts of the published sets, labels in the right order, and what is refused."""

import pytest

from cap_prune.encoding import read_texts
from cap_prune.glue_files import read_glue, sides_of
from cap_prune.tasks import (
    TASKS,
    columns_of,
    label_config,
    task_of,
    trained_length,
    trained_stride,
    trained_task,
)
from nonet.errors import UserError
from nonet.testing import data_folder


def written(folder, name, lines):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "folder", "counts", "positive"),
    [
        ("sst2", "SST-2", (67_349, 872, 1_821), (37_569, 444, None)),
        ("mrpc", "MRPC", (3_668, 408, 1_725), (2_474, 279, 1_147)),
        ("rte", "RTE", (2_490, 277, None), (None, None, None)),
        ("cola", "CoLA", (8_551, 1_043, None), (None, None, None)),
        ("stsb", "STS-B", (5_749, 1_500, 1_379), (None, None, None)),
    ],
)
def test_the_real_files_have_the_published_counts(name, folder, counts, positive):
    path = data_folder("glue", folder)
    for side, count, ones in zip(("train", "dev", "test"), counts, positive, strict=True):
        if count is None:
            with pytest.raises(UserError, match=r"no labels.*GLUE hides those of test sets"):
                read_glue(TASKS[name], path, side)
            assert len(read_glue(TASKS[name], path, side, labelled=False)) in (3_000, 1_063)
            continue
        found = read_glue(TASKS[name], path, side)
        assert len(found) == len(found.labels) == count
        assert ones is None or sum(found.labels) == ones
        assert (found.second is None) == (name in ("sst2", "cola"))


def test_the_training_side_of_mrpc_is_whole_although_its_tsv_lacks_a_row(tmp_path):
    path = data_folder("glue", "MRPC")
    whole = read_glue(TASKS["mrpc"], path, "train")
    short = read_glue(TASKS["mrpc"], path / "train.tsv", "train")
    assert len(short) == 3_667
    lacking = set(zip(whole.first, whole.second, strict=True)) - set(
        zip(short.first, short.second, strict=True)
    )
    assert len(lacking) == 1
    dev = read_glue(TASKS["mrpc"], path, "dev")
    assert not set(zip(whole.first, whole.second, strict=True)) & set(zip(dev.first, dev.second, strict=True))


def test_sentences_are_read_to_the_letter(tmp_path):
    found = read_glue(TASKS["sst2"], data_folder("glue", "SST-2"), "dev")
    assert (found.first[0], found.labels[0]) == ("it 's a charming and often affecting journey .", 1)
    pairs = read_glue(TASKS["mrpc"], data_folder("glue", "MRPC"), "dev")
    assert pairs.second[0].startswith('" The foodservice pie business')  # a quote, and not a quoted cell


def test_only_newlines_end_a_line_and_quotes_are_letters(tmp_path):
    odd = 'he said "x\u2028y" and "'
    path = written(tmp_path, "dev.tsv", ["sentence\tlabel", f"{odd} \t1", "plain\t0\r"])
    found = read_glue(TASKS["sst2"], path, "dev")
    assert (found.first, found.labels) == ([odd, "plain"], [1, 0])


def test_broken_rows_of_qqp_are_counted_and_those_of_others_stop(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    rows = [header, "0\t1\t2\ta\tb\t1", "1\t3\t4\tbroken", "2\t5\t6\tc\td\t0", "7"]
    found = read_glue(TASKS["qqp"], written(tmp_path, "train.tsv", rows), "train")
    assert (found.first, found.second, found.labels, found.skipped) == (["a", "c"], ["b", "d"], [1, 0], 2)
    bad = written(tmp_path, "dev.tsv", ["sentence\tlabel", "a\t1", "b", "c\t1\tmore"])
    with pytest.raises(UserError, match=r"dev\.tsv:3: 1 cells, expected 2; 2 bad rows in all"):
        read_glue(TASKS["sst2"], bad, "dev")


def test_hidden_and_unknown_labels_are_refused_with_line_and_count(tmp_path):
    hidden = written(tmp_path, "train.tsv", ["sentence\tlabel", "a\t1", "b\t-1", "c\t-1"])
    with pytest.raises(
        UserError, match=r"train\.tsv:3: label is -1: the labels of this file are hidden.*2 bad"
    ):
        read_glue(TASKS["sst2"], hidden, "train")
    assert read_glue(TASKS["sst2"], hidden, "train", labelled=False).labels is None
    wrong = written(tmp_path, "dev.tsv", ["index\tsentence1\tsentence2\tlabel", "0\ta\tb\tneutral"])
    with pytest.raises(
        UserError, match=r"dev\.tsv:2: label is 'neutral'; labels of rte are entailment, not_"
    ):
        read_glue(TASKS["rte"], wrong, "dev")
    score = written(tmp_path, "s.tsv", ["sentence1\tsentence2\tscore", "a\tb\tnan"])
    with pytest.raises(UserError, match=r"s\.tsv:2: score is 'nan', no number"):
        read_glue(TASKS["stsb"], score, "dev")


def test_a_missing_column_and_a_missing_file_are_named(tmp_path):
    path = written(tmp_path, "dev.tsv", ["text\tlabel", "a\t1"])
    with pytest.raises(UserError, match=r"dev\.tsv:1: no column 'sentence' of task sst2; columns are 'text'"):
        read_glue(TASKS["sst2"], path, "dev")
    with pytest.raises(UserError, match=r"no dev_matched\.tsv of task mnli"):
        read_glue(TASKS["mnli"], tmp_path, "dev")
    with pytest.raises(UserError, match=r"empty\.tsv: is empty"):
        read_glue(TASKS["sst2"], written(tmp_path, "empty.tsv", []), "dev")
    with pytest.raises(UserError, match="no such file or folder"):
        read_texts(TASKS["sst2"], tmp_path / "absent", "dev")


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\nfine\t1\ncaf\xe9\t0\n\xff\t1\n")
    with pytest.raises(UserError, match=r"train\.tsv:3: not UTF-8 \(2 such lines\); convert it: iconv"):
        read_glue(TASKS["sst2"], path, "train")


def test_labels_have_the_order_of_datasets():
    assert task_of("MNLI").labels == ("entailment", "neutral", "contradiction")
    assert [TASKS[name].labels.index("entailment") for name in ("rte", "qnli", "wnli")] == [0, 0, 1]
    assert TASKS["qqp"].labels[1] == "duplicate"
    assert TASKS["mrpc"].labels[1] == "equivalent"
    assert sides_of(task_of("mnli"), "dev") == ["dev", "dev-mismatched"]


def test_mnli_is_read_with_both_sides(tmp_path):
    for side, word in (("matched", "a"), ("mismatched", "b")):
        rows = ["index\tsentence1\tsentence2\tgold_label", f"0\t{word}\tz\tcontradiction"]
        written(tmp_path, f"dev_{side}.tsv", rows)
    for side, word in (("dev", "a"), ("dev-mismatched", "b")):
        found = read_glue(task_of("mnli"), tmp_path, side)
        assert (found.first, found.labels) == ([word], [2])


def test_a_model_with_another_order_of_labels_is_read_by_name():
    mnli = task_of("mnli")
    old = {0: "CONTRADICTION", 1: "ENTAILMENT", 2: "NEUTRAL"}
    assert columns_of(old, mnli) == [1, 2, 0]
    assert columns_of({str(k): f"LABEL_{k}" for k in range(3)}, mnli) == [0, 1, 2]
    with pytest.raises(UserError, match=r"the model's labels are \['no', 'yes'\], those of task rte are"):
        columns_of({0: "no", 1: "yes"}, task_of("rte"))
    with pytest.raises(UserError, match="another model, or another task"):
        columns_of({0: "LABEL_0", 1: "LABEL_1"}, mnli)


def test_a_config_says_what_was_trained():
    class Config:
        cap_task = {"task": "classify", "max_length": 20}
        id2label = {1: "b", 0: "a"}

    assert trained_task(Config).labels == ("a", "b")
    assert trained_task(Config, "stsb").kind == "regression"
    assert (trained_length(Config, TASKS["sst2"]), trained_length(Config, TASKS["sst2"], 9)) == (20, 9)
    assert (trained_stride(Config), trained_stride(Config, 0)) == (128, 0)
    Config.cap_task = None
    assert (trained_length(Config, TASKS["sst2"]), trained_length(Config, TASKS["squad"])) == (128, 384)
    with pytest.raises(UserError, match=r"does not say which task.*--task"):
        trained_task(Config)
    assert label_config(trained_task(Config, "rte"))["label2id"] == {"entailment": 0, "not_entailment": 1}


def test_tasks_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match="no task 'imdb'; there are sst2, mrpc"):
        task_of("imdb")
    with pytest.raises(UserError, match="a classifier needs two or more"):
        task_of("classify", ("only",))
    assert task_of("SST-2") is TASKS["sst2"]
