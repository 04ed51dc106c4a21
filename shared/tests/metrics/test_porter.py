"""The stemmer against Porter's own examples and, where it is installed, NLTK's."""

import gzip
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nonet.metrics.porter import stem
from nonet.testing import data_folder, needs

# Porter 1980 gives what each step does; these are the stems after all steps.
PUBLISHED = {
    "caresses": "caress", "ponies": "poni", "cats": "cat", "feed": "feed", "agreed": "agre",
    "plastered": "plaster", "motoring": "motor", "sing": "sing", "conflated": "conflat", "sized": "size",
    "hopping": "hop", "falling": "fall", "hissing": "hiss", "filing": "file", "happy": "happi",
    "relational": "relat", "conditional": "condit", "digitizer": "digit", "radically": "radic",
    "vietnamization": "vietnam", "operator": "oper", "feudalism": "feudal", "hopefulness": "hope",
    "triplicate": "triplic", "electrical": "electr", "goodness": "good", "revival": "reviv",
    "adjustment": "adjust", "adoption": "adopt", "activate": "activ", "probate": "probat", "cease": "ceas",
    "controlling": "control", "roll": "roll",
}  # fmt: skip
SUFFIXES = (
    "ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism iveness fulness "
    "ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able "
    "ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize ed eed ied ies ing ss s y at bl iz ll e"
).split()


@pytest.mark.parametrize(("word", "expected"), PUBLISHED.items())
def test_examples_of_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("skies", "sky"), ("Dying", "die"), ("outings", "outing"), ("succeed", "succeed"), ("xskies", "xski"),
     ("dies", "die"), ("flies", "fli"), ("died", "die"), ("spied", "spi"), ("enjoy", "enjoy"), ("spy", "spi"),
     ("nationally", "nation"), ("theology", "theolog"), ("hopefully", "hope"), ("using", "use")],
)  # fmt: skip
def test_departures_from_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("", ""), ("Is", "is"), ("İ", "i\u0307"), ("as", "as"), ("\u212aings", "king")]
)
def test_short_words_are_only_lowered(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_letters_beyond_ascii_stay_and_count_as_consonants() -> None:
    assert stem("naïveness") == "naïv"
    assert stem("aééing") == "aé"  # a double consonant becomes single
    assert stem("aéèing") == "aéè"
    assert stem("Привет") == "привет"


def test_a_long_run_of_y_takes_no_time() -> None:
    assert stem("y" * 100_000 + "ing").startswith("yyyy")


made_up = st.builds(
    lambda start, ends: start + "".join(ends),
    st.text("abcdefghijklmnopqrstuvwxyz", max_size=6),
    st.lists(st.sampled_from(SUFFIXES), max_size=3),
)
words = st.one_of(
    made_up,
    st.text("aeiouylstz", max_size=12),
    st.text(st.characters(max_codepoint=127), max_size=12),
    st.builds(lambda a, b: a + b, st.text(max_size=5), st.sampled_from(SUFFIXES)),
)


@pytest.mark.peer
@needs("nltk")
@settings(max_examples=3000, deadline=None, derandomize=True)
@example("a*ded")
@example("\0ing")
@example("İsing")
@example("conventionalli")
@example("nationaliti")
@given(words)
def test_equals_nltk_on_made_up_words(word: str) -> None:
    from nltk.stem.porter import PorterStemmer

    assert stem(word) == PorterStemmer().stem(word)


@pytest.mark.peer
@pytest.mark.slow
@needs("nltk")
def test_equals_nltk_on_every_word_of_the_real_texts() -> None:
    from nltk.stem.porter import PorterStemmer

    found: set[str] = set()
    with gzip.open(data_folder("papers", "abstracts.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            found.update(json.loads(line)["abstract"].split())
    with open(data_folder("aeslc", "train.jsonl"), encoding="utf-8") as lines:
        for line in lines:
            found.update(" ".join(json.loads(line)["body"]).split())
    for word in list(found):
        found.add(word.strip(".,;:!?()[]'\"").lower())
    assert len(found) > 200_000
    theirs = PorterStemmer()
    assert [word for word in sorted(found) if stem(word) != theirs.stem(word)] == []
