"""The store: counts against plain counting, the same bytes however it is built, and what is refused."""

import hashlib
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import prop_ir.encoding
from nonet.errors import RunFailed, UserError
from nonet.testing import data_folder
from prop_ir.building import build_store
from prop_ir.collections import Collection, Document
from prop_ir.commands import prepare
from prop_ir.options import ReadOptions, WordOptions
from prop_ir.pieces import PieceEncoder
from prop_ir.store import Store
from prop_ir.words import Words

NOUNS = "cat house river stone bridge water lamp train letter garden".split()


@pytest.fixture(scope="module")
def tokenizer():
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", *".,", *letters, *(f"##{c}" for c in letters), "the", *NOUNS[:5]]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def documents(count=60):
    """Made-up documents; every tenth has no word but stop words, and every fifteenth no text."""
    draw = np.random.default_rng(0)
    for i in range(count):
        words = [*draw.choice(NOUNS, int(draw.integers(1, 30))), f"rare{'abcdefghij'[i % 10]}", "the", "X9"]
        text = "" if i % 15 == 7 else "The of. And" if i % 10 == 3 else " ".join(words).capitalize() + "."
        yield Document(f"D{i}", text, f"made-up:{i + 1}")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tokenizer, tmp_path_factory):
    """A store built in one go, in three shards."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    store, counts = build_store(documents(), tokenizer, folder, max_pieces=12, rows_per_shard=20)
    assert len(list(folder.glob("shard-*"))) == 3
    return store, counts


# ------------------------------------------------------------------------------------------- what it holds


def test_words_types_and_frequencies_are_those_of_plain_counting(whole):
    store, counts = whole
    kept = {d.id: Words().find(d.text) for d in documents() if Words().find(d.text)}
    assert store.ids == list(kept)
    assert store.number["D5"] == store.ids.index("D5")
    for i, words in enumerate(kept.values()):
        assert [store.types[t] for t in store.words(i)] == words
    assert store.types == list(dict.fromkeys(word for words in kept.values() for word in words))
    ctf = Counter(word for words in kept.values() for word in words)
    df = Counter(word for words in kept.values() for word in set(words))
    assert store.ctf.tolist() == [ctf[word] for word in store.types]
    assert store.df.tolist() == [df[word] for word in store.types]
    assert store.word_counts.tolist() == [len(words) for words in kept.values()]
    assert store.total_words == sum(ctf.values()) == counts["words"]
    assert store.mean_words == sum(ctf.values()) / len(kept)
    assert (store.words(0).dtype, store.ctf.dtype, store.word_counts.dtype) == (np.uint32, np.int64, np.int64)


def test_pieces_are_the_tokenizer_s_without_special_ones(whole, tokenizer):
    store, _ = whole
    texts = {d.id: d.text for d in documents()}
    for i, name in enumerate(store.ids):
        encoding = tokenizer.encode(texts[name], add_special_tokens=False)
        assert store.pieces(i).tolist() == encoding.ids[:12]
        tokens = encoding.tokens[:12]
        assert store.starts(i).tolist() == [not token.startswith("##") for token in tokens]
    assert store.piece_counts.max() == 12
    for t, word in enumerate(store.types):
        assert store.type_pieces(t).tolist() == tokenizer.encode(word, add_special_tokens=False).ids
    assert store.pieces(0).dtype == np.uint16


def test_documents_without_words_are_kept_out_and_listed(whole):
    store, counts = whole
    empty = {d.id: "no words but stop words" if d.text else "no text" for d in documents()}
    wanted = [{"id": name, "reason": empty[name]} for name in empty if name not in store.number]
    assert store.meta["empty"] == wanted
    assert (counts["read"], counts["documents"]) == (60, len(store))
    assert counts["left out: no text"] == 4
    assert counts["left out: no words but stop words"] == 6


def test_columns_can_be_gathered(whole):
    store, _ = whole
    flat, offsets = store.gather("words", np.array([40, 0, 40]))
    assert flat.tolist() == [*store.words(40), *store.words(0), *store.words(40)]
    assert offsets.tolist() == np.cumsum([0, *(len(store.words(i)) for i in (40, 0, 40))]).tolist()
    assert len(store.gather("pieces", [])[0]) == 0
    with pytest.raises(IndexError, match="document 50 of 50"):
        store.words(50)


def test_a_store_travels_as_its_folder(whole):
    store, _ = whole
    store.pieces(0)
    assert len(pickle.dumps(store)) < 500
    assert pickle.loads(pickle.dumps(store)).words(3).tolist() == store.words(3).tolist()


def test_settings_are_kept(whole):
    store, _ = whole
    assert (store.max_pieces, store.word_options) == (12, WordOptions())
    assert store.meta["counts"]["types"] == len(store.types)
    assert store.meta["words"]["regex"] == "[a-zA-Z]+"


def test_it_is_for_one_tokenizer_alone(whole, tokenizer):
    store, _ = whole
    store.check_tokenizer(tokenizer)
    other = Tokenizer.from_str(tokenizer.to_str())
    other.normalizer = normalizers.BertNormalizer(lowercase=False)
    with pytest.raises(UserError, match="another tokenizer than that of cased; prepare a store with --token"):
        store.check_tokenizer(other, "cased")


# ---------------------------------------------------------------------------------- the same bytes, always


@pytest.mark.parametrize("batch", [1, 7])
def test_batches_do_not_show(whole, tokenizer, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(prop_ir.encoding, "BATCH", batch)
    build_store(documents(), tokenizer, tmp_path / "s", max_pieces=12, rows_per_shard=20)
    assert digests(tmp_path / "s") == digests(whole[0].folder)


def test_workers_do_not_show(whole, tokenizer, tmp_path):
    build_store(documents(), tokenizer, tmp_path / "s", max_pieces=12, rows_per_shard=20, workers=2)
    assert digests(tmp_path / "s") == digests(whole[0].folder)


class Killed(BaseException):
    pass


def until(number):
    for i, document in enumerate(documents()):
        if i == number:
            raise Killed
        yield document


@pytest.mark.parametrize("number", [30, 45, 59])
def test_an_interrupted_build_goes_on_to_the_same_bytes(whole, tokenizer, tmp_path, monkeypatch, number):
    monkeypatch.setattr(prop_ir.encoding, "BATCH", 3)
    monkeypatch.setattr("prop_ir.building.SAMPLE", 5)
    options = {"max_pieces": 12, "rows_per_shard": 20}
    with pytest.raises(Killed):
        build_store(until(number), tokenizer, tmp_path / "s", **options)
    with pytest.raises(UserError, match="an unfinished store; give the command that began it again"):
        Store(tmp_path / "s")
    seen = []
    _, counts = build_store(documents(), tokenizer, tmp_path / "s", progress=seen.append, **options)
    assert digests(tmp_path / "s") == digests(whole[0].folder)
    assert counts == whole[1]
    assert sum(seen) == 60
    assert seen[0] >= 20, "the complete shards were not made again"


def test_a_build_killed_before_its_last_file_ends_the_same(whole, tokenizer, tmp_path):
    options = {"max_pieces": 12, "rows_per_shard": 20}
    build_store(documents(), tokenizer, tmp_path / "s", **options)
    (tmp_path / "s" / "meta.json").unlink()
    (tmp_path / "s" / "statistics.safetensors").unlink()
    build_store(documents(), tokenizer, tmp_path / "s", **options)
    assert digests(tmp_path / "s") == digests(whole[0].folder)
    (tmp_path / "s" / "meta.json").unlink()
    with pytest.raises(UserError, match="the collection has grown; add --overwrite"):
        build_store(documents(61), tokenizer, tmp_path / "s", **options)


def test_a_build_killed_before_its_last_file_knows_documents_that_were_left_out(tokenizer, tmp_path):
    store, _ = build_store(documents(54), tokenizer, tmp_path / "s")
    assert store.meta["empty"][-1]["id"] == "D53"
    (tmp_path / "s" / "meta.json").unlink()
    with pytest.raises(UserError, match="the collection is not the one"):
        build_store(documents(53), tokenizer, tmp_path / "s")
    again, _ = build_store(documents(54), tokenizer, tmp_path / "s")
    assert again.meta == store.meta


def test_an_interruption_before_the_first_shard_leaves_nothing(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("prop_ir.building.SAMPLE", 2)
    with pytest.raises(Killed):
        build_store(until(4), tokenizer, tmp_path / "new" / "s")
    assert not (tmp_path / "new" / "s").exists()


def test_an_interrupted_build_goes_on_with_its_own_collection_alone(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(prop_ir.encoding, "BATCH", 3)
    monkeypatch.setattr("prop_ir.building.SAMPLE", 5)
    folder = tmp_path / "s"
    with pytest.raises(Killed):
        build_store(until(40), tokenizer, folder, rows_per_shard=20)
    moved = [d._replace(id=f"E{d.id}") for d in documents()]
    for other in (moved, list(documents())[:10], list(documents())[1:]):
        with pytest.raises(UserError, match="the collection is not the one"):
            build_store(other, tokenizer, folder, rows_per_shard=20)
    with pytest.raises(UserError, match="was begun with max_pieces = 509, not 8"):
        build_store(documents(), tokenizer, folder, max_pieces=8, rows_per_shard=20)


# ----------------------------------------------------------------------------------------- what is refused


def test_a_complete_store_is_kept_replaced_or_refused(tokenizer, tmp_path):
    folder = tmp_path / "s"
    build_store(documents(20), tokenizer, folder)
    with pytest.raises(UserError, match="a complete store; add --overwrite to replace it, --resume to"):
        build_store(documents(20), tokenizer, folder)
    before = digests(folder)
    store, counts = build_store(documents(20), tokenizer, folder, existing="resume")
    assert digests(folder) == before
    assert counts["documents"] == len(store)
    with pytest.raises(UserError, match="was begun with"):
        build_store(documents(20), tokenizer, folder, existing="resume", max_pieces=3)
    store, _ = build_store(documents(30), tokenizer, folder, existing="overwrite")
    assert store.meta["counts"]["read"] == 30


def test_a_folder_with_something_else_is_left_alone(tokenizer, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for existing in ("refuse", "overwrite", "resume"):
        with pytest.raises(UserError, match="holds something else than a store"):
            build_store(documents(), tokenizer, tmp_path, existing=existing)
    with pytest.raises(UserError, match=r"mine.txt: is a file"):
        build_store(documents(), tokenizer, tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_repeated_ids_are_refused_or_counted(tokenizer, tmp_path):
    twice = [*documents(10), *documents(10)]
    with pytest.raises(UserError, match="made-up:1: document id 'D0' occurs twice"):
        build_store(twice, tokenizer, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    store, counts = build_store(twice, tokenizer, tmp_path / "s", on_error="skip")
    assert counts["duplicates"] == 10
    assert len(store) == len(set(store.ids)) == 8


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "the collection has no documents"),
        (["the and", "of"], "all 2 documents were left out: 2 with no words but stop words"),
        (
            ["日本語", "кот", "cat"],
            r"2 of the first 3 documents have text but no word \[a-zA-Z\]\+; .*'\\w\+'",
        ),
    ],
)
def test_a_collection_without_words_is_refused_and_leaves_nothing(tokenizer, tmp_path, texts, message):
    few = [Document(str(i), text, f"t:{i}") for i, text in enumerate(texts)]
    with pytest.raises(UserError, match=message):
        build_store(few, tokenizer, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_other_alphabets_have_words_by_another_pattern(tokenizer, tmp_path):
    few = [Document("1", "Кот и кот", "t:1"), Document("2", "кот\0и \ud800", "t:2")]
    options = WordOptions(regex=r"\w+", stop_words="none")
    store, counts = build_store(few, tokenizer, tmp_path / "s", words=options)
    assert [store.types[t] for t in store.words(0)] == ["кот", "и", "кот"]
    assert [store.types[t] for t in store.words(1)] == ["кот", "и"]
    assert counts["mended: NUL characters"] == counts["mended: lone surrogates"] == 1
    assert store.word_options == options


def test_a_document_that_makes_the_tokenizer_fail_is_named(tokenizer, tmp_path, monkeypatch):
    def fail(self, texts):
        if any("stone" in text for text in texts):
            raise ValueError("no stones")
        return original(self, texts)

    original = PieceEncoder.__call__
    monkeypatch.setattr(PieceEncoder, "__call__", fail)
    few = [Document("a", "cat", "f:1"), Document("b", "stone", "f:2"), Document("c", "stone", "f:3")]
    with pytest.raises(RunFailed, match="f:2: document 'b' cannot be encoded: ValueError: no stones"):
        build_store(few, tokenizer, tmp_path / "s")


def test_damage_is_found(tokenizer, tmp_path):
    folder = tmp_path / "s"
    store, _ = build_store(documents(20), tokenizer, folder)
    store.verify()
    path = folder / "shard-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-00000.safetensors: has changed; prepare the store again"):
        Store(folder).verify()
    path.write_bytes(data[:-8])
    with pytest.raises(UserError, match="bytes, the index says"):
        Store(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(UserError, match=r"meta.json: damaged"):
        Store(folder)
    with pytest.raises(UserError, match="no store here; make one with prop-ir prepare"):
        Store(tmp_path)


# --------------------------------------------------------------------------------------------- the command


@pytest.fixture
def files(tmp_path, tokenizer):
    rows = [json.dumps({"id": d.id, "text": d.text}) + "\n" for d in documents()]
    (tmp_path / "docs.jsonl").write_text("".join(rows) + '{"id": "X"}\n')
    (tmp_path / "tok").mkdir()
    tokenizer.save(str(tmp_path / "tok" / "tokenizer.json"))
    return tmp_path


def test_the_command_prepares_and_gives_account(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    words = {"corpus": (Path("docs.jsonl"),), "tokenizer": "tok", "out": Path("store"), "max_pieces": 12}
    with pytest.raises(UserError, match=r"docs.jsonl:61: no text; fields are id"):
        prepare.run(prepare.Options(**words))
    assert not Path("store").exists()
    assert prepare.run(prepare.Options(**words, read=ReadOptions(on_error="skip"))) == 0
    told = capsys.readouterr().out
    assert "store: 50 documents," in told
    assert "left out: D3, D7, D13, D22, D23 and 5 more (all are in meta.json)" in told
    assert "skipped: docs.jsonl:61: no text" in told
    assert "words are few: --sampler.keep 1e-4 rejects most of what is drawn, 1e-3 less" in told
    assert Store("store").meta["source"]["bytes"] == Path("docs.jsonl").stat().st_size


def test_the_command_keeps_or_replaces_but_not_both():
    words = {"corpus": (Path("docs.jsonl"),), "tokenizer": "tok", "out": Path("store")}
    with pytest.raises(UserError, match="give one of the two"):
        prepare.Options(**words, resume=True, overwrite=True)
    with pytest.raises(UserError, match="max_pieces is 0; it is 1 or more"):
        prepare.Options(**words, max_pieces=0)
    with pytest.raises(UserError, match="workers is -1; it is 0 or more"):
        prepare.Options(**words, workers=-1)


def test_a_collection_s_files_and_options_are_kept_in_the_store(files, tokenizer):
    collection = Collection([files / "docs.jsonl"], ReadOptions(on_error="skip"))
    store, counts = build_store(collection, tokenizer, files / "store")
    assert counts["skipped: no text"] == 1
    assert store.meta["source"]["read"]["on_error"] == "skip"
    assert store.meta["counts"]["skipped: no text"] == 1


# ---------------------------------------------------------------------------------------------- real files


def test_cranfield_is_1398_documents_and_two_empty_ones(tokenizer, tmp_path):
    body = Collection([data_folder("cranfield", "cran.all.1400.xml")], ReadOptions(fields=("text",)))
    store, _ = build_store(body, tokenizer, tmp_path / "s", max_pieces=16)
    assert len(store) == 1398
    assert store.meta["empty"] == [{"id": name, "reason": "no text"} for name in ("471", "995")]
    assert (store.ctf >= 5).sum() == 2633, "words that occur five times or more, without titles"


def test_vaswani_s_vocabulary_has_4435_words_that_occur_five_times():
    words = Words().count([document.text for document in Collection([data_folder("vaswani")])])
    assert (len(words.types), len(words.flat)) == (11_909, 275_363)
    assert (np.bincount(words.flat) >= 5).sum() == 4435
