"""Words of the document language model, against the plain rule."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from prop_ir.options import WordOptions
from prop_ir.words import Words, stop_words


def plain(text, options):
    """The released code's rule as it is told, one word after the other."""
    words = re.findall(options.regex, text.lower() if options.lower else text)
    return [word for word in words if word.lower() not in stop_words(options.stop_words)]


def test_there_are_475_stop_words():
    words = stop_words("english")
    assert len(words) == 475
    assert {"the", "don't", "notwithstanding", "shouldn"} <= words
    assert all(word == word.lower().strip() and word for word in words)
    assert stop_words("none") == frozenset()


def test_digits_and_apostrophes_end_words():
    assert Words().find("The CAT's 3rd pre-war don't x2y naïve") == ["cat", "rd", "pre", "war", "x", "na"]
    found = Words(WordOptions(stop_words="none")).find("don't 3rd")
    assert found == ["don", "t", "rd"]


def test_stop_words_are_left_out_in_any_case():
    words = Words(WordOptions(lower=False))
    assert words.find("The Cat THE cat") == words.count(["The Cat THE cat"]).types == ["Cat", "cat"]
    assert not words.any("THE")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abthecT .'3éßİKſΩ日\n"), max_size=40), max_size=5),
    st.sampled_from(
        [
            WordOptions(),
            WordOptions(lower=False),
            WordOptions(stop_words="none"),
            WordOptions(regex=r"\w+"),
            WordOptions(regex="[a-z]+", stop_words="none"),
            WordOptions(regex=r"\w+", lower=False, stop_words="none"),
        ]
    ),
)
def test_numbered_words_are_those_of_the_plain_rule(texts, options):
    words = Words(options)
    counted = words.count(texts)
    seen = {}
    for i, text in enumerate(texts):
        wanted = plain(text, options)
        part = counted.flat[counted.offsets[i] : counted.offsets[i + 1]]
        assert [counted.types[number] for number in part] == wanted == words.find(text)
        assert words.any(text) == bool(wanted)
        for word in wanted:
            seen.setdefault(word, len(seen))
        assert counted.types_after[i] == len(seen)
    assert counted.types == list(seen)
    assert counted.flat.dtype == np.uint32


def test_half_a_million_words_take_less_than_a_second():
    words = ["cat", "the", "house", "of", "river"] * 20_000
    text = " ".join(f"{word}{i % 7}x" for i, word in enumerate(words))
    best = min(_seconds(Words().count, [text] * 3) for _ in range(3))
    assert best < 1.0, f"{best:.2f} s for 600,000 runs of letters"


def _seconds(function, *arguments):
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


@pytest.mark.parametrize(
    ("regex", "message"),
    [("[a-z", "is no pattern"), ("(a|b)+", r"write \(\?:...\)"), (r"\w*", "the empty word")],
)
def test_patterns_that_find_no_words_are_refused(regex, message):
    with pytest.raises(UserError, match=message):
        Words(WordOptions(regex=regex))
