"""Pieces of a document's beginning: against tokenising the whole text and cutting it."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from nonet.errors import UserError
from prop_ir.pieces import PieceEncoder, head, load_tokenizer, tokenizer_hash

BITS = ["cats", "  undoing", "é", "\n", "river.", "x-y", "\u0301", "\x1c", " ", "日"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def bert(words=("cat", "house", "##s", "river", "un", "##do", "##ing")):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,'-#", *LETTERS, *words]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return backend


def byte_level():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces = {piece: i for i, piece in enumerate(sorted(alphabet))}
    merges = [("Ġ", "c"), ("a", "t"), ("Ġc", "at"), ("Ġ", "Ġ")]
    pieces |= {a + b: len(pieces) + i for i, (a, b) in enumerate(merges)}
    backend = Tokenizer(models.BPE(pieces, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def metaspace():
    scores = [("<unk>", 0.0), *((c, -5.0) for c in "▁" + LETTERS + ".,'-#é"), ("▁cat", -2.0), ("s▁r", -0.5)]
    backend = Tokenizer(models.Unigram(scores, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


def across_blanks():
    """Pieces that hold blanks: nothing may be cut before tokenising."""
    backend = Tokenizer(models.BPE({"a": 0, " ": 1, "a ": 2, "a a": 3, "b": 4}, [("a", " "), ("a ", "a")]))
    return backend


def whole(backend, text, most):
    """Every piece and word start of the whole text, then cut."""
    encoding = backend.encode(text, add_special_tokens=False)
    words = encoding.word_ids[:most]
    return encoding.ids[:most], [k == 0 or words[k] != words[k - 1] for k in range(len(words))]


@pytest.mark.parametrize("make", [bert, byte_level, metaspace])
@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(
        st.lists(
            st.sampled_from(["cats", "  undoing", "é", "\n", "river.", "x-y", "\u0301", "\x1c", " ", "日"])
        )
        .map(" ".join)
        .map(lambda text: text * 3),
        max_size=4,
    ),
    most=st.integers(1, 12),
)
def test_pieces_are_those_of_the_whole_text_cut(make, texts, most):
    backend = make()
    found = PieceEncoder(backend, most)(texts)
    assert found.flat.dtype == np.uint16
    for i, text in enumerate(texts):
        part = slice(found.offsets[i], found.offsets[i + 1])
        ids, starts = whole(backend, text, most)
        assert found.flat[part].tolist() == ids
        assert found.starts[part].tolist() == starts


def test_only_the_beginning_of_a_long_text_is_tokenised():
    encoder = PieceEncoder(bert(), 20)
    seen = []

    class Spy:
        get_vocab = bert().get_vocab

        def encode_batch(self, texts, add_special_tokens):
            seen.append([len(text.split()) for text in texts])
            return bert().encode_batch(texts, add_special_tokens=add_special_tokens)

    encoder._tokenizer = Spy()
    long = "river " * 100_000
    assert encoder([long, "cat"]).flat.tolist() == bert().encode("river " * 20 + "cat").ids[1:-1]
    assert seen == [[18, 1], [36]], "18 words gave too few pieces, and only that text was tried again"


def test_without_words_of_its_own_a_tokenizer_s_words_begin_behind_blanks():
    backend = across_blanks()
    encoder = PieceEncoder(backend, 3)
    text = "a a b"
    assert backend.encode(text).word_ids == [0, 0, 0]
    assert [backend.id_to_token(i) for i in encoder([text]).flat] == ["a ", "a ", "b"]
    assert encoder([text]).starts.tolist() == [True, True, True]
    assert encoder(["bb a"]).starts.tolist() == [True, False, True]
    assert encoder(["a a " * 50]).flat.tolist() == backend.encode("a a " * 50).ids[:3]


def test_an_added_piece_with_a_blank_is_found_though_the_text_is_long():
    backend = bert()
    backend.add_special_tokens([AddedToken("cat house")])
    text = "cat house " + "river " * 50
    for most in (1, 2):
        assert PieceEncoder(backend, most)([text]).flat.tolist() == backend.encode(text).ids[1 : 1 + most]


@pytest.mark.parametrize("make", [bert, byte_level, metaspace])
def test_words_have_the_pieces_they_have_within_a_text(make):
    backend = make()
    words = ["cat", "undoing", "xy"]
    flat, offsets = PieceEncoder(backend, 4).of_words(words)
    for i, word in enumerate(words):
        first = len(backend.encode("river", add_special_tokens=False).ids)
        within = backend.encode(f"river {word}", add_special_tokens=False).ids[first:]
        assert flat[offsets[i] : offsets[i + 1]].tolist() == within


def test_large_vocabularies_take_four_bytes():
    vocabulary = {f"w{i}": i for i in range(65_535)} | {"[UNK]": 65_535}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert PieceEncoder(backend, 5)(["w1 nothing"]).flat.dtype == np.uint16
    backend.add_tokens(["one_more"])
    found = PieceEncoder(backend, 5)(["w1 one_more"])
    assert found.flat.dtype == np.uint32
    assert found.flat.tolist() == [1, 65_536]


def test_it_travels_to_other_processes():
    encoder = PieceEncoder(bert(), 5)
    again = pickle.loads(pickle.dumps(encoder))
    assert again(["cats undo river"]).flat.tolist() == encoder(["cats undo river"]).flat.tolist()


def test_the_hash_tells_tokenizers_apart_but_not_how_they_are_used():
    one, other = bert(), bert()
    assert tokenizer_hash(one) == tokenizer_hash(other)
    other.enable_truncation(8)
    other.enable_padding(length=8)
    other.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert tokenizer_hash(one) == tokenizer_hash(other)
    other.normalizer = normalizers.BertNormalizer(lowercase=False)
    assert tokenizer_hash(one) != tokenizer_hash(other)
    assert tokenizer_hash(one) != tokenizer_hash(bert(words=("cat",)))


def test_truncation_of_the_tokenizer_itself_does_not_matter():
    backend = bert()
    backend.enable_truncation(3)
    assert len(PieceEncoder(backend, 9)(["cat cat cat cat cat cat"]).flat) == 6
    assert backend.truncation["max_length"] == 3, "the caller's tokenizer stays as it was"


def test_folders_are_loaded_and_keep_their_hash(tmp_path):
    backend = bert()
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert tokenizer_hash(loaded) == tokenizer_hash(backend)
    loaded.save_pretrained(tmp_path / "again")
    assert tokenizer_hash(load_tokenizer(tmp_path / "again")) == tokenizer_hash(backend)


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="holds no tokenizer that can be read"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"no folder \./absent"):
        load_tokenizer("./absent")
    with pytest.raises(UserError, match="str is no fast tokenizer"):
        tokenizer_hash("bert")


@pytest.mark.parametrize(
    ("text", "words", "wanted"),
    [
        ("one two three", 2, "one two"),
        ("  one\n\ttwo  three ", 2, "  one\n\ttwo"),
        ("one two", 2, "one two"),
        ("one two ", 2, "one two"),
        ("", 1, ""),
        ("   ", 1, "   "),
        (" " * 50_000 + "a", 2, " " * 50_000 + "a"),
    ],
)
def test_the_head_of_a_text_ends_with_a_word(text, words, wanted):
    assert head(text, words) == wanted
