"""Ids, text and folders of the tokenizer; the oracles are sentencepiece itself and transformers."""

import json
import pickle
import random
import re
import tempfile
from itertools import product

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.testing import data_folder
from pegasus.commands import tokenizer_train
from pegasus.sentencepiece_model import parse
from pegasus.tokenizer import Tokenizer, describe
from pegasus.tokenizer_training import LONGEST, lines_of, sample

WORDS = (
    "the of a mail meeting price gas power deal contract please call review budget team market Monday "
    "report attached schedule question answer change power, energy. today? yes! (no) 10 2001 $5.40 it's"
).split()
MADE_UP = ["".join(pair) for pair in product(("ba", "con", "tri", "lo", "ster", "ment"), repeat=3)]
RESERVED = ["<n>", "<mask_1>", "<mask_2>", "<pad>", "</s>", "<unk>", "<unk_5>", "<<n>>", "<n", "n>"]


def sentences(count, seed=0):
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS + MADE_UP, k=chance.randint(3, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(
        [*sentences(400), "caf\u00e9 na\u00efve \u4e2d\u6587"], 200, character_coverage=1.0, threads=1
    )


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(path)
    return path


# Ids


def test_ids_are_sentencepieces_shifted_by_103(tokenizer, folder):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    assert len(tokenizer) == pieces.get_piece_size() + 103 == 303
    for text in sentences(50, seed=1):
        assert tokenizer.encode(text) == [i + 103 for i in pieces.encode(text)]
    assert tokenizer.ids.newline == pieces.piece_to_id("<n>") + 103
    assert tokenizer.ids.unk == pieces.unk_id() + 103 == 105


def test_many_sentences_are_encoded_as_one_by_one(tokenizer):
    texts = [*sentences(20), "", "a <n> b", "x\ny", "  "]
    ids, ends = tokenizer.encode_sentences(texts)
    assert ids.dtype == np.int32
    assert ends.dtype == np.int64
    assert len(ends) == len(texts)
    for text, begin, end in zip(texts, [0, *ends], ends, strict=False):
        assert ids[begin:end].tolist() == tokenizer.encode(text)
    again = tokenizer.encode_sentences(texts, threads=3)
    assert (again[0] == ids).all()
    assert (again[1] == ends).all()


def test_no_sentences_give_no_ids(tokenizer):
    ids, ends = tokenizer.encode_sentences([])
    assert (ids.shape, ids.dtype, ends.shape) == ((0,), np.int32, (0,))


def test_an_unknown_character_is_id_105(tokenizer):
    assert 105 in tokenizer.encode("\u0416")
    assert "\u2047" in tokenizer.decode(tokenizer.encode("a \u0416 b"))


def test_a_word_starts_where_transformers_shows_the_boundary(tokenizer, folder):
    from transformers import AutoTokenizer

    peer = AutoTokenizer.from_pretrained(folder)
    names = peer.convert_ids_to_tokens(range(len(tokenizer)))
    expected = [i >= 106 and (name.startswith("\u2581") or name == "<n>") for i, name in enumerate(names)]
    assert tokenizer.starts_word.tolist() == expected
    assert sum(expected) > 20


# Newlines and reserved strings


text_parts = st.lists(st.sampled_from([*RESERVED, *WORDS, " ", "\n", "  ", "<", ">", "n"]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(parts=text_parts)
def test_text_comes_back_and_no_text_makes_a_reserved_id(tokenizer, parts):
    text = "".join(parts)
    ids = tokenizer.encode(text)
    assert all(i >= 105 for i in ids)
    assert ids.count(tokenizer.ids.newline) == text.count("\n")
    assert tokenizer.decode(ids) == re.sub(" +", " ", text).strip(" ")


def test_every_kind_of_newline_is_the_newline(tokenizer):
    assert tokenizer.encode("a\r\nb\rc") == tokenizer.encode("a\nb\nc")
    assert tokenizer.decode(tokenizer.encode("a\r\n\r\nb")) == "a\n\nb"


def test_characters_that_normalise_to_the_newline_symbol_are_spelt_out(tokenizer):
    ids = tokenizer.encode("a \uff1cn\uff1e b\nc")
    assert ids.count(tokenizer.ids.newline) == 1
    assert tokenizer.decode(ids) == "a <n> b\nc"


def test_nul_and_halves_of_surrogate_pairs_do_no_harm(tokenizer):
    assert tokenizer.encode("a\0 b") == tokenizer.encode("a b")
    assert tokenizer.encode("a \ud800 b") == tokenizer.encode("a \ufffd b")
    assert [*lines_of("a\0 \ud800")] == ["a ?"]


def test_without_a_newline_piece_newlines_are_spaces():
    plain = Tokenizer.train(sentences(200), 120, threads=1, newline=False)
    assert plain.ids.newline is None
    assert plain.decode(plain.encode("the\nmail")) == "the mail"
    assert plain.decode(plain.encode("the <n> mail")) == "the <n> mail"


def test_decoding_stops_at_the_end_and_leaves_reserved_ids_out(tokenizer):
    ids = tokenizer.encode("the mail")
    assert tokenizer.decode([2, *ids, 0, 1, *ids]) == "the mail"
    assert tokenizer.decode(np.array([1])) == ""
    assert tokenizer.decode_batch([ids, []]) == ["the mail", ""]


def test_reserved_ids_can_be_shown(tokenizer):
    ids = [*tokenizer.encode("the"), 2, *tokenizer.encode("mail"), 3, 104, 1, 0]
    assert tokenizer.decode(ids, reserved=True) == "the <mask_1> mail <mask_2> <unk_102> </s> <pad>"


def test_an_id_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(ValueError, match="id 303 is outside the vocabulary of 303 ids"):
        tokenizer.decode([106, 303])
    with pytest.raises(ValueError, match="id -1 is outside"):
        tokenizer.decode([-1])


# Folders


def test_transformers_gives_the_same_ids(tokenizer, folder):
    from transformers import AutoTokenizer, PegasusTokenizer

    for kind in (AutoTokenizer, PegasusTokenizer):
        peer = kind.from_pretrained(folder)
        assert len(peer) == len(tokenizer)
        names = ["<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk_2>", "<unk_102>", "<unk>"]
        assert peer.convert_tokens_to_ids(names) == [0, 1, 2, 3, 4, 104, 105]
        assert (peer.pad_token_id, peer.eos_token_id, peer.unk_token_id, peer.mask_token_id) == (0, 1, 105, 3)
        for text in sentences(100, seed=2):
            assert same_or_tied(tokenizer, peer(text)["input_ids"], [*tokenizer.encode(text), 1])


def same_or_tied(tokenizer, one, other):
    """Equal ids, or two spellings of one text with the same score."""
    if one == other:
        return True
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    one, other = ([i - 103 for i in ids if i > 105] for ids in (one, other))
    scores = [sum(pieces.get_score(i) for i in ids) for ids in (one, other)]
    return pieces.decode(one) == pieces.decode(other) and scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize(
    "text", ["a\nb", "a \n b", "\n\nthe", "end\n", "  two  spaces ", "\u3000q", "caf\u00e9", ""]
)
def test_auto_tokenizer_treats_space_and_newlines_alike(tokenizer, folder, text):
    from transformers import AutoTokenizer

    peer = AutoTokenizer.from_pretrained(folder)
    ids = peer(text)["input_ids"]
    assert ids == [*tokenizer.encode(text), 1]
    assert peer.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)


def test_a_published_folder_keeps_masks_2_and_3(tokenizer, folder, tmp_path):
    # transformers 5.23 swaps the two names in such a folder; our ids do not come from names.
    (tmp_path / "spiece.model").write_bytes((folder / "spiece.model").read_bytes())
    config = {"tokenizer_class": "PegasusTokenizer", "mask_token": "<mask_2>", "mask_token_sent": "<mask_1>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"offset": 103}))
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.ids.mask_sentence, loaded.ids.mask_word) == (2, 3)
    assert loaded.encode("the mail") == tokenizer.encode("the mail")
    assert loaded.notes == ()


@pytest.mark.parametrize("swapped", [False, True])
def test_tokenizer_json_alone_gives_the_same_ids(tokenizer, folder, tmp_path, swapped):
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if swapped:
        data["model"]["vocab"][2:4] = data["model"]["vocab"][3:1:-1]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    loaded = Tokenizer.load(tmp_path)
    for text in [*sentences(50, seed=3), "a\nb <n>", "\uff21 caf\u00e9"]:
        assert same_or_tied(tokenizer, loaded.encode(text), tokenizer.encode(text))
    assert (loaded.ids.mask_sentence, loaded.ids.newline) == (2, tokenizer.ids.newline)
    assert len(loaded.notes) == swapped


def test_a_saved_folder_loads_to_the_same_tokenizer(tokenizer, folder):
    for source in (folder, folder / "spiece.model"):
        loaded = Tokenizer.load(source)
        assert loaded.sha256 == tokenizer.sha256
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode("a\nb <n>") == tokenizer.encode("a\nb <n>")
    assert describe(copy)["vocabulary"] == 303


def write_config(folder, **config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_folder_without_a_tokenizer_says_which_files_are_missing(tmp_path):
    with pytest.raises(UserError, match=r"spiece\.model or tokenizer\.json not found in"):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        Tokenizer.load(tmp_path / "google" / "pegasus-large")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"tokenizer_class": "T5Tokenizer"}, "a T5Tokenizer: its ids are laid out in another way"),
        ({"tokenizer_class": "PegasusTokenizer", "offset": 0}, "PegasusTokenizer with offset 0"),
    ],
)
def test_tokenizers_of_other_models_are_refused(folder, tmp_path, config, match):
    (tmp_path / "spiece.model").write_bytes((folder / "spiece.model").read_bytes())
    write_config(tmp_path, **config)
    with pytest.raises(UserError, match=match):
        Tokenizer.load(tmp_path)


