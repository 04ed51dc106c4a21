"""Pieces of candidates from files and from a store, against the tokenizer itself."""

import pytest
from transformers import AutoTokenizer

from nonet.errors import UserError
from prop_ir.building import build_store
from prop_ir.collections import Collection
from prop_ir.document_pieces import candidates_of, pieces_of, scored_documents
from prop_ir.options import WordOptions
from prop_ir.toy import write_encoder


@pytest.fixture(scope="module")
def tokenizer(judged_ranker):
    return judged_ranker()[1]


@pytest.fixture(scope="module")
def store(judged_toy, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "store"
    build_store(
        Collection([judged_toy.folder / "docs.jsonl"]), tokenizer, folder, words=WordOptions(), max_pieces=20
    )
    return folder


def test_pieces_are_the_tokenizer_s(judged_toy, tokenizer):
    found = pieces_of(judged_toy.texts, tokenizer, 25)
    for name, text in judged_toy.texts.items():
        assert found[name].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"][:25]
    assert pieces_of({}, tokenizer) == {}
    assert pieces_of({"a": ""}, tokenizer)["a"].tolist() == []


def test_a_collection_and_its_store_give_the_same(judged_toy, tokenizer, store):
    ids = list(judged_toy.texts)[10:30]
    files = candidates_of([judged_toy.folder / "docs.jsonl"], ids, tokenizer, most=20)
    stored = candidates_of([store], ids, tokenizer, most=20)
    assert set(files.pieces) == set(ids)
    for name in ids:
        assert files.pieces[name].tolist() == stored.pieces[name].tolist()
    assert files.missing == stored.missing == files.notes == stored.notes == []


def test_missing_documents_are_counted_and_five_are_named(judged_toy, tokenizer, store):
    absent = [f"x{i}" for i in range(7)]
    for place in (judged_toy.folder / "docs.jsonl", store):
        found = candidates_of([place], [*absent, *list(judged_toy.texts)[:3]], tokenizer)
        assert found.missing == absent
        assert not any(name in found.pieces for name in absent)
        assert "7 of 10 candidates are not in it (x0, x1, x2, x3, x4, ...)" in found.notes[-1]
        with pytest.raises(UserError, match="7 of 7 candidates are not in it"):
            candidates_of([place], absent, tokenizer)


def test_a_store_that_cuts_earlier_than_the_model_says_so(judged_toy, tokenizer, store):
    found = candidates_of([store], list(judged_toy.texts), tokenizer, most=90)
    assert "documents end at the 20 pieces that the store keeps" in found.notes[0]


def test_a_store_of_another_tokenizer_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr("prop_ir.toy.PLAIN", ["other", "words"])
    other = AutoTokenizer.from_pretrained(write_encoder(tmp_path / "other", layers=1, width=8, heads=1))
    with pytest.raises(UserError, match="another tokenizer than that of tiny"):
        candidates_of([store], ["N0001"], other, name="tiny")


def test_documents_that_are_scored():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}, "r": {"a": 1.0}}
    assert list(scored_documents(run, 2)) == ["a", "b", "a"]
    qrels = {"q": {"z": 1, "y": 0}, "other": {"w": 1}}
    assert list(scored_documents(run, 1, qrels)) == ["a", "a", "z"]
