"""Source and target strings, and the way back; what the strings are is written out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import wordpunct_tokenize

from keyphrase_plm.documents import Document
from keyphrase_plm.sequences import phrases_of, source_text, source_words, target_text, tokenised
from nonet.errors import UserError


def test_the_source_is_title_mark_body_in_lower_case():
    document = Document("1", "Deep  Nets", "We train\nthem.")
    assert source_text(document) == "deep nets [sep] we train them."
    assert source_text(document, prefix="generate keyphrases: ").startswith(
        "generate keyphrases: deep nets [sep]"
    )
    assert source_words(document) == ["deep", "nets", "we", "train", "them."]


def test_a_source_without_title_begins_with_the_mark():
    assert source_text(Document("1", "", "a page")) == "[sep] a page"
    assert source_text(Document("1", "a page", "")) == "a page [sep]"


def test_the_target_has_the_present_phrases_first():
    document = Document("1", "", "", ("Graph  Colouring", " "), ("np", "", "A;B"))
    assert target_text(document) == "graph colouring ; np ; a[semi]b"


def test_a_phrase_that_holds_the_mark_of_a_semicolon_is_refused_with_its_place():
    with pytest.raises(UserError, match=r"a\.jsonl:3: the phrase 'x\[SEMI\]' holds"):
        target_text(Document("1", "", "", ("x[SEMI]",), where="a.jsonl:3"))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("a ; b;c", ["a", "b", "c"]),
        ("b ; a ; b", ["b", "a"]),
        ("", []),
        (" ; ;; ", []),
        ("[ digit ] d images ; [digit]", ["[digit] d images", "[digit]"]),
        ("trans ##form ##ers", ["transformers"]),
        ("a [ semi ] b", ["a ; b"]),
        ("a  b ; a b", ["a b"]),
    ],
)
def test_phrases_of_generated_text(text, phrases):
    assert phrases_of(text) == phrases


WORD = st.text(st.sampled_from("abé;-[]中"), min_size=1, max_size=5)
PHRASES = st.lists(st.lists(WORD, min_size=1, max_size=3).map(" ".join), unique=True)


@given(PHRASES, PHRASES)
def test_target_and_back_gives_the_phrases_in_their_order(present, absent):
    everything = list(dict.fromkeys([*present, *absent]))
    assert phrases_of(target_text(Document("1", "", "", tuple(present), tuple(absent)))) == everything


@given(st.text(st.sampled_from("ab1 2_-.,;٣5 é\n")))
def test_tokenised_text_is_nltks_with_the_digits_replaced(text):
    words = ["[digit]" if word.isdecimal() else word for word in wordpunct_tokenize(text)]
    assert tokenised(text) == " ".join(words)
