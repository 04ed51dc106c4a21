"""The released code's intermediate files: against the store that the texts themselves give."""

import json
from collections import Counter

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from nonet.errors import UserError
from prop_ir.building import build_store
from prop_ir.documents import Document
from prop_ir.original_files import import_original, is_original, read_instances, read_rows
from prop_ir.words import Words

TEXTS = {
    "a": "The stone bridge. Stones and bridges, bridges!",
    "b": "the of",
    "c": "A bridge over water; waters, stone.",
}


@pytest.fixture
def tokenizer():
    pieces = ["[UNK]", *".,;!", *"abcdefghijklmnopqrstuvwxyz", "the", "bridge", "stone", "water", "##s"]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrtuvwxyz"]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path, tokenizer):
    """What preprocessing_data.py writes for TEXTS."""
    found = {name: Words().find(text) for name, text in TEXTS.items()}
    place = tmp_path / "original"
    place.mkdir()
    lines(
        place / "bert_tokenized_docs.json",
        [{"id": name, "contents": tokenizer.encode(text).tokens} for name, text in TEXTS.items()],
    )
    lines(
        place / "doc_tf_file.json",
        [{"id": name, "tf": Counter(words), "word_num": len(words)} for name, words in found.items()],
    )
    total = sum(map(len, found.values()))
    info = {"total_doc_num": 3, "total_word_num": total, "average_doc_word_num": total / 3}
    (place / "info_file.json").write_text(json.dumps(info))
    return place


def test_the_store_is_that_of_the_texts_but_for_the_order_of_words(folder, tokenizer, tmp_path):
    assert is_original(folder)
    store = import_original(folder, tokenizer, tmp_path / "store", max_pieces=8)
    texts = [Document(name, text, name) for name, text in TEXTS.items()]
    wanted, _ = build_store(texts, tokenizer, tmp_path / "wanted", max_pieces=8)
    assert (store.ids, store.types) == (wanted.ids, wanted.types) == (["a", "c"], wanted.types)
    assert store.ctf.tolist() == wanted.ctf.tolist()
    assert store.df.tolist() == wanted.df.tolist()
    assert store.word_counts.tolist() == wanted.word_counts.tolist()
    assert store.tokenizer_hash == wanted.tokenizer_hash
    for i in range(2):
        assert sorted(store.words(i)) == sorted(wanted.words(i))
        assert store.pieces(i).tolist() == wanted.pieces(i).tolist()
        assert store.starts(i).tolist() == wanted.starts(i).tolist()
        assert store.pieces(i).dtype == wanted.pieces(i).dtype
    assert [store.types[t] for t in store.words(0)] == ["stone", "bridge", "stones", "bridges", "bridges"]
    assert store.type_piece_flat.tolist() == wanted.type_piece_flat.tolist()
    assert store.meta["empty"] == [{"id": "b", "reason": "no words but stop words"}]


def test_stems_are_written_as_their_most_frequent_form(folder, tokenizer, tmp_path):
    stemmed = {"a": {"stone": 2, "bridg": 3}, "b": {}, "c": {"bridg": 1, "water": 2, "stone": 1}}
    lines(folder / "doc_tf_file.json", [{"id": name, "tf": tf} for name, tf in stemmed.items()])
    forms = {
        "bridg": {"bridges": 2, "bridge": 2},
        "water": {"water": 1, "waters": 1},
        "stone": {"stone": 2, "stones": 1},
    }
    (folder / "stem2pos_file.json").write_text(json.dumps(forms))
    store = import_original(folder, tokenizer, tmp_path / "store")
    assert store.types == ["stone", "bridge", "water"]
    assert store.ctf.tolist() == [3, 4, 2]
    assert store.meta["source"]["stems"] is True


