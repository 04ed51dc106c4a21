"""Labels of words against hand-made ones, and the way from phrases to labels and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyphrase_plm.presence import ReadSource, split, stemmer
from keyphrase_plm.tags import B, I, O, count_present, label_words, spans_of
from nonet.errors import UserError

PLAIN = stemmer("none")
PORTER = stemmer("porter")


def text(words):
    return words.split()


@pytest.mark.parametrize(
    ("words", "phrases", "longest", "compat"),
    [
        ("we study data aggregation", ["data aggregation", "aggregation"], [O, O, B, I], [O, O, B, B]),
        ("we study data aggregation", ["aggregation", "data aggregation"], [O, O, B, I], [O, O, B, I]),
        ("a b c", ["a b", "b c"], [B, I, O], [B, B, I]),
        ("a b c d", ["a b", "b c d"], [O, B, I, I], [B, B, I, I]),
        ("a a a", ["a a"], [B, I, O], [B, B, I]),
        ("a x a", ["a"], [B, O, B], [B, O, B]),
        ("a", ["a b"], [O], [O]),
        ("a b", ["", "  ", "c"], [O, O], [O, O]),
        ("", ["a"], [], []),
        ("a a", ["a", "a"], [B, B], [B, B]),
    ],
)
def test_labels_are_those_written_by_hand(words, phrases, longest, compat):
    assert label_words(text(words), phrases, PLAIN) == longest
    assert label_words(text(words), phrases, PLAIN, scheme="compat") == compat


def test_words_match_by_their_stems():
    assert label_words(text("sensor networks aggregate"), ["Sensor Network"], PORTER) == [B, I, O]
    assert label_words(text("sensor networks aggregate"), ["sensor network"], PLAIN) == [O, O, O]


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ([], []),
        ([O, O], []),
        ([B, I, I, O, B], [(0, 3), (4, 5)]),
        ([B, B, I], [(0, 1), (1, 3)]),
        ([I, I, O, I], [(0, 2), (3, 4)]),
        ([O, I, B], [(1, 2), (2, 3)]),
    ],
)
def test_spans_are_those_written_by_hand(labels, spans):
    assert spans_of(labels) == spans


WORDS = st.sampled_from(["net", "nets", "graph", "the", "of", "data", "deep"])
PHRASES = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), max_size=4)


@given(st.lists(WORDS, max_size=14), PHRASES)
def test_phrases_that_no_other_overlaps_are_read_back(words, phrases):
    present, absent = split(words, phrases, PORTER)
    labels = label_words(words, phrases, PORTER)
    read = {" ".join(map(PORTER, words[first:stop])) for first, stop in spans_of(labels)}
    gold = {" ".join(map(PORTER, phrase.split())) for phrase in present}
    assert read <= gold, "nothing but gold phrases is labelled"
    alone = {
        phrase
        for phrase in gold
        if not any(
            other != phrase and set(phrase.split()) & set(other.split()) for other in gold
        )  # phrases that share a word may overlap
    }
    assert alone - {phrase for phrase in alone if len(set(phrase.split())) < len(phrase.split())} <= read
    assert count_present(words, phrases, PORTER) == len(gold)
    assert not any(ReadSource(words, PORTER).holds(phrase) for phrase in absent)


@given(st.lists(WORDS, max_size=14), PHRASES)
def test_no_label_hangs_in_the_air(words, phrases):
    labels = label_words(words, phrases, PORTER)
    assert all(labels[at - 1] in (B, I) for at, label in enumerate(labels) if label == I)
    assert len(labels) == len(words)
    again = [O] * len(words)
    for first, stop in spans_of(labels):
        again[first:stop] = [B] + [I] * (stop - first - 1)
    assert again == labels


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UserError, match="unknown scheme of labels 'bilou'; choose longest or compat"):
        label_words(["a"], ["a"], PLAIN, scheme="bilou")
