"""Selection in plain loops, hand-made scores, and gradients by differences.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import math
import os

import pytest
import torch
from torch.autograd import gradcheck

from nonet.kernels.patch_select import patch_select, standardised
from nonet.testing import needs, normal, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def in_loops(tokens, scores, k, of_image=None):
    """Tokens and kept patches, row by row in Python numbers."""
    found, kept = [], []
    for row, values in enumerate(scores.tolist()):
        image = tokens[row if of_image is None else of_image[row]]
        order = sorted(range(len(values)), key=lambda i: (-values[i], i))
        stay, leave = sorted(order[:k]), sorted(order[k:])
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        powers = [math.exp((values[i] - mean) / deviation) if deviation else 1.0 for i in leave]
        rows = [image[0], *(image[1 + i] for i in stay)]
        if leave:
            rows.append(sum(p / sum(powers) * image[1 + i] for p, i in zip(powers, leave, strict=True)))
        found.append(torch.stack(rows))
        kept.append(stay)
    return torch.stack(found), kept


@pytest.mark.parametrize(("patches", "k"), [(1, 1), (5, 2), (16, 8), (37, 11), (20, 19), (20, 20)])
def test_selection_is_that_of_loops(patches, k):
    tokens, scores = normal(3, 1 + patches, 6, dtype=torch.float64), normal(3, patches, dtype=torch.float64)
    wanted, kept = in_loops(tokens, scores, k)
    found = patch_select(tokens, scores, k)
    assert found.kept.tolist() == kept
    torch.testing.assert_close(found.tokens, wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(patch_select(tokens, scores, k, fuse=False).tokens, wanted[:, : 1 + k])


def test_rows_ask_for_images_in_any_order():
    tokens, scores = normal(3, 13, 4), normal(7, 12, seed=1)
    of_image = torch.tensor([2, 0, 0, 2, 1, 0, 2])
    wanted, kept = in_loops(tokens, scores, 5, of_image)
    found = patch_select(tokens, scores, 5, of_image=of_image)
    assert found.kept.tolist() == kept
    torch.testing.assert_close(found.tokens, wanted, rtol=1e-5, atol=1e-6)


def test_of_equal_scores_the_lower_index_is_kept():
    scores = torch.tensor([[1.0, 3, 1, 3, 1, 1], [0, 0, 0, 0, 0, 0], [-0.0, 0.0, 1, 0.0, -0.0, 1]])
    assert patch_select(normal(3, 7, 2), scores, 3).kept.tolist() == [[0, 1, 3], [0, 1, 2], [0, 2, 5]]


def test_many_equal_scores_are_settled_as_in_loops():
    tokens, scores = normal(8, 65, 2), whole(4, 8, 64).float()
    assert patch_select(tokens, scores, 21).kept.tolist() == in_loops(tokens, scores, 21)[1]


def test_equal_scores_fuse_to_the_mean_of_what_is_dropped():
    tokens = normal(2, 10, 5)
    for value in (0.1, -3.7, 1e30):  # a mean of equal float32 numbers is not always that number
        found = patch_select(tokens, torch.full((2, 9), value), 4)
        torch.testing.assert_close(found.tokens[:, -1], tokens[:, 5:].mean(1))


def test_weights_add_up_to_one():
    tokens = torch.ones(3, 50, 4)
    assert patch_select(tokens, 5 * normal(3, 49), 10).tokens.allclose(torch.ones(()), atol=1e-6)


def test_scale_and_offset_of_scores_change_nothing():
    tokens, scores = normal(2, 33, 4), normal(2, 32, seed=1)
    wanted, moved = patch_select(tokens, scores, 9), patch_select(tokens, 8 * scores + 32, 9)
    assert torch.equal(moved.kept, wanted.kept)
    torch.testing.assert_close(moved.tokens, wanted.tokens, rtol=1e-4, atol=1e-5)


def test_permuted_patches_permute_what_is_kept_and_leave_the_fused_token():
    tokens, scores, order = normal(1, 26, 4), normal(1, 25, seed=1), torch.randperm(25)
    wanted = patch_select(tokens, scores, 12)
    found = patch_select(torch.cat([tokens[:, :1], tokens[:, 1:][:, order]], 1), scores[:, order], 12)
    assert torch.equal(order[found.kept[0]].sort().values, wanted.kept[0])
    torch.testing.assert_close(found.tokens[:, -1], wanted.tokens[:, -1])


@pytest.mark.parametrize("of_image", [None, [1, 0, 1, 1]])
@pytest.mark.parametrize("fuse", [False, True])
def test_gradient_is_that_of_differences(of_image, fuse):
    of_image = None if of_image is None else torch.tensor(of_image)
    scores = normal(3 if of_image is None else 4, 7, seed=1)
    tokens = normal(3, 8, 2, dtype=torch.float64).requires_grad_()

    def selected(x):
        return patch_select(x, scores, 3, fuse=fuse, of_image=of_image).tokens

    assert gradcheck(selected, tokens, fast_mode=OTHER_FORM)


def test_an_image_that_no_row_asks_for_has_no_gradient():
    tokens = normal(3, 8, 2).requires_grad_()
    patch_select(tokens, normal(2, 7), 3, of_image=torch.tensor([2, 0])).tokens.sum().backward()
    torch.testing.assert_close(tokens.grad.sum((1, 2)), torch.tensor([10.0, 0.0, 10.0]))  # 5 tokens of 2


def test_scores_get_no_gradient():
    tokens, scores = normal(1, 8, 2).requires_grad_(), normal(1, 7).requires_grad_()
    patch_select(tokens, scores, 3).tokens.sum().backward()
    assert scores.grad is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_and_summed_in_full(kind):
    tokens, scores = normal(2, 40, 8).to(kind), normal(2, 39)
    found = patch_select(tokens, scores, 10).tokens
    assert found.dtype == kind
    wanted = in_loops(tokens.double(), scores, 10)[0]
    torch.testing.assert_close(found.double(), wanted, rtol=torch.finfo(kind).eps, atol=torch.finfo(kind).eps)


@pytest.mark.parametrize("of_image", [None, [1, 0, 1]])
def test_autocast_changes_nothing(of_image):
    of_image = None if of_image is None else torch.tensor(of_image)
    found = []
    for on in (False, True):
        tokens = normal(3, 10, 4).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            selected = patch_select(tokens, normal(3, 9, seed=1), 3, of_image=of_image).tokens
        selected.square().sum().backward()
        found.append((selected.detach(), tokens.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_scores_that_are_no_numbers_are_kept_last():
    nan, most = float("nan"), float("inf")
    found = patch_select(normal(2, 5, 2), torch.tensor([[nan, 1, nan, 0], [-most, most, nan, 0]]), 2)
    assert found.kept.tolist() == [[1, 3], [1, 3]]
    assert found.tokens.isfinite().all()


def test_nothing_to_select_gives_nothing():
    tokens = normal(2, 5, 3).requires_grad_()
    found = patch_select(tokens, normal(0, 4), 2, of_image=torch.zeros(0, dtype=torch.int64))
    assert found.tokens.shape == (0, 4, 3)
    found.tokens.sum().backward()
    assert not tokens.grad.any()


def test_standardised_scores_have_mean_0_and_deviation_1():
    found = standardised(torch.tensor([[1.0, 2, 3, 4], [0.3, 0.3, 0.3, 0.3]]))
    wanted = torch.tensor([-3.0, -1, 1, 3]) / 5**0.5
    torch.testing.assert_close(found, torch.stack([wanted, torch.zeros(4)]))


def test_shapes_that_do_not_fit_are_refused():
    for arguments, error in (
        ((normal(2, 5, 3), normal(2, 5), 2), "scores of 5 patches do not fit 5 tokens"),
        ((normal(2, 5, 3), normal(2, 4), 5), "k is 5; of 4 patches 1 to 4"),
        ((normal(2, 5, 3), normal(2, 4), 0), "k is 0"),
        ((normal(2, 5, 3), normal(3, 4), 2), "3 rows of scores do not fit 2 images"),
    ):
        with pytest.raises(ValueError, match=error):
            patch_select(*arguments)
    with pytest.raises(ValueError, match="3 rows of scores do not fit 2 numbers in of_image"):
        patch_select(normal(2, 5, 3), normal(3, 4), 2, of_image=torch.tensor([0, 1]))


@pytest.mark.slow
@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="this is the other form")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)
