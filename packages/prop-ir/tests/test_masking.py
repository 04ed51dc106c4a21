"""Masked words against a slow restatement of the rule, and in expectation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from prop_ir.masking import MaskPieces, mask_words
from prop_ir.options import MaskOptions
from prop_ir.pieces import load_tokenizer
from prop_ir.toy import write_encoder

INTO = MaskPieces(4, np.arange(100, 200))


def document(lengths):
    """Pieces 1000, 1001, ... of words of such lengths, and where words begin."""
    pieces = np.arange(1000, 1000 + sum(lengths))
    starts = np.zeros(len(pieces), bool)
    starts[np.cumsum([0, *lengths])[: len(lengths)]] = True
    return pieces, starts


USUAL = MaskOptions()


def mask(lengths, options=USUAL, item=0, epoch=0, seed=0):
    return mask_words(*document(lengths), options, INTO, seed=seed, epoch=epoch, item=item)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=120), st.integers(0, 10**6), st.integers(1, 12))
def test_whole_words_within_the_budget_and_nothing_else_changes(lengths, item, most):
    pieces, _ = document(lengths)
    found = mask(lengths, MaskOptions(most=most), item)
    budget = min(most, max(1, round(0.15 * len(lengths))))
    assert len(found.places) <= budget
    assert (np.diff(found.places) > 0).all()
    assert (found.labels == pieces[found.places]).all()
    others = np.setdiff1d(np.arange(len(pieces)), found.places)
    assert (found.pieces[others] == pieces[others]).all()
    ends = np.cumsum(lengths)
    taken = {int(np.searchsorted(ends, place, "right")) for place in found.places}
    assert sum(lengths[word] for word in taken) == len(found.places)  # whole words
    left = [length for word, length in enumerate(lengths) if word not in taken]
    assert all(length > budget - len(found.places) for length in left), "a word that would fit was left out"


def test_the_budget_by_hand():
    for words, wanted in ((1, 1), (3, 1), (10, 2), (100, 15), (400, 60), (1000, 60)):  # 1.5 rounds to 2
        assert len(mask([1] * words).places) == wanted
    assert len(mask([1] * 30).places) == 4  # 4.5 rounds to the even 4, as Python does
    assert len(mask([2] * 4, MaskOptions()).places) == 0  # a budget of one piece, and no word of one
    assert len(mask([1] * 20, MaskOptions(share=0.0)).places) == 0
    assert len(mask([]).places) == 0


def test_eighty_ten_ten_by_piece_and_replacements_are_ordinary():
    found = [mask([2] * 200, item=item) for item in range(400)]
    now = np.concatenate([each.pieces[each.places] for each in found])
    was = np.concatenate([each.labels for each in found])
    total = len(now)
    shares = [(now == 4).mean(), ((now >= 100) & (now < 200)).mean(), (now == was).mean()]
    error = 4 * np.sqrt(0.16 / total)
    assert total == 400 * 30
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=error)
    assert sum(shares) == pytest.approx(1)
    others = now[(now >= 100) & (now < 200)]
    assert len(set(others.tolist())) == 100
    pairs = [each.pieces[each.places].reshape(-1, 2) == 4 for each in found]  # a word's pieces fall apart
    both = np.concatenate(pairs).all(1).mean()
    assert both == pytest.approx(0.64, abs=0.03)


def test_every_word_is_as_likely():
    counts = np.zeros(40)
    for item in range(4000):
        counts[mask([1] * 40, item=item).places] += 1
    assert counts.sum() == 4000 * 6
    expected = 600
    assert ((counts - expected) ** 2 / expected).sum() * 39 / 34 < 80  # chi-square, 39 degrees: p 1e-4


def test_masks_follow_from_seed_epoch_and_item():
    first = mask([1] * 60)
    again = mask([1] * 60)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    for other in (mask([1] * 60, item=1), mask([1] * 60, epoch=1), mask([1] * 60, seed=1)):
        assert (first.places != other.places).any()


def test_the_first_piece_begins_a_word_whatever_the_flags_say():
    pieces, starts = np.arange(1000, 1004), np.array([False, False, True, True])
    places = {
        tuple(mask_words(pieces, starts, MaskOptions(share=1.0), INTO, seed=0, epoch=0, item=i).places)
        for i in range(50)
    }
    assert places == {(2, 3), (0, 1, 2), (0, 1, 3)}


def test_pieces_of_a_tokenizer(tmp_path):
    tokenizer = load_tokenizer(write_encoder(tmp_path, layers=1, width=8, heads=1))
    into = MaskPieces.of(tokenizer)
    assert into.mask == tokenizer.convert_tokens_to_ids("[MASK]")
    assert into.ordinary.tolist() == list(range(5, len(tokenizer)))  # the five special ones come first


def test_a_tokenizer_without_a_mask_is_refused():
    class Bare:
        mask_token_id = None

    with pytest.raises(UserError, match=r"no mask: use --masks.share 0"):
        MaskPieces.of(Bare())


def test_unused_pieces_replace_nothing():
    class Unused:
        mask_token_id, all_special_ids, added_tokens_decoder = 0, [0], {5: "x"}

        def get_vocab(self):
            return {"[MASK]": 0, "[unused1]": 1, "a": 2, "unused": 3, "<unused7>": 4, "x": 5}

    assert MaskPieces.of(Unused()).ordinary.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.5}, r"masks.share is 1.5; it lies in \[0, 1\]"),
        ({"most": 0}, "masks.most is 0; it is 1 or more"),
        ({"mask": 0.9, "random": 0.2}, "are shares of one whole"),
    ],
)
def test_impossible_masks_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        MaskOptions(**options)
