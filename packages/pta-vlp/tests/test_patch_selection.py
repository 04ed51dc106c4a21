"""Counts, scores and kept patches by hand."""

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import normal
from pta_vlp.patch_selection import kept_count, recall_at_keep, select, selection_scores
from pta_vlp.select_options import SelectOptions


@pytest.mark.parametrize(
    ("keep", "patches", "count"),
    [(0.5, 196, 98), (0.5, 9, 4), (0.3, 256, 76), (0.29, 100, 29), (0.7, 10, 7), (1.0, 7, 7), (0.99, 7, 6)],
)
def test_a_share_is_rounded_down(keep, patches, count):
    assert kept_count(keep, patches) == count


def test_a_share_of_no_patch_keeps_one_and_says_so():
    with pytest.warns(UserWarning, match=r"keep 0\.1 of 9 patches is none: one is kept"):
        assert kept_count(0.1, 9) == 1


@pytest.mark.parametrize("keep", [0, -0.5, 1.01, float("nan")])
def test_what_is_no_share_is_refused(keep):
    with pytest.raises(UserError, match="keep is"):
        kept_count(keep, 16)
    with pytest.raises(UserError, match="keep is"):
        SelectOptions(keep=keep)


def test_other_options_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"alpha is 1\.5; it lies in 0\.\.1"):
        SelectOptions(alpha=1.5)
    with pytest.raises(UserError, match="block is -1"):
        SelectOptions(block=-1)


def test_scores_mix_what_is_standardised():
    text, attention = torch.tensor([[-1.0, -2, -3, -4]]), torch.tensor([[0.1, 0.3, 0.1, 0.3]])
    z_text, z_attention = torch.tensor([[3.0, 1, -1, -3]]) / 5**0.5, torch.tensor([[-1.0, 1, -1, 1]])
    torch.testing.assert_close(selection_scores(text, None), z_text)
    torch.testing.assert_close(selection_scores(None, attention, 0.0), z_attention)
    mixed = selection_scores(text, attention, 0.25)
    torch.testing.assert_close(mixed, 0.25 * z_text + 0.75 * z_attention)


def test_equal_scores_say_nothing_in_a_mixture():
    attention = normal(2, 9).softmax(-1)
    found = selection_scores(torch.full((2, 9), -0.7), attention, 0.5)
    torch.testing.assert_close(found, 0.5 * selection_scores(None, attention, 0.0))
    assert not selection_scores(torch.full((2, 9), -0.7), None).any()


def test_a_part_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"alpha is 0\.5, which needs attention"):
        selection_scores(normal(1, 4), None, 0.5)
    with pytest.raises(ValueError, match="alpha is 1, which needs log_scores"):
        selection_scores(None, normal(1, 4))


def test_scores_have_no_gradient():
    text = normal(1, 4).requires_grad_()
    assert not selection_scores(text, None).requires_grad


def test_kept_patches_go_on_in_the_order_of_the_image():
    tokens = torch.arange(7.0)[None, :, None].expand(1, 7, 2)  # CLS is 0, patch i is i + 1
    found = select(tokens, torch.tensor([[0.0, 5, 1, 4, 2, 3]]), 0.5)
    assert found.kept.tolist() == [[1, 3, 5]]
    assert found.tokens[0, :4, 0].tolist() == [0, 2, 4, 6]
    assert select(tokens, found.scores, 0.5, fuse=False).tokens.shape == (1, 4, 2)


def test_all_patches_leave_no_fused_token():
    tokens = normal(2, 5, 3)
    assert torch.equal(select(tokens, normal(2, 4), 1.0).tokens, tokens)


def test_recall_is_the_share_of_a_texts_patches_that_stay():
    labels = torch.tensor([[1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0], [0] * 6])
    kept = torch.tensor([[0, 2, 4], [0, 1, 2], [0, 1, 2]])
    found = recall_at_keep(kept, labels)
    torch.testing.assert_close(found, torch.tensor([2 / 3, 0.0, float("nan")]), equal_nan=True)
