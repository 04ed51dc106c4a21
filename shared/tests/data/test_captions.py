import pytest

from nonet.data.captions import caption_number, clean_caption, split_prefix, tells_sides
from nonet.errors import UserError


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("A child in a pink dress is climbing .", "a child in a pink dress is climbing"),
        ("Two T-shirts/hats, and <PERSON>'s dog!", "two t shirts hats and persons dog"),
        ("  (one)\t*two* \n #three: ~four;  ", "one two three four"),
        ('"What?" -- he said', "what he said"),
        ("naïve café № 5 & 50%", "naïve café № 5 & 50%"),
        (" .!? ", ""),
        ("", ""),
    ],
)
def test_punctuation_goes_and_white_space_is_one_space(text, clean):
    assert clean_caption(text) == clean


def test_thirty_words_stay_unless_told_otherwise():
    words = [f"w{i}" for i in range(40)]
    assert clean_caption(" ".join(words)).split() == words[:30]
    assert clean_caption(" ".join(words), 3).split() == words[:3]
    assert clean_caption(" ".join(words), 0).split() == words


def test_cleaning_twice_changes_nothing():
    once = clean_caption("Left-hand / right: it's <person> -- 1.5 m")
    assert clean_caption(once) == once


@pytest.mark.parametrize("text", ["a dog on the left", "Right-hand side", "the leftmost one", "turn RIGHT."])
def test_left_and_right_are_noticed(text):
    assert tells_sides(text)


@pytest.mark.parametrize("text", ["bright lights", "a cleft rock", "an upright piano", "leftover pizza", ""])
def test_words_that_only_contain_them_are_not(text):
    assert not tells_sides(text)


def test_equal_captions_share_a_number_and_others_do_not():
    assert caption_number("a dog") == caption_number("a dog") == 9151722581430185315
    numbers = {caption_number(f"caption {i}") for i in range(10_000)}
    assert len(numbers) == 10_000
    assert 0 <= min(numbers) <= max(numbers) < 2**63


def test_a_prefix_and_the_rest_make_the_caption():
    assert split_prefix("dog", 0) == ("", "dog")
    assert split_prefix("a dog runs", 0) == ("", "a dog runs")
    assert split_prefix("a dog runs", 2) == ("a dog", "runs")


@pytest.mark.parametrize("cut", [-1, 3])
def test_a_cut_that_leaves_nothing_to_write_is_refused(cut):
    with pytest.raises(UserError, match=f"a caption of 3 words cannot be cut after {cut}"):
        split_prefix("a dog runs", cut)
