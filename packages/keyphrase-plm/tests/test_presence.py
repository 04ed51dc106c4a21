"""The two tests of presence, against search by list and by string over NLTK's stems, and by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from keyphrase_plm.presence import ReadSource, split, stemmer
from nonet.errors import UserError

PORTER = PorterStemmer()


def found_in_lists(words, phrase):
    """Whether the stems of the phrase stand side by side in those of the text: every start is tried."""
    wanted, text = [PORTER.stem(w) for w in phrase.split()], [PORTER.stem(w) for w in words]
    return any(text[i : i + len(wanted)] == wanted for i in range(len(text)))


WORDS = st.lists(
    st.sampled_from(["net", "nets", "networks", "network", "a", "art", "start", "started", "nets,"])
)


@given(WORDS, WORDS.filter(bool))
def test_the_token_rule_is_the_search_for_a_list_in_a_list(words, phrase):
    text = " ".join(phrase)
    assert ReadSource(words, stemmer()).holds(text) == found_in_lists(words, text)


@given(WORDS, WORDS.filter(bool))
def test_the_prep_rule_is_the_search_for_a_string_in_a_string(words, phrase):
    text, wanted = (" ".join(map(PORTER.stem, given)) for given in (words, phrase))
    assert ReadSource(words, stemmer(), rule="prep").holds(" ".join(phrase)) == (wanted in text)


def test_the_rules_differ_inside_words_and_at_commas():
    words, phrases = "we start a scan, then stop".split(), ["art", "scan", "scans,", "", "stopping"]
    assert split(words, phrases, stemmer()) == (["stopping"], ["art", "scan", "scans,"])
    assert split(words, phrases, stemmer(), rule="prep") == (["art", "scan", "stopping"], ["scans,"])


def test_a_phrase_may_cross_from_the_title_into_the_body():
    assert split(["deep", "learning", "networks"], ["learning network"], stemmer())[0] == ["learning network"]


def test_stemmers_of_other_languages():
    pytest.importorskip("Stemmer")
    words = "die Häuser stehen".split()
    assert split(words, ["haus"], stemmer("snowball:german")) == (["haus"], [])
    assert split(words, ["häuser", "haus"], stemmer("none")) == (["häuser"], ["haus"])


def test_unknown_rules_and_stemmers_are_refused():
    with pytest.raises(UserError, match="unknown rule of presence 'fuzzy'; choose token or prep"):
        split([], [], stemmer(), rule="fuzzy")
    with pytest.raises(
        UserError, match="unknown stemmer 'lancaster'; choose porter, none or snowball:LANGUAGE"
    ):
        stemmer("lancaster")
    pytest.importorskip("Stemmer")
    with pytest.raises(UserError, match="no Snowball stemmer for 'klingon'; there are"):
        stemmer("snowball:klingon")