def test_an_import_can_be_given_again(folder, tokenizer, tmp_path):
    store = import_original(folder, tokenizer, tmp_path / "store")
    with pytest.raises(UserError, match="a complete store"):
        import_original(folder, tokenizer, tmp_path / "store")
    again = import_original(folder, tokenizer, tmp_path / "store", existing="resume")
    assert again.meta == store.meta


def test_files_that_do_not_belong_together_are_refused(folder, tokenizer, tmp_path):
    out = tmp_path / "store"
    info = folder / "info_file.json"
    info.write_text('{"total_word_num": 11}')
    with pytest.raises(UserError, match=r"info_file.json says 11 words, doc_tf_file.json has 9"):
        import_original(folder, tokenizer, out)
    info.write_text("{}")
    with pytest.raises(UserError, match="no total_word_num"):
        import_original(folder, tokenizer, out)
    info.unlink()
    rows = (folder / "doc_tf_file.json").read_text().splitlines()
    (folder / "doc_tf_file.json").write_text("\n".join([rows[0], rows[2], rows[1]]))
    with pytest.raises(UserError, match=r"doc_tf_file.json:2: .* do not have the same documents"):
        import_original(folder, tokenizer, out)
    (folder / "doc_tf_file.json").write_text(rows[0])
    with pytest.raises(UserError, match="do not have the same documents"):
        import_original(folder, tokenizer, out)
    lines(folder / "doc_tf_file.json", [{"id": "a", "tf": []}])
    with pytest.raises(UserError, match=r"no line of \{id, tf\}"):
        import_original(folder, tokenizer, out)
    assert not out.exists()


def test_pieces_of_another_tokenizer_are_refused_before_anything_is_written(folder, tmp_path):
    other = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    with pytest.raises(UserError, match=r"piece 'the' of document 'a' is none of this tokenizer's"):
        import_original(folder, other, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_folder_without_the_files_is_refused(tokenizer, tmp_path):
    assert not is_original(tmp_path)
    with pytest.raises(UserError, match=r"no bert_tokenized_docs.json here"):
        import_original(tmp_path, tokenizer, tmp_path / "store")


def test_word_sets_are_read_with_the_better_one_first(tmp_path):
    path = tmp_path / "instances_epoch_0.json"
    sets = [[["one two", -3.5], ["three", -2.0]], [["four", -1.0], ["five", -1.0]]]
    lines(path, [{"doc_id": 7, "rep_word_sets": sets, "bert_tokenized_content": ["one"]}])
    assert list(read_instances(path)) == [
        ("7", ["three"], ["one", "two"], -2.0, -3.5),
        ("7", ["five"], ["four"], -1.0, -1.0),
    ]
    lines(path, [{"doc_id": 7, "rep_word_sets": [["one two", -3.5]]}])
    with pytest.raises(UserError, match=r"instances_epoch_0.json:1: no line of word sets"):
        list(read_instances(path))


def row(label):
    return {
        "input_ids": [2, 5 + label, 3, 9, 3],
        "segment_ids": [0, 0, 0, 1, 1],
        "masked_lm_positions": [3],
        "masked_label_ids": [8],
        "label": label,
    }


def test_training_rows_are_read_in_pairs(tmp_path):
    path = tmp_path / "epoch_0.json"
    lines(path, [row(1), row(0), row(1), row(0)])
    pairs = list(read_rows(path))
    assert len(pairs) == 2
    assert pairs[0][0].input_ids == [2, 6, 3, 9, 3]
    assert pairs[0][1] == ([2, 5, 3, 9, 3], [0, 0, 0, 1, 1], [3], [8])
    lines(path, [row(1), row(1)])
    with pytest.raises(UserError, match=r"epoch_0.json:2: label 1; rows come in pairs"):
        list(read_rows(path))
    lines(path, [row(1), row(0), row(1)])
    with pytest.raises(UserError, match="the last row has no partner"):
        list(read_rows(path))
    lines(path, [{"label": 1}])
    with pytest.raises(UserError, match="no training row"):
        list(read_rows(path))