def test_a_json_of_another_kind_is_refused(folder, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "BPE", "vocab": {}}}')
    with pytest.raises(UserError, match="holds a BPE model"):
        Tokenizer.load(tmp_path)
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"][2] = ["<extra>", 0.0]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="starts with <pad>, </s>, <extra>, <mask_2>"):
        Tokenizer.load(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        Tokenizer.load(tmp_path)


def test_a_sentencepiece_model_with_other_ids_is_refused(tmp_path):
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(100)), model_writer=model, vocab_size=100, minloglevel=2
    )
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    with pytest.raises(
        UserError, match="has pad -1, eos 2, unknown 0, beginning 1; PEGASUS needs 0, 1, 2 and none"
    ):
        Tokenizer.load(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"spiece.model|no SentencePiece model"):
        Tokenizer.load(tmp_path)


# Training


def test_training_gives_the_same_bytes_for_the_same_text():
    one, two = (Tokenizer.train(sentences(200), 120, threads=1) for _ in range(2))
    assert one.sha256 == two.sha256
    assert one.sha256 != Tokenizer.train(sentences(200, seed=5), 120, threads=1).sha256


def test_a_vocabulary_that_is_too_large_names_the_largest_which_then_works():
    with pytest.raises(UserError, match=r"vocab_size 5000 is more than 30 lines") as refused:
        Tokenizer.train(sentences(30), 5000, threads=1)
    largest = int(re.search(r"--vocab-size (\d+)", str(refused.value))[1])
    assert len(Tokenizer.train(sentences(30), largest, threads=1)) == largest + 103


