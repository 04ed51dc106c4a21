"""Sentence and word rules against plain regular expressions, and the hand cases of the original's tests."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from pegasus.sentences import (
    STOP_WORDS,
    SentenceWords,
    check_script,
    cut_texts,
    number_words,
    split_sentences,
    words_of_sentences,
    words_of_texts,
)

TEXT = st.text(alphabet="ab .!?\n\tA9é中'", max_size=60)


def plain_sentences(text):
    """The rule by substitution: a marker behind every run of terminators and whitespace."""
    marked = re.sub(r"((?:\.|!|\?)+[ \t\n\v\f\r]+)", "\\1\0", text)
    return [piece for piece in marked.split("\0") if piece]


def plain_words(sentence, stop_words):
    lowered = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in sentence)
    return [w for w in re.split(r"[^a-z0-9]+", lowered) if w and not (stop_words and w in STOP_WORDS)]


def words_back(words: SentenceWords, sentences):
    """Number the plain words in order of first appearance, and compare with the compiled pass."""
    for b, pieces in enumerate(sentences):
        numbers, ends = words.document(b)
        yield pieces, np.split(numbers, ends[:-1]) if len(ends) else []


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, max_size=6), st.booleans())
def test_the_byte_pass_splits_and_numbers_like_regular_expressions(texts, stop_words):
    words, byte_ends = words_of_texts(texts, stop_words=stop_words)
    sentences = cut_texts(texts, words, byte_ends)
    assert sentences == [plain_sentences(text) for text in texts]
    assert [split_sentences(text, "pegasus") for text in texts] == sentences
    for pieces, numbers in words_back(words, sentences):
        first_seen: dict[str, int] = {}
        for piece, found in zip(pieces, numbers, strict=True):
            expected = [first_seen.setdefault(w, len(first_seen)) for w in plain_words(piece, stop_words)]
            assert found.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=4), max_size=4), st.booleans())
def test_given_sentences_are_numbered_as_they_stand(documents, stop_words):
    words = words_of_sentences(documents, stop_words=stop_words)
    assert np.diff(words.sentence_offsets).tolist() == [len(sentences) for sentences in documents]
    for pieces, numbers in words_back(words, documents):
        first_seen: dict[str, int] = {}
        for piece, found in zip(pieces, numbers, strict=True):
            assert found.tolist() == [
                first_seen.setdefault(w, len(first_seen)) for w in plain_words(piece, stop_words)
            ]


def test_many_different_words_keep_their_numbers():
    text = " ".join(f"w{i}" for i in range(40_000))
    words, _ = words_of_texts(["x. y", text, text])
    for b in (1, 2):
        assert words.document(b)[0].tolist() == list(range(40_000))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("   ", ["   "]),
        ("Dr. Smith came.", ["Dr. ", "Smith came."]),
        ("one\ntwo\nthree", ["one\ntwo\nthree"]),
        ("It (ends.) here. Now", ["It (ends.) here. ", "Now"]),
        ("Why?! \n\n Because...  ", ["Why?! \n\n ", "Because...  "]),
        ("a [SEP] b. c", ["a [SEP] b. ", "c"]),
    ],
)
def test_hand_cases_of_the_sentence_rule(text, sentences):
    assert split_sentences(text, "pegasus") == sentences


def test_unicode_rule_knows_other_full_stops():
    assert split_sentences("他来了。她走了！好", "unicode") == ["他来了。", "她走了！", "好"]
    assert split_sentences("वह आया। वह गया।", "unicode") == ["वह आया। ", "वह गया।"]


@pytest.mark.parametrize("rule", ["pegasus", "unicode", "newline", "sentencex"])
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_sentences_joined_give_the_text_back(rule, text):
    if rule == "sentencex":
        pytest.importorskip("sentencex")
    assert "".join(split_sentences(text, rule)) == text


def test_unicode_words_count_chinese_by_character_and_greek_by_word():
    words = number_words([["我爱我", "Σίσυφος σίσυφος"]], "unicode")
    numbers, ends = words.document(0)
    assert numbers.tolist() == [0, 1, 0, 2, 2]
    assert ends.tolist() == [3, 5]


def test_subword_rule_counts_pieces():
    words = number_words([["ab", "b"]], "subword", encode=lambda text: [ord(c) for c in text])
    assert words.document(0)[0].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="needs the tokenizer"):
        number_words([["a"]], "subword")


def test_stop_words_are_the_127_of_the_original():
    assert len(STOP_WORDS) == 127
    assert words_of_sentences([["The cat is on the mat"]]).words.tolist() == [0, 1]


def test_a_corpus_that_the_ascii_rule_cannot_count_is_refused():
    sentences = ["Я вас любил", "любовь ещё, быть может"]
    with pytest.raises(
        UserError, match=r"corpus.txt: 100% of the letters are outside ASCII.*--words unicode"
    ):
        check_script(sentences, 0, "corpus.txt")
    check_script(["plain English text"], 3, "corpus.txt")


def test_texts_of_many_short_words_need_the_larger_table():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    every = [a + b for a in letters for b in letters]  # 1,296 different words in 3,888 bytes
    for words in (every, list(letters), every * 3):
        numbered, _ = words_of_texts([" ".join(words)], stop_words=False)
        assert numbered.words.tolist() == [words.index(word) for word in words]


@pytest.mark.parametrize("filler", ["", "é", "中"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 24, 25, 63, 64, 65, 200])
def test_words_and_full_stops_anywhere_in_blocks_of_64(length, filler):
    texts = []
    for lead in [0, 1, *range(52, 67), 126, 127, 128, 129]:
        word = "Abcdefghi0" * 20
        start = filler or " "
        texts.append(start * lead + word[:length] + "?! \n" + word[:length].lower() + "x. " + word[:length])
    words, ends = words_of_texts(texts, stop_words=False)
    assert cut_texts(texts, words, ends) == [plain_sentences(text) for text in texts]
    for b in range(len(texts)):
        assert words.document(b)[0].tolist() == [0, 1, 0]


def test_a_text_of_more_edges_than_are_kept_at_once():
    pieces = [f"w{i % 977} " + ("End. " if i % 13 == 0 else "") for i in range(5000)]
    text = "".join(pieces)
    words, ends = words_of_texts([text, "a b. a", text], stop_words=False)
    sentences = plain_sentences(text)
    assert cut_texts([text, "a b. a", text], words, ends) == [sentences, ["a b. ", "a"], sentences]
    numbers: dict[str, int] = {}
    expected = [numbers.setdefault(w, len(numbers)) for s in sentences for w in plain_words(s, False)]
    assert words.document(0)[0].tolist() == words.document(2)[0].tolist() == expected


def test_many_empty_sentences():
    words = words_of_sentences([[""] * 5000, ["", "a"]])
    assert np.diff(words.sentence_offsets).tolist() == [5000, 2]
    assert words.word_offsets[-1] == len(words.words) == 0  # "a" is a stop-word
