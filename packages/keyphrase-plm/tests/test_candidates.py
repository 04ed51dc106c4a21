"""Reading a text for phrases: words, blocks, sentences, and the candidates in them."""

from itertools import pairwise

import pytest

from keyphrase_plm.candidates import find_candidates, read_words
from keyphrase_plm.documents import Document
from keyphrase_plm.presence import stemmer
from keyphrase_plm.stop_words import ENGLISH, stop_words
from nonet.errors import UserError

PORTER = stemmer("porter")


def words_of(title, body=""):
    return read_words(Document("d", title, body))


def phrases_of(title, body="", **options):
    found = find_candidates(words_of(title, body), ENGLISH, PORTER, **options)
    return [each.phrase for each in found]


def test_punctuation_ends_blocks_and_stops_end_sentences():
    words = words_of("Graph colouring: a survey", "We (the authors) met Dr. Who. Then C++ came!")
    assert [word.text for word in words] == [
        "Graph", "colouring", "a", "survey", "We", "the", "authors", "met", "Dr", "Who", "Then",
        "C++", "came",
    ]  # fmt: skip
    assert [word.sentence for word in words] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2]
    blocks = [word.block for word in words]
    assert blocks == sorted(blocks)
    assert [a != b for a, b in pairwise(blocks)] == [
        False, True, False, True, True, False, True, False, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "joined"), [
    ("coarse - to - fine search .", ["coarse - to - fine", "search"]),
    ("a range - sensors, not words", ["a", "range", "sensors", "not", "words"]),  # a dash in untokenised text
    ("- first - and last -", ["first - and", "last"]),
])  # fmt: skip
def test_lone_hyphens_join_words_of_tokenised_text_alone(text, joined):
    assert [word.text for word in words_of(text)] == joined


def test_ngrams_lie_in_a_block_and_begin_and_end_with_words_that_count():
    assert phrases_of("the theory of graphs, 3 of them in AI") == [
        "theory", "theory of graphs", "graphs", "ai",
    ]  # fmt: skip
    assert phrases_of("deep neural network models") == [
        "deep", "deep neural", "deep neural network", "neural", "neural network", "neural network models",
        "network", "network models", "models",
    ]  # fmt: skip


def test_runs_are_as_long_as_they_can_be():
    assert phrases_of("we study deep neural networks for the analysis of images", rule="runs") == [
        "deep neural networks", "analysis", "images",
    ]  # fmt: skip
    assert phrases_of("deep neural networks", rule="runs", longest=2) == []


def test_inflections_are_one_candidate_with_all_places():
    found = find_candidates(words_of("Sensor networks", "a sensor network ."), ENGLISH, PORTER, rule="runs")
    assert [(each.phrase, each.key, each.places) for each in found] == [
        ("sensor networks", "sensor network", (0, 3))
    ]


@pytest.mark.parametrize("text", ["", " \u200b ", "...", "of the 17 , --", "[sep]", "\U0001f600"])
def test_text_without_phrases_has_no_candidates(text):
    assert phrases_of(text) == []


def test_stop_words_of_other_languages_come_from_a_file(tmp_path):
    (tmp_path / "de.txt").write_text("Der\ndie\ndas\n", encoding="utf-8")
    assert stop_words("de", tmp_path / "de.txt") == {"der", "die", "das"}
    with pytest.raises(UserError, match="no stop words for 'de' here: give a file"):
        stop_words("de")
    with pytest.raises(UserError, match=r"nothing\.txt: cannot be read"):
        stop_words("de", tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"empty\.txt: there are no stop words"):
        stop_words("de", tmp_path / "empty.txt")
