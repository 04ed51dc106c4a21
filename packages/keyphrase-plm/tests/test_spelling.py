"""Written phrases in the spelling of the text, and outputs that go round in circles."""

import pytest

from keyphrase_plm.spelling import Spelling, loops, with_joined_signs

TEXT = "a c ++ compiler for na\u00efve users of a_b , c ++ and [digit] d scans".split()


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("c + +", "c ++"), ("naive users", "na\u00efve users"), ("a _ b", "a_b"),
        ("C + + compiler", "c ++ compiler"),
        ("[digit] d scans", "[digit] d scans"), ("compiler", "compiler"),
        ("cc", "cc"), ("users of", "users of"), ("d + + language", "d ++ language"), ("naives", "naives"),
    ],
)  # fmt: skip
def test_a_phrase_of_the_text_is_written_as_there_and_another_one_has_its_signs_joined(written, spelled):
    assert Spelling(TEXT).of(written) == spelled


def test_words_without_signs_are_neither_joined_nor_parted():
    spelling = Spelling("key word lists ; a keyword list".split())
    assert spelling.of("keyword") == "keyword"
    assert spelling.of("key word") == "key word"
    assert spelling.of("wordlists") == "wordlists"


def test_the_text_may_be_empty_and_so_may_the_phrase():
    assert Spelling([]).of("c + +") == "c ++"
    assert Spelling(["\u0301", "a"]).of("a") == "a"
    assert Spelling(TEXT).of("") == ""


def test_only_signs_are_joined():
    assert with_joined_signs("a - - b [digit] [digit] . c") == "a -- b [digit] [digit] . c"


@pytest.mark.parametrize("phrase", ["data data data", "deep a b a b a b", "neural rererere", "x " * 20])
def test_loops_are_seen(phrase):
    assert loops(phrase)


@pytest.mark.parametrize("phrase", ["very very good", "data data", "bubble", "mississippi river", ""])
def test_honest_phrases_are_no_loops(phrase):
    assert not loops(phrase)


def test_only_the_last_phrase_of_an_output_that_did_not_end_is_dropped_for_looping():
    read = [("net net net", -1.0), ("graph", -2.0), ("data data data data", -0.1)]
    assert list(Spelling([]).spelled(read, ended=False)) == read[:2]
    assert list(Spelling([]).spelled(read, ended=True)) == read
    assert list(Spelling([]).spelled([], ended=False)) == []


def test_a_last_phrase_that_was_written_before_is_the_last_one_nevertheless():
    read = [("data", -1.0), ("net net net", -2.0), ("data", -0.5)]
    assert list(Spelling([]).spelled(read, ended=False)) == read, "`net net net` was ended by a separator"
    again = [("net net net", -2.0), ("data", -1.0), ("net net net", -0.5)]
    assert list(Spelling([]).spelled(again, ended=False)) == again[:2], "the one that was ended stays"