def test_a_vocabulary_that_is_too_small_says_how_many_characters_there_are():
    with pytest.raises(
        UserError, match=r"vocab_size 10 is smaller than the \d+ pieces that single characters need"
    ):
        Tokenizer.train(sentences(30), 10, threads=1)
    with pytest.raises(UserError, match="vocab_size is 3"):
        Tokenizer.train(sentences(30), 3)


def test_no_text_is_refused():
    for texts in ([], ["", "  \n "]):
        with pytest.raises(UserError, match="no text to learn a vocabulary from"):
            Tokenizer.train(texts, 100)


def test_a_long_line_is_cut_and_not_left_out():
    tail = "\u0416" * 50  # SentencePiece itself skips lines above 4,192 bytes
    model = Tokenizer.train([" ".join(sentences(300)) + " " + tail], 120, threads=1)
    assert 105 not in model.encode("\u0416")
    pieces = list(lines_of("\u4e2d" * 5000 + " x"))
    assert "".join(pieces).replace(" ", "") == "\u4e2d" * 5000 + "x"
    assert max(len(piece.encode()) for piece in pieces) <= LONGEST


def test_reserved_strings_in_the_corpus_do_not_become_pieces():
    model = Tokenizer.train([f"{text} <mask_1> <pad>" for text in sentences(300)], 120, threads=1)
    names = {name for name, _, _ in parse(model.model).pieces[3:]}
    assert not names & {"<mask_1>", "\u2581<mask_1>", "<pad>", "\u2581<pad>"}
    assert model.decode(model.encode("a <mask_1> b")) == "a <mask_1> b"


