"""Terms of texts: what Lucene's English analysis gave for the same texts, and the parts by hand."""

import pickle

import pytest
import Stemmer

from nonet.errors import UserError
from prop_ir.analysis import STOP_WORDS, Analyser, read_stop_words

# What Anserini 1.7.1's DefaultEnglishAnalyzer printed for these texts.
OF_LUCENE = [
    ("The dogs' houses", ["dog", "hous"]),
    ("a:b c\u00b7d e:1 1:2", ["a:b", "c\u00b7d", "e", "1", "1", "2"]),
    ("U.S.A. e.g. 3.14 1,000 x.5 5.x", ["u.s.a", "e.g", "3.14", "1,000", "x", "5", "5", "x"]),
    ("a_b _ __ a_ _b", ["a_b", "a_", "_b"]),
    ("don't dog's dogs' dog\u2019s DOG'S 's x's", ["don't", "dog", "dog", "dog", "dog", "s", "x"]),
    ("it\u2019s \u2018quoted\u2019 a\u2018b a\u2018'b", ["quot", "a\u2018b", "b"]),
    ("\u65e5\u672c\u8a9e \u30c6\u30b9\u30c8", ["\u65e5", "\u672c", "\u8a9e", "\u30c6\u30b9\u30c8"]),
    ("\u3072\u3089 \ud55c\uad6d\uc5b4", ["\u3072", "\u3089", "\ud55c\uad6d\uc5b4"]),
    ("na\u00efve caf\u00e9 cafe\u0301 e\u0301", ["na\u00efv", "caf\u00e9", "cafe\u0301", "e\u0301"]),
    ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
    ("1;2 1'2 1.2.3 a.b.c. a..b", ["1;2", "1'2", "1.2.3", "a.b.c", "b"]),
    ("foo-bar foo/bar x+y", ["foo", "bar", "foo", "bar", "x", "y"]),
    ("\u00bd \u00b2 x\u00b2 a\u00adb a\u200bb a\u200db", ["x", "a\u00adb", "b", "a\u200db"]),
    ("ab\u2024cd ab\u055fcd ab\u203fcd", ["ab\u2024cd", "ab", "cd", "ab\u203fcd"]),
    ("1\u066c2 1\u066b2 1\uff0c2", ["1\u066c2", "1\u066b2", "1\uff0c2"]),
    ("b.e\u0301.c a\u0301.sb bb\u0301\u00b7acs9", ["b.e\u0301.c", "a\u0301.sb", "bb\u0301\u00b7acs9"]),
    ("possibly technology geology nobly us", ["possibl", "technolog", "geologi", "nobli", "us"]),
]


@pytest.mark.parametrize(("text", "terms"), OF_LUCENE)
def test_terms_are_those_of_lucene(text, terms):
    assert Analyser().terms(text) == terms


def test_stop_words_are_the_33_of_lucene_and_go_before_stemming():
    assert len(STOP_WORDS) == 33
    assert Analyser().terms("This is it, and that WAS the other") == ["other"]
    assert Analyser().terms("bees wills") == ["bee", "will"]  # stems that are stop words stay
    assert Analyser(stop_words=()).terms("this is it") == ["thi", "is", "it"]


def test_plain_words_are_runs_of_letters_digits_and_underscores():
    analyser = Analyser(words="plain", stemmer="none", stop_words=())
    assert analyser.terms("Don't pay 3.5 for_it\nU.S.") == ["don", "t", "pay", "3", "5", "for_it", "u", "s"]


def test_porter_as_published_and_as_programmed_differ_in_three_rules():
    published, programmed = Analyser(stemmer="porter"), Analyser()
    text = "possibly technologies cs running"
    assert published.terms(text) == ["possibli", "technologi", "c", "run"]
    assert programmed.terms(text) == ["possibl", "technolog", "cs", "run"]


def test_other_stemmers_are_pystemmers():
    words = ["generously", "houses", "skies"]
    assert Analyser(stemmer="english").terms(" ".join(words)) == Stemmer.Stemmer("english").stemWords(words)
    assert Analyser(stemmer="german", stop_words=()).terms("H\u00e4user") == ["haus"]


def test_settings_and_pickles_make_the_same_analyser():
    analyser = Analyser(words="plain", stemmer="german", stop_words={"und", "oder"})
    assert analyser.settings == {"words": "plain", "stemmer": "german", "stop_words": ["oder", "und"]}
    for again in (Analyser.of(analyser.settings), pickle.loads(pickle.dumps(analyser))):
        assert again.settings == analyser.settings
        assert again.terms("H\u00e4user und G\u00e4rten") == analyser.terms("H\u00e4user und G\u00e4rten")


def test_texts_without_words_have_no_terms():
    assert [Analyser().terms(text) for text in ("", " \n", "--- ...", "the", "_")] == [[]] * 5


def test_stop_words_come_by_name_or_from_a_file(tmp_path):
    path = tmp_path / "stop.txt"
    path.write_text("# of ours\nUnd\n\n  oder  # too\n", encoding="utf-8")
    assert read_stop_words(str(path)) == {"und", "oder"}
    assert read_stop_words("english") == STOP_WORDS
    assert read_stop_words("none") == set()


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"stemmer 'portre' is unknown; there are lucene, none, .*porter"):
        Analyser(stemmer="portre")
    with pytest.raises(UserError, match=r"stop words englisch: no such file; give english, none"):
        read_stop_words("englisch")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_stop_words(str(tmp_path / "bad.txt"))
