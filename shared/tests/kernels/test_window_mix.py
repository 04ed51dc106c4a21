"""Windows in plain loops, hand-made pictures, and gradients by differences.

`test_triton_form_passes_the_same_tests` runs this file a second time in the Triton form.
"""

import os

import pytest
import torch
from torch.autograd import gradcheck

from nonet.kernels.window_mix import FEW, Windows, paste_pixels, paste_tokens, window_search
from nonet.testing import needs, normal, whole

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def in_loops(scores, side, sign):
    """Place of the window with the greatest sign * sum, the first one in rows."""
    best, place = None, None
    for y in range(scores.shape[0] - side + 1):
        for x in range(scores.shape[1] - side + 1):
            found = sign * sum(scores[y + a, x + b].item() for a in range(side) for b in range(side))
            if best is None or found > best:
                best, place = found, [y, x]
    return place


def pasted_in_loops(pictures, windows):
    """(B, C, H, W) place by place."""
    rows, partner, to, source, sides = (part.tolist() for part in windows)
    mixed = torch.stack([pictures[row] for row in rows])
    for m, side in enumerate(sides):
        for a in range(side):
            for b in range(side):
                cut = pictures[partner[m], :, source[m][0] + a, source[m][1] + b]
                mixed[m, :, to[m][0] + a, to[m][1] + b] = cut
    return mixed


def some(size=(5, 7), rows=(0, 3, 1), partner=(1, 0, 2), sides=(2, 0, 4), seed=0):
    sides = torch.tensor(sides)
    room = torch.tensor(size) - sides[:, None] + 1
    to, source = (whole(1000, len(rows), 2, seed=seed + i) % room for i in range(2))
    return Windows(torch.tensor(rows), torch.tensor(partner), to, source, sides)


@pytest.mark.parametrize(("high", "wide"), [(4, 4), (5, 7), (9, 6)])
def test_search_finds_what_loops_find(high, wide):
    scores = whole(100, 6, high, wide).float()  # whole numbers: loops are exact, and sums are often equal
    sides = torch.tensor([1, 2, 3, 4, 2, 4])
    rows, partner = torch.arange(6), torch.tensor([5, 4, 3, 2, 1, 0])
    least, most = window_search(scores, sides, rows, partner)
    assert least.tolist() == [in_loops(scores[i], k, -1) for i, k in enumerate(sides.tolist())]
    assert most.tolist() == [in_loops(scores[5 - i], k, 1) for i, k in enumerate(sides.tolist())]


def test_many_sides_at_once_give_what_one_after_the_other_does():
    scores, rows, sides = normal(40, 8, 11), torch.arange(40), 1 + whole(8, 40)
    scores[::2] = scores[::2].round()  # equal sums
    assert len(sides.unique()) > FEW
    found = window_search(scores, sides, rows, rows.flip(0))
    for side in sides.unique().tolist():
        chosen = (sides == side).nonzero()[:, 0]
        wanted = window_search(scores, sides[chosen], rows[chosen], rows.flip(0)[chosen])
        assert all(torch.equal(a[chosen], b) for a, b in zip(found, wanted, strict=True))


def test_of_equal_sums_the_first_is_taken():
    scores = torch.full((1, 6, 6), 0.1)  # a table in float32 differs in its last bits here
    for side in range(1, 7):
        least, most = window_search(scores, torch.tensor([side]), torch.tensor([0]), torch.tensor([0]))
        assert (least.tolist(), most.tolist()) == ([[0, 0]], [[0, 0]])


def test_search_goes_on_below_a_large_offset():
    scores = normal(4, 16, 16)
    sides, rows = torch.tensor([5, 8, 12, 5]), torch.arange(4)
    wanted = window_search(scores, sides, rows, rows.flip(0))
    for found in (window_search(scores * 2 + 64, sides, rows, rows.flip(0)),
                  window_search(scores.double() * 1e-3 - 1e3, sides, rows, rows.flip(0))):  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_pasted_pixels_are_those_of_loops():
    pictures, windows = normal(4, 3, 5, 7), some()
    assert torch.equal(paste_pixels(pictures, windows), pasted_in_loops(pictures, windows))
    assert torch.equal(
        paste_pixels((100 * pictures).to(torch.int16), windows),
        pasted_in_loops((100 * pictures).to(torch.int16), windows),
    )


def test_pasted_tokens_are_pixels_with_channels_last():
    pictures, windows = normal(4, 3, 5, 7), some(seed=5)
    tokens = pictures.permute(0, 2, 3, 1).flatten(1, 2)
    found = paste_tokens(tokens, windows, (5, 7))
    wanted = pasted_in_loops(pictures, windows).permute(0, 2, 3, 1).flatten(1, 2)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("rows", [(0, 3, 1), (0, 1, 2, 3)])
def test_gradient_is_that_of_differences(rows):
    windows = some(rows=rows, partner=(1, 0, 2, 3)[: len(rows)], sides=(2, 3, 4, 1)[: len(rows)], seed=2)
    pictures = normal(4, 2, 5, 7, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: paste_pixels(x, windows), pictures, fast_mode=OTHER_FORM)


def test_gradient_goes_to_every_place_that_was_used():
    tokens, windows = normal(4, 35, 3).requires_grad_(), some()
    paste_tokens(tokens, windows, (5, 7)).sum().backward()
    counts = torch.zeros(4, 5, 7)
    for row, partner, (y, x), (v, u), side in zip(*(part.tolist() for part in windows), strict=True):
        counts[row] += 1
        counts[row, y : y + side, x : x + side] -= 1
        counts[partner, v : v + side, u : u + side] += 1
    assert torch.equal(tokens.grad, counts.view(4, 35, 1).expand(-1, -1, 3))


def test_nothing_to_mix_gives_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    windows = Windows(none, none, none.view(0, 2), none.view(0, 2), none)
    pictures = normal(2, 3, 4, 4).requires_grad_()
    mixed = paste_pixels(pictures, windows)
    mixed.sum().backward()
    assert mixed.shape == (0, 3, 4, 4)
    assert not pictures.grad.any()
    assert window_search(normal(2, 4, 4), none, none, none)[0].shape == (0, 2)


def test_sides_that_do_not_fit_are_refused():
    for sides in ([2, 5], [0, 4]):
        with pytest.raises(ValueError, match=rf"sides {sides[0]}\.\.{sides[1]} do not fit maps of 4 x 6"):
            window_search(normal(2, 4, 6), torch.tensor(sides), torch.arange(2), torch.arange(2))


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="this is the other form")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)