@given(size=st.integers(1, 30), count=st.integers(0, 30), seed=st.integers(0, 5))
def test_a_sample_keeps_the_order_and_the_size(size, count, seed):
    kept = sample(range(count), size, seed)
    assert kept == sorted(set(kept)) == sample(iter(range(count)), size, seed)
    assert len(kept) == min(size, count)


def test_a_sample_takes_every_item_equally_often():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[sample(range(10), 3, seed)] += 1
    assert counts.sum() == 6000
    assert abs(counts - 600).max() < 5 * (2000 * 0.3 * 0.7) ** 0.5


# The verb


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_the_verb_learns_from_text_and_lists_of_sentences(tmp_path, capsys):
    write_lines(tmp_path / "a.jsonl", [{"source": sentences(5, seed=i)} for i in range(60)])
    (tmp_path / "b.txt").write_bytes(b"caf\xe9 the mail\n" * 3)
    paths = (tmp_path / "a.jsonl", tmp_path / "b.txt")
    options = tokenizer_train.Options(input=paths, out=tmp_path / "out", vocab_size=120, threads=1)
    assert tokenizer_train.run(options) == 0
    said = capsys.readouterr().out
    assert "120 pieces, 223 ids" in said
    assert "documents: 63, lines: 303" in said
    assert "characters covered: 100.0000%" in said or "characters covered: 99.9" in said
    assert "invalid utf8: 3" in said
    assert len(Tokenizer.load(tmp_path / "out")) == 223
    with pytest.raises(UserError, match="holds a tokenizer; name another folder, or say --overwrite"):
        tokenizer_train.run(options)


def test_the_verb_can_learn_from_a_sample(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(sentences(300)))
    options = tokenizer_train.Options(
        input=(tmp_path / "a.txt",), out=tmp_path / "out", vocab_size=100, sample=200, threads=1
    )
    assert tokenizer_train.run(options) == 0
    assert "lines: 300, 200 of them used" in capsys.readouterr().out
    with pytest.raises(UserError, match="sample is 0"):
        tokenizer_train.Options(input=(), out=tmp_path, sample=0)


def test_a_missing_field_is_named(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"other": "x"}])
    options = tokenizer_train.Options(input=(tmp_path / "a.jsonl",), out=tmp_path / "out")
    with pytest.raises(
        UserError, match=r"a\.jsonl:1: no text field; fields are other: name one with --text-field"
    ):
        tokenizer_train.run(options)


# Real text


def test_real_abstracts_get_transformers_ids_up_to_ties():
    from transformers import AutoTokenizer

    folder = data_folder("scitldr")
    with open(folder / "dev.jsonl", encoding="utf-8") as file:
        texts = [" ".join(json.loads(line)["source"]) for line in file]
    tokenizer = Tokenizer.train(texts[:300], 2000, threads=2)
    with tempfile.TemporaryDirectory() as place:
        tokenizer.save(place)
        peer = AutoTokenizer.from_pretrained(place)
    different = [text for text in texts if peer(text)["input_ids"] != [*tokenizer.encode(text), 1]]
    assert len(different) <= 0.02 * len(texts)
    for text in different:
        assert same_or_tied(tokenizer, peer(text)["input_ids"], [*tokenizer.encode(text), 1])
