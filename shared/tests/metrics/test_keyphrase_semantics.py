"""SemF1 against the definition written out with vectors that can be computed by hand."""

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.keyphrase_matches import find_matches
from nonet.metrics.keyphrase_semantics import semantic_scores

ANGLES = {"cats": 0, "cat": 10, "dogs": 60, "fish": 90, "stones": 180}


def encode(phrases):
    radians = np.deg2rad([ANGLES[phrase] for phrase in phrases])
    return 3 * np.stack([np.cos(radians), np.sin(radians)], axis=1)  # of length 3: cosines do not mind


def scored(gold, said, **options):
    return semantic_scores(find_matches(["x"] * len(gold), gold, said), gold, said, encode, **options)


def test_precision_and_recall_are_means_of_the_largest_cosines():
    found = scored([["cats", "fish"]], [["dogs"]])
    near, far = np.cos(np.deg2rad(30)), np.cos(np.deg2rad(60))
    p, r = near, (far + near) / 2
    assert (found.precision[0], found.recall[0]) == pytest.approx((p, r))
    assert found.semf1 == pytest.approx(2 * p * r / (p + r))


def test_equal_stems_count_one_and_the_published_code_overlooks_that_in_recall():
    gold, said = [["cats"]], [["cat"]]
    assert scored(gold, said).recall[0] == 1
    old = scored(gold, said, legacy=True)
    assert (old.precision[0], old.recall[0]) == pytest.approx((1, np.cos(np.deg2rad(10))))


def test_cosines_below_the_threshold_count_nothing():
    assert scored([["cats"]], [["dogs"]], threshold=0.51).semf1 == 0
    assert scored([["cats"]], [["dogs"]], threshold=0.49).semf1 == pytest.approx(0.5)
    assert scored([["cats"]], [["stones"]]).semf1 == 0


def test_every_distinct_phrase_is_encoded_once_with_others_of_like_length():
    calls = []

    def counted(phrases):
        calls.append(phrases)
        return encode(phrases)

    gold, said = [["cats", "stones"], ["fish", "CATS"]], [["dogs", "dogs", ""], ["cats", "stones"]]
    found = semantic_scores(find_matches(["x", "y"], gold, said), gold, said, counted, batch=2)
    assert calls == [["cats", "fish"], ["dogs", "stones"]]
    assert found.encoded == 4
    assert np.allclose(found.f1, scored(gold, said, batch=100).f1)


def test_documents_without_predictions_or_gold_have_zero_and_are_part_of_the_mean():
    found = scored([["cats"], ["cats"], []], [["cats"], [], ["cats"]])
    assert found.f1.tolist() == [1, 0, 0]
    assert scored([], []).semf1 == 0


def test_an_encoder_that_fails_is_named():
    gold = said = [["cats", "dogs"]]
    matches = find_matches(["x"], gold, said)
    with pytest.raises(UserError, match=r"the encoder gave shape \(1, 2\) for 2 phrases"):
        semantic_scores(matches, gold, said, lambda phrases: [[1.0, 0.0]])
    with pytest.raises(UserError, match="not finite"):
        semantic_scores(matches, gold, said, lambda phrases: [[np.nan, 0.0]] * 2)
